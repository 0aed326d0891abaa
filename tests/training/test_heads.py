"""Training models of transformers: dense tasks, a head for each, labels missing here and there."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.utils.data import Dataset

from tests.matrices import cases_of
from tests.training import processes
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.data import Collate, Scenes
from tsbn_hub.tasks import make_kind
from tsbn_hub.training import TasksForward, TrainingConfig, evaluate_run, fill_gradients, label_counts, train
from tsbn_hub.training.loop import Training
from tsbn_hub.training.recipe.sources import DataSource
from tsbn_hub.training.state.signals import Stopped, StopSignals

TASKS = [
    Task("segmentation", "segmentation", labels=Scenes.tasks[0].labels, head="linear"),
    Task("normals", "normals", head="linear"),
    Task("depth", "depth", head="linear"),
]
KINDS = {task.name: make_kind(task) for task in TASKS}
WEIGHTS = {"segmentation": 1.0, "normals": 0.3, "depth": 2.0}
SIZE = 8


def build():
    torch.manual_seed(0)
    return TsbnForMultiTask.from_backbone(
        "timm/test_vit", TASKS, pretrained=False, img_size=32, embed_dim=16, depth=2
    ).train()


def samples():
    """The first half, one process's part of two, lacks normals, and most lack depth."""
    data = Scenes(size=SIZE, height=32, width=32)
    lacking = {"normals": range(4), "depth": [0, 2, 3, 5, 6]}
    found = [data[at] for at in range(SIZE)]
    for name, where in lacking.items():
        for at in where:
            del found[at]["targets"][name]
    return found


def step(accelerator, micro_batches=1, backward="all", aggregator=None):
    model = build()
    if accelerator.num_processes > 1:
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    network = accelerator.prepare(TasksForward(model))
    part = SIZE // accelerator.num_processes
    own = samples()[accelerator.process_index * part :][:part]
    collate = Collate({name: kind.missing for name, kind in KINDS.items()})
    batches = [collate(own[at::micro_batches]) for at in range(micro_batches)]
    counts = dict(zip(KINDS, label_counts(batches, KINDS, accelerator).T.tolist(), strict=True))
    weights = {name: torch.tensor(weight) for name, weight in WEIGHTS.items()}
    fill_gradients(network, batches, KINDS, counts, weights, accelerator, backward, aggregator)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def plain_gradients():
    """A loop that anyone would write, on one joined batch."""
    model = build()
    batch = Collate({name: kind.missing for name, kind in KINDS.items()})(samples())
    out = model(batch["image"], labels=batch["targets"])
    sum(WEIGHTS[name] * loss for name, loss in out.losses.items()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


WAYS = {
    "one backward": {},
    "micro-batches": {"micro_batches": 2},
    "a backward a task": {"backward": "task"},
    "a backward a task over micro-batches": {"backward": "task", "micro_batches": 2},
}


def steps_of_a_process(folder):
    accelerator = Accelerator()
    found = {name: step(accelerator, **way) for name, way in WAYS.items()}
    torch.save(found, folder / f"{accelerator.process_index}.pt")


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    codes = processes.train(folder, 2, target=steps_of_a_process)
    assert codes == [0, 0], [processes.printed(folder, rank) for rank in range(2)]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [1, 2])
def test_the_gradients_are_those_of_a_plain_loop(way, number, request):
    expected = plain_gradients()
    found = [step(Accelerator(cpu=True), **WAYS[way])]
    if number == 2:
        found = [each[way] for each in request.getfixturevalue("of_two_processes")]
    for gradients in found:
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_an_aggregator_joins_what_is_shared_alone():
    summed = step(Accelerator(cpu=True), aggregator=lambda jacobian: jacobian.sum(0))
    halved = step(Accelerator(cpu=True), aggregator=lambda jacobian: jacobian.sum(0) / 2)
    for name, gradient in plain_gradients().items():
        own = "heads." in name or name.endswith("gate_logits")
        if gradient is None:  # what no task reaches
            assert not summed[name].any()
            continue
        torch.testing.assert_close(summed[name], gradient, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(halved[name], gradient if own else gradient / 2, rtol=1e-4, atol=1e-6)


def config_of(folder, **changes):
    settings = {
        "model": "test_resnet_tsbn", "data": "Scenes", "output": str(folder / "run"), "epochs": 2, "batch_size": 4,
        "data_args": {"size": 24, "height": 32, "width": 32, "labelled": {"depth": 0.5, "edges": 0.7}},
        "validation": 0.25, "ema_decay": 0.9, "checkpoint_steps": 2,
    }  # fmt: skip
    return TrainingConfig(**settings | changes)


def files(folder):
    return {name: Path(folder, name).read_bytes() for name in ("model.safetensors", "config.json", "log.jsonl")}


MODELS = {
    "timm": {},
    "swin": {
        "model": "swin",
        "model_args": {
            "image_size": [32, 32], "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2],
            "window_size": 4,
        },
        "heads": {"segmentation": "segformer", "depth": {"name": "upernet", "channels": 8}},
        "backward": "task",
    },
}  # fmt: skip


@pytest.mark.parametrize("model", cases_of(MODELS, ["swin"]))
def test_a_stopped_run_goes_on_bit_for_bit(model, tmp_path, monkeypatch):
    whole, stopped = (config_of(tmp_path / name, **MODELS[model]) for name in ("whole", "stopped"))
    scores = train(whole)
    assert {task: list(values) for task, values in scores.items()} == {
        task: list(make_kind(each).metrics) for task, each in zip(scores, Scenes.tasks, strict=True)
    }
    take_step, taken = Training.take_step, []

    def take_and_stop(self, batches):
        taken.append(take_step(self, batches))
        return len(taken) == 3

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Training, "take_step", take_and_stop)
        train(stopped)
    assert train(stopped) == scores
    assert files(stopped.output) == files(whole.output)
    kinds, again = evaluate_run(whole.output)
    assert list(kinds) == [task.name for task in Scenes.tasks] and again == scores


def test_the_saved_model_is_the_one_that_was_scored(tmp_path):
    config = config_of(tmp_path, tasks=["depth", "segmentation"], heads={"depth": {"name": "small", "channels": 16}})
    scores = train(config)
    model = TsbnForMultiTask.from_pretrained(config.output)
    assert model.tasks == ["depth", "segmentation"] and model.head("depth").training is False
    assert model.config.tasks[0] == Task("depth", "depth", head="small", head_args={"channels": 16})
    data = Scenes("test", **config.data_args)
    right = valid = 0
    for at in range(len(data)):
        with torch.no_grad():
            classes = model(data[at]["image"][None], task="segmentation").logits["segmentation"][0].argmax(0)
        target = data[at]["targets"]["segmentation"]
        right, valid = right + int((classes == target).sum()), valid + target.numel()
    assert scores["segmentation"]["pixel_accuracy"] == pytest.approx(right / valid, abs=1e-6)
    processor = model.image_processor
    picture = (data[0]["image"] * 255).round().to(torch.uint8)
    seen = processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(seen, picture / 255)


def test_heads_of_idle_tasks_rest(tmp_path):
    training = Training(config_of(tmp_path, tasks_per_step=1, ema_decay=None), Accelerator(), StopSignals())
    batches = training.steps.of_epoch(1)
    for _ in range(3):
        before = {name: copy.deepcopy(training.model.head(name).state_dict()) for name in training.kinds}
        steps = dict(training.record.task_steps)
        training.take_step(next(batches))
        (active,) = [name for name, number in training.record.task_steps.items() if number != steps.get(name)]
        for name, state in before.items():
            after = training.model.head(name).state_dict()
            assert all(torch.equal(after[key], value) for key, value in state.items()) == (name != active)


class Broken(Dataset):
    tasks = [Task("depth", "depth"), Task("seg", "segmentation", num_classes=3)]
    depth, classes = 1.0, 0

    def __init__(self, split):
        pass

    def __len__(self):
        return 16

    def __getitem__(self, at):
        depth, classes = torch.ones(32, 32), torch.zeros(32, 32, dtype=torch.int64)
        if at == 5:
            depth[3, 4], classes[3, 4] = self.depth, self.classes
        return {"image": torch.rand(3, 32, 32), "targets": {"depth": depth, "seg": classes}}


class NaNDepth(Broken):
    depth = math.nan


class AnotherClass(Broken):
    classes = 7


@pytest.mark.parametrize(
    ("data", "message"),
    [(NaNDepth, "'depth'.*(NaN|nan|finite)"), (AnotherClass, "'seg'.* the values 7; expected are 0 to 2")],
)
def test_a_wrong_target_is_named_with_its_sample(data, message, tmp_path, monkeypatch):
    monkeypatch.setattr(DataSource, "dataset", lambda self, split: data(split))
    config = config_of(tmp_path, data="unused", data_args={}, batch_size=4)
    with pytest.raises(ValueError, match=message) as error:
        train(config)
    assert any(f"sample 5 of {data.__name__}" in note for note in error.value.__notes__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": {"depth": "big"}}, r"no head 'big'.*Known.*small"),
        ({"heads": {"depth": {"name": "small", "width": 3}}}, r"'small' has no keywords \['width'\].*channels"),
        ({"heads": {"smile": "small"}}, r"heads=\['smile'\]: Scenes has no \['smile'\]"),
        ({"model": "resnet10t"}, "none of timm's names.*Near: .*resnet10t_tsbn"),
        ({"model": "org/nowhere"}, "org/nowhere|connect"),
    ],
)
def test_what_does_not_fit(changes, message, tmp_path):
    with pytest.raises((ValueError, OSError), match=message):
        train(config_of(tmp_path, **changes))
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_the_log_has_every_metric(tmp_path):
    config = config_of(tmp_path, epochs=1)
    train(config)
    first, last = (json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines())
    assert first["validation"].keys() == last["test"].keys() == {task.name for task in Scenes.tasks}
    assert last["test"]["depth"].keys() == {"abs_err", "rel_err", "rmse", "delta1"}
