"""Balancings of all losses of a step, and of the tasks' gradients: formulas, refusals, runs that are resumed."""

import builtins
import math
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.matrices import cases_of
from tests.training.small_runs import FIRST, left_by, signals, write_config
from tsbn_hub.cli.main import app
from tsbn_hub.training import Stopped, TrainingConfig, train
from tsbn_hub.training.balancing import (
    GeometricLossStrategy,
    GradNorm,
    ImpartialLossWeighting,
    LossWeighting,
    UncertaintyWeighting,
    make_balancing,
    register_balancing,
)
from tsbn_hub.training.balancing.balancing import RENAMED, balancings
from tsbn_hub.training.step.aggregating import drawing_alike

ROOT = Path(__file__).parents[2]
TASKS = ["type", "keys", "train"]
NAMES = {
    "equal", "uncertainty", "dwa", "rlw", "imtl-l", "gls", "stch", "gradnorm", "pcgrad", "cagrad", "upgrad", "mgda",
}  # fmt: skip
GRADIENTS = torch.tensor([[3.0, 4.0, 0.0], [-2.0, 1.0, 1.0], [0.5, -3.0, 2.0]])
LOSSES = torch.tensor([2.0, 0.5, 1.0])


def by_task(losses):
    return dict(zip(TASKS, losses, strict=True))


def weights_of(balancing, losses):
    return torch.stack(list(balancing.weights_of(by_task(losses)).values()))


# --- totals of the losses ---


@pytest.mark.parametrize(("name", "options", "theirs", "arguments"), [
    ("gls", {"floor": 0.0}, "GeometricMean", ()), ("stch", {}, "STCH", (1.0,)), ("stch", {"mu": 0.1}, "STCH", (0.1,)),
])  # fmt: skip
def test_totals_are_those_of_torchjd(name, options, theirs, arguments):
    scalarization = pytest.importorskip("torchjd.scalarization")
    losses = LOSSES.clone().requires_grad_()
    total = getattr(scalarization, theirs)(*arguments)(losses)
    total.backward()
    balancing = make_balancing(name, TASKS, **options)
    torch.testing.assert_close(balancing.total(LOSSES, TASKS), total.detach())
    torch.testing.assert_close(weights_of(balancing, LOSSES), losses.grad)
    one, other = balancing.weights_of({"train": LOSSES[0], "type": LOSSES[1]}).values()  # keys has no label
    assert one.isfinite() and other.isfinite() and one != other


def test_gls_asks_for_no_units():
    """A task whose losses are 1,000 times as large has the same part in the gradient, near the guard, too."""
    parts = []
    for scale in (1.0, 1000.0):
        balancing, scales = GeometricLossStrategy(TASKS), torch.tensor([scale, 1.0, 1.0])
        balancing.after_step(by_task(LOSSES * scales))
        weights = weights_of(balancing, torch.tensor([0.1, 0.5, 0.9]) * scales) * scales
        parts.append(weights / weights.sum())
    torch.testing.assert_close(*parts)


def test_gls_starves_no_task_where_a_loss_goes_to_zero():
    """In closed form: a task weighs total / (n (L + e)), with e 3% of its first loss."""
    first = torch.tensor([2.0, 3.0, 1.0])
    guarded, plain = GeometricLossStrategy(TASKS), GeometricLossStrategy(TASKS, floor=0.0)
    for balancing in (guarded, plain):
        balancing.after_step(by_task(first))
    for loss in (2.0, 0.2, 1e-3, 1e-12, 0.0):
        losses = torch.tensor([loss, 1.5, 1.0])
        denominators = losses + 0.03 * first
        expected = denominators.log().mean().exp() / (3 * denominators)
        torch.testing.assert_close(weights_of(guarded, losses), expected)
        # The gradient of a cross-entropy shrinks as its loss does: so does the task's part, and the others' is kept.
        pull, others = expected[0] * loss, (expected * losses)[1:].sum()
        assert pull / others <= (10 * loss if loss < 0.1 else 1)
        assert (expected[1:] > 0.09).all()
    starved = weights_of(plain, torch.tensor([1e-12, 1.5, 1.0]))
    assert (starved[1:] < 1e-4).all() and starved[0] > 1e7, "else this test shows nothing"


def test_gls_takes_the_first_loss_that_is_greater_than_zero():
    balancing = GeometricLossStrategy(TASKS)
    for losses in ({"type": 0.0}, {"type": 0.5, "train": 4.0}, {"type": 3.0, "train": 1.0}):
        balancing.after_step({task: torch.tensor(loss) for task, loss in losses.items()})
    assert balancing.first.isnan().tolist() == [False, True, False] and balancing.first[[0, 2]].tolist() == [0.5, 4.0]
    assert all(weight.isfinite() for weight in balancing.weights_of(by_task(torch.zeros(3))).values())


def test_imtl_l_is_torchjds_and_arrives_at_the_inverse_of_the_loss():
    theirs = pytest.importorskip("torchjd.scalarization").IMTLL(3)
    ours = ImpartialLossWeighting(TASKS)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.3) for each in (theirs, ours)]
    for _ in range(200):
        torch.testing.assert_close(ours.weights(TASKS), theirs.log_scale.detach().exp())
        optimizers[0].zero_grad()
        theirs(LOSSES).backward()
        ours.after_step(by_task(LOSSES))
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours.weights(TASKS), 1 / LOSSES)
    ours.after_step({"keys": torch.tensor(1.0)})
    assert [parameter.grad is None for parameter in ours.parameters()] == [True, False, True]


def test_uncertainty_is_torchjds_with_another_start():
    theirs, ours = pytest.importorskip("torchjd.scalarization").UW(3), UncertaintyWeighting(TASKS)
    torch.nn.init.constant_(theirs.log_var, -math.log(2))
    theirs(LOSSES).backward()
    ours.after_step(by_task(LOSSES))
    torch.testing.assert_close(torch.stack([each.grad for each in ours.parameters()]), theirs.log_var.grad)


def test_dwa_is_torchjds():
    theirs, ours = pytest.importorskip("torchjd.scalarization").DWA(), make_balancing("dwa", TASKS)
    for losses in (LOSSES, LOSSES * torch.tensor([0.5, 0.9, 0.7]), LOSSES * torch.tensor([0.1, 0.2, 0.6])):
        torch.testing.assert_close((ours.weights(TASKS) * losses).sum(), theirs(losses))
        theirs.step()
        ours.after_epoch({task: loss.item() for task, loss in by_task(losses).items()})
    assert ours.weights(TASKS).unique().numel() == 3


# --- the gradients of the tasks ---


@pytest.mark.parametrize(("name", "theirs", "arguments", "options"), [
    ("pcgrad", "PCGrad", (), {}), ("cagrad", "CAGrad", (0.4,), {}), ("cagrad", "CAGrad", (0.9,), {"c": 0.9}),
    ("upgrad", "UPGrad", (), {}), ("mgda", "MGDA", (), {}),
])  # fmt: skip
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_aggregations_are_those_of_torchjd(name, theirs, arguments, options, rows):
    aggregation = pytest.importorskip("torchjd.aggregation")
    aggregator = make_balancing(name, TASKS, **options).step_aggregator(TASKS[:rows])
    torch.manual_seed(0)
    expected = getattr(aggregation, theirs)(*arguments)(GRADIENTS[:rows])
    torch.manual_seed(0)
    torch.testing.assert_close(aggregator(GRADIENTS[:rows]), expected)
    assert rows == 1 or (not torch.allclose(expected, GRADIENTS[:rows].sum(0)) and expected.abs().sum() > 0)


@pytest.mark.parametrize("name", ["pcgrad", "cagrad", "upgrad", "mgda"])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_aggregations_do_not_ask_how_long_gradients_are(name, scale):
    torch.manual_seed(0)
    expected = make_balancing(name, TASKS).step_aggregator(TASKS)(GRADIENTS)
    torch.manual_seed(0)
    joined = make_balancing(name, TASKS).step_aggregator(TASKS)(GRADIENTS * scale)
    torch.testing.assert_close(joined, expected * scale, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["pcgrad", "cagrad", "upgrad", "mgda"])
def test_no_two_aggregations_are_one(name):
    joined = {name: make_balancing(name, TASKS).step_aggregator(TASKS)(GRADIENTS) for name in NAMES if
              name in ("pcgrad", "cagrad", "upgrad", "mgda", "gradnorm")}  # fmt: skip
    mine = joined.pop(name)
    for other in joined.values():
        assert torch.cosine_similarity(mine, other, dim=0) < 0.9999


def test_pcgrad_in_closed_form():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    aggregate = make_balancing("pcgrad", TASKS).step_aggregator(TASKS[:2])(torch.stack([one, other]))
    projected = [one - (one @ other) / (other @ other) * other, other - (one @ other) / (one @ one) * one]
    torch.testing.assert_close(aggregate, sum(projected))


def test_mgda_in_closed_form():
    """Of two gradients: the point of their segment that is nearest to 0."""
    aggregate = make_balancing("mgda", TASKS).step_aggregator(TASKS[:2])(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    torch.testing.assert_close(aggregate, torch.tensor([0.8, 0.4]))


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_gradnorm_has_the_gradient_of_the_paper(alpha):
    """By a second way: its equation 2 by finite differences of the logits, with the targets held."""
    balancing = GradNorm(TASKS, alpha)
    with torch.no_grad():
        for parameter, value in zip(balancing.parameters(), (0.3, -0.2, 0.1), strict=True):
            parameter.fill_(value)
    first = torch.tensor([2.0, 1.0, 4.0])
    balancing.after_step(by_task(first))  # a step whose gradients have overflown: it moves nothing
    assert all(parameter.grad is None for parameter in balancing.parameters())
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    unit = GRADIENTS.double().norm(dim=1)
    weighted = GRADIENTS * balancing.weights(TASKS)[:, None]
    torch.testing.assert_close(balancing.weights(TASKS).double(), 3 * logits.softmax(0))
    torch.testing.assert_close(balancing.aggregate(weighted, TASKS), weighted.sum(0))
    balancing.after_step(by_task(LOSSES))
    rates = LOSSES.double() / first
    target = (3 * logits.softmax(0) * unit).mean() * (rates / rates.mean()) ** alpha
    steps = 1e-6 * torch.eye(3, dtype=torch.float64)

    def distance(logits):
        return (3 * logits.softmax(0) * unit - target).abs().sum()

    expected = torch.stack([(distance(logits + step) - distance(logits - step)) / 2e-6 for step in steps])
    actual = torch.stack([parameter.grad for parameter in balancing.parameters()])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)


def test_gradnorm_comes_to_equal_norms():
    balancing, norms = GradNorm(TASKS, alpha=0.0), torch.tensor([1.0, 2.0, 4.0])
    optimizer = torch.optim.SGD(balancing.parameters(), lr=0.01)
    for _ in range(400):
        balancing.aggregate(torch.diag(norms * balancing.weights(TASKS)), TASKS)
        balancing.after_step(by_task(LOSSES))
        optimizer.step()
    torch.testing.assert_close(balancing.weights(TASKS), 3 / norms / (1 / norms).sum(), rtol=0.1, atol=0)


def test_gradnorm_leaves_an_idle_task_where_it_is():
    balancing = GradNorm(TASKS)
    balancing.aggregate(GRADIENTS[:2], ["train", "type"])
    balancing.after_step({"train": torch.tensor(1.0), "type": torch.tensor(2.0)})
    assert [parameter.grad is None for parameter in balancing.parameters()] == [False, True, False]
    assert balancing.weights(["train", "type"]).sum() == 2 and balancing.weights(["keys"]).tolist() == [1]


def test_what_is_drawn_depends_on_seed_and_step_alone():
    drawn = []
    for seed, number in ((0, 0), (0, 0), (0, 1), (1, 0)):
        torch.manual_seed(len(drawn))
        before = torch.get_rng_state()
        draw = drawing_alike(lambda gradients: torch.randn(3), seed, number, torch.device("cpu"))
        drawn.append(draw(GRADIENTS))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1]) and len(torch.stack(drawn).unique(dim=0)) == 3


# --- runs ---


def small(folder, name, **changes):
    """A run of few steps, some of which lack a task."""
    return write_config(folder, name, **{
        "epochs": 1, "batch_size": 4, "data_args": {"size": 24}, "ema_decay": None,
        "model_args": {"channels": [8, 8, 16, 16], "stem_width": 8}, **changes,
    })  # fmt: skip


def train_here(config, monkeypatch, environment=None, **how):
    for name, value in (environment or signals("", at=0)).items():
        monkeypatch.setenv(name, value)
    return train(TrainingConfig.read(config), **how)


# By day those that keep what they have seen, each in a way of its own, and one that draws.
@pytest.mark.parametrize("name", cases_of(sorted(NAMES), ["dwa", "gls", "gradnorm", "pcgrad"]))
def test_a_run_that_is_stopped_in_the_middle_ends_as_a_whole_one(name, tmp_path, monkeypatch):
    precision = "bf16" if name in ("gls", "cagrad", "gradnorm") else "no"
    epochs = 3 if name == "dwa" else 1  # its first two weigh all the same
    whole, stopped = (
        small(tmp_path, each, balancing=name, mixed_precision=precision, epochs=epochs) for each in ("whole", "stopped")
    )
    train_here(whole, monkeypatch)
    sample = FIRST + (epochs - 1) * 22 + 10
    with pytest.raises(Stopped, match=f"epoch {epochs}, after its step [23]"):
        train_here(stopped, monkeypatch, signals("SIGINT", sample))
    train_here(stopped, monkeypatch)
    assert left_by(stopped) == left_by(whole)
    plain = small(tmp_path, "plain", epochs=epochs)
    if name == "pcgrad":  # the others have states or formulas of their own, shown above
        train_here(plain, monkeypatch)
        assert left_by(plain)[0][0] != left_by(whole)[0][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balancing": "gls", "backward": "task"}, "balancing='gls' needs the losses of all tasks before"),
        ({"balancing": "stch", "gradient_accumulation_steps": 2}, "balancing='stch' .* gradient_accumulation_steps=2"),
        ({"balancing": "cagrad", "freeze_trunk": True}, "balancing='cagrad' joins .* freeze_trunk leaves none"),
        ({"balancing": "gradnorm", "freeze_trunk": True}, "balancing='gradnorm' joins .* freeze_trunk leaves none"),
        ({"balancing": "gls", "balancing_args": {"floor": -1}}, "floor=-1 must be finite and not negative"),
        ({"balancing": "gradnorm", "balancing_args": {"alpha": math.inf}}, "alpha=inf must be finite"),
        ({"balancing": "cagrad", "balancing_args": {"c": -1}}, "c must be non-negative"),
        ({"balancing": "mgda", "balancing_args": {"c": 1}}, r"'mgda' has no options \['c'\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_a_model_is_built(changes, message, tmp_path, monkeypatch):
    monkeypatch.setattr("tsbn_hub.training.loop.build_model", None)
    with pytest.raises(ValueError, match=message):
        train_here(small(tmp_path, "run", **changes), monkeypatch)
    assert not (tmp_path / "run").exists()


TOGETHER = [
    {"balancing": "imtl-l", "backward": "task", "gradient_accumulation_steps": 2, "batch_size": 2},
    {"balancing": "gradnorm", "tasks_per_step": 1}, {"balancing": "stch", "freeze_trunk": True},
    {"balancing": "mgda", "norm": "shared", "tasks": ["corner"]},
]  # fmt: skip
TOGETHER_BY_NIGHT = [
    {"balancing": "pcgrad", "backward": "task", "gradient_accumulation_steps": 2, "batch_size": 2},
    {"balancing": "gls", "tasks_per_step": 1}, {"balancing": "uncertainty", "freeze_trunk": True},
    {"balancing": "gls", "norm": "shared"}, {"balancing": "upgrad", "norm": "affine"},
]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    cases_of(TOGETHER + TOGETHER_BY_NIGHT, TOGETHER),
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_what_goes_together(changes, tmp_path, monkeypatch):
    assert train_here(small(tmp_path, "run", **changes), monkeypatch)


def test_an_aggregator_of_ones_own_beside_a_balancing(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="balancing='gls' leaves no place for an aggregator"):
        train_here(small(tmp_path, "run", balancing="gls"), monkeypatch, aggregator=lambda gradients: gradients.sum(0))
    theirs = pytest.importorskip("torchjd.aggregation").GradVac()
    with pytest.raises(ValueError, match="GradVac of TorchJD learns from step to step, and its state cannot be saved"):
        train_here(small(tmp_path, "run", balancing="equal"), monkeypatch, aggregator=theirs)


# --- names ---


def test_the_names_are_those_of_the_docs_and_of_the_help():
    assert {name for name in balancings if balancings[name].__module__.startswith("tsbn_hub.")} == NAMES
    page = (ROOT / "docs/training.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)`", page.partition("## Balancing")[2].partition("\n## ")[0], re.M)) == NAMES
    told = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "400"})
    (line,) = [line for line in told.output.splitlines() if "--balancing" in line]
    assert set(re.findall(r"[\w-]+", line)) >= NAMES


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_names(old, new, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=f"The balancing '{old}' is now called '{new}'"):
        make_balancing(old, TASKS)
    with pytest.raises(ValueError, match=f"'{old}' was the name of the balancing '{new}'"):
        register_balancing(old)
    config = small(tmp_path, "run", balancing=old)
    assert TrainingConfig.read(config).balancing == new
    told = CliRunner().invoke(app, ["train", str(config), "--balancing", old])
    assert told.exit_code == 1 and f"is now called '{new}'" in told.stderr and not (tmp_path / "run").exists()


def test_a_run_from_before_a_name_has_changed_goes_on(tmp_path):
    """Its state and its recipe say `fixed`."""
    config = small(tmp_path, "run", balancing="equal")
    read = TrainingConfig.read(config)
    assert not read.differences({**asdict(read), "balancing": "fixed"})
    assert read.differences({**asdict(read), "balancing": "dynamic"}) == ["balancing: 'dwa', here 'equal'"]


def test_without_torchjd(monkeypatch):
    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "torchjd":
            raise ImportError("No module named 'torchjd'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in sorted(NAMES):
        if name in ("pcgrad", "cagrad", "upgrad", "mgda", "stch"):
            with pytest.raises(ImportError, match=rf"The balancing '{name}' .*: pip install 'tsbn_hub\[balancing\]'"):
                make_balancing(name, TASKS)
        else:
            make_balancing(name, TASKS)


def test_nothing_imports_torchjd_but_what_needs_it():
    files = [file for file in (ROOT / "tsbn_hub").rglob("*.py") if "torchjd" in file.read_text()]
    assert files and not [file for file in files if re.search(r"^(from|import) torchjd", file.read_text(), re.M)]


def test_loops_of_timm_take_weights_alone():
    import timm

    from tsbn_hub.training.timm.task import MultiTaskTraining

    model = timm.create_model("test_resnet_tsbn", num_classes={"a": 2, "b": 2})
    assert isinstance(MultiTaskTraining(model, verbose=False).weighting, LossWeighting)
    with pytest.raises(TypeError, match="GeometricLossStrategy is no LossWeighting"):
        MultiTaskTraining(model, weighting=GeometricLossStrategy(["a", "b"]), verbose=False)
