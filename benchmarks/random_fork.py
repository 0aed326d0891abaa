"""A trunk for `tsbn compare --import benchmarks/random_fork.py --methods random-fork`.

One network that can part at any stage, as the memory or time at hand allows: each training step forks before a stage
that is drawn anew.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from tsbn_hub.baselines.staged import Part, StagedTrunk
from tsbn_hub.baselines.stages import Stage, run
from tsbn_hub.models.hf import TsbnConfig, register_trunk
from tsbn_hub.norms import TaskModules
from tsbn_hub.training.optimization.param_groups import GATE_LR_SCALE_BATCH_NORM


class GatedBatchNorm(nn.BatchNorm2d):
    """A BatchNorm with a gate per channel, sigma(a), in place of weight and bias."""

    lr_scale = GATE_LR_SCALE_BATCH_NORM

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)
        self.gate_logits = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.gate_logits.sigmoid()[:, None, None]


class ForkedNorm(nn.Module):
    """A norm before the fork, for all tasks, and one for each task behind it.

    Attributes:
        task: Whose norm runs; None: that of all.
    """

    task: str | None = None

    def __init__(self, channels: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.shared = GatedBatchNorm(channels)
        self.of_tasks = TaskModules({task: GatedBatchNorm(channels) for task in tasks}, suffix="_norm")

    def forward(self, x: Tensor) -> Tensor:
        norm = self.shared if self.task is None else self.of_tasks.of(self.task)
        normalized: Tensor = norm(x)
        return normalized


@register_trunk("random-fork")
class RandomFork(StagedTrunk):
    """One network whose last stages have gates for each task: in training of how many stages, each step draws.

    Args:
        config: Of backbone and tasks. The backbone is a network of timm that `stages_of` can cut, with BatchNorms.
        task_stages: How many of the last stages run for each task in evaluation.
    """

    networks_by_task: ClassVar[bool] = False

    def __init__(self, config: TsbnConfig, task_stages: int = 1) -> None:
        super().__init__(config)
        self.task_stages = task_stages
        network = self.network(0)
        norms = [(name, norm) for name, norm in network.named_modules() if isinstance(norm, nn.BatchNorm2d)]
        for name, norm in norms:
            network.set_submodule(name, ForkedNorm(norm.num_features, config.task_names))

    def outputs(self, x: Tensor, parts: Sequence[Part]) -> list[list[Tensor]]:
        """See `StagedTrunk.outputs`."""
        stages = self.stages.stages
        task_stages = int(torch.randint(len(stages) + 1, ())) if self.training else self.task_stages
        shared, own = stages[: len(stages) - task_stages], stages[len(stages) - task_stages :]
        before = self._run(shared, x, task=None)
        at_fork = before[-1] if before else x
        return [
            [each[part.samples] for each in before] + self._run(own, at_fork[part.samples], task=self.tasks[part.row])
            for part in parts
        ]

    def _run(self, stages: Sequence[Stage], x: Tensor, task: str | None) -> list[Tensor]:
        """What stages give, one after another, with the norms of a task or, for None, of all."""
        self._select(task)
        outputs = []
        for stage in stages:
            x = run(self.network(0), stage.modules, x)
            outputs.append(x)
        return outputs

    def _select(self, task: str | None) -> None:
        for module in self.modules():
            if isinstance(module, ForkedNorm):
                module.task = task
