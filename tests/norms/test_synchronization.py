"""BatchNorm over two processes is that of one process on the joined batch."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

import tsbn_hub  # noqa: F401
from tests.training import processes
from tsbn_hub.norms import (
    SharedBatchNorm,
    TaskBatchNorm,
    batch_norm,
    convert,
    convert_sync_batchnorm,
    freeze_batch_norm,
)

TASKS = ["second", "first"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
BATCHES = {"even": (3, 3), "uneven": (5, 1), "empty": (4, 0)}
NETS = {
    "gates": (nn.BatchNorm2d, {}),
    "gates without affine": (nn.BatchNorm2d, dict(keep_affine=False)),
    "affine": (nn.BatchNorm2d, dict(norm="affine")),
    "statistics": (nn.BatchNorm2d, dict(norm="statistics")),
    "after the fork": (nn.BatchNorm2d, dict(gated="1")),
    "before the fork": (nn.BatchNorm2d, dict(gated="4")),
    "plain": (nn.BatchNorm2d, dict(norm="shared")),
    "with activation": (BatchNormAct2d, {}),
    "plain average": (partial(nn.BatchNorm2d, momentum=None), {}),
    "no statistics": (partial(nn.BatchNorm2d, track_running_stats=False), {}),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    norm, keywords = NETS[name]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.SiLU(), nn.Conv2d(4, 5, 3), norm(5))
    net = convert(net, tasks=TASKS, **keywords).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0.2, 0.5)
    return net.train()


def images(samples: int) -> Tensor:
    torch.manual_seed(1)
    x = torch.randn(samples, 3, 7, 7, dtype=torch.float64)
    return x + torch.arange(samples).view(-1, 1, 1, 1)  # the two halves differ


def two_steps(net: nn.Module, x: Tensor) -> dict[str, dict[str, Tensor]]:
    """All tasks in a step, twice; the loss is a sum over samples."""
    x = x.clone().requires_grad_()
    for step in range(2):
        outputs = net(x + step)
        sum((output.sin() * (row + 1)).sum() for row, output in enumerate(outputs.values())).backward()
    return {
        "outputs": {task: output.detach() for task, output in outputs.items()},
        "input gradient": {"x": x.grad},
        "gradients": {name: parameter.grad for name, parameter in net.named_parameters()},
        "buffers": dict(net.named_buffers()),
    }


def part(x: Tensor, sizes: tuple[int, int], rank: int) -> Tensor:
    return x.split(list(sizes))[rank]


def run(rank: int) -> dict:
    """Everything, in one of two processes."""
    results = {}
    for net_name in NETS:
        for batch_name, sizes in BATCHES.items():
            net = convert_sync_batchnorm(build(net_name))
            results[net_name, batch_name] = two_steps(net, part(images(sum(sizes)), sizes, rank))
    # What needs no other process does not wait for one: evaluation, frozen norms.
    if rank == 0:
        alone = convert_sync_batchnorm(build("gates"))
        alone.eval()(images(2))
        freeze_batch_norm(alone).train()(images(2))
    # A group of one process.
    groups = [dist.new_group([0]), dist.new_group([1])]
    net = convert_sync_batchnorm(build("gates"), process_group=groups[rank])
    results["alone"] = two_steps(net, part(images(6), (3, 3), rank))
    try:
        convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(2))).train()(torch.ones(1 - rank, 2))
    except ValueError as error:
        results["error"] = str(error)
    return results


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[dict]:
    return processes.results_of_two(run, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", NETS)
def test_two_processes_are_one(two_processes, name, batch):
    first, second = (results[name, batch] for results in two_processes)
    net, sizes = build(name), BATCHES[batch]
    expected = two_steps(net, images(sum(sizes)))
    for task, output in expected["outputs"].items():
        torch.testing.assert_close(torch.cat([first["outputs"][task], second["outputs"][task]]), output)
        if sizes[1]:
            assert not torch.allclose(build(name)(images(sum(sizes))[: sizes[0]])[task], output[: sizes[0]])
    torch.testing.assert_close(
        torch.cat([first["input gradient"]["x"], second["input gradient"]["x"]]), expected["input gradient"]["x"]
    )
    for key, gradient in expected["gradients"].items():
        joined = first["gradients"][key] + second["gradients"][key]
        torch.testing.assert_close(joined, gradient, msg=lambda text, key=key: f"{key}: {text}")
    assert first["buffers"].keys() == second["buffers"].keys() == expected["buffers"].keys()
    for key, buffer in expected["buffers"].items():
        torch.testing.assert_close(first["buffers"][key], buffer, msg=lambda text, key=key: f"{key}: {text}")
        assert torch.equal(first["buffers"][key], second["buffers"][key]), key


def test_a_group_of_one_process_is_plain(two_processes):
    for rank, results in enumerate(two_processes):
        expected = two_steps(build("gates"), part(images(6), (3, 3), rank))
        for kind, tensors in expected.items():
            for key, tensor in tensors.items():
                assert torch.equal(results["alone"][kind][key], tensor), key


def test_a_single_value_is_refused_on_every_process(two_processes):
    for results in two_processes:
        assert "more than 1 value per channel" in results["error"]


@pytest.mark.parametrize("name", NETS)
def test_one_process_is_plain(name):
    net, expected = convert_sync_batchnorm(build(name)), build(name)
    results, plain = two_steps(net, images(4)), two_steps(expected, images(4))
    for kind in plain:
        assert results[kind].keys() == plain[kind].keys()
        for key, tensor in plain[kind].items():
            assert torch.equal(results[kind][key], tensor), f"{kind}: {key}"
    net.eval()
    expected.eval()
    for task in TASKS:
        assert torch.equal(net(images(2), task=task), expected(images(2), task=task))
        folded = net.fold(task)
        assert [type(each) for each in folded] == [type(each) for each in expected.fold(task)]
        assert torch.equal(folded(images(2)), net(images(2), task=task))


def test_which_norms_are_converted():
    net = build("after the fork")
    norms = {name: type(module) for name, module in net.named_modules()}
    assert convert_sync_batchnorm(net) is net
    assert norms == {name: type(module) for name, module in net.named_modules()}
    assert net[1].synchronized and net[4].synchronized
    assert isinstance(net[1], TaskBatchNorm) and isinstance(net[4], SharedBatchNorm)
    plain = build("plain")
    keys = list(plain.state_dict())
    convert_sync_batchnorm(plain)
    assert all(isinstance(plain[at], SharedBatchNorm) and plain[at].synchronized for at in (1, 4))
    assert list(plain.state_dict()) == keys


def test_a_batch_norm_by_itself_is_converted():
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm2d(4)), SharedBatchNorm)


@pytest.mark.parametrize("name", NETS)
def test_evaluation_needs_no_other_process(name, monkeypatch):
    """As in torch's SyncBatchNorm: a process that evaluates alone must not wait for the others."""

    def refuse(*args, **kwargs):
        raise AssertionError("evaluation waits for the other processes")

    monkeypatch.setattr(batch_norm, "should_synchronize", lambda group: True)
    monkeypatch.setattr(batch_norm, "synchronized_batch_norm", refuse)
    net = convert_sync_batchnorm(build(name))
    with pytest.raises(AssertionError, match="waits"):
        net(images(2))
    net.eval()(images(2))
