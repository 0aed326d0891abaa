"""What every kind of task says of itself, and the kinds by their names."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import Tensor, nn

from ..files.registry import Registry, UnknownNameError, check_keywords, did_you_mean
from .pictures import Legend
from .task import Json, Task

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Kind(ABC):
    """What the targets of a task are, how a prediction is trained, scored and drawn.

    A new kind is a subclass with `@register_kind("its name")`: its name then works in every `Task`, config and
    checkpoint, once the file is imported. Its metrics are those of `tsbn_hub.tasks.metrics` that are registered for it
    or for a kind that it is a subclass of.

    A target of a batch has its first dimension in common with the images, and a dense one its last two. A head's
    output has `outputs` channels: (B, outputs), or, if dense, (B, outputs, H, W) in the size of the images.

    Attributes:
        name: The name that it is registered under; the decorator sets it.
        dense: Whether there is a value for every pixel.
        head: The name of the default head.
        missing: Fills the target of a sample that has none.
        metrics: The metrics by name, and whether higher is better. The first is the primary one.
        chosen_by: The metric, in [0, 1] and higher is better, by which the best epoch is chosen: its mean over tasks
            of different kinds makes sense. Where it is not defined, the first of `metrics` that is takes its place.
        metrics_share_state: Whether all metrics are computed from one and the same state, which is then updated once.
        gives: What `predict` gives, in a few words, for whoever reads the outputs of an exported file; empty: not said.
        unit: Of what `predict` gives, such as "m"; None: it has none, or none is known.
        hub_task: The Hub's name of such a task, such as "image-segmentation"; None where it has none.
        hub_metrics: By the names of metrics, the Hub's names of those that it has a name for.
        taken_from_targets: The keywords that `options_from` may give.
        taken_from_validation: The keywords that are found on the validation data, for the weights that are kept.
        only_for_training: The keywords that say how a task is trained or decided, not what its targets are.
        num_classes: The number of classes or attributes; None where there are none.
        labels: Their names; None where there are none.
    """

    name: ClassVar[str]
    dense: ClassVar[bool]
    head: ClassVar[str]
    missing: ClassVar[float]
    metrics: ClassVar[dict[str, bool]]
    chosen_by: ClassVar[str]
    metrics_share_state: ClassVar[bool] = False
    gives: ClassVar[str] = ""
    unit: ClassVar[str | None] = None
    hub_task: ClassVar[str | None] = None
    hub_metrics: ClassVar[Mapping[str, str]] = {}
    taken_from_targets: tuple[str, ...] = ()
    taken_from_validation: tuple[str, ...] = ()
    only_for_training: ClassVar[tuple[str, ...]] = ("loss",)
    num_classes: int | None = None
    labels: list[str] | None = None

    @property
    def primary(self) -> str:
        """The name of the primary metric."""
        return next(iter(self.metrics))

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many channels a head has for this task."""

    @abstractmethod
    def check(self, target: Tensor, image_size: tuple[int, int]) -> None:
        """Raise ValueError unless this is a target of this kind: its shape, dtype, range.

        Args:
            target: Of a batch, on any device.
            image_size: Height and width of the images.
        """

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over all valid terms of the batch, a scalar; 0, with a gradient of 0, if there is none."""

    def valid(self, target: Tensor) -> Tensor:
        """Where there is a target, for each term of the loss, bool: by default, where it is not `missing`."""
        return ~target.isnan() if math.isnan(self.missing) else target != self.missing

    def count(self, target: Tensor) -> Tensor:
        """How many terms the mean of the loss has, a scalar, int64: 0 for a batch of missing targets."""
        return self.valid(target).sum()

    @abstractmethod
    def predict(self, output: Tensor) -> Tensor:
        """The prediction for a batch in the terms of a target, or as probabilities: see the kind."""

    def options_from(self, targets: Sequence[Tensor]) -> dict[str, Json]:
        """What the kind takes from the training targets, asked before the training: none, by default.

        Args:
            targets: Of single samples, some of the training data's; perhaps none.

        Returns:
            Further keywords of the kind, kept with the task in every checkpoint.
        """
        return {}

    def follow(self, target: Tensor, *, mirrored: bool = False, zoom: float = 1.0) -> Tensor:
        """A sample's target after its image was changed: by a flip, a crop, another scale, or a shift.

        A kind without this method refuses these in training.

        Args:
            target: Without the batch's dimension. The pixels of a dense one are in their new places already, those
                beyond the border of the old image `missing`.
            mirrored: Whether left and right were exchanged.
            zoom: How many times as large things are in the image now, above 0.

        Returns:
            The target, of the same shape and dtype.
        """
        raise NotImplementedError(f"Kind {self.name!r} does not say how a target follows its image.")

    def fold_into(self, head: nn.Module) -> nn.Module:
        """A head, and after it what turns its output into the terms of a target, where that is not the identity."""
        return head

    def is_share(self, metric: str) -> bool:
        """Whether a metric is a share of 1, and shown as a percentage; by default, those where higher is better."""
        return self.metrics[metric]

    def new_metrics(self) -> "MetricCollection":
        """The metrics of `metrics`; they take `update(predict(output), target)`, batch by batch, over a data set.

        A metric is NaN if no target of the data set is valid.

        Raises:
            ValueError: if a metric is not registered for the kind.
        """
        # Imported only here: a program that scores nothing does not wait for torchmetrics.
        from torchmetrics import MetricCollection

        from .metrics import make_metric

        return MetricCollection(
            {name: make_metric(name, self) for name in self.metrics},
            # Left to itself the collection would join metrics whose states are equal after the first batch, for good.
            compute_groups=[list(self.metrics)] if self.metrics_share_state else False,
        )

    @abstractmethod
    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """A sample's target or prediction as a picture.

        Args:
            value: A target, or a prediction of `predict`, without the batch's dimension.
            image: The sample's image, (3, H, W), float32 in [0, 1], for kinds that are drawn over it.

        Returns:
            (3, H, W), uint8.
        """

    def legend(self, value: Tensor) -> Legend | None:
        """What the colours in the picture of a target or prediction mean; None: they need no words.

        Args:
            value: As `picture` takes it.
        """
        return None

    def caption(self, prediction: Tensor, target: Tensor) -> list[str] | None:
        """What a sample's prediction is, for a table, and in a second line the target where it is another.

        Args:
            prediction: Of `predict`, without the batch's dimension.
            target: Without the batch's dimension.

        Returns:
            One line or two; None, the default: both are shown as pictures.
        """
        return None

    @abstractmethod
    def describe(self, prediction: Tensor) -> dict[str, Json]:
        """A sample's prediction as plain values for JSON: class names with scores, depths, shares of classes."""


K = TypeVar("K", bound=Kind)

kind_classes: Registry[type[Kind]] = Registry("kind")


def register_kind(name: str) -> Callable[[type[K]], type[K]]:
    """A decorator of subclasses of `Kind`: tasks can name the kind from now on.

    Raises:
        ValueError: if another kind has the name.
    """

    def register(kind_class: type[K]) -> type[K]:
        kind_classes.register(name)(kind_class)
        kind_class.name = name
        return kind_class

    return register


def make_kind(task: Task) -> Kind:
    """The kind of a task, for its classes.

    Raises:
        UnknownNameError: if there is no such kind.
        ValueError: if it does not take what the task says.

    Example:
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> make_kind(Task("seg", kind="segmentation", num_classes=13)).outputs
        13
    """
    if task.kind not in kind_classes:
        known = list(kind_classes)
        raise UnknownNameError(
            f"Task {task.name!r} has kind={task.kind!r}.{did_you_mean(task.kind, known)} Known: {', '.join(known)}."
        )
    kind_class = kind_classes[task.kind]
    given: dict[str, Any] = {"num_classes": task.num_classes, "labels": task.labels, **task.kind_args}
    given = {key: value for key, value in given.items() if value is not None}
    try:
        check_keywords(kind_class, given)
    except TypeError as error:
        raise ValueError(f"Task {task.name!r} of kind {task.kind!r} cannot take {given}: {error}.") from error
    try:
        return kind_class(**given)
    except UnknownNameError as error:
        raise UnknownNameError(f"Task {task.name!r}: {error}") from error
