"""The memory of a step, and how it is measured."""

from contextlib import nullcontext

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.utils.data import Dataset

from tests.matrices import NIGHTLY
from tsbn_hub.training import PeakMemory, TrainingConfig
from tsbn_hub.training.loop import Training
from tsbn_hub.training.state.signals import StopSignals

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]
BATCH, FLOAT = 16, 4  # samples, bytes


def network():
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))


# Each linear layer saves its input, which is what the ReLU before it saves as its output.
SAVED = BATCH * (3 + 5 + 7) * FLOAT


def test_the_closed_form():
    model = network()
    with PeakMemory(model) as peak:
        model(torch.rand(BATCH, 3)).sum().backward()
    assert peak.bytes == SAVED


def test_a_backward_gives_the_memory_back():
    model = network()
    with PeakMemory(model) as peak:
        for _ in range(3):
            model(torch.rand(BATCH, 3)).sum().backward()
    assert peak.bytes == SAVED


def test_forwards_without_a_backward_add_up():
    model, images = network(), torch.rand(BATCH, 3)
    with PeakMemory(model) as peak:
        outputs = [model(images), model(images)]
    assert peak.bytes == 2 * SAVED - images.nbytes, "both save the same images"
    assert len(outputs) == 2


def test_outputs_that_are_dropped_hold_nothing():
    model = network()
    with PeakMemory(model) as peak:
        for _ in range(3):
            model(torch.rand(BATCH, 3))
    assert peak.bytes == SAVED


def test_measuring_changes_no_gradient():
    """Of second order either: what was saved comes back with its graph."""
    gradients = []
    for measured in (False, True):
        torch.manual_seed(0)
        model, images = nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 1)), torch.rand(BATCH, 3)
        images.requires_grad_()
        with PeakMemory(model) if measured else nullcontext():
            (first,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
            gradients.append(torch.autograd.grad(first.square().sum(), [*model[0].parameters(), images]))
    assert all(torch.equal(*pair) and pair[0].any() for pair in zip(*gradients, strict=True))


def test_a_forward_without_gradients_saves_nothing():
    model = network()
    with PeakMemory(model) as peak, torch.no_grad():
        model(torch.rand(BATCH, 3))
    assert peak.bytes == 0


@pytest.mark.parametrize("own", ["parameter", "buffer"])
def test_what_is_the_models_own_is_left_out(own):
    model = nn.Module()
    if own == "parameter":
        model.scale = nn.Parameter(torch.rand(1000))
    else:
        model.anything = nn.Parameter(torch.rand(()))
        model.register_buffer("scale", torch.rand(4, 1000))
        model.scale = model.scale[1]  # a row of it
    images = torch.rand(BATCH, 1000, requires_grad=True)
    with PeakMemory(model) as peak:
        (images * model.scale).sum().backward()
    assert peak.bytes == (images.nbytes if own == "parameter" else 0)


def test_one_block_after_another():
    model = network()
    peak = PeakMemory(model)
    with peak:
        output = model(torch.rand(2 * BATCH, 3))
    assert peak.bytes == 2 * SAVED
    output.sum().backward()
    with peak:
        model(torch.rand(BATCH, 3)).sum().backward()
    assert peak.bytes == SAVED, "of the last block alone"
    model(torch.rand(4 * BATCH, 3)).sum().backward()
    assert peak.bytes == SAVED, "nothing is measured after it"


def test_an_error_in_the_block_ends_the_measuring():
    model = network()
    with pytest.raises(KeyError), PeakMemory(model) as peak:
        raise KeyError
    model(torch.rand(BATCH, 3)).sum().backward()
    assert peak.bytes == 0


def test_an_inner_block_measures_its_own():
    model = network()
    with PeakMemory(model) as outer:
        with PeakMemory(model) as inner:
            model(torch.rand(2 * BATCH, 3)).sum().backward()
        model(torch.rand(BATCH, 3)).sum().backward()
    assert (outer.bytes, inner.bytes) == (SAVED, 2 * SAVED)


class Many(Dataset):
    """Samples with a label for each of some tasks."""

    def __init__(self, split, tasks, size, samples):
        self.num_classes = {f"task {number}": 2 for number in range(tasks)}
        self.image = torch.rand(samples, 3, size, size, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.image)

    def __getitem__(self, at):
        return {"image": self.image[at], "targets": dict.fromkeys(self.num_classes, at % 2)}


def peak_of_a_step(tmp_path, device, tasks, backward, model, norm="sigmoid", tasks_per_step=None):
    batch = 4 if device == "cpu" else 64
    size = 32 if device == "cpu" or "vit" in model else 128
    config = TrainingConfig(
        model=model,
        model_args={"img_size": 32} if "vit" in model else {},
        data=f"{__file__}:Many",
        data_args={"tasks": tasks, "size": size, "samples": 4 * batch},
        output=str(tmp_path / "run"),
        norm=norm,
        batch_size=batch,
        validation=0.25,
        backward=backward,
        tasks_per_step=tasks_per_step,
    )
    training = Training(config, Accelerator(cpu=device == "cpu"), StopSignals())
    training.model.train()
    with PeakMemory(training.model) as peak:
        training.take_step(next(training.steps.of_epoch(1)))
    AcceleratorState._reset_state(reset_partial_state=True)
    return peak.bytes


@pytest.mark.parametrize("model", ["test_resnet_tsbn", "test_vit_tsbn"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_backward_a_task_takes_the_memory_of_one_task(tmp_path, device, model):
    one = peak_of_a_step(tmp_path, device, 1, "all", model)
    for tasks in (2, 8, 40) if NIGHTLY else (2, 40):
        assert peak_of_a_step(tmp_path, device, tasks, "task", model) < 1.1 * one, f"{tasks} tasks"


@pytest.mark.parametrize("style", ["affine", "shared"])
def test_so_it_does_in_other_styles(tmp_path, style):
    of_tasks = [peak_of_a_step(tmp_path, "cpu", number, "task", "test_resnet_tsbn", style) for number in (1, 40)]
    assert of_tasks[1] < 1.1 * of_tasks[0]


@pytest.mark.parametrize("device", DEVICES)
def test_one_backward_takes_the_memory_of_all_tasks(tmp_path, device):
    one, two, eight = (peak_of_a_step(tmp_path, device, tasks, "all", "test_resnet_tsbn") for tasks in (1, 2, 8))
    assert one < two < eight
    if device == "cpu":  # where weights and optimizer are not counted
        assert eight == pytest.approx(8 * one, rel=0.1)


def test_idle_tasks_take_no_memory(tmp_path):
    one = peak_of_a_step(tmp_path, "cpu", 1, "all", "test_resnet_tsbn")
    assert peak_of_a_step(tmp_path, "cpu", 40, "all", "test_resnet_tsbn", tasks_per_step=1) < 1.1 * one


def test_hard_sharing_takes_the_memory_of_one_pass(tmp_path):
    one, forty = (peak_of_a_step(tmp_path, "cpu", tasks, "all", "test_resnet_tsbn", "shared") for tasks in (1, 40))
    assert forty < 1.1 * one
