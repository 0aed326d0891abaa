"""transformers' Trainer for models with tasks: idle tasks rest, gates learn faster, each task's loss is told."""

import copy
from functools import partial

import pytest
import torch
import transformers
from transformers import ResNetConfig, Trainer, TrainingArguments

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask, TsbnTrainer
from tsbn_hub.norms import TaskNorm
from tsbn_hub.training.hf.trainer import LabelCollate

TASKS = [Task("a", num_classes=3), Task("b", num_classes=3), Task("c", "regression")]
RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1], layer_type="basic")
VIT = transformers.ViTConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16
)
OPTIONS = dict(
    use_cpu=True,
    per_device_train_batch_size=4,
    max_steps=4,
    learning_rate=1e-2,
    weight_decay=0.1,
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
    dataloader_pin_memory=False,
)


def new_model(backbone=RESNET, tasks=TASKS, **options):
    torch.manual_seed(0)
    return TsbnForMultiTask.from_backbone(backbone, tasks, pretrained=False, **options)


def samples(*of_batches, size=32, batch=4):
    """A batch of samples for each of the given tuples of tasks, with labels for these."""
    generator = torch.Generator().manual_seed(0)
    values = {"a": lambda at: at % 3, "b": lambda at: (at + 1) % 3, "c": lambda at: torch.tensor([float(at % 2)])}
    return [
        {
            "pixel_values": torch.rand(3, size, size, generator=generator),
            "labels": {task: values[task](at) for task in tasks},
        }
        for tasks in of_batches
        for at in range(batch)
    ]


class InOrder:
    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class OrderedTrainer(InOrder, TsbnTrainer):
    """Whose batches are the consecutive samples."""


def trained(model, data, folder, trainer_class=OrderedTrainer, resume=None, evaluation=None, callbacks=None, **options):
    arguments = TrainingArguments(str(folder), **{**OPTIONS, **options})
    trainer = trainer_class(model, arguments, train_dataset=data, eval_dataset=evaluation, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def of_task(model, task):
    """All that a task has of its own."""
    row = model.tasks.index(task)
    rows = {
        f"{name}.{key}": getattr(norm, key)[row].clone()
        for name, norm in model.named_modules()
        if isinstance(norm, TaskNorm)
        for key in norm.stacked_names()
    }
    return {**rows, **{key: value.clone() for key, value in model.head(task).state_dict().items()}}


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


# --- the forward ---


@pytest.mark.parametrize("norm", ["sigmoid", "shared"])
@pytest.mark.parametrize("backbone", [RESNET, "timm/test_resnet"], ids=["resnet", "timm"])
def test_a_training_forward_is_for_the_tasks_that_have_labels(backbone, norm):
    model = new_model(backbone, norm=norm).train()
    before = {task: of_task(model, task) for task in model.tasks}
    x = torch.rand(4, 3, 64, 64)
    labels = {"c": torch.rand(4, 1), "a": torch.tensor([0, 1, 2, -100]), "b": torch.full((4,), -100)}
    out = model(x, labels=labels)
    assert list(out.logits) == list(out.losses) == ["a", "c"]
    out.loss.backward()
    assert same(before["b"], of_task(model, "b"))
    statistics = [key for key in before["a"] if "running" in key]
    assert bool(statistics) == (norm == "sigmoid")
    after = of_task(model, "a")
    assert not any(torch.equal(after[key], before["a"][key]) for key in statistics)
    assert all(parameter.grad is None for parameter in model.head("b").parameters())
    assert list(model(x).logits) == model.tasks, "without labels, all tasks"
    assert list(model.eval()(x, labels={"b": labels["a"]}).logits) == model.tasks, "in evaluation, too"


def test_labelled_tasks_give_what_all_tasks_give():
    """Statistics of what is before the fork count a batch once, whichever tasks are run."""
    model, x = new_model("timm/test_vit").train(), torch.rand(2, 3, 160, 160)
    labels = {"a": torch.tensor([0, 1]), "b": torch.tensor([2, 0])}
    out = model(x, labels=labels)
    expected = model(x)
    assert all(torch.equal(out.logits[task], expected.logits[task]) for task in labels)


def test_a_training_batch_without_labels_has_no_gradient():
    model = new_model().train()
    before = copy.deepcopy(model.state_dict())
    out = model(torch.rand(2, 3, 32, 32), labels={"a": torch.full((2,), -100)})
    assert out.loss == 0 and out.logits == {} and out.losses == {}
    out.loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)
    assert same(before, model.state_dict())


def test_labels_as_a_tensor():
    x, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    single, model = new_model(tasks=TASKS[:1]), new_model()
    assert single(x, labels=labels).losses.keys() == model(x, labels=labels, task="a").losses.keys() == {"a"}
    assert single.train()(x, labels=labels).loss > 0
    for wrong in (labels, [labels]):
        with pytest.raises(TypeError, match=r"labels are a (Tensor|list).*\['a', 'b', 'c'\].*labels=\{'a'"):
            model(x, labels=wrong)


# --- TsbnTrainer ---


def test_gates_learn_faster_and_without_decay(tmp_path):
    trainer = TsbnTrainer(new_model(), TrainingArguments(str(tmp_path), **OPTIONS), gate_lr_scale=7)
    groups = {group["name"]: (group["lr"], group["weight_decay"]) for group in trainer.create_optimizer().param_groups}
    assert groups == {
        "weights": (0.01, 0.1),
        "biases and norms": (0.01, 0.0),
        "gates of BatchNorms": (pytest.approx(0.07), 0.0),
    }


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd"])
def test_idle_tasks_stay_at_rest(optim, tmp_path):
    """Also after steps that they were part of: momentum and averages would move them on."""
    data = samples(("a", "b"), ("a",), ("a", "c"), ())
    options = dict(optim=optim, optim_args="momentum=0.9" if optim == "sgd" else None, lr_scheduler_type="constant")
    states = []

    class Kept(transformers.TrainerCallback):
        def on_step_end(self, arguments, state, control, model, **_):
            states.append(copy.deepcopy(model))

    trained(new_model(), data, tmp_path, callbacks=[Kept()], **options)
    one, two, three, four = states
    assert not same(of_task(one, "a"), of_task(two, "a")) and not same(of_task(two, "c"), of_task(three, "c"))
    assert same(of_task(one, "b"), of_task(two, "b")) and same(of_task(two, "b"), of_task(three, "b"))
    assert same(of_task(new_model(), "c"), of_task(two, "c"))
    assert same(three.state_dict(), four.state_dict()), "a step without any label moves nothing"


def test_a_batch_without_labels_among_accumulated_ones_moves_no_idle_head(tmp_path):
    """Its gradients are zeros, by which Adam's averages would move what they belong to."""
    data = samples(("a", "b"), ("c",), ("a",), ())
    options = dict(gradient_accumulation_steps=2, lr_scheduler_type="constant")
    one, two = (trained(new_model(), data, tmp_path, max_steps=steps, **options).model for steps in (1, 2))
    assert same(of_task(one, "b"), of_task(two, "b")) and not same(of_task(one, "a"), of_task(two, "a"))


@pytest.mark.parametrize("source", [RESNET, "timm/test_resnet"], ids=["resnet", "timm"])
def test_a_frozen_trunk(source, tmp_path):
    model = new_model(source, TASKS[:1])
    model.add_task(TASKS[1], like="a")
    tsbn_hub.freeze_trunk(model)
    x = torch.rand(2, 3, 64, 64)
    before = model.eval()(x).logits
    trained(model, samples(("b",), ("b",), size=64), tmp_path)
    after = model.eval()(x).logits
    assert torch.equal(before["a"], after["a"]) and not torch.equal(before["b"], after["b"])


@pytest.mark.parametrize("reentrant", [False, True])
def test_gates_of_a_frozen_trunk_learn_under_recomputation(reentrant, tmp_path):
    model = new_model(VIT)
    tsbn_hub.freeze_trunk(model)
    before = of_task(model, "a")
    checkpointing = dict(gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    trained(model, samples(("a",)), tmp_path, max_steps=1, **checkpointing)
    after = of_task(model, "a")
    assert not any(torch.equal(after[key], before[key]) for key in before if "gate_logits" in key)


def test_accumulated_batches_are_as_one(tmp_path):
    """However unevenly the labels lie in them. (A LayerNorm's trunk: batch statistics would differ.)"""
    data = samples(("a", "c"), ("a",), ("b",), ("a",), ("a",), ("b", "c"), ("c",), ())
    options = dict(max_steps=2, logging_steps=1, optim="sgd", max_grad_norm=0)
    whole = trained(new_model(VIT), data, tmp_path, per_device_train_batch_size=16, **options)
    parts = trained(new_model(VIT), data, tmp_path, gradient_accumulation_steps=4, **options)
    for key, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[key], tensor, msg=key)
    for one, other in zip(whole.state.log_history[:2], parts.state.log_history[:2], strict=True):
        losses = {key: value for key, value in one.items() if key.startswith("loss")}
        assert losses == pytest.approx({key: other[key] for key in losses})
        assert losses["loss"] == pytest.approx(sum(losses[f"loss_{task}"] for task in "abc"))


def test_losses_of_tasks_are_means_over_their_own_steps(tmp_path):
    data = samples(("a",), ("a", "b"), ("a",), ("a",))
    each = trained(new_model(), data, tmp_path, logging_steps=1).state.log_history[:4]
    together = trained(new_model(), data, tmp_path, logging_steps=4).state.log_history[0]
    assert together["loss_a"] == pytest.approx(sum(line["loss_a"] for line in each) / 4)
    assert together["loss_b"] == pytest.approx(each[1]["loss_b"]) and "loss_b" not in each[0]


@pytest.mark.parametrize(
    "backbone", [RESNET, pytest.param("timm/test_resnet", marks=pytest.mark.nightly)], ids=["resnet", "timm"]
)
def test_resumed_exactly(backbone, tmp_path):
    data = samples(("a", "b"), ("b",), ("c",), ("a", "c"), ("a",), ("b",), (), ("c", "b"), size=64)
    options = dict(save_strategy="steps", save_steps=2, gradient_accumulation_steps=2, max_steps=4, logging_steps=1)
    whole = trained(new_model(backbone), data, tmp_path / "whole", TsbnTrainer, **options)
    torch.manual_seed(99)
    other = TsbnForMultiTask.from_backbone(backbone, TASKS, pretrained=False)
    checkpoint = str(tmp_path / "whole" / "checkpoint-2")
    resumed = trained(other, data, tmp_path / "resumed", TsbnTrainer, resume=checkpoint, **options)
    assert same(whole.model.state_dict(), resumed.model.state_dict())
    first, second = whole.optimizer.state_dict()["state"], resumed.optimizer.state_dict()["state"]
    assert all(same(first[key], second[key]) for key in first)
    assert whole.state.log_history[2:4] == resumed.state.log_history[2:4]


def test_a_resume_with_the_tasks_in_another_order_is_refused(tmp_path):
    data = samples(("a", "b"), ("b",))
    trained(new_model(), data, tmp_path, TsbnTrainer, save_strategy="steps", save_steps=1, max_steps=1)
    other = new_model(tasks=TASKS[::-1])
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match="those of the checkpoint are"):
        trained(other, data, tmp_path / "resumed", TsbnTrainer, resume=str(tmp_path / "checkpoint-1"))
    assert same(other.state_dict(), before)


def test_evaluation_has_the_loss_of_each_task_over_all_its_labels(tmp_path):
    data = samples(("a",), ("a", "b"), ("b", "c"), ())
    trainer = TsbnTrainer(new_model(), TrainingArguments(str(tmp_path), per_device_eval_batch_size=4, **OPTIONS))
    scores = trainer.evaluate(data)
    batch = LabelCollate({task.name: kind.missing for task, kind in zip(TASKS, trainer.kinds.values(), strict=True)})(
        data
    )
    expected = trainer.model.eval()(batch["pixel_values"], labels=batch["labels"])
    assert {task: scores[f"eval_loss_{task}"] for task in "abc"} == pytest.approx(
        {task: loss.item() for task, loss in expected.losses.items()}
    )
    assert scores["eval_loss"] == pytest.approx(expected.loss.item())


def test_metrics_of_several_tasks(tmp_path):
    def accuracy(prediction):
        logits, labels = prediction.predictions, prediction.label_ids
        return {task: float((logits[task].argmax(-1) == labels[task]).mean()) for task in "ab"}

    arguments = TrainingArguments(str(tmp_path), per_device_eval_batch_size=4, **OPTIONS)
    trainer = TsbnTrainer(new_model(), arguments, compute_metrics=accuracy)
    scores = trainer.evaluate(samples(("a", "b"), ("a", "b")))
    assert 0 <= scores["eval_a"] <= 1 and 0 <= scores["eval_b"] <= 1
    for tasks in (("a",), ("a", "b", "c")):
        with pytest.raises(ValueError, match=r"labels for \['a'.*one before it for \['a', 'b'\]"):
            trainer.evaluate(samples(("a", "b"), tasks))


def test_what_tasks_cannot_be_kept_apart_in_is_refused(tmp_path):
    arguments = partial(TrainingArguments, str(tmp_path))
    for wrong, options, message in (
        (dict(label_smoothing_factor=0.1), {}, "smooth no labels"),
        ({}, dict(compute_loss_func=lambda *args, **kwargs: 0), "a kind of your own"),
    ):
        with pytest.raises(ValueError, match=message):
            TsbnTrainer(new_model(), arguments(**OPTIONS, **wrong), **options)
    with pytest.raises(ValueError, match=r"adafactor.* mixes the tasks"):
        TsbnTrainer(new_model(), arguments(**OPTIONS, optim="adafactor")).create_optimizer()
    model = new_model()
    optimizer = torch.optim.SGD(model.head("a").parameters(), lr=0.1)
    with pytest.raises(ValueError, match="The optimizer lacks"):
        TsbnTrainer(model, arguments(**OPTIONS), optimizers=(optimizer, None)).create_optimizer()
    with pytest.raises(TypeError, match="no tasks with losses"):
        TsbnTrainer(transformers.ResNetForImageClassification(RESNET), arguments(**OPTIONS))
    with pytest.raises(TypeError, match="a Tensor: give a dict"):
        trained(new_model(), [{"pixel_values": torch.rand(3, 32, 32), "labels": torch.tensor(1)}] * 4, tmp_path)


class OwnLoss(transformers.Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        return model(inputs["pixel_values"]).logits["a"].square().mean()


def test_the_plain_trainer_smooths_no_labels_either(tmp_path):
    arguments = TrainingArguments(str(tmp_path), label_smoothing_factor=0.1, **OPTIONS)
    with pytest.raises(ValueError, match=r"label_smoothing_factor=0.1.*a kind of your own"):
        transformers.Trainer(new_model(), arguments)
    OwnLoss(new_model(), arguments)
    transformers.Trainer(new_model(), arguments, compute_loss_func=lambda outputs, labels, **_: outputs.loss)
    transformers.Trainer(transformers.ResNetForImageClassification(RESNET), arguments)


def test_an_optimizer_that_is_given_rests_idle_tasks_too(tmp_path):
    model = new_model()
    optimizer = torch.optim.AdamW(tsbn_hub.param_groups(model, lr=1e-2))
    data = samples(("a", "b"), ("a",))
    trainer = OrderedTrainer(
        model,
        TrainingArguments(str(tmp_path), **{**OPTIONS, "max_steps": 1}),
        train_dataset=data,
        optimizers=(optimizer, None),
    )
    trainer.train()
    before = of_task(model, "b")
    trainer.args.max_steps = 1
    trainer.train_dataset = samples(("a",))
    trainer.train()
    assert same(before, of_task(model, "b"))


def test_plain_trainer_with_our_groups_keeps_a_frozen_trunk(tmp_path):
    """As the docs say it: an optimizer of our groups in `optimizers=`."""
    model = new_model(tasks=TASKS[:1])
    model.add_task(TASKS[1], like="a")
    tsbn_hub.freeze_trunk(model)
    before = of_task(model, "a")
    trainer = Trainer(
        model,
        TrainingArguments(str(tmp_path), **OPTIONS),
        LabelCollate({"b": -100}),
        train_dataset=samples(("b",), ("b",)),
        optimizers=(torch.optim.AdamW(tsbn_hub.param_groups(model, lr=1e-2, weight_decay=0.1)), None),
    )
    trainer.train()
    assert same(before, of_task(model, "a"))
