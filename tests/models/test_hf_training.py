"""Training models of transformers: recomputation, their Trainer, parameter groups, tasks that come and go."""

import copy
from itertools import product

import pytest
import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments

from tests.matrices import cases_of, diagonal
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel, param_groups
from tsbn_hub.norms import TaskBatchNorm, TaskNorm

from .hf_backbones import (
    BACKBONES,
    FEW,
    NAMES,
    TASKS,
    assert_equal,
    assert_states_equal,
    each_of,
    few_backbones,
    some_backbones,
)

CHECKPOINTING = [name for name, tiny in BACKBONES.items() if tiny.checkpoints]


def gradients_of(model, tiny, **task):
    model.zero_grad()
    torch.manual_seed(0)
    labels = tiny.labels()
    labels = {name: labels[name] for name in ([task["task"]] if task else NAMES)}
    model(tiny.images(), labels=labels, **task).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same_gradients(actual, expected):
    """To within rounding. Some, of the bias of keys, are nothing but rounding."""
    largest = max(gradient.abs().max() for gradient in expected.values())
    assert actual.keys() == expected.keys()
    for key, gradient in expected.items():
        assert (actual[key] - gradient).abs().max() <= 1e-6 * largest, key


# --- gradients ---


RECOMPUTED = [{}, {"use_reentrant": False}, {"use_reentrant": True}]


@pytest.mark.parametrize(
    ("name", "options"),
    cases_of(product(CHECKPOINTING, RECOMPUTED), diagonal(CHECKPOINTING[::2], RECOMPUTED)),
    ids=str,
)
def test_gradient_checkpointing_with_several_tasks(name, options):
    """All tasks forward, one backward: each is recomputed as itself."""
    tiny = BACKBONES[name]
    model = tiny.multi_task().train()
    model.execution = "sequential"  # as with checkpoints: a batched pass draws dropout's masks once for all tasks
    plain, state = gradients_of(model, tiny), copy.deepcopy(model.state_dict())
    model.gradient_checkpointing_enable(options or None)
    runs = []
    handles = [
        module.register_forward_hook(lambda *args: runs.append(None))
        for module in model.modules()
        if isinstance(module, TaskNorm)
    ]
    recomputed = gradients_of(model, tiny)
    assert len(runs) > 1.3 * len(NAMES) * len(handles), "the blocks run again in the backward pass"
    assert_same_gradients(recomputed, plain)
    assert all(gradient.any() for key, gradient in plain.items() if key.endswith("gate_logits"))
    model.gradient_checkpointing_disable()
    model.load_state_dict(state)
    runs.clear()
    assert_same_gradients(gradients_of(model, tiny), plain)
    assert len(runs) == len(NAMES) * len(handles)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in CHECKPOINTING])
def test_architectures_without_gradient_checkpointing(name):
    for model in (BACKBONES[name].multi_task(), BACKBONES[name].backbone()):
        with pytest.raises(ValueError, match=rf"{type(model.base_model.backbone).__name__} does not support gradient"):
            model.gradient_checkpointing_enable()


@some_backbones
def test_gradients_are_those_of_the_folded_model(tiny):
    """And nothing of the other tasks moves."""
    model = tiny.multi_task().train()
    folded = model.fold("a").train()
    if not type(folded).__name__.endswith("Classification"):
        pytest.skip("transformers has no classifier of this architecture")
    before = copy.deepcopy(model.state_dict())
    gradients = gradients_of(model, tiny, task="a")
    torch.manual_seed(0)
    folded(tiny.images(), labels=tiny.labels()["a"]).loss.backward()
    row = NAMES.index("a")
    trunk = dict(folded.base_model.named_parameters())
    prefix = "tsbn.backbone." + ("timm_model." if hasattr(model.tsbn.backbone, "timm_model") else "")
    compared = 0
    for name, parameter in trunk.items():
        owner = model.get_submodule((prefix + name).rpartition(".")[0])
        if parameter.grad is None or isinstance(owner, TaskNorm) or prefix + name not in gradients:
            continue
        assert_equal(gradients[prefix + name], parameter.grad, name, bound=1e-4)
        compared += 1
    assert compared > 4
    after = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, TaskNorm):
            grad = gradients[f"{name}.gate_logits"]
            assert grad[row].any() and not grad[:row].any() and not grad[row + 1 :].any()
        if isinstance(module, TaskBatchNorm):
            key = f"{name}.running_mean"
            assert not torch.equal(after[key][row], before[key][row])
            others = [0, 2]
            assert torch.equal(after[key][others], before[key][others])


@some_backbones
def test_every_trainable_parameter_gets_a_gradient(tiny):
    """DDP refuses one that gets none: poolers that no head is reached by are frozen."""
    model = tiny.multi_task().train()
    model(tiny.images(), labels=tiny.labels()).loss.backward()
    idle = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    # A mask token is for pretraining: the native model has it, and leaves it alone, too.
    assert [name for name in idle if "mask_token" not in name] == []


# --- transformers' Trainer ---


class Samples(torch.utils.data.Dataset):
    def __init__(self, tiny, size=8):
        self.images, self.labels = tiny.images(size), tiny.labels(size)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        return {"pixel_values": self.images[at], "labels": {name: each[at] for name, each in self.labels.items()}}


def accuracy(prediction):
    logits, labels = prediction.predictions, prediction.label_ids
    assert set(logits) == set(labels) == set(NAMES)
    assert logits["z"].shape == (8, 3, *labels["z"].shape[1:])
    return {"accuracy": float((logits["a"].argmax(-1) == labels["a"]).mean())}


def trainer_for(tiny, folder, model=None, **arguments):
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        per_device_train_batch_size=2,
        per_device_eval_batch_size=4,
        learning_rate=2e-3,
        save_steps=3,
        label_names=["labels"],
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **{"max_steps": 6, **arguments},
    )
    torch.manual_seed(5)
    model = tiny.multi_task() if model is None else model
    data = Samples(tiny)
    return Trainer(model, arguments, default_collate, data, data, compute_metrics=accuracy)


@each_of(cases_of(FEW, ["resnet"]))
def test_trainer_trains_evaluates_and_resumes_bit_for_bit(tiny, tmp_path):
    trainer = trainer_for(tiny, tmp_path / "whole")
    start = copy.deepcopy(trainer.model.state_dict())
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < before["eval_loss"] and 0 <= after["eval_accuracy"] <= 1
    moved = [key for key, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, start[key])]
    gates = [key for key in start if key.endswith("gate_logits")]
    assert set(gates) <= set(moved)

    checkpoint = tmp_path / "whole" / "checkpoint-3"
    torch.manual_seed(99)
    resumed = trainer_for(
        tiny, tmp_path / "resumed", TsbnForMultiTask.from_backbone(tiny.plain(), TASKS, execution="sequential")
    )
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.state.global_step == 6
    assert_states_equal(resumed.model, trainer.model)
    again = TsbnForMultiTask.from_pretrained(tmp_path / "whole" / "checkpoint-6")
    assert_states_equal(again, trainer.model)


def test_trainer_loads_the_best_model(tmp_path):
    tiny = BACKBONES["vit"]
    trainer = trainer_for(
        tiny, tmp_path, eval_strategy="steps", eval_steps=3, load_best_model_at_end=True, metric_for_best_model="loss"
    )
    trainer.train()
    best = TsbnForMultiTask.from_pretrained(trainer.state.best_model_checkpoint)
    assert_states_equal(best, trainer.model)


def test_trainer_with_gradient_checkpointing(tmp_path):
    states = []
    for checkpointing in (False, True):
        trainer = trainer_for(
            BACKBONES["vit"], tmp_path, gradient_checkpointing=checkpointing, save_strategy="no", max_steps=2
        )
        trainer.train()
        states.append(trainer.model.state_dict())
    for key, tensor in states[0].items():
        assert_equal(states[1][key], tensor, key, bound=1e-4)


def test_trainer_with_our_parameter_groups(tmp_path):
    model = BACKBONES["resnet"].multi_task()
    trainer = trainer_for(BACKBONES["resnet"], tmp_path, model)
    trainer.optimizer = torch.optim.SGD(param_groups(model, lr=1e-3))
    trainer.train()
    assert trainer.optimizer.param_groups and trainer.evaluate()["eval_loss"] > 0


# --- parameter groups ---


@some_backbones
def test_gates_learn_faster_and_without_decay(tiny):
    model = tiny.multi_task()
    groups = {group["name"]: group for group in param_groups(model, lr=1e-3, weight_decay=0.1)}
    for name, module in model.named_modules():
        if isinstance(module, TaskNorm):
            is_batch_norm = isinstance(module, TaskBatchNorm)
            group = groups["gates of BatchNorms" if is_batch_norm else "gates of other norms"]
            assert any(module.gate_logits is each for each in group["params"]), name
            assert group["lr"] == pytest.approx(0.1 if is_batch_norm else 0.01) and group["weight_decay"] == 0
    listed = [id(parameter) for group in groups.values() for parameter in group["params"]]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(listed) == sorted(trainable)
    assert groups["weights"]["weight_decay"] == 0.1


# --- tasks that come and go ---


@few_backbones
def test_add_task_and_remove_task(tiny, tmp_path):
    model, x = tiny.multi_task(), tiny.images()
    with torch.no_grad():
        before = model(x).logits
        trunk = model.tsbn(x, task="m")
        model.add_task(Task("b", "classification", num_classes=5), like="m")
        assert model.tasks == model.tsbn.tasks == [*NAMES, "b"]
        after = model(x).logits
        assert_equal({name: after[name] for name in NAMES}, before)
        assert after["b"].shape == (2, 5)
        assert_equal(model.tsbn(x, task="b"), trunk)
        model.remove_task("a")
        assert model.tasks == ["z", "m", "b"] and [task.name for task in model.config.tasks] == model.tasks
        again = model(x).logits
        assert list(again) == ["z", "m", "b"]
        assert_equal(again, {name: after[name] for name in model.tasks})
        model.save_pretrained(tmp_path)
        loaded = TsbnForMultiTask.from_pretrained(tmp_path)
        assert_states_equal(loaded, model)
        assert_equal(loaded(x).logits, again, bound=1e-6)
    labels = {**tiny.labels(), "b": torch.tensor([4, 0])}
    del labels["a"]
    model(x, labels=labels).loss.backward()


@few_backbones
def test_a_fresh_task(tiny):
    model, backbone = tiny.multi_task(), tiny.backbone()
    for each, task in ((model, Task("b", "depth")), (backbone, "b")):
        each.add_task(task)
        for module in each.modules():
            if isinstance(module, TaskNorm):
                assert module.gate_logits[-1].eq(0).all() and module.gate_logits[:-1].any()
    backbone.remove_task("b")
    assert_states_equal(backbone, tiny.backbone())


@pytest.mark.parametrize("name", FEW)
def test_a_refused_task_changes_nothing(name):
    model = BACKBONES[name].multi_task()
    before, config = copy.deepcopy(model.state_dict()), copy.deepcopy(model.config.tasks)
    for task, like, message in (
        (Task("z"), None, r"\['z'\] are repeated"),
        (Task("b"), None, "number of classes"),
        (Task("b", "nonsense"), None, "nonsense"),
        (Task("b", num_classes=3, head="nonsense"), None, "nonsense"),
        (Task("b", num_classes=3), "nobody", r"'nobody'.*\['z', 'a', 'm'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model.add_task(task, like)
    with pytest.raises(ValueError, match=r"'b'.*\['z', 'a', 'm'\]"):
        model.remove_task("b")
    assert model.config.tasks == config and list(model.kinds) == NAMES
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


# --- placement ---


@few_backbones
def test_device_map(tiny, tmp_path):
    model, x = tiny.multi_task(), tiny.images()
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    with torch.no_grad():
        expected = model(x).logits
        for device_map in ("cpu", {"": "cpu"}, "auto"):
            again = TsbnForMultiTask.from_pretrained(tmp_path, device_map=device_map)
            assert_states_equal(again, model)
            assert_equal(again(x).logits, expected, bound=1e-6)


@pytest.mark.parametrize("name", ["vit", "swin", "resnet"])
def test_offload_to_disk(name, tmp_path):
    """Weights that come from the disk block by block; each norm finds its task."""
    from accelerate import disk_offload

    tiny = BACKBONES[name]
    model, x = tiny.multi_task(), tiny.images()
    with torch.no_grad():
        expected = model(x).logits
        disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
        assert any(parameter.device.type == "meta" for parameter in model.parameters())
        assert_equal(model(x).logits, expected, bound=1e-6)
        assert_equal(model(x, task="m").logits["m"], expected["m"], bound=1e-6)


def test_weights_kept_in_float32(tmp_path, monkeypatch):
    """What a class keeps in float32, gates say, stays in it when all else is loaded in half precision."""
    tiny = BACKBONES["vit"]
    tiny.backbone().save_pretrained(tmp_path)
    monkeypatch.setattr(TsbnModel, "_keep_in_fp32_modules_strict", {"gate_logits"})
    model = TsbnModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if name.endswith("gate_logits") else torch.bfloat16), name


def test_data_types_by_autocast():
    tiny = BACKBONES["resnet"]
    model, x = tiny.multi_task(), tiny.images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = model(x, labels=tiny.labels())
    assert out.loss.dtype == torch.float32 and out.loss.isfinite()
