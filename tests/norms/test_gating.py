"""Which norms get gates: by default, and by patterns."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock
from torch import nn

import tsbn_hub  # noqa: F401
from tsbn_hub.norms import TaskBatchNorm, TaskNorm, convert, gated_norms, register_norm
from tsbn_hub.norms.kernels import is_batch_norm, is_norm


def on_meta(architecture: str, **keywords: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(architecture, **keywords)


def all_norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules(remove_duplicate=False) if is_norm(type(module))]


def matching(names: list[str], *patterns: str) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


# Patterns for exactly the norms of the blocks, one of their names, and how many there are.
BLOCK_NORMS: dict[str, tuple[Callable[[], nn.Module], list[str], int]] = {
    "vit": (lambda: on_meta("test_vit"), ["blocks.?.norm[12]"], 12),
    "vit with q_norm": (lambda: on_meta("test_vit", qk_norm=True), ["blocks.?.norm[12]"], 12),
    "parallel attention": (lambda: on_meta("test_vit", block_fn=ParallelScalingBlock), ["blocks.?.in_norm"], 6),
    "parallel attention with q_norm": (
        lambda: on_meta("test_vit", block_fn=ParallelScalingBlock, qk_norm=True),
        ["blocks.?.in_norm"],
        6,
    ),
    "parallel things": (
        lambda: on_meta("test_vit", block_fn=ParallelThingsBlock),
        ["blocks.?.attns.?.norm", "blocks.?.ffns.?.norm"],
        24,
    ),
    "convnext": (lambda: on_meta("test_convnext"), ["stages.?.blocks.?.norm"], 9),
    "swin": (lambda: on_meta("swin_tiny_patch4_window7_224"), ["layers.?.blocks.?.norm[12]"], 24),
    "swinv2": (lambda: on_meta("swinv2_tiny_window8_256"), ["layers.?.blocks.?.norm[12]"], 24),
    "davit, numbered in the block": (lambda: on_meta("davit_tiny"), ["stages.?.blocks.?.?.norm[12]"], 24),
    # The norms lie one level deeper: no numbered unit owns them.
    "davit": (
        lambda: on_meta("davit_base_fl"),
        ["stages.?.blocks.?.*_block.norm[12]"],
        48,
    ),
    # Nothing is numbered: all norms.
    "regnet": (lambda: on_meta("regnety_040_sgn"), ["*"], 71),
}


@pytest.mark.parametrize("family", BLOCK_NORMS)
def test_the_norms_of_the_blocks(family):
    build, patterns, count = BLOCK_NORMS[family]
    model = build()
    norms = all_norms(model)
    names = gated_norms(model)
    assert not any(is_batch_norm(type(model.get_submodule(name))) for name in norms)
    assert names == matching(norms, *patterns)
    assert len(names) == count
    assert gated_norms(model, patterns) == names
    if patterns != ["*"]:
        assert len(norms) > count, "some norms are not gated"


@pytest.mark.parametrize("architecture", ["test_resnet", "resnet50", "test_efficientnet", "levit_conv_128s"])
def test_every_batch_norm(architecture):
    model = on_meta(architecture)
    names = gated_norms(model)
    batch_norms = [
        name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    assert names == batch_norms == all_norms(model) == gated_norms(model, "*")


def test_every_batch_norm_and_the_norms_of_blocks():
    block = nn.ModuleDict({"bn": nn.BatchNorm1d(4), "norm": nn.LayerNorm(4), "q_norm": nn.LayerNorm(4)})
    model = nn.ModuleDict({"stem": nn.BatchNorm1d(4), "blocks": nn.ModuleList([block]), "norm": nn.LayerNorm(4)})
    assert gated_norms(model) == ["stem", "blocks.0.bn", "blocks.0.norm"]


def test_a_numbered_unit_that_holds_blocks_is_no_block():
    block = nn.ModuleDict({"norm": nn.LayerNorm(4)})
    stage = nn.ModuleDict({"blocks": nn.ModuleList([block]), "norm": nn.LayerNorm(4)})
    assert gated_norms(nn.Sequential(stage)) == ["0.blocks.0.norm"]


@pytest.mark.parametrize(
    ("name", "is_of_queries_or_keys"),
    [
        *[(name, True) for name in ("q_norm", "k_norm", "norm_q", "norm_k", "qnorm", "query_norm", "key_norm")],
        *[(name, True) for name in ("attn_q_norm", "q_layernorm", "k_layernorm")],
        *[(name, False) for name in ("norm", "norm1", "block_norm", "in_norm", "seq_norm", "monkey_norm", "v_norm")],
        *[(name, False) for name in ("layernorm_before", "bank_norm")],
    ],
)
def test_norms_of_queries_and_keys(name, is_of_queries_or_keys):
    block = nn.ModuleDict({name: nn.LayerNorm(4), "other": nn.LayerNorm(4)})
    model = nn.Sequential(block)
    assert (f"0.{name}" not in gated_norms(model)) is is_of_queries_or_keys
    assert gated_norms(model, f"0.{name}") == [f"0.{name}"], "asked for, it is gated"


def test_on_every_surface_alike():
    for architecture in ("test_vit", "test_convnext", "test_resnet"):
        plain = timm.create_model(architecture)
        expected = gated_norms(plain)
        by_timm = timm.create_model(f"{architecture}_tsbn", tasks=["a", "b"])
        for model in (convert(plain, tasks=["a", "b"]), by_timm):
            assert [name for name, module in model.named_modules() if isinstance(module, TaskNorm)] == expected


# --- patterns ---


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("blocks.0.norm1", ["blocks.0.norm1"]),
        ("blocks.0.*,norm", ["blocks.0.norm1", "blocks.0.norm2", "norm"]),
        (" norm , blocks.5.norm2 ", ["blocks.5.norm2", "norm"]),
        (["norm", "blocks.5.norm2"], ["blocks.5.norm2", "norm"]),
        (("blocks.[01].norm?",), ["blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2"]),
        (["blocks.0.norm1", "*.0.norm1", "blocks.0.norm1"], ["blocks.0.norm1"]),
    ],
)
def test_patterns(patterns, expected):
    model = on_meta("test_vit")
    assert gated_norms(model, patterns) == expected
    converted = timm.create_model("test_vit_tsbn", tasks=["a", "b"], gated=patterns)
    assert [name for name, module in converted.named_modules() if isinstance(module, TaskNorm)] == expected


@pytest.mark.parametrize(
    "patterns",
    ["nothing", "norm,nothing", ["norm", "nothing"], "Norm", "blocks.0", "blocks.0.attn", "norm,", ""],
    ids=repr,
)
def test_a_pattern_that_matches_nothing(patterns):
    model = on_meta("test_vit")
    with pytest.raises(ValueError, match=r"gated=.*blocks\.0\.norm1, blocks\.0\.norm2, blocks\.1\.norm1"):
        gated_norms(model, patterns)
    with pytest.raises(ValueError, match="gated="):
        convert(model, tasks=["a"], gated=patterns)
    assert not any(isinstance(module, TaskNorm) for module in model.modules())


# --- a share ---


@pytest.mark.parametrize(
    ("architecture", "stage", "share"),
    [
        ("resnet18", "layer4.*", "last 25%"),
        ("resnet50", "layer4.*", "last 19%"),
        ("swin_tiny_patch4_window7_224", "layers.3.*", "last 17%"),
        ("convnext_tiny", "stages.3.*", " last  16.7 % "),
        ("test_vit", "blocks.[45].*", "last 33%"),
    ],
)
def test_the_last_stage_as_a_share(architecture, stage, share):
    names = gated_norms(on_meta(architecture))
    assert gated_norms(on_meta(architecture), share) == matching(names, stage)
    model = on_meta(f"{architecture}_tsbn", tasks=["a", "b"], gated=share)
    assert [name for name, module in model.named_modules() if isinstance(module, TaskNorm)] == matching(names, stage)


def test_all_and_at_least_one():
    model = on_meta("test_vit")
    names = gated_norms(model)
    assert gated_norms(model, "last 100%") == names
    assert gated_norms(model, "last 0.1%") == names[-1:]


@pytest.mark.parametrize("share", ["last 0%", "last 101%", "last 0.0%"])
def test_no_share(share):
    with pytest.raises(ValueError, match=f"gated='{share}' must be above 0% and at most 100%"):
        gated_norms(on_meta("test_vit"), share)


def test_a_rebuilt_norm_is_not_of_the_share():
    """What stands there anew is gated where it was before, and nowhere else."""
    model = timm.create_model("test_resnet_tsbn", tasks=["a", "b"], gated="last 20%")
    before = [name for name, module in model.named_modules() if isinstance(module, TaskNorm)]
    model.reset_classifier({"a": 3, "b": 4})
    model.add_task("c", num_classes=2)
    assert [name for name, module in model.named_modules() if isinstance(module, TaskNorm)] == before


def test_a_network_without_norms():
    with pytest.raises(ValueError, match="Sequential has no norm layer"):
        gated_norms(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="There are 0 norms"):
        gated_norms(nn.Sequential(nn.Linear(2, 2)), "*")


def test_a_norm_by_itself():
    with pytest.raises(ValueError, match=r"put it into an nn.Sequential"):
        convert(nn.BatchNorm1d(2), tasks=["a"], gated="*")


def test_a_norm_at_two_places():
    norm = nn.BatchNorm1d(2)
    net = nn.Sequential(norm, nn.Linear(2, 2), norm)
    assert gated_norms(net) == ["0", "2"]
    net = convert(net, tasks=["a", "b"])
    assert isinstance(net[0], TaskBatchNorm) and net[0] is net[2]
    net.train()(torch.randn(4, 2), task="a")
    assert net[0].num_batches_tracked.tolist() == [2, 0]
    plain = net.fold("a")
    assert plain[0] is plain[2]


@pytest.mark.parametrize("gated", ["0", "2"])
def test_a_norm_at_two_places_of_which_a_pattern_names_one(gated):
    """It is one module: gated at one place, it is gated at both."""
    norm = nn.BatchNorm1d(2)
    net = convert(nn.Sequential(norm, nn.Linear(2, 2), norm), tasks=["a", "b"], gated=gated)
    assert isinstance(net[0], TaskBatchNorm) and net[0] is net[2]


def test_a_registered_class_of_a_third_party():
    class Centered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, x):
            return (x - x.mean(-1, keepdim=True)) * self.weight

    net = nn.Sequential(Centered(), nn.LayerNorm(4))
    assert gated_norms(net) == ["1"]
    register_norm(Centered, lambda norm, x, weight, bias: (x - x.mean(-1, keepdim=True)) * weight)
    try:
        assert gated_norms(net) == ["0", "1"]
        x = torch.randn(2, 4)
        expected = net(x)
        net = convert(net, tasks=["a", "b"])
        assert torch.equal(net(x, task="b"), expected)
        assert torch.equal(net.fold("b")(x), expected)
    finally:
        from tsbn_hub.norms import kernels

        del kernels._kernels[Centered]
