"""BatchNorms without gates: before the fork a batch counts once a step, after it once a task."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, convert

TASKS = ["second", "first", "third"]


def block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


class Blocks(nn.Sequential):
    """Some blocks; with `recompute`, under gradient checkpointing."""

    recompute = reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        for each in self:
            x = torch.utils.checkpoint.checkpoint(each, x, use_reentrant=self.reentrant) if self.recompute else each(x)
        return x


def build(gated: str = "1.1", **keywords: object) -> nn.Module:
    """Three blocks: before the fork, the fork, after the fork."""
    torch.manual_seed(0)
    net = convert(Blocks(block(3, 4), block(4, 5), block(5, 6)), tasks=TASKS, gated=gated, **keywords).double()
    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, TaskBatchNorm):
                for parameter in norm.parameters():
                    parameter.normal_(0.5, 1)
    return net.train()


def images(batch: int = 6) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 3, 5, 5, dtype=torch.float64)


def statistics(norm: nn.Module) -> list[Tensor]:
    return [norm.running_mean, norm.running_var, norm.num_batches_tracked]


def assert_same_statistics(norm: nn.Module, expected: nn.Module) -> None:
    for mine, other in zip(statistics(norm), statistics(expected), strict=True):
        assert torch.equal(mine, other)


class Spy:
    """What passes a module."""

    def __init__(self, module: nn.Module):
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        module.register_forward_hook(self._see)

    def _see(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        self.inputs.append(args[0].detach().clone())
        self.outputs.append(output.detach().clone())


def test_which_norms_are_shared():
    net = build()
    assert [type(each[1]) for each in net] == [SharedBatchNorm, TaskBatchNorm, SharedBatchNorm]
    assert not any(isinstance(norm, SharedBatchNorm) for norm in build("*").modules())


def test_all_tasks_one_after_another():
    net, x = build(), images()
    before, after = net[0][1].fold(), copy.deepcopy(net[2][1].fold())
    plain_before = copy.deepcopy(before)
    folded = {task: net.fold(task) for task in TASKS}
    first, last = Spy(net[0][1]), Spy(net[2][1])
    outputs = net(x)

    plain_before(first.inputs[0])
    assert_same_statistics(net[0][1], plain_before)
    assert net[0][1].num_batches_tracked == 1
    for row, task in enumerate(TASKS):
        assert torch.equal(outputs[task], folded[task](x)), "in training, too, each task is its plain network"
        assert torch.equal(after(last.inputs[row]), last.outputs[row])
    assert_same_statistics(net[2][1], after)
    assert net[2][1].num_batches_tracked == 3
    assert net[1][1].num_batches_tracked.tolist() == [1, 1, 1]


def test_the_order_is_that_of_the_tasks():
    """An average that forgets depends on the order."""
    net, other, x = build(), build(), images()
    with torch.no_grad():
        net(x)
        for task in reversed(TASKS):
            other(x, task=task)
    assert not torch.equal(net[2][1].running_mean, other[2][1].running_mean)
    assert other[0][1].num_batches_tracked == 3, "three calls are three steps"


def test_every_step_counts():
    net = build()
    for _ in range(2):
        net(images())
    assert [int(net[at][1].num_batches_tracked) for at in (0, 2)] == [2, 6]


def test_one_task_a_sample():
    net, x = build(), images()
    tasks = ["first", "third", "second", "first", "third", "first"]
    in_order = x[[2, 0, 3, 5, 1, 4]]  # by row of the task
    before, after = copy.deepcopy(net[0][1].fold()), copy.deepcopy(net[2][1].fold())
    first, last = Spy(net[0][1]), Spy(net[2][1])
    net(x, task=tasks)

    assert torch.equal(first.outputs[0], before(net[0][0](in_order))), "the whole batch before the fork"
    assert_same_statistics(net[0][1], before)
    chunks = last.inputs[0].split([1, 3, 2])
    assert torch.equal(last.outputs[0], torch.cat([after(chunk) for chunk in chunks])), "each task's samples after it"
    assert_same_statistics(net[2][1], after)
    assert net[2][1].num_batches_tracked == 3
    assert net[1][1].num_batches_tracked.tolist() == [1, 1, 1]


def test_a_task_without_samples_changes_nothing():
    net = build()
    before = copy.deepcopy(net.state_dict())
    net(images(4), task=["first", "first", "second", "second"])
    assert net[2][1].num_batches_tracked == 2
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(net[1][1].get_buffer(name)[2], before[f"1.1.{name}"][2])


def test_sequential_and_batched_agree():
    sequential, batched, x = build(), build(), images()
    outputs = sequential(x)
    joined = batched(x.repeat(3, 1, 1, 1), task=[task for task in TASKS for _ in x])
    torch.testing.assert_close(joined, torch.cat([outputs[task] for task in TASKS]))
    for at in (1, 2):
        for mine, other in zip(statistics(sequential[at][1]), statistics(batched[at][1]), strict=True):
            torch.testing.assert_close(mine, other)
    # Before the fork the joined batch holds each image three times: the variance is the same, torch's correction for
    # the number of values n, n / (n - 1), is not.
    one, joint = sequential[0][1], batched[0][1]
    assert one.num_batches_tracked == joint.num_batches_tracked == 1
    torch.testing.assert_close(one.running_mean, joint.running_mean)
    n = x.numel() / x.shape[1]
    correction = (3 * n / (3 * n - 1)) / (n / (n - 1))
    start = 1 - one.momentum  # variances start at 1
    torch.testing.assert_close((one.running_var - start) * correction, joint.running_var - start)


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_plain_average_and_no_statistics(momentum):
    torch.manual_seed(0)
    shared = nn.BatchNorm2d(3, momentum=momentum)
    without = nn.BatchNorm2d(3, track_running_stats=False)
    net = convert(nn.Sequential(shared, without, nn.BatchNorm2d(3)), tasks=TASKS, gated="2").double().train()
    plain = copy.deepcopy(net[0].fold())
    for step in range(3):
        x = images() + step
        plain(x)
        net(x)
    assert_same_statistics(net[0], plain)
    assert net[1].running_mean is None


def test_evaluation_uses_the_shared_statistics():
    net, x = build(), images()
    net(x)
    net.eval()
    before = copy.deepcopy(net.state_dict())
    outputs = net(x)
    mixed = net(x, task=["third"] * 3 + ["first"] * 3)
    torch.testing.assert_close(mixed, torch.cat([outputs["third"][:3], outputs["first"][3:]]), rtol=1e-12, atol=1e-12)
    for task in TASKS:
        assert torch.equal(net.fold(task)(x), outputs[task])
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_gated_layer_norm_is_a_fork():
    net = nn.Sequential(nn.BatchNorm1d(4), nn.LayerNorm(4), nn.BatchNorm1d(4))
    net = convert(net, tasks=TASKS, gated="1").train()
    net(torch.randn(8, 4))
    assert [int(net[at].num_batches_tracked) for at in (0, 2)] == [1, 3]


def test_all_norms_shared_run_the_trunk_once():
    torch.manual_seed(0)
    plain = Blocks(block(3, 4), block(4, 5), block(5, 6)).double().train()
    net = convert(copy.deepcopy(plain), tasks=TASKS, norm="shared")
    spy, x = Spy(net[0][0]), images()
    outputs = net(x)
    expected = plain(x)
    assert len(spy.inputs) == 1
    assert list(outputs) == TASKS
    for output in outputs.values():
        assert torch.equal(output, expected)
    for each, other in zip(net, plain, strict=True):
        assert_same_statistics(each[1], other[1])
    assert torch.equal(net.eval()(x, task="first"), plain.eval()(x))


def _gradients(net: nn.Module, x: Tensor, **task: object) -> dict[str, Tensor]:
    outputs = net(x, **task)
    outputs = torch.cat(list(outputs.values())) if isinstance(outputs, dict) else outputs
    torch.manual_seed(2)
    (outputs * torch.randn_like(outputs)).sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("task", [None, ["first", "third", "second", "first", "third", "first"]], ids=["all", "mixed"])
def test_recomputation_is_on_the_same_side_of_the_fork(task, reentrant):
    """Gradient checkpointing runs a block again, when all of the network has passed."""
    expected = _gradients(build(), images().requires_grad_(), task=task)
    net = build()
    net.recompute, net.reentrant = True, reentrant
    for name, gradient in _gradients(net, images().requires_grad_(), task=task).items():
        torch.testing.assert_close(gradient, expected[name], msg=lambda text, name=name: f"{name}: {text}")
    # Recomputed, a batch counts again, as it does in a plain network.
    assert int(net[0][1].num_batches_tracked) == 2
    assert int(net[2][1].num_batches_tracked) == 6
