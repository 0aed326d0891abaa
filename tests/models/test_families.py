"""Every family of timm: what a task computes is what its plain model computes, bit for bit.

All tasks in one batched pass multiply larger matrices, whose sums some CPUs order in another way: that is rounding.
"""

import copy
import gc
from collections.abc import Iterable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import tsbn_hub  # noqa: F401
from tests.matrices import cases_of, diagonal
from tsbn_hub.models.timm.classifiers import TaskClassifier
from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, TaskNorm

from .families import FAMILIES, SLOW, UNLIKE, WITHOUT_CHECKPOINTING, Small

TASKS = ["second", "first", "third"]  # not in alphabetical order
ROUNDING = 1e-5  # of the largest value
LOADED = ["sigmoid", "affine"]
STYLES = {
    "sigmoid": {"norm": "sigmoid", "keep_affine": True},
    "sigmoid-without-affine": {"norm": "sigmoid", "keep_affine": False},
    "affine": {"norm": "affine"},
}


def each_day(test: int, styles: Iterable[str]) -> list[tuple[str, str]]:
    """Each family has one of the tests that it can have, those unlike the others have all; the styles in turn."""
    quick = [name for name in FAMILIES if name not in SLOW]
    own_test = {name: number % (3 if name in WITHOUT_CHECKPOINTING else 4) for number, name in enumerate(quick)}
    families = [name for name in quick if name in UNLIKE or own_test[name] == test]
    return diagonal(families, styles)


def families_each_day(test: int) -> list[str]:
    return [family for family, _ in each_day(test, ["sigmoid"])]


@pytest.fixture(autouse=True)
def _free_memory():
    yield
    gc.collect()


def randomize(model: nn.Module) -> None:
    """Norms (zero-initialised ones, too), their statistics and gates, and classifiers, as training might leave them."""
    with torch.no_grad():
        for module in model.modules():
            is_norm = isinstance(module, TaskNorm | SharedBatchNorm) or "Norm" in type(module).__name__
            if is_norm:
                for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                    if name == "running_mean":
                        tensor.normal_(0, 0.2)
                    elif name == "running_var":
                        tensor.uniform_(0.5, 2)
                    elif name in ("weight", "gate_logits"):
                        tensor.normal_(1, 0.3)
                    elif name == "bias":
                        tensor.normal_(0, 0.2)
            elif isinstance(module, TaskClassifier):
                module.weight.normal_(0, 0.02)


def leaves(output: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def assert_same(actual: object, expected: object, what: str, bound: float = 0.0) -> None:
    """No tensor of the two outputs differs by more than `bound` of the largest value; a NaN fails."""
    assert len(leaves(actual)) == len(leaves(expected)) > 0, what
    for one, other in zip(leaves(actual), leaves(expected), strict=True):
        assert one.shape == other.shape, what
        error = (one.double() - other.double()).abs().max().item() if one.numel() else 0.0
        assert error <= bound * other.abs().max().item(), f"{what}: error {error}"
        assert torch.isfinite(one).all(), what


def build_plain(small: Small) -> nn.Module:
    torch.manual_seed(0)
    plain = small.plain()
    randomize(plain)
    return plain


def load(small: Small, plain: nn.Module, **style: object) -> nn.Module:
    """The converted model with the plain one's weights, through timm's own loading."""
    return small.converted(
        tasks=TASKS,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": dict(plain.state_dict()), "custom_load": False},
        **style,
    )


@pytest.mark.parametrize(("family", "style"), cases_of(product(FAMILIES, LOADED), each_day(0, LOADED)))
def test_loading_keeps_the_function(family, style):
    """Identity at conversion and strict load: every task starts as the plain model."""
    small = FAMILIES[family]
    plain, x = build_plain(small).eval(), small.images()
    with torch.no_grad():
        expected = plain(x)
        model = load(small, plain, **STYLES[style]).eval()
        assert isinstance(model, type(plain))
        for task in TASKS:
            assert_same(model(x, task=task), expected, task)
        for task, output in model(x).items():
            assert_same(output, expected, f"{task}, of all", bound=ROUNDING)
        assert_same(model.fold("first")(x), expected, "fold after loading")


@pytest.mark.parametrize(("family", "style"), cases_of(product(FAMILIES, STYLES), each_day(1, STYLES)))
def test_a_task_is_its_folded_plain_model(family, style):
    small = FAMILIES[family]
    torch.manual_seed(1)
    model = small.converted(tasks=TASKS, **STYLES[style])
    randomize(model)
    model.eval()
    x = small.images()
    with torch.no_grad():
        outputs = {task: model(x, task=task) for task in TASKS}
        folded = {task: model.fold(task) for task in TASKS}
        reloaded = small.plain()
        for task in TASKS:
            assert type(folded[task]) is type(reloaded)
            assert not any(isinstance(m, TaskNorm | TaskClassifier | SharedBatchNorm) for m in folded[task].modules())
            reloaded.load_state_dict(folded[task].state_dict(), strict=True)
            assert_same(outputs[task], reloaded.eval()(x), f"fold of {task}, reloaded")
        for task, output in model(x).items():
            assert_same(output, outputs[task], f"{task}, of all", bound=ROUNDING)
        assert any(
            (one != other).any() for one, other in zip(leaves(outputs["first"]), leaves(outputs["third"]), strict=True)
        ), "the tasks' outputs must differ, or this test shows nothing"
        # One task a sample. The order of sums in a kernel may depend on the size of the batch.
        mixed = model(x, task=["third", "first"])
        expected = pytree.tree_map(lambda a, b: torch.stack([a[0], b[1]]), outputs["third"], outputs["first"])
        assert_same(mixed, expected, "one task a sample", bound=1e-4)


def _one_step(model: nn.Module, x: Tensor, **task: object) -> None:
    torch.manual_seed(2)
    sum(leaf.float().square().mean() for leaf in leaves(model(x, **task))).backward()


@pytest.mark.parametrize("family", cases_of(FAMILIES, families_each_day(2)))
def test_training_one_task(family):
    """Statistics and gradients are those of the plain model, and nothing leaks into another task."""
    small = FAMILIES[family]
    torch.manual_seed(3)
    model = small.converted(tasks=TASKS)
    randomize(model)
    model.train()
    plain = model.fold("first").train()
    x = small.images()
    before = copy.deepcopy(model.state_dict())
    _one_step(model, x, task="first")
    _one_step(plain, x)

    row = model.tasks.index("first")
    others = [at for at in range(len(TASKS)) if at != row]
    plain_modules = dict(plain.named_modules())
    after = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, TaskBatchNorm):
            for statistic in ("running_mean", "running_var", "num_batches_tracked"):
                mine, key = getattr(module, statistic), f"{name}.{statistic}"
                assert torch.equal(mine[row], getattr(plain_modules[name], statistic)), key
                assert torch.equal(mine[others], before[key][others]), f"{key} leaks"
                if statistic != "num_batches_tracked":
                    assert torch.isfinite(mine).all(), key
        if isinstance(module, TaskNorm):
            assert module.gate_logits.grad is not None
            assert not module.gate_logits.grad[others].any(), f"{name} leaks"
    shared = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is None or name not in shared:
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        if not isinstance(owner, TaskNorm | TaskClassifier):
            assert_same(shared[name].grad, parameter.grad, f"gradient of {name}")
    changed = [key for key in after if not torch.equal(after[key], before[key])]
    assert all("running" in key or "num_batches" in key for key in changed), changed


@pytest.mark.parametrize("family", cases_of(FAMILIES, families_each_day(3)))
def test_gradient_checkpointing_with_several_tasks(family):
    """Forward all tasks, one backward: each task is recomputed as itself."""
    small = FAMILIES[family]
    torch.manual_seed(4)
    model = small.converted(tasks=TASKS)
    randomize(model)
    model.execution = "sequential"  # as with checkpoints
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__.startswith("Drop"):
            module.eval()
    try:
        model.set_grad_checkpointing(True)
        model.set_grad_checkpointing(False)
    except (AssertionError, AttributeError) as error:
        pytest.skip(f"{small.architecture} has no gradient checkpointing: {error!r}")
    x = small.images()
    gradients = []
    state = copy.deepcopy(model.state_dict())
    for checkpointing in (False, True):
        model.load_state_dict(state)
        model.zero_grad()
        model.set_grad_checkpointing(checkpointing)
        _one_step(model, x)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert_same(gradients[1][name], gradient, f"gradient of {name}", bound=1e-5)
