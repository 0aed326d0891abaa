"""The metrics of all tasks, as timm's validation collects them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..tasks import Classification


class MultiTaskEvaluator:
    """The metric of every task over a data set, as timm's validation collects it.

    Metrics are `<task>_<metric>`, as in `left_accuracy`, NaN for a task that no sample has a target for; and `mean`
    over those that are known, by which the best epoch is chosen. A metric that is better lower counts negative in it.

    Args:
        kinds: The kind of each task.
        device: Of the outputs.
        max_samples: Samples beyond that many count nowhere: a distributed sampler has filled up with them.

    Example:
        >>> import torch
        >>> from tsbn_hub.tasks import Classification
        >>> from tsbn_hub.training.timm_evaluator import MultiTaskEvaluator
        >>> evaluator = MultiTaskEvaluator({"left": Classification(), "right": Classification()})
        >>> evaluator.update({"left": torch.eye(4), "right": torch.eye(4)}, {"left": torch.tensor([0, 1, 2, 2])})
        >>> evaluator.compute()
        {'left_accuracy': 0.75, 'right_accuracy': nan, 'mean': 0.75}
    """

    default_metric = "mean"

    def __init__(
        self,
        kinds: Mapping[str, Classification],
        device: torch.device | str | None = None,
        *,
        max_samples: int | None = None,
    ) -> None:
        self.kinds = dict(kinds)
        self.device = torch.device(device or "cpu")
        self.max_samples = max_samples
        self.metric_names = (*(f"{name}_{kind.metric}" for name, kind in self.kinds.items()), "mean")
        self.reset()

    def reset(self) -> None:
        """Begin a data set."""
        self.num_samples = 0
        self._totals = {name: kind.no_totals().to(self.device) for name, kind in self.kinds.items()}

    @torch.no_grad()
    def update(self, output: Any, target: Mapping[str, Tensor]) -> None:
        """Add a batch: the model's output, a dict by task or, for one task, its own; and the targets by task."""
        outputs = output if isinstance(output, Mapping) else dict.fromkeys(self.kinds, output)
        samples = len(next(iter(outputs.values())))
        counted = samples if self.max_samples is None else min(samples, self.max_samples - self.num_samples)
        self.num_samples += counted
        for name, kind in self.kinds.items():
            if name in target:
                self._totals[name] += kind.totals(outputs[name][:counted], target[name][:counted])

    def summary(self) -> dict[str, float]:
        """The metrics so far, of this process."""
        return self.compute()

    def compute(self, distributed: bool = False) -> dict[str, float]:
        """The metrics, of this process or of all."""
        totals = {name: total.clone() for name, total in self._totals.items()}
        if distributed:
            for total in totals.values():
                dist.all_reduce(total)
        values = {name: kind.value(totals[name]) for name, kind in self.kinds.items()}
        signed = [value if self.kinds[name].higher_is_better else -value for name, value in values.items()]
        seen = [value for value in signed if not math.isnan(value)]
        mean = sum(seen) / len(seen) if seen else math.nan
        return {f"{name}_{self.kinds[name].metric}": value for name, value in values.items()} | {"mean": mean}
