"""Freezing running statistics, and taking them anew."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, convert, freeze_batch_norm, reestimate_statistics

TASKS = ["second", "first", "third"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Recording(nn.Dropout):
    """A dropout that says whether it ever was active."""

    active = False

    def forward(self, x: Tensor) -> Tensor:
        self.active |= self.training
        return super().forward(x)


def build(gated: str | None = None, norm: str = "sigmoid") -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Recording(0.5), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )
    net = convert(net, tasks=TASKS, gated=gated, norm=norm).double()
    with torch.no_grad():
        for each in (net[1], net[5]):
            for name, tensor in [*each.named_parameters(), *each.named_buffers()]:
                if name == "running_var":
                    tensor.uniform_(0.5, 2)
                elif name != "num_batches_tracked":
                    tensor.normal_(0.5, 0.5)
    return net


def images(step: int = 0, batch: int = 4) -> Tensor:
    torch.manual_seed(step)
    return torch.randn(batch, 3, 7, 7, dtype=torch.float64) + step


def train(net: nn.Module, steps: int = 2) -> None:
    """With an optimizer that moves whatever may be trained."""
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        sum(output.square().sum() for output in net.train()(images(step)).values()).backward()
        optimizer.step()


@pytest.mark.parametrize(
    "keywords",
    [{}, {"norm": "affine"}, {"norm": "statistics"}, {"gated": "5"}, {"norm": "shared"}],
    ids=["gates", "affine", "statistics", "some", "shared"],
)
def test_frozen_norms_do_not_change(keywords):
    net = build(**keywords)
    assert freeze_batch_norm(net) is net
    net[3].p = 0.0
    outputs = net.eval()(images())
    for task, output in net.train()(images()).items():
        assert torch.equal(output, outputs[task]), "in training, too, the running statistics normalise"
    before = copy.deepcopy(net.state_dict())
    train(net)
    for name, value in net.state_dict().items():
        is_norm = name.startswith(("1.", "5."))
        assert torch.equal(value, before[name]) is is_norm, name
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("keywords", [{}, {"gated": "5"}, {"norm": "shared"}], ids=["gates", "some", "shared"])
def test_unfrozen_norms_train_again(keywords):
    net, other = build(**keywords), build(**keywords)
    freeze_batch_norm(net)
    freeze_batch_norm(net, frozen=False)
    assert all(parameter.requires_grad for parameter in net.parameters())
    for each in (net, other):
        torch.manual_seed(3)
        each[3].p = 0.0
        train(each)
    assert net[1].num_batches_tracked.sum() > 0
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_task_is_folded_unfrozen():
    plain = freeze_batch_norm(build(gated="5")).fold("first")
    assert not any("frozen" in vars(module) for module in plain.modules())
    before = plain[1].running_mean.clone()
    plain.train()(images())
    assert not torch.equal(plain[1].running_mean, before)


def test_freezing_a_part():
    net = build()
    freeze_batch_norm(nn.Sequential(net[1]))
    before = copy.deepcopy(net.state_dict())
    train(net)
    assert torch.equal(net[1].running_mean, before["1.running_mean"])
    assert not torch.equal(net[5].running_mean, before["5.running_mean"])


def test_statistics_are_the_average_over_batches():
    net = build()
    batches = [images(step, batch) for step, batch in enumerate((4, 2, 5))]
    plain = net.fold("first").eval()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        features = [net[0](x).transpose(0, 1).flatten(1) for x in batches]
    mean = torch.stack([each.mean(1) for each in features]).mean(0)
    var = torch.stack([each.var(1) for each in features]).mean(0)
    for norm in (plain[1], plain[5]):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for x in batches:
        plain(x)

    reestimate_statistics(net, "first", iter(batches))
    torch.testing.assert_close(net[1].running_mean[1], mean)
    torch.testing.assert_close(net[1].running_var[1], var)
    for at in (1, 5):
        for name in STATISTICS:
            mine = net[at].get_buffer(name)
            assert torch.equal(mine[1], plain[at].get_buffer(name)), name
            assert torch.equal(mine[[0, 2]], before[f"{at}.{name}"][[0, 2]]), name
    for name, value in net.state_dict().items():
        assert name.rpartition(".")[2] in STATISTICS or torch.equal(value, before[name]), name


def test_shared_statistics_stay():
    net = build(gated="5")
    assert isinstance(net[1], SharedBatchNorm)
    before = copy.deepcopy(net.state_dict())
    reestimate_statistics(net, "third", [images()])
    assert all(torch.equal(net[1].get_buffer(name), before[f"1.{name}"]) for name in STATISTICS)
    assert net[5].num_batches_tracked.tolist() == [0, 0, 1]


def test_modes_and_settings_are_restored():
    net = build()
    net.train()
    net[5].eval()
    net[1].momentum = 0.3
    net[5].frozen = True
    modes = [module.training for module in net.modules()]
    reestimate_statistics(net, "first", [images()])
    assert not net[3].active, "dropout stays off"
    assert [module.training for module in net.modules()] == modes
    assert (net[1].momentum, net[5].momentum) == (0.3, 0.1)
    assert (net[1].frozen, net[5].frozen) == (False, True)
    assert net[5].num_batches_tracked[1] == 1, "frozen statistics are taken anew, too, where that is asked for"
    assert net.task is None
    assert not any(p.grad is not None for p in net.parameters())


def test_no_batch_is_an_error_and_changes_nothing():
    net = build().train()
    net(images())
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    with pytest.raises(ValueError, match="no batch"):
        reestimate_statistics(net, "first", [])
    with pytest.raises(ValueError, match="Unknown task 'fourth'"):
        reestimate_statistics(net, "fourth", [images()])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert net[1].momentum == 0.1


def test_data_that_fail_change_nothing():
    net = build().train()
    net(images())
    before = copy.deepcopy(net.state_dict())

    def batches():
        yield images()
        raise OSError("a broken file")

    with pytest.raises(OSError, match="a broken file"):
        reestimate_statistics(net, "first", batches())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and net[1].momentum == 0.1


def test_one_task():
    net = convert(nn.Sequential(nn.BatchNorm1d(3)), tasks=["only"])
    x = torch.randn(6, 3)
    reestimate_statistics(net, "only", [x])
    assert isinstance(net[0], TaskBatchNorm)
    torch.testing.assert_close(net[0].running_mean, x.mean(0, keepdim=True))
    torch.testing.assert_close(net[0].running_var, x.var(0, keepdim=True))
