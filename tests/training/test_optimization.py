"""Optimizers leave tasks apart; learning rates follow closed forms."""

import math
from fractions import Fraction

import pytest
import timm
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

import tsbn_hub
from tests.matrices import NIGHTLY, cases_of
from tsbn_hub.training import idle_tasks_at_rest
from tsbn_hub.training.optimization import create_optimizer, create_schedule

# All that timm 1.0.31 can build on a CPU and step after a plain backward pass, but kron, which compiles for a minute.
LEFT_OUT = ("bnb", "fused", "adahessian", "kron")
NAMES = [name for name in timm.optim.list_optimizers() if not name.startswith(LEFT_OUT)]
# By day one of each kind of state and of step, and those that mix: in a layer, over all, by factors, by projections.
BY_DAY = [
    "adabelief", "adadelta", "adafactor", "adagrad", "adamp", "adamw", "adopt", "csgdw", "lamb", "laprop", "lars",
    "lion", "madgrad", "mars", "muon", "nadamw", "novograd", "rmsprop", "rmsproptf", "sgd", "sgdp",
]  # fmt: skip
TASKS = [f"task {number}" for number in range(16)]


def model_with_tasks(tasks=TASKS):
    torch.manual_seed(0)
    return timm.create_model("test_vit2_tsbn", tasks=tasks, num_classes=8, keep_affine=True)


def first_task_after(model, optimizer, others):
    """What belongs to the first task after some steps, with the other tasks' gradients times `others`."""
    generator = torch.Generator().manual_seed(1)
    gates = [parameter for name, parameter in model.named_parameters() if "gate_logits" in name]
    own = [(gate, 1) for gate in gates] + [(model.head.weight, 8), (model.head.bias, 8)]
    for size in (0.001, 0.01, 0.1, 1.0) * 2:
        for parameter, rows in own:
            parameter.grad = size * torch.randn(parameter.shape, generator=generator)
            parameter.grad[rows:] *= others
        optimizer.step()
    return [parameter.detach()[:rows] for parameter, rows in own]


def accepted(model, name, **arguments):
    try:
        return create_optimizer(model, name, lr=0.01, **arguments)
    except ValueError as error:
        assert "mixes the tasks" in str(error) or "start its state at zero" in str(error)
        return None


@pytest.mark.parametrize("name", cases_of(NAMES, BY_DAY))
def test_what_is_accepted_leaves_tasks_apart_and_what_is_refused_does_not(name):
    apart = []
    for others in (0.5, -3.0, 0.0):
        model = model_with_tasks()
        groups = tsbn_hub.param_groups(model, lr=0.01)
        apart.append(first_task_after(model, timm.optim.create_optimizer_v2(groups, opt=name, lr=0.01), others))
    mixes = not all(torch.equal(*pair) for other in apart[1:] for pair in zip(apart[0], other, strict=True))
    stand_in = nn.Parameter(torch.ones(8, 8))
    optimizer = timm.optim.create_optimizer_v2([stand_in], opt=name, lr=0.01)
    stand_in.grad = torch.zeros(8, 8)
    optimizer.step()
    starts_elsewhere = any(
        value.abs().max() > 1e-6
        for value in optimizer.state[stand_in].values()
        if torch.is_tensor(value) and value.shape == stand_in.shape
    )
    assert (accepted(model_with_tasks(), name) is None) == (mixes or starts_elsewhere)


@pytest.mark.parametrize("name", cases_of(NAMES, BY_DAY))
def test_idle_tasks_stay_at_rest_with_all_that_is_accepted(name):
    if not accepted(model_with_tasks(["a", "b"]), name):
        return  # the test above holds why
    model = timm.create_model("test_vit2_tsbn", tasks=["a", "b", "c"], num_classes=2).train()
    optimizer = create_optimizer(model, name, lr=1e-3)
    for active in (["a"], ["b"], ["a", "c"], ["b"]):
        idle = [row for row, task in enumerate(model.tasks) if task not in active]
        gates = [(key, value) for key, value in model.named_parameters() if "gate_logits" in key]
        before = [value.detach()[idle].clone() for _, value in gates]
        optimizer.zero_grad()
        sum(model(torch.randn(2, 3, 64, 64), task=task).square().mean() for task in active).backward()
        with idle_tasks_at_rest(model, optimizer, active):
            optimizer.step()
        assert all(torch.equal(value[idle], kept) for (_, value), kept in zip(gates, before, strict=True))
        assert all(value.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("name", ["adamw", "muon", "lamb", "adafactor", "madgrad"])
def test_one_task_takes_every_optimizer(name):
    assert accepted(model_with_tasks(["one"]), name)
    assert accepted(timm.create_model("test_vit2"), name)


def test_where_only_gates_are_stacked_matrices_of_weights_may_be_mixed():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 8))
    model = tsbn_hub.convert(net, tasks=TASKS)
    assert accepted(model, "muon") and accepted(model, "lamb", options={"max_grad_norm": None})
    assert not accepted(model, "lamb") and not accepted(model, "adafactor")
    if NIGHTLY:  # it compiles
        assert not accepted(model, "kron")


@pytest.mark.parametrize("name", ["nadamw", "lion", "sgdw"])
def test_an_option_that_mixes(name):
    model = model_with_tasks()
    assert accepted(model, name)
    with pytest.raises(ValueError, match=f"optimizer='{name}' mixes the tasks"):
        create_optimizer(model, name, lr=0.01, options={"caution": True})


def test_groups_and_options_arrive():
    model = model_with_tasks()
    options = {"betas": (0.8, 0.9), "eps": 1e-3}
    optimizer = create_optimizer(model, "adamw", 0.1, 0.2, gate_lr_scale=3.0, layer_decay=0.5, options=options)
    expected = tsbn_hub.param_groups(model, 0.1, 0.2, gate_lr_scale=3.0, layer_decay=0.5)
    assert isinstance(optimizer, torch.optim.AdamW)
    for group, built in zip(expected, optimizer.param_groups, strict=True):
        assert all(built[key] == group[key] for key in ("name", "lr", "weight_decay"))
        assert built["betas"] == (0.8, 0.9) and built["eps"] == 1e-3
        assert all(one is other for one, other in zip(group["params"], built["params"], strict=True))
    assert options == {"betas": (0.8, 0.9), "eps": 1e-3}
    assert create_optimizer(model, "sgd", 0.1).defaults["momentum"] == 0.9
    assert create_optimizer(model, "SGD", 0.1, options={"momentum": 0.5}).defaults["momentum"] == 0.5


def test_trying_out_leaves_no_trace():
    model = model_with_tasks()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    state = torch.get_rng_state()
    optimizer = create_optimizer(model, "adamw", 0.1)
    assert torch.equal(state, torch.get_rng_state())
    assert not optimizer.state and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamww", {}, r"'adamww' is unknown. Do you mean one of \['adamw'"),
        ("lookahead_adamw", {}, "'lookahead_adamw' is unknown.*Known: timm.optim.list_optimizers"),
        ("adamw", {"momentum": 0.9}, r"'adamw' has no options \['momentum'\]. It has \['betas'"),
        ("sgd", {"lr": 1.0}, r"'sgd' has no options \['lr'\]"),
        ("adahessian", {}, "needs second derivatives"),
    ],
)
def test_what_cannot_be(name, options, message):
    for model in (model_with_tasks(), timm.create_model("test_vit2")):
        with pytest.raises(ValueError, match=message):
            create_optimizer(model, name, 0.1, options=options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
@pytest.mark.parametrize("name", ["bnbadamw", "fusedlamb"])
def test_what_cannot_be_here(name):
    with pytest.raises(ValueError, match=f"'{name}' cannot be built here: CUDA required"):
        create_optimizer(model_with_tasks(), name, 0.1)


# Learning rates


def two_groups():
    trunk, gates = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    return torch.optim.SGD([{"params": [trunk], "lr": 0.1}, {"params": [gates], "lr": 10.0}], momentum=0.9)


def rates(name, steps, **arguments):
    """The factor of each step, which both groups must have alike."""
    optimizer = two_groups()
    schedule = create_schedule(optimizer, name, **arguments)
    factors = []
    for step in steps:
        schedule.set_lr(step)
        trunk, gates = (group["lr"] for group in optimizer.param_groups)
        assert gates == pytest.approx(100 * trunk, rel=1e-12)
        factors.append(trunk / 0.1)
    return factors


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (3, 4), (5, 7), (10, 33)])
def test_cosine_is_torchs(epochs, steps_per_epoch):
    steps = epochs * steps_per_epoch
    reference = two_groups()
    scheduler = CosineAnnealingLR(reference, T_max=steps)
    expected = []
    for _ in range(steps):
        expected.append(reference.param_groups[0]["lr"] / 0.1)
        reference.step()
        scheduler.step()
    ours = rates("cosine", range(steps), epochs=epochs, steps_per_epoch=steps_per_epoch)
    assert ours == pytest.approx(expected, abs=1e-9)
    assert ours[0] == 1 and min(ours) > 0


@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "decay_epochs"), [(6, 4, 2), (7, 5, 3), (100, 11, 30), (2, 3, 5)]
)
def test_steps_are_torchs_and_whole_epochs(epochs, steps_per_epoch, decay_epochs):
    reference = two_groups()
    scheduler = StepLR(reference, step_size=decay_epochs, gamma=0.3)
    expected = []
    for _ in range(epochs):
        expected += [reference.param_groups[0]["lr"] / 0.1] * steps_per_epoch
        reference.step()
        scheduler.step()
    arguments = {"epochs": epochs, "steps_per_epoch": steps_per_epoch, "decay_epochs": decay_epochs, "decay_rate": 0.3}
    assert rates("step", range(epochs * steps_per_epoch), **arguments) == pytest.approx(expected)
    # The warm-up neither delays nor hastens the decays.
    warm = rates("step", range(epochs * steps_per_epoch), warmup_epochs=1, **arguments)
    assert warm[steps_per_epoch:] == pytest.approx(expected[steps_per_epoch:])


@pytest.mark.parametrize("name", ["cosine", "step", "constant"])
@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(2, 1), (3, 4), (4, 7), (5, 10)])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.25, 0.3, 1.0, 1.5, 2.0])
def test_every_step_of_a_warm_up(name, epochs, steps_per_epoch, warmup_epochs):
    steps, warmup = epochs * steps_per_epoch, Fraction(str(warmup_epochs)) * steps_per_epoch
    expected = []
    for step in range(steps):
        rise = (step + 1) / warmup if step + 1 < warmup else 1
        angle = math.pi * float((step - warmup) / (steps - warmup)) if step > warmup else 0.0
        curve = {"cosine": 0.5 * (1 + math.cos(angle)), "step": 0.5 ** (step // (2 * steps_per_epoch)), "constant": 1.0}
        expected.append(float(rise) * curve[name])
    ours = rates(
        name,
        range(steps),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        warmup_epochs=warmup_epochs,
        decay_epochs=2,
        decay_rate=0.5,
    )
    assert ours == pytest.approx(expected, abs=1e-12)
    assert all(0 < factor <= 1 for factor in ours)


def test_first_middle_and_last_step():
    arguments = {"epochs": 10, "steps_per_epoch": 10, "warmup_epochs": 2}
    first, top, start, middle, last = rates("cosine", (0, 19, 20, 60, 99), **arguments)
    assert first == pytest.approx(1 / 20) and top == 1 and start == 1
    assert middle == pytest.approx(0.5) and last == pytest.approx(0.5 * (1 + math.cos(math.pi * 79 / 80)))
    assert rates("cosine", (100, 150), **arguments) == pytest.approx([0.0, 0.0], abs=1e-15)
    assert rates("constant", (0, 99), epochs=1, steps_per_epoch=100, warmup_epochs=1) == pytest.approx([0.01, 1.0])


def test_a_resumed_run_has_the_same_rates():
    def run(optimizer, schedule, steps):
        for step in steps:
            schedule.set_lr(step)
            for group in optimizer.param_groups:
                group["params"][0].grad = torch.full((2,), 0.1 * (step + 1))
            optimizer.step()
        return [group["params"][0].detach().clone() for group in optimizer.param_groups]

    arguments = {"name": "cosine", "epochs": 4, "steps_per_epoch": 5, "warmup_epochs": 1.5}
    whole = two_groups()
    expected = run(whole, create_schedule(whole, **arguments), range(20))

    stopped = two_groups()
    run(stopped, create_schedule(stopped, **arguments), range(9))
    resumed = two_groups()
    schedule = create_schedule(resumed, **arguments)
    resumed.load_state_dict(stopped.state_dict())  # has the learning rates of step 8
    for group, old in zip(resumed.param_groups, stopped.param_groups, strict=True):
        group["params"][0].data.copy_(old["params"][0])
    assert all(torch.equal(*pair) for pair in zip(run(resumed, schedule, range(9, 20)), expected, strict=True))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "exponential"}, "schedule='exponential' is unknown. Known: cosine, step, constant"),
        ({"epochs": 0}, "epochs=0 must be positive"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0 must be positive"),
        ({"warmup_epochs": -1}, "warmup_epochs=-1 must lie between 0 and the run's 3 epochs"),
        ({"warmup_epochs": 3.5}, "warmup_epochs=3.5 must lie"),
        ({"decay_epochs": 0}, "decay_epochs=0 must be positive"),
        ({"decay_rate": 0}, "decay_rate=0 must lie"),
        ({"decay_rate": 1.5}, "decay_rate=1.5 must lie"),
    ],
)
def test_wrong_numbers(changed, message):
    with pytest.raises(ValueError, match=message):
        create_schedule(two_groups(), **{"name": "cosine", "epochs": 3, "steps_per_epoch": 4} | changed)
