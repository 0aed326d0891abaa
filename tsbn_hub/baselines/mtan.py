"""MTAN: one network, and modules by which each task attends to its features in each stage."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.heads.batch_norm import HeadBatchNorm
from ..models.hf import TsbnConfig, register_trunk
from ..norms import TaskModules
from .staged import Part, StagedTrunk
from .stages import run


class AttentionModule(nn.Sequential):
    """A mask in (0, 1) for each value of a feature map: 1x1 convolutions g and h, each with its BatchNorm.

    Args:
        inputs: Channels of what it is made of.
        channels: Of the map.
        width: Channels between g and h.

    Source: arXiv 1803.10704, section 3.2, equation 2.
    """

    def __init__(self, inputs: int, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, width, 1),
            HeadBatchNorm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 1),
            HeadBatchNorm(channels),
            nn.Sigmoid(),
        )


class SharedExtractor(nn.Module):
    """What carries a task's features to its next mask: f of the paper, here a bottleneck as ResNets have it.

    Args:
        inputs: Channels of a stage.
        channels: Of the next stage.
        width: Of its 3x3 convolution.
    """

    def __init__(self, inputs: int, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            HeadBatchNorm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            HeadBatchNorm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 1, bias=False),
            HeadBatchNorm(channels),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), HeadBatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) + self.shortcut(x)).relu()


@register_trunk("mtan")
class Mtan(StagedTrunk):
    r"""One network, of whose features each task masks its own in each stage.

    In stage j the network gives u before its last block and p after it. A task has there

    .. math:: \hat a_t^{(j)} = a_t^{(j)} \odot p^{(j)}, \quad
              a_t^{(j)} = h_t(g_t([u^{(j)}; f^{(j)}(\hat a_t^{(j-1)})]))

    The network and f are shared, g and h the task's own. Heads get the masked maps.

    Args:
        config: Of backbone and tasks. The backbone is a network of timm that `stages_of` can cut.
        reduction: How many times narrower g's output and the middle of f are than their stage.

    Raises:
        ValueError: if the network cannot be cut, or `reduction` is not positive.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", arXiv 1803.10704, section 3.2,
    equations 1 and 2, there for SegNet. As LibMTL and the authors' code have it for ResNets, f is a bottleneck and not
    a 3x3 convolution, and what it gives is pooled to the size of the next stage. What is different here: stages of a
    single block have u = p; the masks of networks with basic blocks are made as narrow as those of ResNet-50, where
    LibMTL does not narrow them; and the decoder has no attention modules, for any head may stand on the features.
    """

    networks_by_task: ClassVar[bool] = False

    def __init__(self, config: TsbnConfig, reduction: int = 4) -> None:
        if not reduction > 0:
            raise ValueError(f"reduction={reduction} must be positive.")
        super().__init__(config)
        channels = [stage.channels for stage in self.stages.stages]
        widths = [max(size // reduction, 1) for size in channels]
        self.attention = nn.ModuleList(
            TaskModules(
                {task: AttentionModule(size + (size if number else 0), size, width) for task in config.task_names},
                suffix="_attention",
            )
            for number, (size, width) in enumerate(zip(channels, widths, strict=True))
        )
        self.extractors = nn.ModuleList(
            SharedExtractor(size, following, width)
            for size, following, width in zip(channels, channels[1:], widths[1:], strict=False)
        )

    def outputs(self, x: Tensor, parts: Sequence[Part]) -> list[list[Tensor]]:
        """See `StagedTrunk.outputs`."""
        network = self.network(0)
        outputs: list[list[Tensor]] = [[] for _ in parts]
        for number, (stage, attention) in enumerate(zip(self.stages.stages, self.attention, strict=True)):
            before = run(network, stage.modules[: stage.before_last], x)
            x = run(network, stage.modules[stage.before_last :], before)
            for part, own in zip(parts, outputs, strict=True):
                seen = before[part.samples]
                if own:
                    carried = self.extractors[number - 1](own[-1])
                    seen = torch.cat([seen, _pooled_to(seen, carried)], dim=1)
                own.append(attention.of(self.tasks[part.row])(seen) * x[part.samples])  # type: ignore[operator]
        return outputs


def _pooled_to(like: Tensor, x: Tensor) -> Tensor:
    """A map in the size of another: the maxima of its parts, as many as fit."""
    size = like.shape[-2:]
    if x.shape[-2:] != size:
        x = F.max_pool2d(
            x, [max(round(own / to), 1) for own, to in zip(x.shape[-2:], size, strict=True)], ceil_mode=True
        )
    return x if x.shape[-2:] == size else F.interpolate(x, size)
