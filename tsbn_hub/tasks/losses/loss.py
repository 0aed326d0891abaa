"""What every loss is, and the losses by kind and name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from ...files.registry import Registry, UnknownNameError, check_keywords, did_you_mean, names_of
from ..kind import Kind
from ..labels import in_order
from ..task import Json


class Loss(ABC):
    """What is summed over the labels of a batch.

    The loss of a task is this sum, divided by the number of labels: of a batch, or of all micro-batches and processes
    of a step. So every loss is a sum of a term for each label, and weights do not change what it is divided by.

    Args:
        num_classes: The number of classes or attributes; None: there are none, or it is not known yet.

    Attributes:
        by_label: The keywords that are a number for each class or attribute. A task may give them as mappings by label;
            the loss gets lists.
        from_targets: The keywords that are "balanced", to be taken from the training targets.
    """

    by_label: ClassVar[tuple[str, ...]] = ()

    def __init__(self, num_classes: int | None) -> None:
        self.num_classes = num_classes
        self.from_targets: tuple[str, ...] = ()

    @abstractmethod
    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum of the terms of all valid labels, a scalar; 0, with a gradient of 0, if there is none.

        Args:
            output: float32, as `KindWithLosses.compared` gives it.
            target: The same.
            valid: Where there is a label, bool, in the shape of the kind's targets. What the output is elsewhere, which
                may be infinite, must reach neither the sum nor its gradient.
        """

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """The keywords of `from_targets` as numbers.

        Args:
            targets: Of single samples.
        """
        return {}


L = TypeVar("L", bound=Loss)

_losses: Registry[type[Loss]] = Registry("loss", filled_by=__package__)


def register_loss(name: str, *kinds: str) -> Callable[[type[L]], type[L]]:
    """A decorator of subclasses of `Loss`: tasks of these kinds can name the loss from now on.

    Args:
        name: The name of the loss.
        kinds: The names of the kinds; kinds that are their subclasses have the loss, too.

    Raises:
        ValueError: if a kind has another loss of that name.
    """

    def register(loss_class: type[L]) -> type[L]:
        for kind in kinds:
            _losses.register(name, of=kind)(loss_class)
        return loss_class

    return register


def make_loss(kind: Kind, name: str, options: Mapping[str, Any]) -> Loss:
    """The loss of a name that is registered for a kind, or else for a kind that it is a subclass of.

    Raises:
        UnknownNameError: if there is none.
        ValueError: if it does not take the options, or one that is by label has other labels than the kind.

    Example:
        >>> from tsbn_hub.tasks import Depth
        >>> from tsbn_hub.tasks.losses import make_loss
        >>> make_loss(Depth(), "huber", {"delta": 0.5}).delta
        0.5
    """
    registered_for = {loss: kind_name for kind_name in names_of(type(kind)) for loss in _losses.names(of=kind_name)}
    if name not in registered_for:
        known = sorted(registered_for)
        raise UnknownNameError(
            f"loss={name!r} is no loss of {kind.name}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )
    loss_class = _losses.find(name, of=registered_for[name])
    lists = {
        key: in_order(key, value, kind.labels)
        for key, value in options.items()
        if key in loss_class.by_label and isinstance(value, Mapping)
    }
    try:
        check_keywords(loss_class, dict(options), own=[kind.num_classes])
        return loss_class(kind.num_classes, **{**options, **lists})
    except TypeError as error:  # also of a value that is no number
        raise ValueError(f"loss={name!r} cannot take {dict(options)}: {error}.") from error


class KindWithLosses(Kind):
    """A kind whose tasks can name their loss.

    Attributes:
        default_loss: The name of the loss where a task names none.
        criterion: The loss.
    """

    default_loss: ClassVar[str]
    criterion: Loss

    def choose_loss(self, given: str | Mapping[str, Any] | None) -> None:
        """Take the loss of a task.

        Args:
            given: Its name, or its keywords, with its `name` among them; without one, or None: the default.

        Raises:
            UnknownNameError: if there is no such loss of this kind.
            ValueError: if it is no name or mapping, or the loss does not take the keywords.
        """
        if given is not None and not isinstance(given, str | Mapping):
            raise ValueError(f"loss={given!r} is no loss: write its name, or a mapping with name and its keywords.")
        options = {"name": given} if isinstance(given, str) else dict(given or {})
        self._named = {"name": self.default_loss} | options
        self.criterion = make_loss(self, self._named["name"], {k: v for k, v in self._named.items() if k != "name"})
        if self.criterion.from_targets:
            self.taken_from_targets = (*self.taken_from_targets, "loss")

    def compared(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A head's output and a target as the loss compares them, float32: by default, as they are."""
        return output.float(), target

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean of the chosen loss over all labels, a scalar, float32; 0 if there is none."""
        compared = self.compared(output, target)
        return self.criterion.total(*compared, self.valid(target)) / self.count(target).clamp(min=1)

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """The loss, with the weights that it takes from the targets; nothing, if it takes none."""
        if not self.criterion.from_targets:
            return {}
        return {"loss": {**self._named, **self.criterion.options_from(targets)}}
