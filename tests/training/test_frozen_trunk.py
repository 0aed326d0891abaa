"""Adding a task and training it with a frozen trunk leaves every other task as it was, bit for bit."""

import copy
import json
import pickle
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from timm.optim import create_optimizer_v2

import tsbn_hub
from tests.matrices import NIGHTLY, cases_of
from tests.models.hf_backbones import BACKBONES, randomized
from tests.training import processes
from tests.training.small_runs import SMALL
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.data import Scenes
from tsbn_hub.models import surface_of
from tsbn_hub.models.outputs import outputs_by_task
from tsbn_hub.norms import SharedBatchNorm, TaskBatchNorm, TaskParameters, convert_sync_batchnorm
from tsbn_hub.tasks import Classification
from tsbn_hub.training import TrainingConfig, create_optimizer, evaluate_run, idle_tasks_at_rest, train
from tsbn_hub.training.loop import Training
from tsbn_hub.training.state.signals import Stopped, StopSignals
from tsbn_hub.training.step.gradients import TasksForward
from tsbn_hub.training.timm.task import MultiTaskTraining

NEW = "k"  # between the others in the alphabet
CLASSES = {"z": 3, "a": 5}

TIMM = {
    "BatchNorm": ("test_resnet", {}),
    "BatchNorm, affine kept": ("test_resnet", {"keep_affine": True}),
    "BatchNorm, TSBN": ("test_resnet", {"norm": "affine"}),
    "BatchNorm, statistics": ("test_resnet", {"norm": "statistics"}),
    "BatchNorm, hard sharing": ("test_resnet", {"norm": "shared"}),
    "BatchNorm, shared before the fork and after it": ("test_resnet", {"gated": "layer2*"}),
    "LayerNorm": ("test_vit", {"img_size": 32}),
    "LayerNorm, hard sharing": ("test_vit", {"img_size": 32, "norm": "shared"}),
    "LayerNorm2d": ("test_convnext", {}),
    "BatchNorm with activation": ("test_efficientnet", {"gated": "blocks.1*", "norm": "affine"}),
}
TRANSFORMERS = {
    "heads on BatchNorm": ("timm/test_resnet", {}),
    "heads on BatchNorm, hard sharing": ("timm/test_resnet", {"norm": "shared"}),
    "heads on a ResNet of transformers, shared and gated": ("resnet", {"gated": "*stages.1*"}),
    "heads on LayerNorm": ("vit", {}),
}
OPTIMIZERS = {
    "AdamW": lambda model: torch.optim.AdamW(tsbn_hub.param_groups(model, lr=3e-3, weight_decay=0.1)),
    "momentum": lambda model: sgd(model, nesterov=False),
    "Nesterov": lambda model: sgd(model, nesterov=True),
    "Lion": lambda model: create_optimizer(model, "lion", 1e-3, weight_decay=0.1),
    "NAdamW": lambda model: create_optimizer(model, "nadamw", 3e-3, weight_decay=0.1),
}


def sgd(model, nesterov):
    groups = tsbn_hub.param_groups(model, lr=1e-2, weight_decay=0.1, gate_lr_scale=10)
    return torch.optim.SGD(groups, momentum=0.9, nesterov=nesterov)


def timm_model(name):
    """A model of tasks that differ, and a new one."""
    architecture, keywords = TIMM[name]
    torch.manual_seed(0)
    model = randomized(timm.create_model(f"{architecture}_tsbn", num_classes=CLASSES, **keywords))
    model.add_task(NEW, num_classes=4, like="a")
    return model


def transformers_model(name):
    backbone, keywords = TRANSFORMERS[name]
    model = BACKBONES[backbone].multi_task(**keywords)
    torch.manual_seed(0)
    model.add_task(Task(NEW, "segmentation", num_classes=4, head_args={"channels": 8}), like="m")
    return model.train()


MODELS = dict.fromkeys(TIMM, timm_model) | dict.fromkeys(TRANSFORMERS, transformers_model)
BY_DAY = ["BatchNorm, TSBN", "LayerNorm", "heads on BatchNorm, hard sharing"]
models_by_day = pytest.mark.parametrize("name", cases_of(MODELS, BY_DAY))


def size_of(name):
    return BACKBONES[TRANSFORMERS[name][0]].size if name in TRANSFORMERS else (32, 32)


def images_of(name, batch=6, seed=0):
    return torch.randn(batch, 3, *size_of(name), generator=torch.Generator().manual_seed(seed))


def train_by_hand(model, name, build=OPTIMIZERS["AdamW"], steps=4, at_rest=True):
    """The loop that anyone would write; the losses."""
    optimizer, images = build(model), images_of(name)
    target = torch.arange(len(images)) % 4
    images += 2 * target[:, None, None, None]
    if name in TRANSFORMERS:
        target = target[:, None, None].expand(-1, *size_of(name))
    model.train()
    losses = []
    for _ in range(steps):
        output = model(images, task=NEW)
        loss = F.cross_entropy(output.logits[NEW] if name in TRANSFORMERS else output, target)
        optimizer.zero_grad()
        loss.backward()
        if at_rest:
            with idle_tasks_at_rest(model, optimizer, [NEW]):
                optimizer.step()
        else:
            optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def outputs_of(model, name, tasks):
    """For several inputs, on every way to ask for a task."""
    model.eval()
    found = []
    for batch in (1, 3):
        images = images_of(name, batch, seed=batch)
        together = model(images)
        for task in tasks:
            found += [together if name in TIMM else together.logits, model(images, task=task)]
            found[-2:] = [found[-2][task], found[-1] if name in TIMM else found[-1].logits[task]]
    return found


def split_state(model, task):
    """All entries of a state dict and all buffers: the parts of a task, and the others."""
    stacked = {
        f"{name}.{entry}": module
        for name, module in model.named_modules()
        if isinstance(module, TaskParameters)
        for entry in module.stacked_names()
    }
    own, others, row = {}, {}, model.tasks.index(task)
    for key, tensor in (model.state_dict() | dict(model.named_buffers())).items():
        tensor = tensor.detach().clone()
        if key.startswith(f"heads.{task}_head."):
            own[key] = tensor
        elif key in stacked:
            rows = stacked[key].rows(row)
            own[key], others[key] = tensor[rows], torch.cat([tensor[: rows.start], tensor[rows.stop :]])
        else:
            others[key] = tensor
    return own, others


def loaded_from(folder):
    """A saved model, in memory that is aligned: matrix products round otherwise where it is mapped from a file."""
    return copy.deepcopy(tsbn_hub.from_pretrained(folder)).eval()


def differing(one, other):
    assert one.keys() == other.keys()
    return [key for key, tensor in one.items() if not torch.equal(tensor, other[key])]


def same(outputs, expected):
    return all(torch.equal(*pair) for pair in zip(outputs, expected, strict=True))


# --- by hand ---


STYLES = ["BatchNorm", "BatchNorm, TSBN", "LayerNorm", "heads on BatchNorm"]
"""Their idle parameters are rows of gates, rows of weights, and modules."""
OF_EACH = [*zip(MODELS, cycle(OPTIMIZERS), strict=False), *zip(STYLES, OPTIMIZERS, strict=False)]


@pytest.mark.parametrize(("name", "optimizer"), cases_of(product(MODELS, OPTIMIZERS), dict.fromkeys(OF_EACH)))
def test_other_tasks_keep_every_bit(name, optimizer):
    model = MODELS[name](name)
    others = [task for task in model.tasks if task != NEW]
    tsbn_hub.freeze_trunk(model)
    outputs, (own, rest) = outputs_of(model, name, others), split_state(model, NEW)
    train_by_hand(model, name, OPTIMIZERS[optimizer])
    assert same(outputs_of(model, name, others), outputs)
    own_after, rest_after = split_state(model, NEW)
    assert differing(rest_after, rest) == []
    unmoved = set(own) - set(differing(own_after, own))
    assert all(key.endswith("norm.bias") for key in unmoved), unmoved  # one before a further norm may have no gradient


@models_by_day
def test_without_freezing_they_would_change(name):
    model = MODELS[name](name)
    others = [task for task in model.tasks if task != NEW]
    outputs = outputs_of(model, name, others)
    train_by_hand(model, name)
    assert not any(torch.equal(*pair) for pair in zip(outputs_of(model, name, others), outputs, strict=True))


@models_by_day
def test_the_new_task_learns(name):
    model = MODELS[name](name)
    tsbn_hub.freeze_trunk(model)
    build = lambda model: torch.optim.AdamW(tsbn_hub.param_groups(model, lr=2e-2, gate_lr_scale=1))  # noqa: E731
    losses = train_by_hand(model, name, build, steps=40)
    assert losses[-1] < 0.95 * losses[0], losses


def test_what_is_trained():
    model = timm_model("BatchNorm, shared before the fork and after it")
    tsbn_hub.freeze_trunk(model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if "gate_logits" in name or name.startswith("fc.")}
    assert any(isinstance(module, SharedBatchNorm) for module in model.modules())
    model = transformers_model("heads on BatchNorm, hard sharing")
    tsbn_hub.freeze_trunk(model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("heads.")}


def test_the_classifier_of_the_only_task_is_its_own():
    model = timm.create_model("test_resnet_tsbn", num_classes=3)
    tsbn_hub.freeze_trunk(model)
    trained = {name.rpartition(".")[2] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"gate_logits", "weight", "bias"}
    assert model.fc.weight.requires_grad and not model.conv1[0].weight.requires_grad


def test_without_rest_weight_decay_moves_the_classifiers_alone():
    """What the docstring says of a loop without `idle_tasks_at_rest`."""
    for decay, moved in ((0.1, ["fc.weight"]), (0.0, [])):
        model = timm_model("BatchNorm")
        tsbn_hub.freeze_trunk(model)
        _, rest = split_state(model, NEW)
        build = lambda model, decay=decay: torch.optim.AdamW(tsbn_hub.param_groups(model, weight_decay=decay))  # noqa: E731
        train_by_hand(model, "BatchNorm", build, at_rest=False)
        assert differing(split_state(model, NEW)[1], rest) == moved


COPIES = {
    "itself": lambda model: model,
    "a deepcopy": copy.deepcopy,
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
    "over processes": convert_sync_batchnorm,
    "a task added afterwards": lambda model: model.add_task("b", num_classes=2) or model,
}


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("name", ["BatchNorm, hard sharing", "BatchNorm, shared before the fork and after it"])
def test_it_stays_frozen(name, copied):
    model = timm_model(name)
    tsbn_hub.freeze_trunk(model)
    model = COPIES[copied](model)
    _, rest = split_state(model, NEW)
    train_by_hand(model.eval().train(), name)
    assert differing(split_state(model, NEW)[1], rest) == []


@pytest.mark.parametrize("name", ["BatchNorm, hard sharing", "heads on BatchNorm, hard sharing"])
def test_saved_and_folded_it_is_as_if_never_frozen(name, tmp_path):
    model = MODELS[name](name)
    keys = list(model.state_dict())
    tsbn_hub.freeze_trunk(model)
    train_by_hand(model, name, steps=1)
    assert list(model.state_dict()) == keys
    expected = outputs_of(model, name, model.tasks)
    tsbn_hub.save_pretrained(model, tmp_path)
    loaded = loaded_from(tmp_path)
    assert same(outputs_of(loaded, name, model.tasks), expected)
    assert {type(module) for module in model.fold("z").modules()} == {type(part) for part in loaded.fold("z").modules()}
    if name in TRANSFORMERS:
        assert {type(part) for part in model.fold_head(NEW).modules()} == {
            type(part) for part in loaded.fold_head(NEW).modules()
        }


def test_statistics_of_the_new_task_are_taken():
    model = timm_model("BatchNorm")
    tsbn_hub.freeze_trunk(model)
    train_by_hand(model, "BatchNorm", steps=3)
    norms = [norm for norm in model.modules() if isinstance(norm, TaskBatchNorm)]
    fresh = [norm for norm in timm_model("BatchNorm").modules() if isinstance(norm, TaskBatchNorm)]
    for norm, before in zip(norms, fresh, strict=True):
        assert (norm.num_batches_tracked - before.num_batches_tracked).tolist() == [0, 0, 3]
        assert not torch.equal(norm.running_mean[2], before.running_mean[2])


def test_a_plain_model_is_refused():
    with pytest.raises(TypeError, match="ResNet has no tasks"):
        tsbn_hub.freeze_trunk(timm.create_model("test_resnet"))
    with pytest.raises(TypeError, match="TasksForward has no tasks"):
        tsbn_hub.freeze_trunk(TasksForward(timm_model("BatchNorm")))


def test_a_pass_for_all_heads_leaves_those_of_idle_tasks():
    """With hard sharing, where one pass serves all tasks."""
    model = transformers_model("heads on BatchNorm, hard sharing")
    model.tsbn.eval()
    _, rest = split_state(model, NEW)
    with torch.no_grad():
        outputs_by_task(model, images_of("heads on BatchNorm"), [NEW])
    assert differing(split_state(model, NEW)[1], rest) == []
    assert all(module.training for module in model.heads.modules())


def test_under_timms_loop():
    model = timm_model("BatchNorm, shared before the fork and after it")
    tsbn_hub.freeze_trunk(model)
    own, rest = split_state(model, NEW)
    optimizer = create_optimizer_v2(model, "adamw", weight_decay=0.1, param_group_fn=tsbn_hub.param_groups)
    training = MultiTaskTraining(model.train(), {NEW: Classification(4)}, verbose=False)
    training.guard(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        training(images_of("BatchNorm"), {NEW: torch.arange(6) % 4})["loss"].backward()
        optimizer.step()
    own_after, rest_after = split_state(model, NEW)
    assert differing(rest_after, rest) == [] and differing(own_after, own)


# --- by a config ---

MEAN, STD = [0.5, 0.25, 0.125], [0.5, 0.25, 0.75]

DATA = '''
"""Small data of one's own."""
import torch
from torch.utils.data import Dataset


class Corners(Dataset):
    num_classes = {"k": 4}

    def __init__(self, split, size=32, channels=3):
        generator = torch.Generator().manual_seed(int(split == "test"))
        self.corner = torch.randint(4, (size,), generator=generator)
        self.images = torch.rand(size, channels, 32, 32, generator=generator) * 0.2
        for image, corner in zip(self.images, self.corner, strict=True):
            row, column = divmod(int(corner), 2)
            image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 0.8

    def __len__(self):
        return len(self.corner)

    def __getitem__(self, at):
        return {"image": self.images[at], "targets": {name: self.target(name, at) for name in self.num_classes}}

    def target(self, name, at):
        return self.corner[at] % self.num_classes[name]


class Three(Corners):
    num_classes = {"k": 4, "a": 5, "b": 2}

    def __getitem__(self, at):
        sample = super().__getitem__(at)
        if at % 3:
            del sample["targets"]["b"]
        return sample


class FourOfA(Corners):
    num_classes = {"a": 4}
'''

CHECKPOINTS = {
    "BatchNorm": {},
    "TSBN": {"norm": "affine"},
    "statistics": {"norm": "statistics"},
    "hard sharing": {"norm": "shared"},
    "shared before the fork and after it": {"gated": "layer2*"},
}


def timm_checkpoint(folder, **keywords):
    torch.manual_seed(0)
    model = randomized(timm.create_model("test_resnet_tsbn", num_classes=CLASSES, **SMALL, **keywords))
    tsbn_hub.save_pretrained(model, folder, data_config={"mean": MEAN, "std": STD, "input_size": (3, 64, 64)})


def transformers_checkpoint(folder, backbone, **keywords):
    tasks = [
        Task("z", "classification", num_classes=3),
        Task("depth", "depth", head_args={"channels": 8}),
        Task("edges", "edges", head="linear"),
    ]
    torch.manual_seed(0)
    model = BACKBONES[backbone].multi_task(tasks, **keywords)
    tsbn_hub.save_pretrained(model, folder)


def config_of(folder, **changes):
    (folder / "own.py").write_text(DATA)
    data = changes.pop("data", "Corners")
    settings = {
        "checkpoint": str(folder / "trained"), "freeze_trunk": True, "output": str(folder / "run"), "epochs": 2,
        "data": data if data == "Scenes" else f"{folder}/own.py:{data}", "batch_size": 4, "validation": 0.25,
        "weight_decay": 0.1, "lr": 1e-2, "checkpoint_steps": 2,
    }  # fmt: skip
    return TrainingConfig(**settings | changes)


@torch.no_grad()
def compared(config, trained):
    """Tasks of the saved model whose outputs differ from the checkpoint's, and entries of the others that do."""
    before, after = loaded_from(config.checkpoint), loaded_from(config.output)
    assert after.tasks[: len(before.tasks)] == before.tasks and set(trained) <= set(after.tasks)
    changed = set()
    for batch in (1, 5):
        images = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
        for task in before.tasks:  # by itself: one product for more classes rounds otherwise (hard sharing)
            one, other = (outputs_by_task(model, images, [task])[task] for model in (before, after))
            changed |= set() if torch.equal(one, other) else {task}
    for task in trained:
        if task in before.tasks:
            before.remove_task(task)
        after.remove_task(task)
    return changed, differing(split_of_all(after), split_of_all(before))


def split_of_all(model):
    return model.state_dict() | dict(model.named_buffers())


WAYS = {
    "AdamW": {},
    "momentum": {"optimizer": "sgd", "optimizer_args": {"momentum": 0.9}},
    "averaged weights": {"ema_decay": 0.9, "optimizer": "sgd", "optimizer_args": {"momentum": 0.9, "nesterov": True}},
    "micro-batches, clipped": {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1, "batch_size": 2},
    "joined statistics, a learned weighting": {"sync_batch_norm": True, "balancing": "uncertainty"},
    "in bf16": {"mixed_precision": "bf16", "optimizer": "nadamw"},
}


@pytest.mark.parametrize(
    ("checkpoint", "way"),
    cases_of(
        product(["BatchNorm", "hard sharing", "TSBN", "shared before the fork and after it"], WAYS),
        [
            ("BatchNorm", "joined statistics, a learned weighting"),
            ("hard sharing", "momentum"),
            ("TSBN", "micro-batches, clipped"),
            ("shared before the fork and after it", "averaged weights"),
        ],
    ),
)
def test_a_run_from_a_checkpoint(checkpoint, way, tmp_path):
    timm_checkpoint(tmp_path / "trained", **CHECKPOINTS[checkpoint])
    config = config_of(tmp_path, **WAYS[way])
    scores = train(config)
    assert list(scores) == [NEW]
    assert compared(config, trained=[NEW]) == (set(), [])
    model = tsbn_hub.from_pretrained(config.output)
    assert model.tasks == ["z", "a", NEW] and model.task_classes == [3, 5, 4]
    kinds, again = evaluate_run(config.output)
    assert list(kinds) == [NEW] and again == scores


def test_not_frozen_they_change(tmp_path):
    timm_checkpoint(tmp_path / "trained")
    config = config_of(tmp_path, freeze_trunk=False, epochs=1)
    train(config)
    changed, entries = compared(config, trained=[NEW])
    assert changed == {"z", "a"} and "conv1.0.weight" in entries


def test_it_learns(tmp_path):
    timm_checkpoint(tmp_path / "trained")
    config = config_of(tmp_path, epochs=8, batch_size=16, data_args={"size": 256 if NIGHTLY else 128})
    scores = train(config)
    lines = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    assert lines[-2]["loss"][NEW] < 0.5 * lines[0]["loss"][NEW]
    assert scores[NEW]["accuracy"] > 0.8


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({}, marks=pytest.mark.nightly),
        {"tasks_per_step": 1, "backward": "task", "ema_decay": 0.9},
    ],
)
def test_a_task_of_the_checkpoint_may_be_trained_on(way, tmp_path):
    timm_checkpoint(tmp_path / "trained")
    config = config_of(tmp_path, data="Three", **way)
    assert list(train(config)) == ["k", "a", "b"]
    assert compared(config, trained=["k", "a", "b"]) == ({"a"}, [])
    assert tsbn_hub.from_pretrained(config.output).tasks == ["z", "a", "k", "b"]


@pytest.mark.parametrize(
    ("backbone", "tasks"),
    cases_of(
        product(
            ["timm/test_resnet", "timm/test_resnet, shared", "vit"],
            [["depth"], ["segmentation"], ["segmentation", "normals"]],
        ),
        [
            ("timm/test_resnet, shared", ["segmentation", "normals"]),
            ("vit", ["depth"]),
        ],
    ),
)
def test_heads(backbone, tasks, tmp_path):
    backbone, _, shared = backbone.partition(", ")
    transformers_checkpoint(tmp_path / "trained", backbone, **({"norm": shared} if shared else {}))
    data_args = {"size": 16, "height": 32, "width": 32}
    config = config_of(tmp_path, data="Scenes", data_args=data_args, tasks=tasks, heads=heads_of(tasks), ema_decay=0.9)
    scores = train(config)
    assert compared(config, trained=tasks) == (set(tasks) & {"depth"}, [])
    kinds, again = evaluate_run(config.output)
    assert list(kinds) == tasks and again == scores
    model = TsbnForMultiTask.from_pretrained(config.output)
    assert [task.name for task in model.config.tasks] == [
        "z",
        "depth",
        "edges",
        *(task for task in tasks if task != "depth"),
    ]


def heads_of(tasks):
    return {task: {"name": "small", "channels": 8} for task in tasks if task != "depth"}


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    timm_checkpoint(tmp_path / "trained", gated="layer2*")
    whole = config_of(tmp_path, data="Three", ema_decay=0.9, output=str(tmp_path / "whole"))
    stopped = replace(whole, output=str(tmp_path / "stopped"))
    scores = train(whole)
    take_step, taken = Training.take_step, []

    def take_and_stop(self, batches):
        taken.append(take_step(self, batches))
        return len(taken) == 3

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Training, "take_step", take_and_stop)
        train(stopped)
    assert train(stopped) == scores
    for name in ("model.safetensors", "config.json", "log.jsonl"):
        assert Path(stopped.output, name).read_bytes() == Path(whole.output, name).read_bytes()


PROCESSES = {
    "averaged weights, micro-batches": {
        "data": "Three", "ema_decay": 0.9, "gradient_accumulation_steps": 2, "batch_size": 2,
    },
    "joined statistics, clipped": {
        "sync_batch_norm": True, "optimizer": "sgd", "optimizer_args": {"momentum": 0.9}, "max_grad_norm": 1.0,
    },
    "heads": {
        "data": "Scenes", "data_args": {"size": 16, "height": 32, "width": 32}, "tasks": ["segmentation"],
        "heads": {"segmentation": {"name": "small", "channels": 8}}, "batch_size": 2,
    },
}  # fmt: skip


def train_in_a_process(folder, way):
    train(config_of(folder, **PROCESSES[way]))


@pytest.mark.parametrize("way", cases_of(PROCESSES, ["averaged weights, micro-batches"]))
def test_two_processes(way, tmp_path):
    if way == "heads":
        transformers_checkpoint(tmp_path / "trained", "timm/test_resnet", norm="shared")
    else:
        timm_checkpoint(tmp_path / "trained", gated="layer2*")
    config = config_of(tmp_path, **PROCESSES[way])
    codes = processes.train(tmp_path, 2, target=train_in_a_process, arguments=(way,))
    assert codes == [0, 0], [processes.printed(tmp_path, rank) for rank in range(2)]
    trained = {"averaged weights, micro-batches": ["k", "a", "b"], "heads": ["segmentation"]}.get(way, [NEW])
    assert compared(config, trained) == (set(trained) & {"a"}, [])


def test_images_are_normalised_as_those_of_the_checkpoint(tmp_path):
    timm_checkpoint(tmp_path / "trained")
    config = config_of(tmp_path, epochs=1)
    training = Training(config, Accelerator(), StopSignals())
    images = torch.cat([batch["image"] for step in training.steps.of_epoch(1) for batch in step])
    assert images.amin((0, 2, 3)).tolist() == pytest.approx([-1, -1, -1 / 6], abs=0.01)
    train(config)
    model = tsbn_hub.from_pretrained(config.output)
    normalization = surface_of(model).normalization()
    assert (list(normalization.mean), list(normalization.std)) == (MEAN, STD)
    assert model.pretrained_cfg["input_size"] == (3, 64, 64)


@pytest.mark.parametrize("norm", ["sigmoid", "affine"])
def test_how_a_new_task_starts(norm, tmp_path):
    timm_checkpoint(tmp_path / "trained", norm=norm)
    model = Training(config_of(tmp_path), Accelerator(), StopSignals()).model
    norms = [norm for norm in model.modules() if isinstance(norm, TaskBatchNorm)]
    assert norms
    for each in norms:
        for name, fresh in each.new_rows().items():
            rows = getattr(each, name)
            assert torch.equal(rows[2], fresh[0] if norm == "sigmoid" else rows[0])
            assert not torch.equal(rows[2], rows[1]) or name == "num_batches_tracked"


def test_a_pretrained_trunk_of_a_new_model(tmp_path):
    config = replace(config_of(tmp_path, checkpoint=None, model="test_resnet_tsbn"), epochs=1)
    train(config)
    torch.manual_seed(config.seed)
    plain, trained = Training(config, Accelerator(), StopSignals()).model, tsbn_hub.from_pretrained(config.output)
    moved = differing(dict(trained.named_parameters()), dict(plain.named_parameters()))
    assert moved and all("gate_logits" in name or name.startswith("fc.") for name in moved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "test_resnet_tsbn"}, r"has \['model'\] of its own: leave them out"),
        (
            {"norm": "affine"},
            r"norm='affine': the norms of checkpoint=.* are 'sigmoid', and those of hard sharing alone",
        ),
        ({"model_args": {"drop_rate": 0.1}}, r"has \['model_args.drop_rate'\] of its own"),
        ({"checkpoint": None}, "model=None, checkpoint=None: give one"),
        ({"output": "trained"}, "is the output, too"),
        ({"data_args": {"channels": 1}}, "takes images of 3 channels, those of the data have 1"),
        ({"data": "FourOfA"}, r"'a' of checkpoint=.* is a Classification of 5 outputs.*of 4 outputs.*another name"),
        ({"data": "Three", "heads": {"a": "linear"}}, "'a' of checkpoint=.* has its head"),
        ({"heads": {"k": "linear"}}, r"model of timm, and cannot get \{'name': 'k'"),
        ({"data": "Scenes", "data_args": {"size": 8, "height": 32, "width": 32}}, r"cannot get .*'segmentation'"),
    ],
)
def test_what_does_not_fit(changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    timm_checkpoint(tmp_path / "trained")
    with pytest.raises(ValueError, match=message):
        train(config_of(tmp_path, **changes))
    assert not (tmp_path / "run").exists()


def test_checkpoints_that_do_not_fit(tmp_path):
    plain = timm.create_model("test_resnet", num_classes=3)
    tsbn_hub.save_pretrained(plain, tmp_path / "trained")
    with pytest.raises(ValueError, match="is a plain ResNet, without tasks"):
        train(config_of(tmp_path))
    with pytest.raises(OSError, match="nowhere"):
        train(config_of(tmp_path, checkpoint=str(tmp_path / "nowhere")))
    tasks = [Task("segmentation", "segmentation", labels=["x", *Scenes.tasks[0].labels[1:]], head_args={"channels": 8})]
    tsbn_hub.save_pretrained(BACKBONES["timm/test_resnet"].multi_task(tasks), tmp_path / "labelled")
    with pytest.raises(ValueError, match=r"'segmentation' of checkpoint=.*'x'.*Under another name"):
        train(config_of(tmp_path, data="Scenes", tasks=["segmentation"], checkpoint=str(tmp_path / "labelled")))
    strict = BACKBONES["timm/test_resnet"].multi_task([Task("edges", "edges", kind_args={"tolerance": 0})])
    tsbn_hub.save_pretrained(strict, tmp_path / "strict")
    with pytest.raises(
        ValueError, match=r"'edges' of checkpoint=.* is a Edges with \{'tolerance': 0\}, .* a Edges with"
    ):
        train(config_of(tmp_path, data="Scenes", tasks=["edges"], checkpoint=str(tmp_path / "strict")))


def test_an_aggregator_has_nothing_to_join(tmp_path):
    timm_checkpoint(tmp_path / "trained")
    with pytest.raises(ValueError, match="freeze_trunk leaves no gradient that tasks share"):
        train(config_of(tmp_path), aggregator=lambda jacobian: jacobian.sum(0))
