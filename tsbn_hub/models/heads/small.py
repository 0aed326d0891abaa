"""A light dense head."""

import torch.nn.functional as F
from torch import Tensor, nn

from ...tasks.checks import whole_number
from .batch_norm import HeadBatchNorm
from .head import DenseHead, FeatureInfo, register_head


@register_head("small", dense=True)
class SmallHead(DenseHead):
    """A light head that uses all maps: their sum at the finest resolution, and one convolution.

    Args:
        outputs: Number of output channels.
        features: The sizes of the features.
        channels: Inside the head; at least 1.

    Raises:
        ValueError: if it has no channels.

    Source: the semantic segmentation branch of Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv 1901.02446,
    with the upsampling stages replaced by one bilinear step.
    """

    def __init__(self, outputs: int, features: FeatureInfo, channels: int = 64) -> None:
        super().__init__()
        channels = whole_number(channels, "channels", least=1)
        self.projections = nn.ModuleList(nn.Conv2d(size, channels, kernel_size=1) for size in features.channels)
        self.convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm = HeadBatchNorm(channels)
        self.classifier = nn.Conv2d(channels, outputs, kernel_size=1)

    def decode(self, maps: list[Tensor]) -> Tensor:
        projected = [project(part) for project, part in zip(self.projections, maps, strict=True)]
        finest = projected[0].shape[-2:]
        joined = projected[0] + sum(F.interpolate(part, finest, mode="bilinear") for part in projected[1:])
        return self.classifier(self.norm(self.convolution(joined)).relu())
