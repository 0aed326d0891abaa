"""Thresholds of attributes: found on the validation data, kept with the weights, and used wherever one decides."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from tests.cli.commands import tsbn
from tests.training import processes
from tsbn_hub import Task, TsbnForMultiTask, from_pretrained, load_task, save_pretrained, save_task
from tsbn_hub.deploy import predict
from tsbn_hub.hub import write_card
from tsbn_hub.tasks.thresholds import best_thresholds
from tsbn_hub.training import Stopped, TrainingConfig, evaluate, evaluate_run, train
from tsbn_hub.training.loop import Training
from tsbn_hub.training.recipe.building import build_data, split_for_validation


class Looks(Dataset):
    """Pictures that are bright, and some that are very bright, or so labelled; a third of the labels are unknown."""

    tasks = (Task("looks", kind="attributes", labels=["bright", "dazzling"]), Task("half", num_classes=2))

    def __init__(self, split="train", size=96):
        generator = torch.Generator().manual_seed(len(split))
        self.brightness = torch.rand(size, generator=generator)
        said = self.brightness + 0.2 * torch.randn(size, generator=generator)
        labels = torch.stack([said > 0.4, said > 0.95], dim=1).long()
        self.labels = labels.masked_fill(torch.rand(size, 2, generator=generator) < 1 / 3, -100)
        self.noise = torch.rand(size, 3, 32, 32, generator=generator) * 0.1

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        targets = {"looks": self.labels[index], "half": (self.brightness[index] > 0.5).long()}
        return {"image": self.noise[index] + 0.9 * self.brightness[index], "targets": targets}


TUNED = {"looks": {"tune_thresholds": True}}


@pytest.fixture
def config(tmp_path):
    return TrainingConfig(
        model="test_resnet_tsbn",
        data=f"{__file__}:Looks",
        output=str(tmp_path / "run"),
        kind_args=TUNED,
        validation=0.4,
        epochs=4,
        batch_size=8,
        lr=1e-2,  # with less, or in fewer epochs, it says nearly the same of all pictures
        warmup_epochs=0,
    )


def log_of(config):
    return [json.loads(line) for line in Path(config.output, "log.jsonl").read_text("utf-8").splitlines()]


def probabilities_of(model, data):
    """What a model says of a data set, and the labels, which it is scored by."""
    images, labels = (torch.stack(list(each)) for each in zip(*map(of_looks, data), strict=True))
    with torch.no_grad():
        return model.eval()(images).logits["looks"].sigmoid(), labels


def of_looks(sample):
    return sample["image"], sample["targets"]["looks"]


def f1_of(probabilities, labels, thresholds):
    from sklearn.metrics import f1_score  # processes import this file, and need it not

    scores = []
    for at, threshold in enumerate(thresholds):
        known = labels[:, at] != -100
        scores.append(f1_score(labels[known, at], probabilities[known, at] > threshold, zero_division=torch.nan))
    return torch.tensor(scores).nanmean().item()


def test_a_run_finds_them_on_its_validation_data_and_keeps_them(config):
    scores = train(config)
    model = from_pretrained(config.output)
    thresholds = model.kinds["looks"].thresholds
    _, validation = split_for_validation(build_data(config, "train"), config)
    probabilities, labels = probabilities_of(model, [validation[at] for at in range(len(validation))])
    assert thresholds == pytest.approx(best_thresholds(probabilities, labels == 1, labels != -100), abs=1e-5)
    assert set(thresholds) != {0.5}
    assert f1_of(probabilities, labels, thresholds) > f1_of(probabilities, labels, [0.5, 0.5])
    # The test is by them; the epochs were scored, and the best one chosen, at 0.5.
    probabilities, labels = probabilities_of(model, Looks("test"))
    assert (probabilities - torch.tensor(thresholds)).abs().min() > 1e-5, "Rounding would decide."
    assert scores["looks"]["f1"] == pytest.approx(f1_of(probabilities, labels, thresholds), rel=1e-6)
    kept = [line for line in log_of(config) if "tuned" in line][-1]
    assert kept["tuned"] == {"looks": {"thresholds": thresholds}}
    plain = replace(config, output=f"{config.output} plain", kind_args={})
    assert train(plain) != scores
    assert [line.get("validation") for line in log_of(plain)] == [line.get("validation") for line in log_of(config)]
    _, again = evaluate_run(config.output)
    assert again == scores and train(config) == scores


def test_what_is_said_of_a_checkpoint_with_thresholds(tmp_path):
    task = Task("looks", "attributes", labels=["bright", "dazzling"], kind_args={"thresholds": [0.0, 1.0]})
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", [task, Task("half", num_classes=2)], pretrained=False)
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert predict(again, Image.new("RGB", (64, 64)))["looks"].description["present"] == ["bright"]
    write_card(tmp_path, again)
    card = Path(tmp_path, "README.md").read_text()
    assert "What counts as present for looks is above these probabilities: bright 0, dazzling 1." in card
    told = tsbn("info", tmp_path)
    assert (
        told.exit_code == 0 and "looks: present is what is above the probability: bright 0, dazzling 1" in told.output
    )
    thresholds = json.loads(tsbn("info", tmp_path, "--json").stdout)["thresholds"]
    assert thresholds == {"looks": {"bright": 0.0, "dazzling": 1.0}}


def test_thresholds_go_with_a_task_into_another_model(tmp_path):
    task = Task("looks", "attributes", labels=["bright", "dazzling"], kind_args={"thresholds": [0.25, 0.75]})
    torch.manual_seed(0)
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", [Task("half", num_classes=2), task], pretrained=False)
    save_task(model, "looks", tmp_path)
    model.remove_task("looks")
    load_task(model, tmp_path)
    assert model.kinds["looks"].thresholds == [0.25, 0.75]


def test_a_checkpoint_without_thresholds_decides_at_a_half(tmp_path):
    task = Task("looks", "attributes", labels=["bright", "dazzling"])
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", [task], pretrained=False)
    save_pretrained(model, tmp_path)
    assert "thresholds" not in Path(tmp_path, "config.json").read_text()
    assert from_pretrained(tmp_path).kinds["looks"].thresholds == [0.5, 0.5]
    write_card(tmp_path)
    assert "counts as present" not in Path(tmp_path, "README.md").read_text()


def left_by(config):
    return [Path(config.output, name).read_bytes() for name in ("config.json", "model.safetensors", "log.jsonl")]


def test_a_run_that_was_stopped_ends_with_the_same(config, monkeypatch, tmp_path):
    train(config)
    parts = replace(config, output=str(tmp_path / "parts"))
    take_step, calls = Training.take_step, []

    def stopping(self, batches):
        calls.append(1)
        return take_step(self, batches) or len(calls) == len(self.steps) + 1

    with monkeypatch.context() as patch:
        patch.setattr(Training, "take_step", stopping)
        with pytest.raises(Stopped, match="epoch 2, after its step 1"):
            train(parts)
    assert "thresholds" in Path(parts.output, "config.json").read_text(), "the best so far has its own"
    train(parts)
    assert left_by(parts) == left_by(config)


@pytest.mark.nightly
def test_going_on_forgets_what_was_tuned_for_other_weights(config, tmp_path):
    train(config)
    further = TrainingConfig(
        checkpoint=config.output, data=config.data, output=str(tmp_path / "further"), epochs=1, batch_size=8
    )
    scores = train(further)
    assert from_pretrained(further.output).kinds["looks"].thresholds == [0.5, 0.5]
    assert evaluate_run(further.output)[1] == scores
    other = replace(further, output=str(tmp_path / "other"), tasks=["half"], freeze_trunk=True)
    train(other)
    tuned = from_pretrained(config.output).kinds["looks"].thresholds
    assert from_pretrained(other.output).kinds["looks"].thresholds == tuned, "its weights have not moved"


def test_thresholds_of_the_user(config):
    given = replace(config, kind_args={"looks": {"thresholds": [0.3, 0.9]}}, epochs=1)
    scores = train(given)
    kinds, again = evaluate_run(given.output)
    assert kinds["looks"].thresholds == from_pretrained(given.output).kinds["looks"].thresholds == [0.3, 0.9]
    assert again == scores


def tune_in(folder):
    """What each process does: it tunes a model of the same weights on its part of the data."""
    from accelerate import Accelerator

    from tsbn_hub.tasks import make_kind
    from tsbn_hub.training.loaders import Loaders
    from tsbn_hub.training.tuning import ThresholdTuning

    torch.manual_seed(0)
    tasks = [replace(Looks.tasks[0], kind_args=TUNED["looks"]), Looks.tasks[1]]
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)
    kinds = {task.name: make_kind(task) for task in tasks}
    config = TrainingConfig(model="unused", data=f"{__file__}:Looks", output=str(folder), eval_batch_size=7)
    accelerator = Accelerator()
    loaders = Loaders(config, kinds, torch.nn.Identity(), accelerator)
    told = []
    for size in (33, 5):  # of the smaller one, one process has none
        tuning = ThresholdTuning(kinds, accelerator.device)
        data = build_data(replace(config, data_args={"size": size}), "train")
        scores = evaluate(model, loaders.evaluation_batches(data), kinds, accelerator, tuning.add)
        told.append([scores["looks"], tuning.options()])
    (folder / f"told.{accelerator.process_index}").write_text(json.dumps(told))
    return told


def test_two_processes_find_what_one_finds(tmp_path):
    codes = processes.train(tmp_path, 2, target=tune_in)
    assert codes == [0, 0], [processes.printed(tmp_path, rank) for rank in range(2)]
    first, second = (json.loads((tmp_path / f"told.{rank}").read_text()) for rank in range(2))
    alone = tune_in(tmp_path)
    assert first == second and set(alone[0][1]["looks"]["thresholds"]) != {0.5}
    for (scores, tuned), (others, theirs) in zip(alone, first, strict=True):
        assert tuned["looks"]["thresholds"] == pytest.approx(theirs["looks"]["thresholds"], abs=1e-6)
        assert scores == pytest.approx(others, rel=1e-6, nan_ok=True)
