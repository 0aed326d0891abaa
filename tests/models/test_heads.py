"""Heads: against the libraries they come from, and with whatever a backbone gives."""

import copy
import pickle
from itertools import product

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounter
from torchvision.models.segmentation import deeplabv3_resnet50
from transformers import (
    ConvNextConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from tests.matrices import cases_of, diagonal
from tsbn_hub.files.registry import UnknownNameError
from tsbn_hub.models.heads import FeatureInfo, Features, Head, make_head, register_head
from tsbn_hub.models.heads.head import heads
from tsbn_hub.norms import freeze_batch_norm

DENSE = ["linear", "small", "deeplabv3", "upernet", "segformer"]
SMALLER = {"upernet": {"channels": 16}, "segformer": {"channels": 16}, "small": {"channels": 16}}
PYRAMID = [(8, 17, 23), (16, 9, 12), (24, 5, 6)]
BACKBONES = {
    "pyramid": PYRAMID,
    "one map": [(8, 9, 12)],
    "plain ViT": [(12, 7, 9)] * 4,
    "output stride 8": [(8, 17, 23), (16, 9, 12), (24, 9, 12)],
    "five maps": [(4, 32, 48), (8, 16, 24), (8, 8, 12), (16, 4, 6), (20, 2, 3)],
}
SIZE = (67, 91)


def features_of(shapes, batch=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(batch, *shape, generator=generator) for shape in shapes]
    return Features(maps, torch.randn(batch, 24, generator=generator))


def head_for(name, shapes=PYRAMID, outputs=5, **head_args):
    torch.manual_seed(0)
    info = FeatureInfo([shape[0] for shape in shapes], [SIZE[0] // shape[1] for shape in shapes], 24)
    return make_head(name, outputs, True, info, **SMALLER.get(name, {}) | head_args)


def with_statistics(head):
    """As after some training: its norms are far from doing nothing."""
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.uniform_(0.5, 1.5)
            module.running_var.uniform_(0.1, 0.5)
    return head


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()


def test_linear():
    head, features = make_head("linear", 3, False, FeatureInfo([], [], 24), dropout=0.5).eval(), features_of([])
    expected = features.pooled @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(features, SIZE), expected)
    assert not torch.equal(head.train()(features, SIZE), expected), "it drops out in training"


def test_linear_for_pixels():
    head, features = head_for("linear"), features_of(PYRAMID)
    weight = head.linear.weight.flatten(1)
    coarse = torch.einsum("oc,bchw->bohw", weight, features.maps[-1]) + head.linear.bias.view(-1, 1, 1)
    expected = F.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(head(features, SIZE), expected)


def test_small():
    """With maps and parameters that make it a sum: every map counts once, in the finest resolution."""
    head, shapes = head_for("small", channels=1, outputs=1).eval(), PYRAMID
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    for convolution in (*head.projections, head.classifier):
        nn.init.ones_(convolution.weight)
    head.convolution.weight.data[..., 1, 1] = 1
    head.norm.weight.data.fill_(1)
    head.norm.eps = 0
    maps = [torch.full((1, *shape), float(at + 1)) for at, shape in enumerate(shapes)]
    output = head(Features(maps, torch.zeros(1, 24)), (34, 46))
    torch.testing.assert_close(output, torch.full((1, 1, 34, 46), 1.0 * 8 + 2.0 * 16 + 3.0 * 24))
    assert head(Features([-each for each in maps], torch.zeros(1, 24)), (34, 46)).eq(0).all(), "a rectifier"


def test_deeplabv3_is_torchvisions():
    torch.manual_seed(0)
    theirs = with_statistics(deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=5)).eval()
    head = make_head("deeplabv3", 5, True, FeatureInfo([2048], [8], 2048)).eval()
    head.decoder.load_state_dict(theirs.classifier.state_dict())
    image = torch.randn(2, 3, 65, 49)
    with torch.no_grad():
        features = Features([theirs.backbone(image)["out"]], torch.zeros(2, 2048))
        assert torch.equal(head(features, (65, 49)), theirs(image)["out"])


def test_upernet_is_transformers():
    torch.manual_seed(0)
    backbone = ConvNextConfig(
        hidden_sizes=[8, 12, 16, 24], depths=[1] * 4, out_features=[f"stage{n}" for n in (1, 2, 3, 4)]
    )
    config = UperNetConfig(backbone_config=backbone, hidden_size=16, num_labels=5, use_auxiliary_head=False)
    theirs = with_statistics(UperNetForSemanticSegmentation(config)).eval()
    shapes = [(size, 8, 8) for size in theirs.backbone.channels]
    head = head_for("upernet", shapes).eval()
    head.decoder.load_state_dict(theirs.decode_head.state_dict())
    image = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        features = Features(list(theirs.backbone(image).feature_maps), torch.zeros(2, 24))
        assert torch.equal(head(features, (65, 97)), theirs(image).logits)


def test_segformer_is_transformers():
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 12, 16, 24],
        depths=[1] * 4,
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=16,
        num_labels=5,
    )
    theirs = with_statistics(SegformerForSemanticSegmentation(config)).eval()
    head = head_for("segformer", [(size, 8, 8) for size in config.hidden_sizes]).eval()
    head.decoder.load_state_dict(theirs.decode_head.state_dict())
    image = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        states = theirs.segformer(image, output_hidden_states=True).hidden_states
        output = head(Features(list(states), torch.zeros(2, 24)), (65, 97))
        expected = theirs(image).logits  # at a quarter of the image's size
    assert torch.equal(output, F.interpolate(expected, (65, 97), mode="bilinear", align_corners=False))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", DENSE)
def test_any_maps_in_training_and_evaluation(name, backbone):
    shapes = BACKBONES[backbone]
    head = head_for(name, shapes)
    for training in (True, False):
        output = head.train(training)(features_of(shapes), SIZE)
        assert output.shape == (4, 5, *SIZE) and output.isfinite().all()


@pytest.mark.parametrize("name", DENSE)
def test_timms_maps_of_an_odd_image(name):
    backbone = timm.create_model("test_resnet", features_only=True).eval()
    channels, strides = backbone.feature_info.channels(), backbone.feature_info.reduction()
    head = make_head(name, 3, True, FeatureInfo(channels, strides, channels[-1]))
    image = torch.randn(2, 3, 71, 45)
    output = head(Features(backbone(image), torch.zeros(2, channels[-1])), (71, 45))
    assert output.shape == (2, 3, 71, 45) and output.isfinite().all()


@pytest.mark.parametrize("name", DENSE)
def test_gradients_reach_every_parameter_and_every_map_that_it_uses(name):
    head, features = head_for(name).train(), features_of(PYRAMID)
    for each in features.maps:
        each.requires_grad_()
    weights = torch.randn(4, 5, *SIZE, generator=torch.Generator().manual_seed(1))
    (head(features, SIZE) * weights).sum().backward()
    for parameter_name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), parameter_name
    reached = [each.grad is not None for each in features.maps]
    assert reached == ([False, False, True] if name in ("linear", "deeplabv3") else [True] * 3)


@pytest.mark.parametrize("name", DENSE)
def test_images_do_not_mix_in_evaluation(name):
    head, features = with_statistics(head_for(name)).eval(), features_of(PYRAMID)
    alone = Features([each[1:2] for each in features.maps], features.pooled[1:2])
    torch.testing.assert_close(head(alone, SIZE), head(features, SIZE)[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", DENSE)
def test_one_image_of_one_pixel_a_map(name, training):
    shapes = [(8, 1, 1), (16, 1, 1)]
    head = with_statistics(head_for(name, shapes, **({"dropout": 0.0} if name == "segformer" else {})))
    features = features_of(shapes, batch=1)
    output = head.train(training)(features, (5, 3))
    output.sum().backward()
    assert output.shape == (1, 5, 5, 3) and output.isfinite().all()
    assert all(buffer.isfinite().all() for buffer in head.buffers())


@pytest.mark.parametrize("name", DENSE)
def test_one_image_in_training(name):
    head, features = head_for(name).train(), features_of(PYRAMID, batch=1)
    before = {at: buffer.clone() for at, buffer in head.named_buffers()}
    output = head(features, SIZE)
    output.square().mean().backward()
    assert output.isfinite().all() and all(buffer.isfinite().all() for buffer in head.buffers())
    # Norms that see several values learn their statistics; those behind a pooling to one pixel keep them.
    kept = {at.rpartition(".")[0] for at, buffer in head.named_buffers() if torch.equal(buffer, before[at])}
    assert kept == {"deeplabv3": {"decoder.0.convs.4.2"}, "upernet": {"decoder.psp_modules.0.1.batch_norm"}}.get(
        name, set()
    )


def test_the_norm_of_a_single_value():
    norm = with_statistics(head_for("small")).norm
    plain = nn.BatchNorm2d(norm.num_features)
    plain.load_state_dict(norm.state_dict())
    single = torch.randn(1, norm.num_features, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        copy.deepcopy(plain)(single)
    expected = (single - norm.running_mean.view(1, -1, 1, 1)) / (norm.running_var.view(1, -1, 1, 1) + norm.eps).sqrt()
    expected = expected * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(norm(single), expected)
    for shape in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):
        x = torch.randn(shape[0], norm.num_features, *shape[1:])
        assert torch.equal(norm(x), plain(x))
    for mine, theirs in zip(norm.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", DENSE)
def test_bfloat16(name):
    head, features = with_statistics(head_for(name)).eval(), features_of(PYRAMID)
    expected = head(features, SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head(features, SIZE).float(), expected, rtol=0.1, atol=0.1)
    halved = Features([each.bfloat16() for each in features.maps], features.pooled.bfloat16())
    output = head.bfloat16()(halved, SIZE)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1)
    head.train()(halved, SIZE).float().mean().backward()


@pytest.mark.parametrize(("name", "training"), cases_of(product(DENSE, [False, True]), diagonal(DENSE, [False, True])))
def test_one_compiled_graph(name, training):
    head = with_statistics(head_for(name)).train(training)
    reference = copy.deepcopy(head)
    graphs = CompileCounter()
    compiled = torch.compile(head, backend=graphs, fullgraph=True)
    for seed in range(3):
        outputs = []
        for each in (compiled, reference):
            torch.manual_seed(seed)  # for dropout
            outputs.append(each(features_of(PYRAMID, seed=seed), SIZE))
        assert torch.equal(*outputs)
    assert graphs.frame_count == 1
    for mine, theirs in zip(head.buffers(), reference.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", cases_of(DENSE, ["small", "upernet"]))
def test_export_with_any_batch(name):
    head = with_statistics(head_for(name)).eval()
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        head, (features_of(PYRAMID), SIZE), dynamic_shapes=(Features([batch] * 3, batch), (None, None))
    )
    for size in (2, 7):
        features = features_of(PYRAMID, batch=size)
        torch.testing.assert_close(program.module()(features, SIZE), head(features, SIZE))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))])
@pytest.mark.parametrize("name", DENSE)
def test_copies_are_independent(name, duplicate):
    """UPerNet holds modules in lists, too: a copy's must be its own."""
    head, features = with_statistics(head_for(name)).eval(), features_of(PYRAMID)
    before, other = head(features, SIZE), duplicate(head)
    assert torch.equal(other(features, SIZE), before)
    for parameter in other.parameters():
        parameter.data.zero_()
    assert torch.equal(head(features, SIZE), before) and other(features, SIZE).eq(0).all()


@pytest.mark.parametrize("name", DENSE)
def test_its_batch_norms_can_be_frozen(name):
    head, features = with_statistics(head_for(name)).eval(), features_of(PYRAMID)
    expected = head(features, SIZE)
    for module in head.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.testing.assert_close(freeze_batch_norm(head).train()(features, SIZE), expected)


@pytest.mark.parametrize("name", DENSE)
def test_the_start(name):
    """torch's own initialisation, from the seed alone, also in the decoders that transformers initialises itself."""
    head, same = head_for(name), head_for(name)
    assert all(map(torch.equal, head.state_dict().values(), same.state_dict().values()))
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            assert 0.5 * bound < module.weight.abs().max() <= bound
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all() and module.bias.eq(0).all() and module.running_var.eq(1).all()
    assert head.train()(features_of(PYRAMID), SIZE).abs().max() < 10


def test_head_args():
    info = FeatureInfo([8], [8], 24)
    assert make_head("small", 5, True, info, channels=12).norm.num_features == 12
    deeplab = make_head("deeplabv3", 5, True, info, atrous_rates=[2, 4]).decoder
    dilations = [module.dilation[0] for module in deeplab.modules() if isinstance(module, nn.Conv2d)]
    assert dilations == [1, 2, 4, 1, 1, 1, 1]
    upernet = make_head("upernet", 5, True, info, channels=12, pool_scales=[1, 3]).decoder
    assert upernet.channels == 12 and upernet.pool_scales == (1, 3)
    segformer = make_head("segformer", 5, True, info, channels=12, dropout=0.3).decoder
    assert segformer.linear_fuse.out_channels == 12 and segformer.dropout.p == 0.3
    assert make_head("linear", 5, False, info, dropout=0.2).dropout.p == 0.2


def test_what_cannot_be():
    info = FeatureInfo([8], [8], 24)
    with pytest.raises(ValueError, match=r"no head 'deeplabv3' for tasks with a value for every image.*: linear\.$"):
        make_head("deeplabv3", 5, False, info)
    with pytest.raises(
        UnknownNameError,
        match=r"no head 'unet' for tasks with a value for every pixel\. Did you mean 'upernet'\? Known for them: "
        r"deeplabv3, linear, segformer, small, upernet\.$",
    ):
        make_head("unet", 5, True, info)
    with pytest.raises(ValueError, match=r"'segformer' has no keywords \['rates'\]. It has \['channels', 'dropout'\]"):
        make_head("segformer", 5, True, info, rates=3)
    with pytest.raises(ValueError, match=r"no keywords \['outputs_'\]"):
        make_head("linear", 5, False, info, outputs_=3)
    with pytest.raises(ValueError, match="'small' needs feature maps, and this backbone has none"):
        make_head("small", 5, True, FeatureInfo([], [], 24))


def test_a_head_of_ones_own(monkeypatch):
    monkeypatch.setattr(heads, "_entries", {})

    @register_head("mean", dense=False)
    class MeanHead(Head):
        def __init__(self, outputs, features, scale=1.0):
            super().__init__()
            self.outputs, self.scale = outputs, scale

        def forward(self, features, size):
            return self.scale * features.pooled.mean(1, keepdim=True).expand(-1, self.outputs)

    head = make_head("mean", 3, False, FeatureInfo([], [], 24), scale=2.0)
    assert torch.equal(head(features_of([]), SIZE)[:, 2], 2 * features_of([]).pooled.mean(1))
    register_head("mean", dense=False)(MeanHead)  # a file that is imported anew
    with pytest.raises(ValueError, match=r"'mean' is registered already, as .*MeanHead"):
        register_head("mean", dense=False)(type("Other", (Head,), {}))


def test_importing_heads_imports_neither_transformers_nor_torchmetrics(python):
    check = "import sys, tsbn_hub.models.heads; assert not {'transformers', 'torchmetrics'} & set(sys.modules)"
    assert python(check).returncode == 0
