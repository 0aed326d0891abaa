"""Heads that are the decoders of DeepLabV3, UPerNet and SegFormer."""

from collections.abc import Sequence

from torch import Tensor

from ...norms import register_batch_norm
from .batch_norm import HeadBatchNorm, _with_head_batch_norms
from .head import DenseHead, FeatureInfo, register_head


@register_head("deeplabv3", dense=True)
class DeepLabV3Head(DenseHead):
    """torchvision's head of DeepLabV3, on the coarsest map.

    Its dilations are meant for a map of stride 8 (timm: `output_stride=8`). At stride 32 most of their taps lie beside
    the map, and see its padding.

    Args:
        outputs: Number of output channels.
        features: The sizes of the features.
        atrous_rates: The dilations of its parallel convolutions.

    Source: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation",
    arXiv 1706.05587.
    """

    def __init__(self, outputs: int, features: FeatureInfo, atrous_rates: Sequence[int] = (12, 24, 36)) -> None:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead

        super().__init__()
        self.decoder = _with_head_batch_norms(DeepLabHead(features.channels[-1], outputs, atrous_rates))

    def decode(self, maps: list[Tensor]) -> Tensor:
        return self.decoder(maps[-1])


@register_head("upernet", dense=True)
class UperNetHead(DenseHead):
    """transformers' decode head of UPerNet, on all maps.

    The maps of a plain ViT enter at their one stride.

    Args:
        outputs: Number of output channels.
        features: The sizes of the features.
        channels: Inside the head.
        pool_scales: Height and width to which its parallel branches pool the coarsest map.

    Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", arXiv 1807.10221.
    """

    def __init__(
        self, outputs: int, features: FeatureInfo, channels: int = 512, pool_scales: Sequence[int] = (1, 2, 3, 6)
    ) -> None:
        from transformers import UperNetConfig
        from transformers.models.upernet.modeling_upernet import UperNetHead as Decoder

        super().__init__()
        config = UperNetConfig(hidden_size=channels, pool_scales=tuple(pool_scales))
        config.num_labels = outputs
        self.decoder = _with_head_batch_norms(Decoder(config, features.channels))

    def decode(self, maps: list[Tensor]) -> Tensor:
        return self.decoder(maps)


@register_head("segformer", dense=True)
class SegformerHead(DenseHead):
    """transformers' decode head of SegFormer, on all maps.

    Args:
        outputs: Number of output channels.
        features: The sizes of the features.
        channels: Inside the head.
        dropout: Before the last layer, in [0, 1).

    Source: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
    arXiv 2105.15203.
    """

    def __init__(self, outputs: int, features: FeatureInfo, channels: int = 256, dropout: float = 0.1) -> None:
        from transformers import SegformerConfig
        from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

        super().__init__()
        config = SegformerConfig(
            num_encoder_blocks=len(features.channels),
            hidden_sizes=list(features.channels),
            decoder_hidden_size=channels,
            classifier_dropout_prob=dropout,
        )
        config.num_labels = outputs
        self.decoder = _with_head_batch_norms(SegformerDecodeHead(config))

    def decode(self, maps: list[Tensor]) -> Tensor:
        return self.decoder(maps)


register_batch_norm(HeadBatchNorm)
