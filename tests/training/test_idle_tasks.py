"""A step that leaves out tasks moves nothing of theirs."""

import copy

import pytest
import timm
import torch

import tsbn_hub
from tsbn_hub.norms import TaskParameters
from tsbn_hub.training import idle_tasks_at_rest

TASKS = ["b", "a", "c"]
SMALL = {"test_resnet": {}, "test_vit": {"img_size": 32, "embed_dim": 16, "depth": 2}}
OPTIMIZERS = {
    "AdamW": lambda groups: torch.optim.AdamW(groups, weight_decay=0.1),
    "SGD": lambda groups: torch.optim.SGD(groups, momentum=0.9, weight_decay=0.1, nesterov=True),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, momentum=0.9),
}


def rows_of(model, optimizer, task):
    """Everything, copied, that belongs to a task: parameters, statistics, optimizer state."""
    row, found = model.tasks.index(task), []
    for module in model.modules():
        if isinstance(module, TaskParameters):
            for name in module.stacked_names():
                tensor = getattr(module, name)
                state = optimizer.state.get(tensor, {}).values()
                own = [value for value in state if torch.is_tensor(value) and value.shape == tensor.shape]
                found += [each.detach()[module.rows(row)].clone() for each in (tensor, *own)]
    return found


def same(one, other):
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("style", [{}, {"norm": "affine"}, {"keep_affine": True}])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_alternating_tasks(name, architecture, style):
    torch.manual_seed(0)
    model = timm.create_model(
        f"{architecture}_tsbn", num_classes={"b": 3, "a": 5, "c": 2}, **SMALL[architecture], **style
    )
    optimizer = OPTIMIZERS[name](tsbn_hub.param_groups(model.train(), lr=1e-3))
    for step, active in enumerate((["b", "a", "c"], ["a"], ["c", "b"], ["a"], ["b"])):
        before = {task: rows_of(model, optimizer, task) for task in TASKS}
        optimizer.zero_grad()
        sum(model(torch.randn(4, 3, 32, 32), task=task).square().mean() for task in active).backward()
        with idle_tasks_at_rest(model, optimizer, active):
            optimizer.step()
        for task in TASKS:
            unchanged = same(rows_of(model, optimizer, task), before[task])
            assert unchanged == (task not in active), f"step {step}, task {task}"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_task_that_joins_later_starts_from_nothing(name):
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS).train()
    optimizer = OPTIMIZERS[name](tsbn_hub.param_groups(model))
    model(torch.randn(4, 3, 32, 32), task="a").square().mean().backward()
    initial = copy.deepcopy(model.state_dict())
    with idle_tasks_at_rest(model, optimizer, ["a"]):
        optimizer.step()
    gates = model.layer1[0].bn1.gate_logits
    assert torch.equal(gates[0], initial["layer1.0.bn1.gate_logits"][0])
    for value in optimizer.state[gates].values():
        if value.shape == gates.shape:
            assert not value[0].any() and value[1].any() and not value[2].any()


def test_without_it_an_idle_task_would_move():
    """Else the tests above show nothing."""
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS).train()
    optimizer = OPTIMIZERS["AdamW"](tsbn_hub.param_groups(model))
    for active in ("a", "b"):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 32, 32), task=active).square().mean().backward()
        before = rows_of(model, optimizer, "a")
        optimizer.step()
    assert not same(rows_of(model, optimizer, "a"), before)


def test_unknown_and_plain():
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="Unknown task 'smile'"), idle_tasks_at_rest(model, optimizer, ["smile"]):
        pass
    plain = timm.create_model("test_resnet")
    with idle_tasks_at_rest(plain, torch.optim.SGD(plain.parameters(), lr=0.1), ["anything"]):
        pass


def test_several_models_with_tasks_are_refused():
    models = torch.nn.ModuleList(
        timm.create_model("test_resnet_tsbn", tasks=tasks) for tasks in (["a", "b"], ["b", "a"])
    )
    optimizer = torch.optim.SGD(models.parameters(), 0.1)
    with pytest.raises(ValueError, match="holds 2 models with tasks"), idle_tasks_at_rest(models, optimizer, ["a"]):
        pass
