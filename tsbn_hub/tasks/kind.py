"""What every kind of task says of itself, and the kinds by their names."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from .task import Task

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Kind(ABC):
    """What the targets of a task are, how a prediction is trained, scored and drawn.

    A new kind is a subclass with `@register_kind("its name")`: its name then works in every `Task`, config and
    checkpoint, once the file is imported.

    A target of a batch has its first dimension in common with the images, and a dense one its last two. A head's
    output has `outputs` channels: (B, outputs), or, if dense, (B, outputs, H, W) in the size of the images.

    Attributes:
        dense: Whether there is a value for every pixel.
        head: The name of the default head.
        missing: Fills the target of a sample that has none.
        metrics: The metrics by name, and whether higher is better. The first is the primary one.
        chosen_by: The metric, in [0, 1] and higher is better, by which the best epoch is chosen: its mean over tasks
            of different kinds makes sense.
        num_classes: The number of classes or attributes; None where there are none.
        labels: Their names; None where there are none.
    """

    dense: ClassVar[bool]
    head: ClassVar[str]
    missing: ClassVar[float]
    metrics: ClassVar[dict[str, bool]]
    chosen_by: ClassVar[str]
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

    @abstractmethod
    def count(self, target: Tensor) -> Tensor:
        """How many terms the mean of the loss has, a scalar, int64: 0 for a batch of missing targets."""

    @abstractmethod
    def predict(self, output: Tensor) -> Tensor:
        """The prediction for a batch in the terms of a target, or as probabilities: see the kind."""

    @abstractmethod
    def new_metrics(self) -> "MetricCollection":
        """The metrics of `metrics`; they take `update(predict(output), target)`, batch by batch, over a data set."""

    @abstractmethod
    def picture(self, value: Tensor, image: Tensor) -> Tensor:
        """A sample's target or prediction as a picture.

        Args:
            value: A target, or a prediction of `predict`, without the batch's dimension.
            image: The sample's image, (3, H, W), float32 in [0, 1], for kinds that are drawn over it.

        Returns:
            (3, H, W), uint8.
        """

    @abstractmethod
    def describe(self, prediction: Tensor) -> dict[str, Any]:
        """A sample's prediction as plain values for JSON: class names with scores, depths, shares of classes."""


_kinds: dict[str, type[Kind]] = {}


def register_kind(name: str) -> Callable[[type[Kind]], type[Kind]]:
    """A decorator of subclasses of `Kind`: tasks can name the kind from now on.

    Raises:
        ValueError: if another kind has the name.
    """

    def register(kind_class: type[Kind]) -> type[Kind]:
        other = _kinds.setdefault(name, kind_class)
        if (other.__module__, other.__qualname__) != (kind_class.__module__, kind_class.__qualname__):
            raise ValueError(f"The kind {name!r} is registered already, as {other.__module__}.{other.__qualname__}.")
        _kinds[name] = kind_class
        return kind_class

    return register


def make_kind(task: Task) -> Kind:
    """The kind of a task, for its classes.

    Raises:
        ValueError: if there is no such kind, or it does not take what the task says.

    Example:
        >>> from tsbn_hub.tasks import Task, make_kind
        >>> make_kind(Task("seg", kind="segmentation", num_classes=13)).outputs
        13
    """
    if task.kind not in _kinds:
        raise ValueError(f"Task {task.name!r} has kind={task.kind!r}. Known: {', '.join(_kinds)}.")
    given: dict[str, Any] = {"num_classes": task.num_classes, "labels": task.labels, **task.kind_args}
    given = {key: value for key, value in given.items() if value is not None}
    try:
        inspect.signature(_kinds[task.kind]).bind(**given)
    except TypeError as error:
        raise ValueError(f"Task {task.name!r} of kind {task.kind!r} cannot take {given}: {error}.") from error
    return _kinds[task.kind](**given)
