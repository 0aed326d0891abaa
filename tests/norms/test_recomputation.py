"""What is recomputed in a backward pass runs under the task of its forward, or raises."""

import copy

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.utils.checkpoint import checkpoint  # bound before any model is converted, as scripts have it

from tsbn_hub.norms import remembering_task

from .test_selection import build


def gradients(net, run, *args):
    state = copy.deepcopy(net.state_dict())
    net.zero_grad()
    run(net, *args)
    net.load_state_dict(state)
    return {name.replace("_checkpoint_wrapped_module.", ""): each.grad for name, each in net.named_parameters()}


def all_tasks(net, x):
    sum(output.square().sum() for output in net(x).values()).backward()


def named(net, x):
    (net(x, task="first").square().sum() + net(x, task="third").sum()).backward()


def set_in_turn(net, x):
    net.set_task("first")
    loss = net(x).square().sum()
    net.set_task("third")
    loss = loss + net(x).sum()
    net.set_task("second")
    loss.backward()
    net.set_task(None)


def in_blocks(net, x):
    with net.using_task("first"):
        loss = net(x).square().sum()
    with net.using_task("third"):
        loss = loss + net(x).sum()
        loss.backward()


def by_checkpoint(function, reentrant):
    return lambda x: checkpoint(function, x, use_reentrant=reentrant)


@pytest.mark.parametrize("how", ["reentrant", "not reentrant", "wrapper"])
@pytest.mark.parametrize("run", [all_tasks, named, set_in_turn, in_blocks])
def test_every_checkpoint_of_torch(run, how):
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    expected = gradients(build().train(), run, x)
    net = build().train()
    if how == "wrapper":
        net[1], net[4] = checkpoint_wrapper(net[1]), checkpoint_wrapper(net[4])
    else:
        for norm in (net[1], net[4]):
            norm.forward = by_checkpoint(norm.forward, how == "reentrant")
    for name, gradient in gradients(net, run, x).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_whole_model_is_recomputed_as_it_was_set(reentrant):
    x = torch.randn(3, 4, requires_grad=True)
    net = build()
    net.set_task("first")
    net(x).sum().backward()
    expected = net[4].gate_logits.grad.clone()
    net.zero_grad()
    loss = checkpoint(net, x, use_reentrant=reentrant).sum()
    loss.backward()
    assert torch.equal(net[4].gate_logits.grad, expected)
    loss = checkpoint(net, x, use_reentrant=reentrant).sum()
    net.set_task("third")
    with pytest.raises(RuntimeError, match=r"in a backward pass, again.*not known.*remembering_task"):
        loss.backward()


class Recomputing(torch.autograd.Function):
    """A checkpoint of somebody else's."""

    @staticmethod
    def forward(ctx, function, x):
        ctx.function, ctx.x = function, x.detach().requires_grad_()
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            output = ctx.function(ctx.x)
        torch.autograd.backward(output, gradient)
        return None, ctx.x.grad


@pytest.mark.parametrize("how", ["set", "block", "name"])
def test_a_checkpoint_that_remembers_nothing_raises(how):
    net, x = build(), torch.randn(3, 4, requires_grad=True)
    plain = net[4].forward
    net[4].forward = lambda x: Recomputing.apply(plain, x)
    if how == "set":
        net.set_task("first")
    with pytest.raises(RuntimeError, match=r"not known for which of the tasks \['second', 'first', 'third'\]"):
        if how == "block":
            with net.using_task("first"):
                net(x).sum().backward()
        else:
            net(x, **({"task": "first"} if how == "name" else {})).sum().backward()
    net[4].forward = lambda x: remembering_task(Recomputing.apply)(plain, x)
    net.zero_grad()
    net(x, task="third").sum().backward()
    assert net[4].gate_logits.grad.abs().sum(1).ne(0).tolist() == [False, False, True]


def test_what_names_its_task_may_run_in_a_backward_pass():
    net, x = build(), torch.randn(3, 4, requires_grad=True)
    seen = []
    loss = net(x, task="first").sum()
    x.register_hook(lambda gradient: seen.append(net(x, task="third")))
    loss.backward()
    assert torch.equal(seen[0], net(x, task="third"))
    assert torch.equal(Recomputing.apply(lambda x: net(x, task="first"), x), net(x, task="first"))
