"""Loss weighting: closed forms, tasks that are idle, resumed runs."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from tsbn_hub.training.balancing import (
    DynamicWeightAverage,
    FixedWeights,
    LossWeighting,
    RandomWeighting,
    UncertaintyWeighting,
    make_balancing,
)

TASKS = ["type", "keys", "train"]  # names that nn.ModuleDict and nn.ParameterDict refuse
NAMES = ["equal", "uncertainty", "dwa", "rlw", "imtl-l"]


def scalars(losses):
    return {task: torch.tensor(loss) for task, loss in losses.items()}


def optimizer_of(weighting):
    parameters = list(weighting.parameters())
    return torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1) if parameters else None


def run(weighting, optimizer, epochs):
    """Train on made-up losses, a function of the epoch alone. The first task is idle in every other step."""
    history = []
    for epoch in epochs:
        losses = {task: 3.0 / (1 + epoch * (row + 1)) for row, task in enumerate(TASKS)}
        for step in range(4):
            active = TASKS[step % 2 :]
            history.append(weighting.weights(active))
            weighting.after_step(scalars({task: losses[task] for task in active}))
            if optimizer is not None:
                optimizer.step()
        weighting.after_epoch(losses)
    return history


def same(one, other):
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_shape_and_order_of_the_weights(name):
    weighting = make_balancing(name, TASKS)
    run(weighting, optimizer_of(weighting), range(3))
    weights = weighting.weights(TASKS)
    assert weights.shape == (3,) and weights.dtype == torch.float32 and not weights.requires_grad
    torch.testing.assert_close(weighting.weights(TASKS[::-1]), weights.flip(0))
    assert weighting.weights([]).shape == (0,)
    weights.zero_()
    assert weighting.weights(TASKS).any(), "a caller's change must not reach the weighting"


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_goes_on_bit_for_bit(name):
    weighting = make_balancing(name, TASKS, seed=3)
    optimizer = optimizer_of(weighting)
    run(weighting, optimizer, range(3))
    saved, saved_optimizer = save(weighting.state_dict()), copy.deepcopy(optimizer and optimizer.state_dict())
    expected = run(weighting, optimizer, range(3, 6))

    resumed = make_balancing(name, TASKS, seed=3)
    resumed.load_state_dict(load(saved))
    resumed_optimizer = optimizer_of(resumed)
    if resumed_optimizer is not None:
        resumed_optimizer.load_state_dict(saved_optimizer)
    assert same(run(resumed, resumed_optimizer, range(3, 6)), expected)
    if name != "equal":
        anew = make_balancing(name, TASKS, seed=3)
        assert not same(run(anew, optimizer_of(anew), range(3, 6)), expected), "else this test shows nothing"


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_agree_whatever_the_global_generator_does(name):
    one, other = (make_balancing(name, TASKS, seed=3) for _ in range(2))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    history = run(one, optimizer_of(one), range(3))
    assert torch.equal(torch.get_rng_state(), state), "something was drawn from the global generator"
    torch.manual_seed(2)
    assert same(run(other, optimizer_of(other), range(3)), history)


@pytest.mark.parametrize("name", NAMES)
@given(
    epochs=st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=3, max_size=3), min_size=1, max_size=6)
)
def test_weights_are_finite_and_not_negative(name, epochs):
    weighting = make_balancing(name, TASKS)
    parameters = list(weighting.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1.0) if parameters else None
    for epoch in epochs:
        losses = {task: loss for task, loss in zip(TASKS, epoch, strict=True) if loss is not None}
        weighting.after_step(scalars(losses))
        if optimizer is not None:
            optimizer.step()
        weighting.after_epoch(losses)
        weights = weighting.weights(TASKS)
        assert weights.isfinite().all() and (weights >= 0).all()


def test_the_base_class_weighs_all_the_same():
    weighting = LossWeighting(TASKS)
    assert all((weights == 1).all() for weights in run(weighting, None, range(3)))
    assert weighting.weights(["train", "type"]).tolist() == [1, 1] and not weighting.state_dict()


def test_fixed_weights():
    weighting = FixedWeights(TASKS, {"train": 0.25, "type": 0})
    run(weighting, None, range(2))
    assert weighting.weights(TASKS).tolist() == [0, 1, 0.25]
    assert weighting.weights(["train", "keys"]).tolist() == [0.25, 1]


def test_a_resumed_run_with_other_fixed_weights_has_these():
    weighting = FixedWeights(TASKS, {"type": 3})
    weighting.load_state_dict(FixedWeights(TASKS, {"type": 2}).state_dict())
    assert weighting.weights(["type"]).item() == 3


@pytest.mark.parametrize("weight", [-0.5, math.inf, math.nan, "1e-3", None])
def test_an_impossible_weight(weight):
    with pytest.raises(ValueError, match=r"of task 'keys' is no finite number"):
        FixedWeights(TASKS, {"keys": weight})


def test_uncertainty_has_the_gradient_of_the_total():
    weighting = UncertaintyWeighting(TASKS)
    start = torch.tensor([-1.5, 0.0, 2.0])
    for parameter, value in zip(weighting.parameters(), start, strict=True):
        parameter.data.copy_(value)
    log_variances, losses = start.clone().requires_grad_(), torch.tensor([0.3, 1e6, 4.0])
    (torch.exp(-log_variances) * losses + log_variances / 2).sum().backward()
    weighting.after_step(dict(zip(TASKS, losses, strict=True)))
    torch.testing.assert_close(torch.stack([each.grad for each in weighting.parameters()]), log_variances.grad)
    torch.testing.assert_close(weighting.weights(TASKS), torch.tensor([math.exp(1.5), 1.0, math.exp(-2.0)]))


def test_uncertainty_is_the_form_for_regression_with_a_shifted_start():
    """exp(-s) L / 2 + s / 2, the form that LibMTL and TorchJD use for all tasks, from s = -log 2 on."""
    losses = torch.tensor([0.2, 1.0, 5.0])
    weighting, log_variances = UncertaintyWeighting(TASKS), torch.full((3,), -math.log(2), requires_grad=True)
    optimizers = [torch.optim.SGD(each, lr=0.05) for each in (weighting.parameters(), [log_variances])]
    for _ in range(20):
        torch.testing.assert_close(weighting.weights(TASKS), torch.exp(-log_variances.detach()) / 2)
        log_variances.grad = None
        (torch.exp(-log_variances) * losses / 2 + log_variances / 2).sum().backward()
        weighting.after_step(dict(zip(TASKS, losses, strict=True)))
        for optimizer in optimizers:
            optimizer.step()


def test_uncertainty_arrives_at_half_the_inverse_of_the_loss():
    weighting = UncertaintyWeighting(TASKS)
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(200):
        weighting.after_step(scalars({"type": 0.1, "keys": 1.0, "train": 2.0}))
        optimizer.step()
    torch.testing.assert_close(weighting.weights(TASKS), torch.tensor([5.0, 0.5, 0.25]))


def test_uncertainty_leaves_an_idle_task_where_it_is():
    weighting = UncertaintyWeighting(TASKS)
    optimizer = torch.optim.AdamW(weighting.parameters(), lr=0.1, weight_decay=0.1)
    for active in (TASKS, ["type"], ["keys", "train"], ["type"], ["train"]):
        before = weighting.weights(TASKS)
        optimizer.zero_grad(set_to_none=False)
        weighting.after_step(scalars(dict.fromkeys(active, 3.0)))
        optimizer.step()
        moved = (weighting.weights(TASKS) != before).tolist()
        assert moved == [task in active for task in TASKS]


def test_uncertainty_has_no_gradient_but_by_after_step():
    weighting = UncertaintyWeighting(TASKS)
    loss = torch.tensor(2.0, requires_grad=True)
    (weighting.weights(["keys"]) * loss).sum().backward()
    assert all(parameter.grad is None for parameter in weighting.parameters())
    weighting.after_step({"keys": loss.detach().double()})  # of another dtype, as a mean over processes may be
    assert [parameter.grad for parameter in weighting.parameters()] == [None, torch.tensor(-1.5), None]


def test_dynamic_weights_are_those_of_the_paper():
    weighting = DynamicWeightAverage(TASKS, temperature=0.5)
    epochs = [[4.0, 2.0, 1.0], [2.0, 2.0, 3.0], [1.0, 1.5, 3.0], [1.0, 0.5, 2.0]]
    for epoch, losses in enumerate(epochs):
        weights = weighting.weights(TASKS)
        if epoch < 2:
            assert weights.tolist() == [1, 1, 1]
        else:
            rates = [last / before for last, before in zip(epochs[epoch - 1], epochs[epoch - 2], strict=True)]
            powers = [math.exp(rate / 0.5) for rate in rates]
            torch.testing.assert_close(weights, torch.tensor([3 * power / sum(powers) for power in powers]))
            assert weighting.weights(["train"]).item() == weights[2].item()
        weighting.after_epoch(dict(zip(TASKS, losses, strict=True)))


@pytest.mark.parametrize("absent", [{}, {"keys": math.nan}])
def test_dynamic_weights_of_a_task_that_misses_an_epoch(absent):
    weighting, other = DynamicWeightAverage(TASKS), DynamicWeightAverage(TASKS)
    epochs = [{"type": 2.0, "train": 1.0}, {"type": 1.0, "train": 0.9}, {"type": 0.8, "train": 0.9}]
    weighting.after_epoch({**epochs[0], "keys": 5.0})
    weighting.after_epoch({**epochs[1], "keys": 4.0})
    weighting.after_epoch({**epochs[2], **absent})
    other.after_epoch({**epochs[1], "keys": 5.0})  # what the tasks' last two losses are
    other.after_epoch({**epochs[2], "keys": 4.0})
    assert torch.equal(weighting.weights(TASKS), other.weights(TASKS))


def test_dynamic_weights_of_a_task_that_comes_late():
    """It weighs 1 until it has had two epochs, and the others weigh what they would without it."""
    weighting, without = DynamicWeightAverage(TASKS), DynamicWeightAverage(["type", "train"])
    for losses in ({"type": 2.0, "train": 1.0}, {"type": 1.0, "train": 0.9}):
        weighting.after_epoch(losses)
        without.after_epoch(losses)
    for _ in range(2):
        torch.testing.assert_close(weighting.weights(["type", "train"]), without.weights(["type", "train"]))
        assert weighting.weights(["keys"]).item() == 1 and weighting.weights(TASKS).sum().item() == pytest.approx(3)
        weighting.after_epoch({"keys": 4.0})
    assert weighting.weights(["keys"]).item() != 1


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_dynamic_weights_where_a_loss_was_zero(temperature):
    weighting = DynamicWeightAverage(TASKS, temperature)
    weighting.after_epoch({"type": 0.0, "keys": 2.0, "train": 0.0})
    weighting.after_epoch({"type": 0.0, "keys": 2.0, "train": 0.0})
    assert weighting.weights(TASKS).tolist() == pytest.approx([1, 1, 1])  # 0 / 0 counts as 1, like 2 / 2
    weighting.after_epoch({"type": 0.5, "keys": 2.0, "train": 0.0})
    assert weighting.weights(TASKS).tolist() == [3, 0, 0]  # the limit


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_temperature(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature} must be positive and finite"):
        DynamicWeightAverage(TASKS, temperature)


def test_random_weights_are_the_softmax_of_standard_normal_numbers():
    weighting = RandomWeighting(TASKS, seed=0)
    draws = []
    for _ in range(4000):
        draws.append(weighting.weights(TASKS))
        assert torch.equal(weighting.weights(TASKS), draws[-1]), "one draw a step"
        weighting.after_step({})
    weights = torch.stack(draws)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4000))
    assert len(weights.unique(dim=0)) == 4000
    # A softmax is known up to a constant, so the differences of its logarithms are those of the normal numbers:
    # mean 0, variance 2, covariance of two that share a number 1.
    logarithms = weights.log()
    differences = torch.stack([logarithms[:, 0] - logarithms[:, 1], logarithms[:, 0] - logarithms[:, 2]])
    torch.testing.assert_close(differences.mean(dim=1), torch.zeros(2), atol=0.1, rtol=0)
    torch.testing.assert_close(differences.cov(), torch.tensor([[2.0, 1.0], [1.0, 2.0]]), atol=0.2, rtol=0)


def test_random_weights_are_the_softmax_over_the_active_tasks():
    weighting = RandomWeighting(TASKS, seed=5)
    weights = weighting.weights(TASKS)
    torch.testing.assert_close(weighting.weights(["train", "type"]), weights[[2, 0]] / (weights[0] + weights[2]))
    assert weighting.weights(["keys"]).tolist() == [1]


def test_random_weights_of_other_seeds():
    """Nothing that one seed draws, another draws too: not at another step, nor where seeds agree in their low bits."""
    draws = []
    for seed in (0, 1, 2, 2**32, 2**32 + 1):
        weighting = RandomWeighting(TASKS, seed)
        for _ in range(20):
            draws.append(weighting.weights(TASKS))
            weighting.after_step({})
    assert len(torch.stack(draws).unique(dim=0)) == 100


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_task(name):
    weighting = make_balancing(name, TASKS)
    with pytest.raises(ValueError, match=r"Unknown tasks \['smile'\]. .* are \['type', 'keys', 'train'\]"):
        weighting.weights(["type", "smile"])
    if name in ("uncertainty", "imtl-l"):
        with pytest.raises(ValueError, match="Unknown tasks"):
            weighting.after_step(scalars({"smile": 1.0}))
    if name == "dwa":
        with pytest.raises(ValueError, match="Unknown tasks"):
            weighting.after_epoch({"smile": 1.0})
    if name == "equal":
        with pytest.raises(ValueError, match="Unknown tasks"):
            make_balancing(name, TASKS, weights={"smile": 1.0})


@pytest.mark.parametrize("tasks", [[], ["type", "keys", "type"]])
def test_no_tasks_and_a_task_twice(tasks):
    with pytest.raises(ValueError, match="at least one task, and each of them once"):
        LossWeighting(tasks)


def test_by_name():
    assert isinstance(make_balancing("uncertainty", TASKS, seed=1), UncertaintyWeighting)
    assert make_balancing("equal", TASKS).weights(TASKS).tolist() == [1, 1, 1]
    assert make_balancing("equal", TASKS, weights={"keys": 3}).weights(TASKS).tolist() == [1, 3, 1]
    dynamic, random = make_balancing("dwa", TASKS, temperature=5.0), make_balancing("rlw", TASKS, seed=7)
    assert isinstance(dynamic, DynamicWeightAverage) and dynamic.temperature == 5
    assert torch.equal(random.weights(TASKS), RandomWeighting(TASKS, seed=7).weights(TASKS))
    assert not torch.equal(random.weights(TASKS), RandomWeighting(TASKS, seed=8).weights(TASKS))


def test_an_unknown_name_and_option():
    with pytest.raises(ValueError, match=r"no balancing 'famous'") as error:
        make_balancing("famous", TASKS)
    known = str(error.value).partition(" Known: ")[2].rstrip(".").split(", ")
    assert {"dwa", "equal", "rlw", "uncertainty"} <= set(known)  # and those of other tests
    with pytest.raises(ValueError, match=r"'dwa' has no options \['T'\]. It has \['temperature'\]"):
        make_balancing("dwa", TASKS, T=2.0)
    with pytest.raises(ValueError, match=r"'rlw' has no options \['weights'\]. It has \[\]"):
        make_balancing("rlw", TASKS, weights={})
