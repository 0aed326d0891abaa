"""Training as a task of timm's over two processes is that of one process on the joined batches."""

import pytest
import timm
import torch
from timm.utils import distribute_bn

import tsbn_hub
from tests.matrices import cases_of
from tests.training import processes
from tsbn_hub.norms import convert_sync_batchnorm
from tsbn_hub.training.balancing import UncertaintyWeighting
from tsbn_hub.training.timm.task import MultiTaskTraining

TASKS = {"b": 3, "a": 5, "c": 2}
SIZES = (4, 2)
# For each forward, how many of the first samples of each process have a target.
FORWARDS = [
    {"b": (4, 2), "a": (4, 2), "c": (4, 2)},
    {"b": (4, 0), "a": (1, 2)},
    {"c": (0, 1)},
    {},
    {"a": (2, 2), "c": (3, 0)},
    {"b": (4, 2)},
]


def data(forward, size, rank=None):
    """The images and targets of a process; without one, those of both. Where a process has no target, it is absent."""
    generator = torch.Generator().manual_seed(forward)
    images = torch.rand(sum(SIZES), 3, size, size, generator=generator, dtype=torch.float64)
    targets = {task: torch.randint(n, (sum(SIZES),), generator=generator) for task, n in TASKS.items()}
    for task, target in targets.items():
        for part, labelled in zip(target.split(SIZES), FORWARDS[forward].get(task, (0, 0)), strict=True):
            part[labelled:] = -100
    if rank is None:
        return images, targets
    targets = {task: target.split(SIZES)[rank] for task, target in targets.items()}
    return images.split(SIZES)[rank], {task: each for task, each in targets.items() if (each != -100).any()}


def run(architecture, size, accumulate, compiled=False, rank=None):
    """A training run, and what it leaves: on one process, or on a part of two."""
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=TASKS).double()
    training = MultiTaskTraining(convert_sync_batchnorm(model), weighting=UncertaintyWeighting(list(TASKS)))
    groups = [*tsbn_hub.param_groups(model, lr=1e-2), {"params": training.weighting.parameters(), "lr": 0.1}]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    training.setup_ema(decay=0.5)
    if compiled:
        training.compile(backend="eager")
    eval_model = training.get_eval_model()
    if rank is not None:
        training.prepare_distributed()
        assert not compiled or training.get_eval_model() is eval_model
    training.guard(optimizer)
    training.get_trainable_module().train()
    gradients = {}
    for at in range(len(FORWARDS)):
        if (at + 1) % accumulate:
            with training.no_sync():
                training(*data(at, size, rank))["loss"].backward()
            continue
        training(*data(at, size, rank))["loss"].backward()
        gradients |= {
            f"{at} {name}": torch.zeros_like(each) if each.grad is None else each.grad.clone()
            for name, each in model.named_parameters()
        }
        optimizer.step()
        optimizer.zero_grad()
        training.update_ema()
    losses = training.after_epoch()
    evaluator = training.create_evaluator()
    eval_model.eval()
    with torch.inference_mode():
        for at in range(len(FORWARDS)):
            images, targets = data(at, size, rank)
            evaluator.update(eval_model(images), targets)
    results = {
        **training.get_checkpoint_state(),
        **training.get_checkpoint_state(ema=True),
        "gradients": gradients,
        "losses": losses,
        "scores": evaluator.compute(distributed=rank is not None),
    }
    if rank is not None:
        with torch.no_grad():
            same = training.get_eval_model() if compiled else training.get_trainable_module().eval()
            results["all tasks"] = sorted(same(images))
            distribute_bn(training.get_trainable_module(), 2, reduce=True)
    return results


RUNS = {
    "a forward a step": {"architecture": "test_resnet_tsbn", "size": 32, "accumulate": 1},
    "two forwards a step": {"architecture": "test_resnet_tsbn", "size": 32, "accumulate": 2},
    "compiled": {"architecture": "test_vit_tsbn", "size": 160, "accumulate": 1, "compiled": True},
}


CHOSEN = cases_of(RUNS, ["a forward a step", "two forwards a step"])


def run_all(rank):
    """Everything, in one of two processes."""
    return {name: run(**RUNS[name], rank=rank) for name in CHOSEN}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return processes.results_of_two(run_all, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("name", CHOSEN)
def test_two_processes_are_one(two_processes, name):
    first, second = (results[name] for results in two_processes)
    expected = run(**RUNS[name])
    assert first.keys() == second.keys() == expected.keys() | {"all tasks"}
    for key in expected:
        # The loss is in single precision.
        torch.testing.assert_close(first[key], expected[key], rtol=1e-4, atol=1e-6, equal_nan=True)
        torch.testing.assert_close(second[key], first[key], rtol=0, atol=0, equal_nan=True)
    assert first["all tasks"] == sorted(TASKS)
