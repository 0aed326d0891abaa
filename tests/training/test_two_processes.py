"""Two processes train and evaluate as one with twice the batch size does."""

import json

import pytest
import timm
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

from tests.matrices import cases_of
from tests.training import processes
from tests.training.small_runs import SMALL
from tsbn_hub.data import Mixture
from tsbn_hub.tasks import Classification
from tsbn_hub.training import TrainingConfig, evaluate, loop, train
from tsbn_hub.training.loaders import Loaders
from tsbn_hub.training.loop import Training


class Corners(Dataset):
    """Every sample has `corner`, some have `bright`."""

    num_classes = {"corner": 4, "bright": 2}

    def __init__(self, split, train=64, test=21):
        generator = torch.Generator().manual_seed(int(split == "test"))
        size = train if split == "train" else test
        self.corner = torch.randint(4, (size,), generator=generator)
        self.bright = torch.randint(2, (size,), generator=generator)
        self.image = torch.rand(size, 3, 32, 32, generator=generator) * 0.2
        for image, corner, bright in zip(self.image, self.corner, self.bright, strict=True):
            row, column = divmod(int(corner), 2)
            image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 0.3 + 0.5 * bright

    def __len__(self):
        return len(self.corner)

    def __getitem__(self, at):
        targets = {"corner": self.corner[at]}
        return {"image": self.image[at], "targets": targets if at % 5 < 2 else targets | {"bright": self.bright[at]}}


SMALL_VIT = {"img_size": 32, "embed_dim": 16, "depth": 2}
RUNS = {
    "LayerNorm": {"model": "test_vit_tsbn", "model_args": SMALL_VIT},
    "a backward a task over micro-batches": {
        "model": "test_vit_tsbn",
        "model_args": SMALL_VIT,
        "backward": "task",
        "gradient_accumulation_steps": 2,
        "max_grad_norm": 0.5,
        "balancing": "uncertainty",
    },
    "BatchNorm": {"model": "test_resnet_tsbn", "model_args": SMALL, "sync_batch_norm": True, "ema_decay": 0.8},
    "hard sharing, a task a step": {
        "model": "test_resnet_tsbn",
        "model_args": SMALL,
        "norm": "shared",
        "sync_batch_norm": True,
        "tasks_per_step": 1,
        "optimizer": "sgd",
    },
}


def train_exactly(folder, name, batch_size):
    """What each process does. In float64, rounding does not grow to what an error in the gradients would be."""
    torch.set_default_dtype(torch.float64)
    train(TrainingConfig(**config_of(folder, batch_size) | RUNS[name]))


def config_of(folder, batch_size):
    return {
        "data": f"{__file__}:Corners",
        "output": str(folder / "run"),
        "epochs": 2,
        "batch_size": batch_size,
        "validation": 0.25,
        "lr": 2e-3,
    }


def start(folder, number, target, *arguments):
    codes = processes.train(folder, number, target=target, arguments=arguments)
    assert codes == [0] * number, [processes.printed(folder, rank) for rank in range(number)]


def trained(folder, number, name):
    """The log and the weights of a run in one process or two."""
    folder.mkdir()
    start(folder, number, train_exactly, name, 8 // number)
    lines = (folder / "run" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], load_file(folder / "run" / "model.safetensors")


@pytest.mark.parametrize(
    "name", cases_of(RUNS, ["a backward a task over micro-batches", "hard sharing, a task a step"])
)
def test_training(tmp_path, name):
    """A loss is a float32 sum of at most 16 terms: it may differ by 16 * 2^-24 = 1e-6 of its size.

    Weights see this where a weighting learns from the losses: in 12 steps of a learning rate of 2e-3. The rest is
    float64, and a float32 gradient of the logits that is the same for a sample in any batch.
    """
    (one, weights), (two, others) = (trained(tmp_path / str(number), number, name) for number in (1, 2))
    assert len(one) == len(two) == 3
    assert one[-1] == two[-1], "scores are counts"
    for line, other in zip(one[:-1], two[:-1], strict=True):
        assert line["validation"] == other["validation"] and line["steps"] == other["steps"]
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-6)
    assert one[0]["loss"] != one[1]["loss"]
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, others[key], rtol=0, atol=12 * 2e-3 * 1e-6)


def train_in_bf16(folder):
    """What each process does: keeps the weights that it ends with, and what its model gave."""
    config = TrainingConfig(**config_of(folder, 4), model="test_resnet_tsbn", model_args=SMALL, mixed_precision="bf16")
    dtypes = []

    class Kept(Training):
        def run(self):
            self.model.get_submodule("fc").register_forward_hook(lambda *passed: dtypes.append(passed[-1].dtype))
            scores = super().run()
            save_file(self.model.state_dict(), folder / f"weights.{self.accelerator.process_index}")
            return scores

    loop.Training = Kept
    train(config)
    assert set(dtypes) == {torch.bfloat16}


def test_processes_end_with_the_same_weights_in_bf16(tmp_path):
    start(tmp_path, 2, train_in_bf16)
    first, second = (load_file(tmp_path / f"weights.{rank}") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert all(value.dtype == torch.float32 for key, value in first.items() if "tracked" not in key)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()[:-1]]
    assert losses[-1]["corner"] < losses[0]["corner"]


KINDS = {task: Classification() for task in Corners.num_classes}
# The samples of each data set of a mixture. A batch has eight: of the last two, the second process has none.
SIZES = [[21, 11], [16], [8], [3]]


def a_model():
    torch.manual_seed(0)
    return timm.create_model("test_resnet_tsbn", num_classes=Corners.num_classes)


def evaluate_each(folder):
    """What each process does."""
    config = TrainingConfig(**config_of(folder, 2), eval_batch_size=8, model="unused")
    accelerator, scores = Accelerator(), []
    for sizes in SIZES:
        data = Mixture([Corners("test", test=size) for size in sizes])
        batches = Loaders(config, KINDS, torch.nn.Identity(), accelerator).evaluation_batches(data)
        model = accelerator.prepare(a_model())  # in DistributedDataParallel
        for buffer in model.buffers() if accelerator.process_index else ():
            buffer += 1  # its own statistics, until the evaluation
        scores.append([len(batches), evaluate(model, batches, KINDS, accelerator)])
    (folder / f"scores.{accelerator.process_index}").write_text(json.dumps(scores))


def test_evaluation_counts_every_sample_once(tmp_path):
    from sklearn.metrics import accuracy_score  # processes import this file, and need it not

    start(tmp_path, 2, evaluate_each)
    by_process = [json.loads((tmp_path / f"scores.{rank}").read_text()) for rank in range(2)]
    assert [[number for number, _ in scores] for scores in by_process] == [[3, 1, 1, 1], [2, 1, 0, 0]]
    model = a_model().eval()
    for sizes, (_, first), (_, second) in zip(SIZES, *by_process, strict=True):
        samples = [sample for size in sizes for sample in map(Corners("test", test=size).__getitem__, range(size))]
        with torch.no_grad():
            outputs = model(torch.stack([sample["image"] for sample in samples]))
        assert first == second
        for task, values in first.items():
            labelled = [at for at, sample in enumerate(samples) if task in sample["targets"]]
            truth = [int(samples[at]["targets"][task]) for at in labelled]
            expected = accuracy_score(truth, outputs[task][labelled].argmax(1))
            assert values == {"accuracy": pytest.approx(expected, rel=1e-7)}  # it is float32
