"""Every norm class that can get gates: its task norm computes what its own forward computes, bit for bit."""

import copy
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import timm.layers
import torch
from timm.layers import evo_norm, filter_response_norm, norm, norm_act
from timm.layers.fast_norm import is_fast_norm, set_fast_norm
from timm.models import metaformer
from torch import Tensor, nn

import tsbn_hub  # noqa: F401
from tests.matrices import cases_of
from tsbn_hub.norms import NormOptions, TaskBatchNorm, TaskNorm, TaskSelector, convert, gated_norms, kernels

TASKS = ["second", "first", "third"]
C = 8
STYLES = {
    "sigmoid": dict(norm="sigmoid", keep_affine=True),
    "sigmoid-without-affine": dict(norm="sigmoid", keep_affine=False),
    "affine": dict(norm="affine"),
}
LAST, FIRST, LINE, VOLUME = (2, 5, C), (4, C, 5, 3), (4, C, 5), (3, C, 2, 3, 2)
ACT = dict(act_layer=nn.SiLU, drop_layer=partial(nn.Dropout, 0.3))

CASES: dict[type[nn.Module], tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    nn.LayerNorm: (nn.LayerNorm, LAST),
    nn.RMSNorm: (nn.RMSNorm, LAST),
    nn.GroupNorm: (partial(nn.GroupNorm, 4), FIRST),
    nn.BatchNorm1d: (nn.BatchNorm1d, LINE),
    nn.BatchNorm2d: (nn.BatchNorm2d, FIRST),
    nn.BatchNorm3d: (nn.BatchNorm3d, VOLUME),
    nn.SyncBatchNorm: (nn.SyncBatchNorm, FIRST),
    norm.LayerNorm: (norm.LayerNorm, LAST),
    norm.LayerNormFp32: (norm.LayerNormFp32, LAST),
    norm.LayerNorm2d: (norm.LayerNorm2d, FIRST),
    norm.LayerNorm2dFp32: (norm.LayerNorm2dFp32, FIRST),
    norm.GroupNorm: (partial(norm.GroupNorm, num_groups=4), FIRST),
    norm.GroupNorm1: (norm.GroupNorm1, FIRST),
    norm.RmsNorm: (norm.RmsNorm, LAST),
    norm.RmsNormFp32: (norm.RmsNormFp32, LAST),
    norm.RmsNorm2d: (norm.RmsNorm2d, FIRST),
    norm.RmsNorm2dFp32: (norm.RmsNorm2dFp32, FIRST),
    norm.SimpleNorm: (norm.SimpleNorm, LAST),
    norm.SimpleNormFp32: (norm.SimpleNormFp32, LAST),
    norm.SimpleNorm2d: (norm.SimpleNorm2d, FIRST),
    norm.SimpleNorm2dFp32: (norm.SimpleNorm2dFp32, FIRST),
    norm_act.BatchNormAct2d: (partial(norm_act.BatchNormAct2d, **ACT), FIRST),
    norm_act.SyncBatchNormAct: (
        lambda channels: norm_act.convert_sync_batchnorm(norm_act.BatchNormAct2d(channels, **ACT)),
        FIRST,
    ),
    norm_act.GroupNormAct: (partial(norm_act.GroupNormAct, num_groups=4, **ACT), FIRST),
    norm_act.GroupNorm1Act: (partial(norm_act.GroupNorm1Act, **ACT), FIRST),
    norm_act.LayerNormAct: (partial(norm_act.LayerNormAct, **ACT), LAST),
    norm_act.LayerNormActFp32: (partial(norm_act.LayerNormActFp32, **ACT), LAST),
    norm_act.LayerNormAct2d: (partial(norm_act.LayerNormAct2d, **ACT), FIRST),
    norm_act.LayerNormAct2dFp32: (partial(norm_act.LayerNormAct2dFp32, **ACT), FIRST),
    norm_act.RmsNormAct: (partial(norm_act.RmsNormAct, **ACT), LAST),
    norm_act.RmsNormActFp32: (partial(norm_act.RmsNormActFp32, **ACT), LAST),
    norm_act.RmsNormAct2d: (partial(norm_act.RmsNormAct2d, **ACT), FIRST),
    norm_act.RmsNormAct2dFp32: (partial(norm_act.RmsNormAct2dFp32, **ACT), FIRST),
    evo_norm.EvoNorm2dS0: (partial(evo_norm.EvoNorm2dS0, groups=4), FIRST),
    evo_norm.EvoNorm2dS0a: (partial(evo_norm.EvoNorm2dS0a, groups=4), FIRST),
    filter_response_norm.FilterResponseNormTlu2d: (filter_response_norm.FilterResponseNormTlu2d, FIRST),
    filter_response_norm.FilterResponseNormAct2d: (filter_response_norm.FilterResponseNormAct2d, FIRST),
    # Subclasses without a forward of their own.
    metaformer.GroupNorm1NoBias: (metaformer.GroupNorm1NoBias, FIRST),
    metaformer.LayerNorm2dNoBias: (metaformer.LayerNorm2dNoBias, FIRST),
    metaformer.LayerNormNoBias: (metaformer.LayerNormNoBias, LAST),
}
VARIANTS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    **{f"{known.__module__}.{known.__name__}": case for known, case in CASES.items()},
    "LayerNorm without bias": (partial(nn.LayerNorm, bias=False), LAST),
    "LayerNorm without affine": (partial(nn.LayerNorm, elementwise_affine=False), LAST),
    "RMSNorm without affine": (partial(nn.RMSNorm, elementwise_affine=False), LAST),
    "RmsNorm2d without affine": (partial(norm.RmsNorm2d, affine=False), FIRST),
    "RmsNormFp32 without affine": (partial(norm.RmsNormFp32, affine=False), LAST),
    "GroupNorm without affine": (partial(nn.GroupNorm, 4, affine=False), FIRST),
    "BatchNorm1d of (N, C)": (nn.BatchNorm1d, (4, C)),
    "BatchNorm2d without affine": (partial(nn.BatchNorm2d, affine=False), FIRST),
    "BatchNorm2d, plain average": (partial(nn.BatchNorm2d, momentum=None), FIRST),
    "BatchNorm2d without statistics": (partial(nn.BatchNorm2d, track_running_stats=False), FIRST),
    "BatchNormAct2d without activation": (partial(norm_act.BatchNormAct2d, apply_act=False), FIRST),
    "EvoNorm2dS0 without activation": (partial(evo_norm.EvoNorm2dS0, groups=4, apply_act=False), FIRST),
    "EvoNorm2dS0a without activation": (partial(evo_norm.EvoNorm2dS0a, groups=4, apply_act=False), FIRST),
    "FilterResponseNormTlu2d without activation": (
        partial(filter_response_norm.FilterResponseNormTlu2d, apply_act=False),
        FIRST,
    ),
}
WITH_AFFINE = [name for name in VARIANTS if "without affine" not in name]
HAS_FAST = [name for name in WITH_AFFINE if hasattr(VARIANTS[name][0](C), "_fast_norm") and "Fp32" not in name]
# A norm in float32 differs from one that computes in its input's number format in float64 alone, on a CPU.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
MODES = {"eval": False, "train": True}
# Every day a variant has each style and each number format once, in one of the modes, which change with the variants.
CONVERTED = [
    (variant, list(MODES)[(at + number) % 2], dtype)
    for at, variant in enumerate(WITH_AFFINE)
    for number, dtype in enumerate(DTYPES)
]
FOLDED = [
    (variant, style, list(MODES)[(at + number) % 2], list(DTYPES)[(at // 2 + number) % 2])
    for at, variant in enumerate(VARIANTS)
    for number, style in enumerate(STYLES)
]


@torch.no_grad()
def randomize(module: nn.Module) -> nn.Module:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        kind = name.rpartition(".")[2]
        if kind == "running_var":
            tensor.uniform_(0.5, 2)
        elif kind in ("weight", "gate_logits", "v"):
            tensor.normal_(1, 0.5)
        elif kind in ("bias", "running_mean", "tau"):
            tensor.normal_(0, 0.5)
    return module


def build(variant: str) -> nn.Module:
    torch.manual_seed(0)
    return randomize(VARIANTS[variant][0](C))


def run(module: nn.Module, x: Tensor, **task: str) -> Tensor:
    torch.manual_seed(1)  # for the drop layers
    return module(x.clone(memory_format=torch.preserve_format), **task)


def inputs(variant: str) -> list[Tensor]:
    shape = VARIANTS[variant][1]
    torch.manual_seed(2)
    x = 2 * torch.randn(shape) + 0.5
    return [x, x.to(memory_format=torch.channels_last)] if len(shape) == 4 else [x]


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    assert torch.isfinite(expected).all()
    assert torch.equal(actual, expected), (actual.double() - expected.double()).abs().max()


def test_every_registered_class_is_tested():
    registered = {*kernels._kernels, *kernels._batch_norms}
    assert {known for known in registered if known.__module__.startswith(("torch.", "timm."))} <= set(CASES)


@pytest.mark.parametrize(("variant", "mode", "dtype"), cases_of(product(WITH_AFFINE, MODES, DTYPES), CONVERTED))
def test_conversion_keeps_the_function(variant, mode, dtype):
    training, dtype = MODES[mode], DTYPES[dtype]
    plain = build(variant).to(dtype).train(training)
    for x in inputs(variant):
        net = convert(nn.Sequential(copy.deepcopy(plain)), tasks=TASKS, gated="*")
        assert isinstance(net[0], TaskNorm) and net[0].gate_logits.shape == (3, C)
        for row, task in enumerate(TASKS):
            reference = copy.deepcopy(plain)
            assert_equal(run(net, x.to(dtype), task=task), run(reference, x.to(dtype)))
            for name, buffer in reference.named_buffers():
                assert torch.equal(net[0].get_buffer(name)[row], buffer), name


@pytest.mark.parametrize(
    ("variant", "style", "mode", "dtype"), cases_of(product(VARIANTS, STYLES, MODES, list(DTYPES)[:2]), FOLDED)
)
def test_a_task_norm_is_its_folded_plain_norm(variant, style, mode, dtype):
    training, dtype = MODES[mode], DTYPES[dtype]
    plain = build(variant).to(dtype).train(training)
    net = randomize(convert(nn.Sequential(plain), tasks=TASKS, gated="*", **STYLES[style]).to(dtype))
    folded = {task: net.fold(task)[0] for task in TASKS}
    for x in inputs(variant):
        outputs = {task: run(net, x.to(dtype), task=task) for task in TASKS}
        for task, alone in folded.items():
            assert type(alone) is type(plain) and alone.training is training
            assert_equal(outputs[task], run(alone, x.to(dtype)))
        assert not torch.equal(outputs["first"], outputs["third"])


@pytest.fixture
def fast_norm():
    before = is_fast_norm()
    set_fast_norm(True)
    yield
    set_fast_norm(before)


@pytest.mark.usefixtures("fast_norm")
@pytest.mark.parametrize("variant", HAS_FAST)
def test_fast_norms(variant):
    """timm's fast norms compute in the low precision of autocast."""
    plain = build(variant).eval()
    assert plain._fast_norm
    slow = copy.deepcopy(plain)
    slow._fast_norm = False
    net = convert(nn.Sequential(copy.deepcopy(plain)), tasks=TASKS, gated="*")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        for x in inputs(variant):
            expected = run(plain, x)
            assert expected.dtype == torch.bfloat16 and not torch.equal(expected, run(slow, x)), "shows nothing"
            assert_equal(run(net, x, task="first"), expected)
        randomize(net)
        assert_equal(run(net, x, task="third"), run(net.fold("third")[0], x))


def test_fast_norms_were_found():
    assert {"timm.layers.norm.LayerNorm", "timm.layers.norm_act.GroupNormAct"} <= set(HAS_FAST)


class Doubled(nn.LayerNorm):
    def forward(self, x):
        return 2 * super().forward(x)


class Renamed(timm.layers.LayerNorm):
    pass


class DoubledBatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "unknown",
    [Doubled(C), DoubledBatchNorm(C), norm.LayerNormExp2d(C), norm_act.FrozenBatchNormAct2d(C), nn.InstanceNorm2d(C)],
)
def test_a_class_with_a_forward_of_its_own_is_refused(unknown):
    name = type(unknown).__name__
    for task_norm in (TaskNorm, TaskBatchNorm):
        with pytest.raises(TypeError, match=rf"{name} is no norm that can get gates.*register_norm"):
            task_norm(unknown, TaskSelector(TASKS), NormOptions())
    net = nn.Sequential(unknown, nn.BatchNorm2d(C))
    assert gated_norms(net) == gated_norms(net, "*") == ["1"]
    with pytest.raises(ValueError, match="matches the name of no norm"):
        gated_norms(net, "0")
    assert convert(net, tasks=TASKS)[0] is unknown


def test_a_class_without_a_forward_of_its_own_is_as_its_parent():
    assert kernels.kernel_of(Renamed) is kernels.kernel_of(timm.layers.LayerNorm)
    assert kernels.kernel_of(Renamed) is not kernels.kernel_of(nn.LayerNorm)


@pytest.mark.parametrize("norm_class", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_over_several_dimensions_is_not_gated(norm_class, affine):
    """A gate per channel does not fit it."""
    several = norm_class((C, 3), elementwise_affine=affine)
    net = convert(nn.Sequential(several, nn.BatchNorm1d(C)), tasks=TASKS, gated="*")
    assert net[0] is several
    assert net(torch.randn(4, C, 3), task="first").shape == (4, C, 3)
