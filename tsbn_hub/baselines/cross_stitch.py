"""Cross-stitch networks: a network for each task, whose features are mixed after each stage."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..models.hf import TsbnConfig, register_trunk
from .staged import Part, StagedTrunk
from .stages import run


class CrossStitchUnit(nn.Module):
    r"""Mixes the feature maps of all tasks.

    .. math:: \tilde x_t = \sum_u \alpha_{tu} \, x_u

    Args:
        tasks: How many tasks there are.
        channels: Of a feature map; None: one weight serves all channels.
        same: The weight at the start of a task's own map. The others share the rest, up to 1.
        lr_scale: How much faster it learns than the networks.

    Attributes:
        weight: (T, T), or (T, T, C).

    Source: arXiv 1604.03539, equation 1.
    """

    def __init__(self, tasks: int, channels: int | None, same: float, lr_scale: float) -> None:
        super().__init__()
        self.same, self.lr_scale = same, lr_scale
        self.weight = nn.Parameter(torch.empty(tasks, tasks, *(() if channels is None else (channels,))))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew."""
        tasks = len(self.weight)
        self.weight.fill_((1 - self.same) / max(tasks - 1, 1))
        for task in range(tasks):
            self.weight[task, task] = self.same

    def forward(self, maps: Sequence[Tensor], task: int) -> Tensor:
        weight = self.weight[task].to(maps[0].dtype)
        if weight.ndim == 2:
            weight = weight[:, :, None, None]
        return torch.stack([each * x for each, x in zip(weight, maps, strict=True)]).sum(0)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, same={self.same}"


@register_trunk("cross-stitch")
class CrossStitch(StagedTrunk):
    """A copy of the network for each task, with a cross-stitch unit after each stage.

    All networks run for every task, and every task's loss reaches all of them: they are shared, and only heads rest in
    a step that leaves out their task. Head maps, and what the next stage gets, are those after the unit.

    Args:
        config: Of backbone and tasks. The backbone is a network of timm that `stages_of` can cut.
        same: The weight at the start of a task's own features, in [0, 1]; those of the other tasks share the rest. The
            paper starts in [0, 1], too. With 1 the model starts as single-task networks.
        per_channel: A weight for each channel, as in the paper; else one for all, as in LibMTL.
        lr_scale: How much faster the units learn than the networks. The paper finds 100 to 1000 to be the best with
            SGD. The default is for Adam, whose steps do not shrink with the gradient; it has not been tuned.

    Raises:
        ValueError: if the network cannot be cut, or `same` or `lr_scale` is out of its range.

    Source: Misra, Shrivastava, Gupta, Hebert, "Cross-stitch Networks for Multi-task Learning", arXiv 1604.03539,
    sections 3 and 4. What is different here: units follow the stages of any CNN, not AlexNet's poolings and fully
    connected layers; by default a weight serves all channels; the networks start from the same pretrained weights, not
    from networks trained on each task; and more than two tasks are mixed. LibMTL has no unit after the last stage, and
    starts with all weights at 1.
    """

    networks_by_task: ClassVar[bool] = True

    def __init__(
        self, config: TsbnConfig, same: float = 0.9, per_channel: bool = False, lr_scale: float = 10.0
    ) -> None:
        if not 0 <= same <= 1:
            raise ValueError(f"same={same} must lie in [0, 1].")
        if not lr_scale >= 0:
            raise ValueError(f"lr_scale={lr_scale} is negative.")
        super().__init__(config)
        self.units = nn.ModuleList(
            CrossStitchUnit(len(config.tasks), stage.channels if per_channel else None, same, lr_scale)
            for stage in self.stages.stages
        )

    def outputs(self, x: Tensor, parts: Sequence[Part]) -> list[list[Tensor]]:
        """See `StagedTrunk.outputs`. What a task gets of the last stage, the others do not need."""
        rows = range(len(self.tasks))
        maps = [x for _ in rows]
        outputs: list[list[Tensor]] = [[] for _ in parts]
        for stage, unit in zip(self.stages.stages, self.units, strict=True):
            maps = [run(self.network(row), stage.modules, maps[row]) for row in rows]
            is_last = stage is self.stages.stages[-1]
            mixed = {row: unit(maps, row) for row in ({part.row for part in parts} if is_last else rows)}
            maps = list(mixed.values())
            for part, own in zip(parts, outputs, strict=True):
                own.append(mixed[part.row][part.samples])
        return outputs

    def _stacked_entries(self) -> list[str]:
        # The rows of the units go by the order of the tasks: a state dict notes it, and loading compares.
        return [f"units.{number}.weight" for number in range(len(self.units))]
