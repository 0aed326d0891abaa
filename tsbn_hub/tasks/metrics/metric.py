"""What every metric is, and the metrics by kind and name.

Each metric is exact over the data set, not a mean of the batches' metrics: its states are sums, over batches and
processes, and what they are summed up to does not depend on how the data set is split into them. Without any valid
pixel a metric is NaN. Counts are int64; sums of values are kept in two float32, as float32 alone loses digits over many
batches and not every device has float64.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torchmetrics import Metric

from ...files.registry import Registry, UnknownNameError, did_you_mean, names_of


class ScoredKind(Protocol):
    """What metrics may ask of every `tsbn_hub.tasks.Kind`."""

    missing: ClassVar[float]

    @property
    def outputs(self) -> int:
        """How many channels a head has for this task."""


class DataSetMetric(Metric):
    """A metric that is NaN, without a warning, for a data set without targets.

    A new metric is a subclass with `@register_metric("its name", "the kind")`, which says what it takes in `update`:
    what the kind predicts for a batch, and the target. See torchmetrics for how states are added.
    """

    full_state_update = False

    @property
    def update_called(self) -> bool:
        """True: a data set without a single batch has an answer, too."""
        return True

    @classmethod
    def of_kind(cls, kind: ScoredKind, **options: Any) -> Self:
        """The metric for a kind; a subclass that needs the kind's number of classes, say, takes it here.

        Args:
            kind: The kind of the task that is scored.
            **options: The keywords that the metric was registered with.
        """
        return cls(**options)


M = TypeVar("M", bound=DataSetMetric)

_makers: Registry[Callable[[ScoredKind], DataSetMetric]] = Registry("metric")


def register_metric(name: str, kind: str, **options: Any) -> Callable[[type[M]], type[M]]:
    """A decorator of subclasses of `DataSetMetric`: the kind can list the metric from now on, in `Kind.metrics`.

    Args:
        name: The name of the metric.
        kind: The name of the kind; kinds that are its subclasses have the metric, too.
        **options: Keywords for `DataSetMetric.of_kind`. A class may be registered several times with different ones.

    Raises:
        ValueError: if the kind has another metric of that name.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Depth
        >>> from tsbn_hub.tasks.kind import register_kind
        >>> from tsbn_hub.tasks.metrics import WithinRatio, register_metric
        >>> @register_kind("fine depth")
        ... class FineDepth(Depth):
        ...     metrics = {"delta1": True, "delta_fine": True}
        >>> _ = register_metric("delta_fine", "fine depth", ratio=1.05)(WithinRatio)
        >>> metrics = FineDepth().new_metrics()
        >>> metrics.update(torch.tensor([[[1.0, 1.1, 2.0]]]), torch.tensor([[[1.0, 1.0, 1.0]]]))
        >>> {name: round(value.item(), 2) for name, value in metrics.compute().items()}
        {'delta1': 0.67, 'delta_fine': 0.33}
    """

    def register(metric_class: type[M]) -> type[M]:
        @functools.wraps(metric_class, updated=())
        def make(scored: ScoredKind) -> DataSetMetric:
            return metric_class.of_kind(scored, **options)

        _makers.register(name, of=kind)(make)
        return metric_class

    return register


def make_metric(name: str, kind: ScoredKind) -> DataSetMetric:
    """The metric of a name that is registered for a kind, or else for a kind that it is a subclass of.

    Raises:
        UnknownNameError: if there is none.

    Example:
        >>> from tsbn_hub.tasks import Normals
        >>> from tsbn_hub.tasks.metrics import make_metric
        >>> make_metric("within_22_5", Normals()).degrees
        22.5
    """
    kind_names = names_of(type(kind))
    # From the farthest base class to the kind itself, which has the last word.
    registered_for = {metric: kind_name for kind_name in kind_names for metric in _makers.names(of=kind_name)}
    if name not in registered_for:
        known = list(registered_for)
        raise UnknownNameError(
            f"{type(kind).__name__} lists the metric {name!r}, but no metric of that name is registered for kinds "
            f"{kind_names}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}. Register one with "
            "tsbn_hub.tasks.metrics.register_metric."
        )
    return _makers.find(name, of=registered_for[name])(kind)
