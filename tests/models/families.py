"""One small model of every family of timm that has a norm layer.

Small by the architecture's own keywords (images, depth, widths), with a module of every class that it has in full.
"""

from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn


class Small(NamedTuple):
    """A small model, and the smallest input size that it takes in training."""

    architecture: str
    size: int
    kwargs: dict[str, Any] = {}

    def plain(self, **kwargs: Any) -> nn.Module:
        return timm.create_model(self.architecture, **{**self.kwargs, **kwargs})

    def converted(self, **kwargs: Any) -> nn.Module:
        return timm.create_model(self.architecture + "_tsbn", **{**self.kwargs, **kwargs})

    def images(self, batch: int = 2, channels: int = 3) -> Tensor:
        return torch.randn(batch, channels, self.size, self.size)


UNLIKE = (
    "coat", "convnext", "densenet", "efficientnet", "eva", "levit", "mlp_mixer", "resnet", "swin_transformer",
    "vision_transformer",
)  # fmt: skip
"""The families whose layers differ most, for what hardly depends on the family."""

WITHOUT_CHECKPOINTING = (
    "coat", "convit", "crossvit", "cspnet", "dla", "hrnet", "inception_v3", "nasnet", "pit", "selecsls", "senet",
    "sequencer", "twins", "vgg", "xception",
)  # fmt: skip
"""Here timm has no gradient checkpointing."""

SLOW = (
    "convmixer", "focalnet", "inception_resnet_v2", "inception_v4", "mvitv2", "nasnet", "pnasnet", "selecsls", "volo",
)  # fmt: skip
"""Large in every setting: they have no test by day."""

FAMILIES: dict[str, Small] = {
    "beit": Small("beit_base_patch16_224", 64, dict(img_size=64, embed_dim=64, depth=2, num_heads=2)),
    "byobnet": Small("test_byobnet", 32),
    "cait": Small("cait_xxs24_224", 32, dict(img_size=32, depth=2)),
    "coat": Small("coat_tiny", 64, dict(img_size=64, serial_depths=(1, 1, 1, 1), parallel_depth=1)),
    "convit": Small("convit_tiny", 32, dict(img_size=32, depth=3, local_up_to_layer=2)),
    "convmixer": Small("convmixer_768_32", 32),
    "convnext": Small("test_convnext", 32),
    "cpubone": Small("cpubone_nano", 32),
    "crossvit": Small("crossvit_tiny_240", 240, dict(depth=((1, 1, 0), (1, 1, 0)))),
    "csatv2": Small("csatv2", 64, dict(depths=(1, 1, 2, 2))),
    "cspnet": Small("cs3darknet_focus_s", 32),
    "cspnext": Small("cspnext_tiny", 32),
    "davit": Small("davit_tiny", 32, dict(depths=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128), num_heads=(1, 2, 4, 8))),
    "deepseek_vit": Small("deepseek_vit_412m", 84, dict(img_size=84, embed_dim=64, depth=2, num_heads=2)),
    "deit": Small("deit_tiny_distilled_patch16_224", 32, dict(img_size=32, depth=2)),
    "densenet": Small("densenet121", 32, dict(block_config=(2, 2, 2, 2))),
    "dla": Small("dla46x_c", 32),
    "dpn": Small("dpn48b", 32, dict(k_sec=(1, 2, 2, 1))),
    "edgenext": Small("edgenext_xx_small", 32, dict(depths=(1, 1, 2, 1))),
    "efficientformer": Small("efficientformer_l1", 224, dict(depths=(1, 1, 1, 1))),
    "efficientformer_v2": Small("efficientformerv2_s0", 64, dict(img_size=64, depths=(1, 1, 2, 1))),
    "efficientnet": Small("test_efficientnet", 32),
    "efficientvim": Small("efficientvim_m1", 32),
    "efficientvit_mit": Small("efficientvit_b0", 32, dict(depths=(1, 1, 1, 1))),
    "efficientvit_msra": Small("efficientvit_m0", 64, dict(img_size=64, depth=(1, 1, 1))),
    "eva": Small("eva02_tiny_patch14_224", 28, dict(img_size=28, depth=2)),
    "fasternet": Small("fasternet_t0", 32, dict(depths=(1, 1, 1, 1))),
    "fastvit": Small("fastvit_t8", 32, dict(layers=(1, 1, 2, 1))),
    "focalnet": Small("focalnet_tiny_srf", 32),
    "gcvit": Small("gcvit_xxtiny", 64, dict(img_size=64, embed_dim=32)),
    "gemma4_vit": Small("gemma4_vit_167m", 32, dict(depth=2, embed_dim=64, num_heads=2)),
    "ghostnet": Small("ghostnet_050", 32),
    "hgnet": Small("hgnetv2_b0", 32),
    "hiera": Small("hiera_tiny_224", 64, dict(img_size=(64, 64), stages=(1, 2, 3, 1))),
    "hieradet_sam2": Small("sam2_hiera_tiny", 32, dict(embed_dim=32)),
    "hrnet": Small("hrnet_w18_small", 32),
    "iformer": Small("iformer_t", 32, dict(depths=(1, 1, 9, 6))),
    "inception_next": Small("inception_next_atto", 32, dict(depths=(1, 1, 1, 1))),
    "inception_resnet_v2": Small("inception_resnet_v2", 96),
    "inception_v3": Small("inception_v3", 96),
    "inception_v4": Small("inception_v4", 96),
    "lcnetv2": Small("lcnetv2_small", 32, dict(depths=(1, 1, 1, 1))),
    "levit": Small("levit_128s", 64, dict(img_size=64, depth=(1, 1, 1))),
    "lowformer": Small("lowformer_b0", 32, dict(depth_list=[0, 1, 1, 2, 1])),
    "mambaout": Small("test_mambaout", 32),
    "maxxvit": Small("test_coatnet", 160),
    "metaformer": Small("poolformerv2_s12", 32),
    "mlp_mixer": Small("gmlp_ti16_224", 32, dict(img_size=32)),
    "mobilenetv3": Small("mobilenetv3_small_050", 32),
    "mobilenetv5": Small("mobilenetv5_base", 32, dict(channel_multiplier=0.25)),
    "mvitv2": Small("mvitv2_tiny", 64, dict(img_size=64)),
    "naflexvit": Small("naflexvit_base_patch16_parfac_gap", 32, dict(embed_dim=64, depth=2, num_heads=2)),
    "nasnet": Small("nasnetalarge", 96, dict(num_features=192)),
    "nest": Small("nest_tiny", 64, dict(img_size=64)),
    "nextvit": Small("nextvit_small", 32, dict(depths=(1, 2, 5, 1))),
    "pit": Small("pit_ti_224", 64, dict(img_size=64)),
    "pnasnet": Small("pnasnet5large", 32),
    "pvt_v2": Small("pvt_v2_b0", 32, dict(depths=(1, 1, 1, 1))),
    "qwen3_vit": Small("qwen3_vit_88m", 32, dict(depth=2, embed_dim=64, num_heads=2)),
    "rdnet": Small("rdnet_tiny", 32, dict(growth_rates=(16, 32, 32, 32, 32, 48, 64), num_blocks_list=[1] * 7)),
    "regnet": Small("regnetx_002", 32),
    "repghost": Small("repghostnet_050", 32),
    "repvit": Small("repvit_m1", 32, dict(depth=(1, 1, 3, 1))),
    "resnet": Small("test_resnet", 32),
    "resnetv2": Small("resnetv2_18", 32, dict(layers=(1, 1, 1, 1))),
    "rexnet": Small("rexnet_100", 32),
    "selecsls": Small("selecsls42", 32),
    "senet": Small("legacy_seresnet18", 32),
    "sequencer": Small("sequencer2d_s", 64, dict(img_size=64, layers=(1, 1, 2, 1))),
    "shvit": Small("shvit_s1", 32, dict(depth=(1, 1, 1))),
    "starnet": Small("starnet_s050", 32),
    "swiftformer": Small("swiftformer_xs", 64),
    "swin_transformer": Small(
        "swin_tiny_patch4_window7_224", 64, dict(img_size=64, window_size=4, depths=(1, 1, 2, 1), embed_dim=24)
    ),
    "swin_transformer_v2": Small(
        "swinv2_tiny_window8_256", 64, dict(img_size=64, window_size=4, depths=(1, 1, 2, 1), embed_dim=24)
    ),
    "swin_transformer_v2_cr": Small(
        "swinv2_cr_tiny_224", 64, dict(img_size=64, window_size=4, depths=(1, 1, 2, 1), embed_dim=24)
    ),
    "tiny_vit": Small(
        "tiny_vit_5m_224", 32, dict(depths=(1, 1, 1, 1), embed_dims=(16, 32, 64, 96), num_heads=(1, 2, 4, 6))
    ),
    "tnt": Small("tnt_s_legacy_patch16_224", 32, dict(img_size=32, depth=2)),
    "tresnet": Small("tresnet_m", 32, dict(layers=[1, 1, 2, 1])),
    "twins": Small("twins_svt_small", 64, dict(img_size=64, depths=(1, 1, 2, 1))),
    "vgg": Small("vgg11_bn", 32, dict(mlp_ratio=0.02)),
    "visformer": Small("visformer_tiny", 64, dict(img_size=64, depth=(2, 1, 1))),
    "vision_transformer": Small("test_vit", 160),
    "vision_transformer_relpos": Small("test_vit_relpos", 160),
    "vision_transformer_sam": Small(
        "samvit_base_patch16_224", 64, dict(img_size=64, embed_dim=64, depth=3, num_heads=2)
    ),
    "volo": Small("volo_d1_224", 64, dict(img_size=64)),
    "vovnet": Small("ese_vovnet19b_slim_dw", 32),
    "xception": Small("legacy_xception", 32),
    "xception_aligned": Small("xception41p", 32),
    "xcit": Small("xcit_nano_12_p8_224", 32, dict(img_size=32, depth=2)),
    "byoanet": Small("halonet_h1", 64, dict(self_attn_kwargs=dict(block_size=2, halo_size=1))),
    "hardcorenas": Small("hardcorenas_b", 32),
    "mobilevit": Small("mobilevit_xxs", 32),
    "res2net": Small("res2next50", 32, dict(layers=(1, 1, 1, 1))),
    "resnest": Small("resnest14d", 32),
    "sknet": Small("skresnet18", 32, dict(layers=(1, 1, 1, 1))),
    "vision_transformer_hybrid": Small("vit_tiny_r_s16_p8_224", 64, dict(img_size=64, depth=2)),
    "vitamin": Small("vitamin_small_224", 64, dict(img_size=64, depth=2)),
}
