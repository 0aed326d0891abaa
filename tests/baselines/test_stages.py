"""A network that is cut into stages computes what it did."""

import pytest
import timm
import torch
from transformers import ResNetConfig, TimmWrapperConfig

from tests.matrices import cases_of
from tsbn_hub import TsbnConfig
from tsbn_hub.baselines.stages import run, stages_of

# Their blocks, feature maps and what is behind the last map differ.
SMALL = ["test_resnet", "test_efficientnet", "test_convnext", "regnety_002", "mobilenetv4_conv_small", "starnet_s1"]
LARGE = ["test_byobnet", "resnetv2_50", "dla34", "vgg11_bn", "ghostnet_100", "densenet121", "repvgg_a0", "nfnet_f0"]


def config_of(name, **model_args):
    wrapper = TimmWrapperConfig.from_dict({"architecture": name, "num_classes": 0, "model_args": model_args})
    return TsbnConfig(wrapper, ["a", "b"])


@torch.no_grad()
@pytest.mark.parametrize("name", cases_of(SMALL + LARGE, SMALL))
def test_stage_after_stage(name):
    stages = stages_of(config_of(name))
    network, x = timm.create_model(name, num_classes=0).eval(), torch.rand(2, 3, 64, 64)
    last, maps = network.forward_intermediates(x)
    assert [stage.state for stage in stages.stages] == [at for at, each in enumerate(maps) if each.shape[-1] <= 16]
    for stage in stages.stages:
        before = run(network, stage.modules[: stage.before_last], x)
        x = run(network, stage.modules[stage.before_last :], before)
        assert torch.equal(x, maps[stage.state]) and before.shape == x.shape
        assert stage.channels == x.shape[1]
    assert torch.equal(run(network, stages.rest, x), last)


def test_the_last_block_of_a_resnet():
    """As LibMTL cuts it, `layer[:-1]` and `layer[-1]`; the stem belongs to the first stage."""
    stages = stages_of(config_of("resnet50")).stages
    assert [stage.modules[stage.before_last :] for stage in stages] == [
        ("layer1.2",), ("layer2.3",), ("layer3.5",), ("layer4.2",)
    ]  # fmt: skip
    assert stages[0].modules[:4] == ("conv1", "bn1", "act1", "maxpool")
    blocks = stages_of(config_of("convnext_atto")).stages[1]
    assert (blocks.modules[-1], len(blocks.modules) - blocks.before_last) == ("stages.1.blocks.1", 1)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (config_of("hrnet_w18_small"), "hrnet_w18_small cannot be cut into stages: its feature maps are not what"),
        (config_of("test_vit"), "test_vit cannot be cut into stages"),
        (config_of("xcit_nano_12_p16_224"), "xcit_nano_12_p16_224 cannot be cut into stages"),
        (TsbnConfig(ResNetConfig(depths=[1, 1], hidden_sizes=[8, 16], embedding_size=8), ["a"]), "ResNetModel cannot"),
    ],
    ids=["branches", "tokens", "positions", "of transformers"],
)
def test_what_cannot_be_cut(config, why):
    with pytest.raises(ValueError, match=f"^{why}.*Networks of timm that can: timm/resnet50") as error:
        stages_of(config)
    assert "\n" not in str(error.value)
