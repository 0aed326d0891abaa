"""The metrics of all tasks, as timm's validation collects them."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ...tasks import Kind
from ..evaluation import TaskMetrics, chosen_scores


class MultiTaskEvaluator:
    """The metrics of every task over a data set, as timm's validation collects them.

    Metrics are `<task>_<metric>`, as in `left_accuracy`, NaN for a task that no sample has a target for; and `mean`
    over the tasks that are known, by which the best epoch is chosen: of a metric of each kind that is in [0, 1].

    Args:
        kinds: The kind of each task.
        device: Of the outputs.
        max_samples: Samples beyond that many count nowhere: a distributed sampler has filled up with them.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Classification
        >>> from tsbn_hub.training.timm.evaluator import MultiTaskEvaluator
        >>> evaluator = MultiTaskEvaluator({"left": Classification(), "right": Classification()})
        >>> evaluator.update({"left": torch.eye(4), "right": torch.eye(4)}, {"left": torch.tensor([0, 1, 2, 2])})
        >>> evaluator.compute()
        {'left_accuracy': 0.75, 'right_accuracy': nan, 'mean': 0.75}
    """

    default_metric = "mean"

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        device: torch.device | str | None = None,
        *,
        max_samples: int | None = None,
    ) -> None:
        self.kinds = dict(kinds)
        self.device = torch.device(device or "cpu")
        self.max_samples = max_samples
        named = (f"{name}_{metric}" for name, kind in self.kinds.items() for metric in kind.metrics)
        self.metric_names = (*named, "mean")
        self.reset()

    def reset(self) -> None:
        """Begin a data set."""
        self.num_samples = 0
        self._metrics = TaskMetrics(self.kinds, self.device)

    @torch.no_grad()
    def update(self, output: Tensor | Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add a batch: the model's output, a dict by task or, for one task, its own; and the targets by task."""
        outputs = output if isinstance(output, Mapping) else dict.fromkeys(self.kinds, output)
        samples = len(next(iter(outputs.values())))
        counted = samples if self.max_samples is None else min(samples, self.max_samples - self.num_samples)
        self.num_samples += counted
        for name in self.kinds:
            if name in target:
                self._metrics.update(name, outputs[name][:counted], target[name][:counted])

    def summary(self) -> dict[str, float]:
        """The metrics so far, of this process."""
        return self.compute()

    def compute(self, distributed: bool = False) -> dict[str, float]:
        """The metrics, of this process or of all."""
        scores = self._metrics.compute(distributed)
        seen = chosen_scores(self.kinds, scores)
        mean = sum(seen) / len(seen) if seen else math.nan
        return {f"{name}_{metric}": value for name in scores for metric, value in scores[name].items()} | {"mean": mean}
