"""What holds for every task norm: of any class, shape, number format, and number of tasks."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, LayerNorm2d, RmsNorm2d
from torch import Tensor, nn

import tsbn_hub  # noqa: F401
from tsbn_hub.norms import TaskBatchNorm, TaskModule, convert

NAMES = ["walk", "age", "type", "mask", "depth"]  # not in alphabetical order
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

few = settings(suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Case:
    """A plain norm, an input for it, and how it is converted."""

    kind: str
    tasks: list[str]
    channels: int
    batch: int
    spatial: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    options: dict[str, Any]
    seed: int
    momentum: float | None = 0.1
    track: bool = True
    affine: bool = True

    def plain(self) -> nn.Module:
        torch.manual_seed(self.seed)
        norm = self._norm()
        randomize(norm)
        return norm.to(self.dtype)

    def _norm(self) -> nn.Module:
        if self.kind == "BatchNorm":
            norm_class = BATCH_NORMS[max(len(self.spatial), 1)]
            keywords = dict(momentum=self.momentum, track_running_stats=self.track, affine=self.affine)
            return norm_class(self.channels, **keywords)
        if self.kind == "GroupNorm":
            return nn.GroupNorm(self.channels, self.channels, affine=self.affine)
        return {
            "LayerNorm": nn.LayerNorm,
            "RMSNorm": nn.RMSNorm,
            "LayerNorm2d": LayerNorm2d,
            "RmsNorm2d": RmsNorm2d,
            "BatchNormAct2d": BatchNormAct2d,
        }[self.kind](self.channels)

    def net(self) -> TaskModule:
        """Converted, and with gates, affine and statistics as training might leave them."""
        return randomize(self.fresh())

    def fresh(self) -> TaskModule:
        net = convert(nn.Sequential(self.plain()), tasks=self.tasks, gated="*", **self.options)
        return net.to(self.dtype)  # a plain norm without any tensor does not say its own

    def x(self, step: int = 0, batch: int | None = None) -> Tensor:
        torch.manual_seed(self.seed + step)
        batch = self.batch if batch is None else batch
        channels_first = self.kind not in ("LayerNorm", "RMSNorm")
        x = torch.randn(batch, self.channels, *self.spatial) if channels_first else torch.randn(batch, 3, self.channels)
        x = (1.5 * x + 0.3).to(self.dtype)
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return x.to(memory_format=formats[x.ndim]) if self.channels_last and x.ndim in formats else x


KINDS = ("BatchNorm", "BatchNormAct2d", "LayerNorm", "RMSNorm", "GroupNorm", "LayerNorm2d", "RmsNorm2d")


@st.composite
def cases(draw, kinds=KINDS, tasks=(1, 5), styles=("sigmoid", "affine"), dtypes=None, **fixed):
    kind = draw(st.sampled_from(kinds))
    size = st.integers(1, 4)
    dimensions = {"BatchNorm": (0, 3), "GroupNorm": (1, 3)}.get(kind, (2, 2))
    spatial = tuple(draw(st.lists(size, min_size=dimensions[0], max_size=dimensions[1])))
    if kind == "GroupNorm":
        spatial = (*spatial[:-1], spatial[-1] + 1)  # of one value, a group is all zeros
    style = draw(st.sampled_from(styles))
    options = dict(norm=style)
    if style == "sigmoid":
        options.update(keep_affine=draw(st.booleans()), gate_init=draw(st.sampled_from([0.5, 0.1, 0.73, 0.99])))
    case = Case(
        kind=kind,
        tasks=NAMES[: draw(st.integers(*tasks))],
        channels=draw(st.integers(1, 9)),
        batch=draw(st.integers(2, 5)),
        spatial=spatial,
        dtype=draw(st.sampled_from(dtypes or (torch.float32, torch.float64, torch.bfloat16))),
        channels_last=draw(st.booleans()),
        options=options,
        seed=draw(st.integers(0, 999)),
    )
    if kind == "BatchNorm":
        case.momentum = draw(st.sampled_from([0.1, 0.7, None]))
        case.track, case.affine = draw(st.booleans()), draw(st.booleans())
    for name, value in fixed.items():
        setattr(case, name, value)
    return case


@torch.no_grad()
def randomize(module: nn.Module) -> nn.Module:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        kind = name.rpartition(".")[2]
        if kind == "running_var":
            tensor.uniform_(0.5, 2)
        elif kind in ("weight", "gate_logits") and tensor.requires_grad:
            tensor.normal_(1, 0.5)
        elif kind in ("bias", "running_mean"):
            tensor.normal_(0, 0.5)
    return module


def same(actual: Tensor, expected: Tensor) -> bool:
    return actual.dtype == expected.dtype and bool(torch.isfinite(expected).all()) and torch.equal(actual, expected)


def rounding_bound(plain: nn.Module, x: Tensor) -> float:
    """How far rounding may move a norm's output when its weight and bias are divided by a gate and multiplied again.

    Every rounding moves a value by at most eps / 2 of it. With w the weight, b the bias and n what is normalised, the
    quotient and the product come to eps (|w| |n| + |b|); scale = w / std, the product with it and the sum with b, of
    two kernels, to at most three times as much.

    Both kernels get the same x: mean and std, whatever their error, are the same in both. But BatchNorm and GroupNorm
    compute scale * x + (b - scale * mean). Here scale * mean, the bracket and scale * x are rounded while they hold
    |w| |mean| / std, which cancels only in the sum: for two kernels, 3 eps |w| |mean| / std, with the eps that they
    compute in. LayerNorm and RMSNorm finish what is normalised, and its error by |mean| / std with it, before they
    multiply it by a weight.
    """
    unit = copy.deepcopy(plain)
    with torch.no_grad():
        weight, bias = plain.weight.abs().max().item(), 0.0
        unit.weight.fill_(1)
        if getattr(plain, "bias", None) is not None:
            bias = plain.bias.abs().max().item()
            unit.bias.zero_()
            if hasattr(unit, "act"):
                unit.act = nn.Identity()
        eps = torch.finfo(x.dtype).eps
        computing_eps = min(eps, torch.finfo(torch.float32).eps)  # bfloat16 is computed in float32
        bound = 4 * eps * (weight * unit(x).abs().max().item() + bias)
        return bound + 3 * computing_eps * weight * subtracted_after_scaling(plain, x)


def subtracted_after_scaling(plain: nn.Module, x: Tensor) -> float:
    """The largest |mean| / std of a norm that scales before it subtracts the mean, else 0."""
    x = x.double()
    if isinstance(plain, nn.GroupNorm):
        variance, mean = torch.var_mean(x.reshape(len(x), plain.num_groups, -1), dim=2, correction=0)
    elif not isinstance(plain, nn.modules.batchnorm._BatchNorm):
        return 0.0
    elif plain.training:
        variance, mean = torch.var_mean(x.transpose(0, 1).flatten(1), dim=1, correction=0)
    else:
        variance, mean = plain.running_var.double(), plain.running_mean.double()
    return (mean.abs() / (variance + plain.eps).sqrt()).max().item()


# (a)
@few
@given(case=cases(kinds=KINDS, track=True, affine=True), training=st.booleans())
def test_conversion_keeps_the_function(case, training):
    assume(case.options["norm"] == "affine" or case.options["keep_affine"])
    plain = case.plain().train(training)
    net, x = case.fresh().train(training), case.x()
    exact = case.options.get("gate_init", 0.5) == 0.5
    bound = 0.0 if exact else rounding_bound(plain, x)
    for task in case.tasks:
        expected = copy.deepcopy(plain)(x)
        output = net(x, task=task)
        assert torch.isfinite(expected).all() and output.dtype == expected.dtype
        assert (output.double() - expected.double()).abs().max() <= bound


@pytest.mark.parametrize("gate_init", [0.5, 0.2])
@pytest.mark.parametrize(
    "plain",
    [nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4, elementwise_affine=False)],
    ids=["BatchNorm", "LayerNorm"],
)
def test_conversion_of_a_norm_without_affine_keeps_the_function(plain, gate_init):
    x = torch.randn(8, 4)
    net = convert(nn.Sequential(copy.deepcopy(plain)), tasks=["a", "b"], gated="*", gate_init=gate_init)
    torch.testing.assert_close(net(x, task="b"), plain(x))
    torch.testing.assert_close(net.fold("b")(x), plain(x))


@pytest.mark.parametrize("norm", ["sigmoid", "affine"])
def test_conversion_of_a_norm_without_any_tensor_follows_the_network(norm):
    """Gates have the number format (and device) of what is around them."""
    plain = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False)).double()
    net = convert(plain, tasks=["a", "b"], norm=norm, gated="*")
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float64}
    assert net(torch.randn(2, 4, dtype=torch.float64), task="a").dtype == torch.float64
    meta = nn.Sequential(nn.Linear(4, 4, device="meta"), nn.LayerNorm(4, elementwise_affine=False))
    net = convert(meta, tasks=["a", "b"], norm=norm, gated="*")
    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}


@few
@given(case=cases(kinds=("BatchNorm", "LayerNorm"), affine=True, track=True))
def test_gates_start_where_they_were_asked_to(case):
    norm = case.fresh()[0]
    if case.options["norm"] == "affine":
        assert norm.gate_logits is None
        assert norm.weight.shape == norm.bias.shape == (len(case.tasks), case.channels)
    else:
        gates = norm.gates.detach().double()
        assert gates.shape == (len(case.tasks), case.channels)
        assert (gates - case.options["gate_init"]).abs().max() <= 4 * torch.finfo(case.dtype).eps
        assert (norm.bias is None) is not case.options["keep_affine"]


# (b)
@few
@given(case=cases(), training=st.booleans())
def test_fold_is_exact(case, training):
    assume(case.batch * torch.Size(case.spatial).numel() > 1)
    net = case.net().train(training)
    for row, task in enumerate(case.tasks):
        plain, x = net.fold(task), case.x(row)
        assert type(plain) is nn.Sequential and type(plain[0]) is type(case.plain())
        assert same(net(x, task=task), plain(x))


# (c)
@few
@given(case=cases(kinds=("BatchNorm", "BatchNormAct2d")), data=st.data())
def test_statistics_are_those_of_the_plain_norm_and_of_no_other_task(case, data):
    net = case.net().train()
    before = copy.deepcopy(net.state_dict())
    plains = {task: net.fold(task) for task in case.tasks}
    trained = data.draw(st.lists(st.sampled_from(case.tasks), max_size=5))
    for step, task in enumerate(trained):
        x = case.x(step)
        assert same(net(x, task=task), plains[task](x))
    assert isinstance(net[0], TaskBatchNorm)
    if not case.track:
        assert not [name for name in net.state_dict() if name.rpartition(".")[2] in STATISTICS]
        return
    for row, task in enumerate(case.tasks):
        assert net[0].num_batches_tracked[row] == trained.count(task)
        for name in STATISTICS:
            mine = net[0].get_buffer(name)[row]
            assert torch.equal(mine, plains[task][0].get_buffer(name)), name
            if task not in trained:
                assert torch.equal(mine, before[f"0.{name}"][row]), name


@pytest.mark.parametrize("training", [False, True])
def test_statistics_that_are_kept_but_no_longer_tracked(training):
    """`norm.track_running_stats = False` stops the updates in training; evaluation still normalises by them."""
    plain = randomize(nn.BatchNorm2d(4)).train(training)
    plain.track_running_stats = False
    net = convert(nn.Sequential(copy.deepcopy(plain)), tasks=["a", "b"])
    for step in range(2):
        torch.manual_seed(step)
        x = torch.randn(4, 4, 2, 2)
        assert same(net(x, task="a"), plain(x))
    for name in STATISTICS:
        assert torch.equal(net[0].get_buffer(name)[0], plain.get_buffer(name)), name


# (d)
@few
@given(case=cases(), data=st.data(), training=st.booleans())
def test_one_task_a_sample(case, data, training):
    batch = data.draw(st.integers(2, 8))
    tasks = data.draw(st.lists(st.sampled_from(case.tasks), min_size=batch, max_size=batch))
    enough = torch.Size(case.spatial).numel() > 1
    assume(enough or not training or all(tasks.count(task) > 1 for task in tasks) or "Batch" not in case.kind)
    # A BatchNorm without statistics normalises by the batch in evaluation, too.
    assume(enough or case.track or all(tasks.count(task) > 1 for task in tasks))
    net = case.net().train(training)
    alone, by_rows, x = copy.deepcopy(net), copy.deepcopy(net), case.x(batch=batch)
    output = net(x, task=tasks)
    rows = torch.tensor([case.tasks.index(task) for task in tasks])
    assert same(by_rows(x, task=rows), output)
    for task in case.tasks:
        at = [index for index, name in enumerate(tasks) if name == task]
        if at:
            # Exactly: a tolerance would have to grow with |mean| / std, up to its square where a kernel takes the
            # variance from E[x^2] - mean^2. But x[at] has the values and the strides of this task's slice of the sorted
            # batch (both are indexed by a list): the kernel, and with it the order of its sums, is the same.
            assert same(output[at], alone(x[at], task=task))
    for name, value in net.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name


# (e)
@few
@given(case=cases(tasks=(1, 4)), data=st.data(), training=st.booleans())
def test_adding_and_removing_tasks(case, data, training):
    assume(case.batch * torch.Size(case.spatial).numel() > 1)
    net, x = case.net().train(training), case.x()
    like = data.draw(st.sampled_from(case.tasks))

    def outputs() -> dict[str, Tensor]:
        """Without a trace in the statistics."""
        return {task: copy.deepcopy(net)(x, task=task) for task in net.tasks}

    before, state = outputs(), copy.deepcopy(net.state_dict())
    net.add_task("copy", like=like)
    net.add_task("new")
    assert net.tasks == [*case.tasks, "copy", "new"]
    after = outputs()
    assert all(same(after[task], before[task]) for task in case.tasks)
    assert same(after["copy"], before[like])
    norm = net[0]
    if norm.gate_logits is not None:
        torch.testing.assert_close(norm.gate_logits[-1], case.fresh()[0].gate_logits[0])
    if isinstance(norm, TaskBatchNorm) and norm.running_mean is not None:
        assert not norm.running_mean[-1].any() and (norm.running_var[-1] == 1).all()
    removed = data.draw(st.sampled_from(case.tasks))
    net.remove_task(removed)
    assert net.tasks == [task for task in [*case.tasks, "copy", "new"] if task != removed]
    left = outputs()
    assert all(same(left[task], after[task]) for task in net.tasks)
    if removed != like:
        for task in ("copy", "new"):
            net.remove_task(task)
        rows = [row for row, task in enumerate(case.tasks) if task != removed]
        for name, value in net.state_dict().items():
            stacked = name.rpartition(".")[2] in norm.stacked_names()
            assert torch.equal(value, state[name][rows] if stacked else state[name]), name


# (f)
@few
@given(case=cases(), training=st.booleans())
def test_a_state_dict_round_trip(case, training):
    assume(case.batch * torch.Size(case.spatial).numel() > 1)
    net, other = case.net().train(training), case.fresh().train(training)
    state = copy.deepcopy(net.state_dict())
    other.load_state_dict(state, strict=True)
    assert list(other.state_dict()) == list(state)
    for name, value in other.state_dict().items():
        assert torch.equal(value, state[name]), name
    x = case.x()
    for task in case.tasks:
        assert same(other(x, task=task), net(x, task=task))


@few
@given(case=cases(kinds=KINDS, track=True, affine=True), training=st.booleans())
def test_a_plain_state_dict_keeps_the_function(case, training):
    assume(case.options["norm"] == "affine" or case.options["keep_affine"])
    plain, net = case.plain().train(training), case.net().train(training)
    state = {f"0.{name}": value for name, value in plain.state_dict().items()}
    given_state = copy.deepcopy(state)
    net.load_state_dict(state, strict=True)
    assert all(torch.equal(value, given_state[name]) for name, value in state.items()), "the caller's own is changed"
    x = case.x()
    bound = 0.0 if case.options.get("gate_init", 0.5) == 0.5 else rounding_bound(plain, x)
    for task in case.tasks:
        expected = copy.deepcopy(plain)(x)
        assert (net(x, task=task).double() - expected.double()).abs().max() <= bound
    if case.kind.startswith("BatchNorm"):
        # `expected` came from copies: the statistics of `plain` are those that were loaded.
        assert net.load_state_dict(state) and torch.equal(net[0].running_mean[0], plain.running_mean)


@pytest.mark.parametrize("kind", ["BatchNorm", "LayerNorm"])
def test_a_plain_state_dict_without_a_place_for_its_affine(kind):
    plain = {"BatchNorm": nn.BatchNorm1d, "LayerNorm": nn.LayerNorm}[kind](4)
    state = nn.Sequential(randomize(copy.deepcopy(plain))).state_dict()
    dropped = convert(nn.Sequential(copy.deepcopy(plain)), tasks=["a", "b"], gated="*", keep_affine=False)
    dropped.load_state_dict(state, strict=True)
    assert (dropped[0].gates == 0.5).all()
    from tsbn_hub.norms import NormOptions, TaskSelector
    from tsbn_hub.norms.convert import convert_norms
    from tsbn_hub.norms.task_class import as_task_module

    by_default, selector = nn.Sequential(plain), TaskSelector(["a", "b"])
    convert_norms(by_default, selector, NormOptions(keep_affine=False), ["0"])
    net = as_task_module(by_default, selector)
    with pytest.raises(RuntimeError, match="keep_affine=True"):
        net.load_state_dict(state)


# (g)
@few
@given(case=cases(dtypes=(torch.float32, torch.float64)), data=st.data())
def test_idle_tasks_have_no_gradient(case, data):
    assume(case.batch * torch.Size(case.spatial).numel() > 1)
    net = case.net().train()
    ran = data.draw(st.sets(st.sampled_from(case.tasks), min_size=1))
    for step, task in enumerate(sorted(ran)):
        output = net(case.x(step), task=task)
        (output * torch.randn_like(output)).sum().backward()
    for name in net[0].stacked_names():
        parameter = getattr(net[0], name)
        if isinstance(parameter, nn.Parameter):
            for row, task in enumerate(case.tasks):
                if task not in ran:
                    assert torch.count_nonzero(parameter.grad[row]) == 0, f"{name} of {task}"
            if case.kind == "RMSNorm":  # in the others, a norm of one value, or its activation, may be zero
                assert all(parameter.grad[case.tasks.index(task)].any() for task in ran)


@pytest.mark.parametrize("keep_affine", [True, False])
@pytest.mark.parametrize("norm", ["sigmoid", "affine"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("plain", [nn.BatchNorm2d(3), nn.LayerNorm(3)], ids=["BatchNorm", "LayerNorm"])
def test_gradients_agree_with_differences(plain, training, norm, keep_affine):
    torch.manual_seed(0)
    net = convert(nn.Sequential(copy.deepcopy(plain)), ["a", "b"], norm=norm, gated="*", keep_affine=keep_affine)
    net = randomize(net.double()).train(training)
    parameters = dict(net.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    x = torch.randn((4, 3, 2, 1) if isinstance(plain, nn.BatchNorm2d) else (4, 2, 3), dtype=torch.float64)

    def function(x: Tensor, *values: Tensor) -> Tensor:
        state = {**dict(zip(parameters, values, strict=True)), **{name: b.clone() for name, b in buffers.items()}}
        return torch.func.functional_call(net, state, (x,), {"task": "b"})

    inputs = [value.detach().clone().requires_grad_() for value in (x, *parameters.values())]
    assert torch.autograd.gradcheck(function, inputs)
    by_name = dict(zip(parameters, torch.autograd.grad(function(*inputs).square().sum(), inputs)[1:], strict=True))
    stacked = "0.gate_logits" if norm == "sigmoid" else "0.weight"
    assert not by_name[stacked][0].any() and by_name[stacked][1].all()
