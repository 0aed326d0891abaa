"""Every architecture of transformers: a task starts as the plain model, and folds into one, bit for bit."""

import copy
from itertools import product

import pytest
import torch
from torch import nn
from transformers import AutoBackbone, ViTConfig

from tests.matrices import cases_of, diagonal
from tsbn_hub import TsbnBackbone, TsbnConfig, TsbnForMultiTask, TsbnModel
from tsbn_hub.models.heads import Features
from tsbn_hub.norms import SharedBatchNorm, TaskNorm

from .hf_backbones import (
    BACKBONES,
    NAMES,
    TASKS,
    assert_equal,
    assert_states_equal,
    backbones,
    each_day,
    few_backbones,
    leaves,
    randomized,
)


def before_and_after(prefix, depth, names=("norm1", "norm2")):
    return [f"{prefix}.{number}.{name}" for number in range(depth) for name in names]


_VIT_NORMS = ("layernorm_before", "layernorm_after")
_SWIN = [
    f"encoder.layers.{stage}.blocks.{block}.{norm}"
    for stage, block in ((0, 0), (1, 0), (1, 1), (2, 0))
    for norm in _VIT_NORMS
]
_STAGE_BLOCKS = [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
_CONVNEXT = [f"encoder.stages.{stage}.layers.{block}.layernorm" for stage, block in _STAGE_BLOCKS]
GATED = {
    "vit": before_and_after("layers", 4, _VIT_NORMS),
    "deit": before_and_after("layers", 4, _VIT_NORMS),
    "beit": before_and_after("layers", 4, _VIT_NORMS),
    "swin": _SWIN,
    "swinv2": _SWIN,
    "dinov2": before_and_after("encoder.layer", 4),
    "dinov2_with_registers": before_and_after("encoder.layer", 4),
    "dinov3_vit": before_and_after("model.layer", 4),
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "dinov3_convnext": [f"model.stages.{stage}.layers.{block}.layer_norm" for stage, block in _STAGE_BLOCKS],
    "segformer": [f"stages.{stage}.blocks.{block}.{norm}" for stage, block in _STAGE_BLOCKS for norm in _VIT_NORMS],
    "timm/test_vit": before_and_after("timm_model.blocks", 6),
    "timm/test_convnext": [
        f"timm_model.stages.{stage}.blocks.{block}.norm"
        for stage, depth in enumerate((1, 2, 4, 2))
        for block in range(depth)
    ],
}


@pytest.mark.parametrize("name", BACKBONES)
def test_which_norms_are_gated(name):
    """Those of the blocks; and every BatchNorm, where there are any."""
    tiny = BACKBONES[name]
    batch_norms = [key for key, module in tiny.plain().named_modules() if isinstance(module, nn.BatchNorm2d)]
    expected = GATED.get(name, batch_norms)
    assert expected and bool(batch_norms) == (name not in GATED)
    model = tiny.backbone()
    assert sorted(_gated(model)) == sorted(expected)
    assert not any(isinstance(module, SharedBatchNorm) for module in model.modules())


def _gated(model):
    return [name for name, module in model.backbone.named_modules() if isinstance(module, TaskNorm)]


def test_gated_by_pattern():
    tiny = BACKBONES["vit"]
    assert _gated(tiny.backbone(gated="layers.3.*,layernorm")) == [
        *before_and_after("layers", 4, _VIT_NORMS)[-2:],
        "layernorm",
    ]
    assert _gated(tiny.backbone(gated=["*.layernorm_after"])) == before_and_after("layers", 4, ["layernorm_after"])
    resnet = BACKBONES["resnet"].backbone(gated="encoder.stages.2.*")
    assert all(name.startswith("encoder.stages.2.") for name in _gated(resnet)) and len(_gated(resnet)) == 4
    assert sum(isinstance(module, SharedBatchNorm) for module in resnet.modules()) == 12


STYLES = {"sigmoid": {}, "affine": {"norm": "affine"}, "shared": {"norm": "shared"}}


@pytest.mark.parametrize(
    ("name", "style"),
    cases_of(product(BACKBONES, STYLES), diagonal(each_day(0, 2), STYLES)),
)
def test_every_task_starts_as_the_plain_model(name, style):
    tiny = BACKBONES[name]
    plain, x = tiny.plain(), tiny.images()
    before = copy.deepcopy(plain)
    model = TsbnModel.from_backbone(plain, NAMES, execution="sequential", **STYLES[style])
    assert (model.tasks, model.training) == (NAMES, False)
    with torch.no_grad():
        expected, outputs = plain(x), model(x)
        assert list(outputs) == NAMES
        for task in NAMES:
            assert type(outputs[task]) is type(expected)
            assert_equal(outputs[task], expected, task)
            assert_equal(model(x, task=task), expected, task)
        assert_equal(model.fold("a")(x), expected)
        # And nothing of the plain model is touched, or shared.
        randomized(model)
    assert_states_equal(plain, before)


@backbones(0)
def test_another_gate_keeps_the_function_but_for_rounding(tiny):
    plain, x = tiny.plain().double(), tiny.images().double()
    model = TsbnModel.from_backbone(plain, NAMES, gate_init=0.8)
    assert model.dtype == torch.float64
    with torch.no_grad():
        assert_equal(model(x, task="m"), plain(x), bound=1e-12)
        assert all(0.79 < gate < 0.81 for gate in _gates(model))


def _gates(model):
    return [module.gates.mean().item() for module in model.modules() if isinstance(module, TaskNorm)]


@backbones(1)
def test_a_dropped_affine(tiny):
    """Then a gate is all that scales a channel."""
    plain, x = tiny.plain(), tiny.images()
    model = TsbnModel.from_backbone(plain, NAMES, keep_affine=False, gate_init=0.6)
    with torch.no_grad():
        for name in _gated(model):
            norm = plain.get_submodule(name)
            norm.weight.fill_(0.6)
            norm.bias.zero_()
        assert_equal(model(x, task="a"), plain(x), bound=1e-5)


FOLDED = {"kept": {}, "dropped": {"keep_affine": False}, "affine": {"norm": "affine"}}


@pytest.mark.parametrize(
    ("name", "style"),
    cases_of(product(BACKBONES, FOLDED), diagonal(each_day(1, 2), FOLDED)),
)
def test_a_task_is_its_folded_plain_model(name, style):
    tiny = BACKBONES[name]
    model, x = tiny.backbone(**FOLDED[style]), tiny.images()
    with torch.no_grad():
        outputs = model(x)
        for task in NAMES:
            folded = model.fold(task)
            assert type(folded) is type(tiny.plain())
            fresh = type(folded)(folded.config).eval()
            fresh.load_state_dict(folded.state_dict())
            assert_equal(fresh(x), outputs[task], task)
            with model.using_task(task):
                assert_equal(model(x), outputs[task], task)
            model.set_task(task)
            assert_equal(model(x), outputs[task], task)
            model.set_task(None)
        assert not torch.equal(leaves(outputs["z"])[0], leaves(outputs["a"])[0])


@backbones(2)
def test_one_task_a_sample(tiny):
    model, x = tiny.backbone(), tiny.images(3)
    multi_task = tiny.multi_task()
    with torch.no_grad():
        outputs, mixed = model(x), model(x, task=["m", "z", "m"])
        for sample, task in enumerate(["m", "z", "m"]):
            # The order of sums in a kernel may depend on the size of the batch.
            assert_equal(leaves(mixed)[0][sample], leaves(outputs[task])[0][sample], task, bound=1e-4)
        expected = multi_task(x).logits
        of_samples = multi_task(x, task=["m", "z", "m"]).logits
    assert list(of_samples) == ["z", "m"]
    assert_equal(of_samples["z"], expected["z"][1:2], bound=1e-4)
    assert_equal(of_samples["m"], expected["m"][[0, 2]], bound=1e-4)


# --- heads ---


@backbones(3)
def test_losses_and_logits(tiny):
    model, x, labels = tiny.multi_task(), tiny.images(), tiny.labels()
    with torch.no_grad():
        out = model(x, labels=labels)
    assert list(out.logits) == NAMES and list(out.losses) == NAMES
    assert [tuple(out.logits[name].shape) for name in NAMES] == [(2, 3, *tiny.size), (2, 4), (2, 1, *tiny.size)]
    expected = {
        "z": nn.functional.cross_entropy(out.logits["z"], labels["z"], ignore_index=-100),
        "a": nn.functional.cross_entropy(out.logits["a"], labels["a"]),
        "m": (out.logits["m"][:, 0] - labels["m"])[labels["m"] > 0].abs().mean(),
    }
    for name, loss in expected.items():
        torch.testing.assert_close(out.losses[name], loss)
    torch.testing.assert_close(out.loss, sum(expected.values()))
    with torch.no_grad():
        for name in NAMES:
            alone = model(x, labels={name: labels[name]}, task=name)
            assert list(alone.logits) == [name] and torch.equal(alone.loss, out.losses[name])
            assert_equal(alone.logits[name], out.logits[name])
        model.set_task("m")
        assert_equal(model(x).logits, {"m": out.logits["m"]})
        assert isinstance(model(x, return_dict=False), tuple)


@backbones(0)
def test_a_folded_classifier_and_a_folded_head(tiny):
    model, x = tiny.multi_task(), tiny.images()
    with torch.no_grad():
        expected = model(x).logits
        classifier = model.fold("a")
        if type(classifier).__name__.endswith("ForImageClassification"):
            assert_equal(classifier(x).logits, expected["a"])
            assert classifier.config.id2label == {0: "wool", 1: "cotton", 2: "silk", 3: "jute"}
            assert classifier.config.label2id["silk"] == 2
        else:
            assert tiny.config.model_type.startswith("dinov3"), "transformers has no classifier for these"
        for name in NAMES:
            plain = model.fold(name)
            features = TsbnModel.from_backbone(plain, ["one"], norm="shared").features(x)
            head = model.fold_head(name)
            assert_equal(head(features, tiny.size), expected[name], name)
            assert not {id(p) for p in head.parameters()} & {id(p) for p in model.parameters()}


def _native_maps(name, tiny, plain, x):
    """The maps of every stage, by transformers' own backbone class, without norms that it puts behind the maps."""
    config = copy.deepcopy(tiny.config)
    depth = len(config.stage_names) - 1
    config.set_output_features_output_indices(out_features=None, out_indices=list(range(1, depth + 1)))
    config.apply_layernorm = False
    native = AutoBackbone.from_config(config).eval()
    base = getattr(native, name, native)
    missing, _ = base.load_state_dict(plain.state_dict(), strict=False)
    assert all("hidden_states_norms" in key or key.startswith("fpn") for key in missing), missing
    for norm in getattr(native, "hidden_states_norms", {}):
        native.hidden_states_norms[norm] = nn.Identity()
    return native(x).feature_maps


@pytest.mark.parametrize(
    "name",
    [
        "beit",
        "swin",
        "swinv2",
        "dinov2",
        "dinov2_with_registers",
        "dinov3_vit",
        "convnext",
        "convnextv2",
        "resnet",
        "dinov3_convnext",
    ],
)
def test_feature_maps_are_those_of_the_native_backbone(name):
    tiny = BACKBONES[name]
    plain, x = tiny.plain(), tiny.images()
    with torch.no_grad():
        expected = list(_native_maps(name, tiny, plain, x))
        maps = TsbnModel.from_backbone(plain, NAMES).features(x, task="a").maps
    if name == "dinov3_vit":  # its last one is normalised in any case
        with torch.no_grad():
            maps[-1] = plain.norm(maps[-1].movedim(1, -1)).movedim(-1, 1)
    assert len(maps) == len(expected)
    for mine, other in zip(maps, expected, strict=True):
        assert_equal(mine, other, bound=1e-6)


@pytest.mark.parametrize("name", ["vit", "deit"])
def test_feature_maps_of_a_plain_transformer(name):
    """Without a backbone class: the tokens of the patches, row by row."""
    tiny = BACKBONES[name]
    plain, x = tiny.plain(), tiny.images()
    with torch.no_grad():
        states = plain(x, output_hidden_states=True).hidden_states
        maps = TsbnModel.from_backbone(plain, NAMES).features(x, task="a").maps
    for tokens, each in zip(states[1:], maps, strict=True):
        first = 1 if name == "vit" else 2
        expected = tokens[:, first:].reshape(2, 4, 4, 32).movedim(-1, 1)
        assert torch.equal(each, expected)


def test_four_maps_of_a_deep_transformer():
    """The last ones of four parts of equal depth."""
    config = ViTConfig(hidden_size=16, num_hidden_layers=10, num_attention_heads=2, image_size=32, patch_size=8)
    model = TsbnModel(TsbnConfig(config))
    assert model.layout.indices == [2, 5, 8, 10]
    shallow = TsbnModel(TsbnConfig(ViTConfig(**{**config.to_dict(), "num_hidden_layers": 2})))
    assert shallow.layout.indices == [1, 2]


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet"])
def test_feature_maps_of_timm(name):
    import timm

    tiny = BACKBONES[name]
    plain, x = tiny.plain(), tiny.images()
    native = timm.create_model(name.removeprefix("timm/"), features_only=True).eval()
    state = plain.timm_model.state_dict()
    own = {key: key.replace("stem_", "stem.").replace("stages_", "stages.") for key in native.state_dict()}
    native.load_state_dict({key: state[name] for key, name in own.items()})
    model = TsbnModel.from_backbone(plain, NAMES)
    assert model.layout.strides == [4, 8, 16, 32], "a map of stride 2 costs more than it says"
    with torch.no_grad():
        assert_equal(model.features(x, task="a").maps, native(x)[-4:])


OF_ANY_SIZE = ["vit", "deit", "dinov2", "dinov2_with_registers", "beit", "swin", "swinv2"]


@pytest.mark.parametrize("name", cases_of(OF_ANY_SIZE, ["vit", "dinov2", "beit", "swin"]))
def test_images_of_another_size(name):
    """Positions are interpolated by themselves, in the maps and in the vector."""
    tiny = BACKBONES[name]
    model, x = tiny.multi_task(), torch.randn(2, 3, 2 * tiny.size[0], tiny.size[1])
    with torch.no_grad():
        logits = model(x).logits
        classifier = model.fold("a")
        try:
            expected = classifier(x, interpolate_pos_encoding=True).logits
        except TypeError:
            expected = classifier(x).logits
    assert logits["z"].shape == (2, 3, 2 * tiny.size[0], tiny.size[1])
    assert_equal(logits["a"], expected, bound=1e-5)


def test_a_forward_without_maps_computes_none():
    """Hidden states cost memory, and a linear head needs none."""
    model = BACKBONES["vit"].multi_task(tasks=[TASKS[1]])
    seen = []
    model.tsbn.backbone.register_forward_hook(lambda module, args, output: seen.append(output), with_kwargs=False)
    model(BACKBONES["vit"].images())
    assert len(seen) == 1 and seen[0].hidden_states is None
    assert isinstance(model.tsbn.features(BACKBONES["vit"].images(), maps=False), Features)


# --- attention ---


ATTENTIVE = ["vit", "deit", "beit", "swin", "dinov2", "dinov3_vit", "segformer"]


@pytest.mark.parametrize("name", cases_of(ATTENTIVE, ["vit", "swin"]))
def test_attention_implementations_agree_and_stay(name, tmp_path):
    tiny = BACKBONES[name]
    plain = tiny.plain(attn_implementation="eager")
    x = tiny.images()
    eager = randomized(TsbnForMultiTask.from_backbone(plain, TASKS))
    sdpa = randomized(TsbnForMultiTask.from_backbone(tiny.plain(attn_implementation="sdpa"), TASKS))
    assert [each.tsbn.backbone.config._attn_implementation for each in (eager, sdpa)] == ["eager", "sdpa"]
    with torch.no_grad():
        assert_equal(eager(x).logits, sdpa(x).logits, bound=1e-5)
    assert plain.config._attn_implementation == "eager", "the plain model is left as it is"
    eager.save_pretrained(tmp_path)
    for implementation in ("eager", "sdpa"):
        again = TsbnForMultiTask.from_pretrained(tmp_path, attn_implementation=implementation)
        assert again.tsbn.backbone.config._attn_implementation == implementation
        with torch.no_grad():
            assert_equal(again(x).logits, (eager if implementation == "eager" else sdpa)(x).logits)
    assert eager.fold("z").config._attn_implementation == "eager"


# --- TsbnBackbone ---


@backbones(1)
def test_backbone_gives_the_maps_asked_for(tiny):
    reference, x = tiny.backbone(), tiny.images()
    maps = reference.features(x, task="a").maps
    stages = [f"stage{number}" for number in range(1, len(maps) + 1)]
    config = copy.deepcopy(reference.config)
    config.set_output_features_output_indices([stages[0], stages[-1]], None)
    model = AutoBackbone.from_config(config).eval()
    assert isinstance(model, TsbnBackbone)
    model.load_state_dict(reference.state_dict())
    with torch.no_grad():
        outputs = model(x, task="a", output_hidden_states=True)
        # At another place in memory a kernel may add in another order.
        assert_equal(outputs.feature_maps, (maps[0], maps[-1]), bound=1e-6)
        assert_equal(outputs.hidden_states[-1], maps[-1], bound=1e-6)
        assert list(model(x)) == NAMES and model(x)["a"].hidden_states is None
    assert model.channels == [maps[0].shape[1], maps[-1].shape[1]]
    assert model.out_features == [stages[0], stages[-1]]


@few_backbones
def test_a_model_of_transformers_on_a_tsbn_backbone(tiny):
    """UPerNet over our backbone is UPerNet over the plain one with the task folded in."""
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    reference = tiny.backbone()
    stages = [f"stage{number}" for number in range(1, len(reference.layout.indices) + 1)][-3:]
    config = TsbnConfig(tiny.config, NAMES, out_features=stages)
    upernet = UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=config, hidden_size=16, num_labels=5, use_auxiliary_head=False)
    ).eval()
    assert isinstance(upernet.backbone, TsbnBackbone)
    upernet.backbone.load_state_dict(reference.state_dict())
    x = tiny.images()
    with torch.no_grad():
        for task in NAMES:
            upernet.backbone.set_task(task)
            maps = reference.features(x, task=task).maps[-3:]
            expected = nn.functional.interpolate(upernet.decode_head(maps), tiny.size, mode="bilinear")
            assert_equal(upernet(x).logits, expected, task)
    upernet.train()(x).logits.sum().backward()
    row = NAMES.index("m")
    gates = [module.gate_logits.grad for module in upernet.modules() if isinstance(module, TaskNorm)]
    assert any(grad[row].any() for grad in gates if grad is not None)
    assert not any(grad[:row].any() for grad in gates if grad is not None)
