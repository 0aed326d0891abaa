"""Our training as a task of timm's: in loops that treat it as timm's own scripts treat theirs."""

import copy
import functools
import math
import re
from itertools import product
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import ClassificationTask, load_task_ema_checkpoint, resume_task_checkpoint
from timm.utils import CheckpointSaver, NativeScaler, dispatch_clip_grad
from torch.utils.data import DataLoader, Dataset

import tsbn_hub
from tests.matrices import cases_of
from tests.training.small_runs import SMALL
from tsbn_hub.data import MultiDigits
from tsbn_hub.tasks import Classification, Depth
from tsbn_hub.training.balancing import DynamicWeightAverage, FixedWeights, LossWeighting, UncertaintyWeighting
from tsbn_hub.training.timm.evaluator import MultiTaskEvaluator
from tsbn_hub.training.timm.task import MultiTaskTraining, Targets, TimmCollate

from .test_idle_tasks import rows_of, same

TASKS = {"b": 3, "a": 5, "c": 2}
OPTIMIZERS = {"adamw": {}, "sgd": {"momentum": 0.9}}


class Labelled(Dataset):
    """Every sample has `b`, every second `a`, and none of the last 16 `c`."""

    def __init__(self, size=48):
        self.images = torch.rand(size, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        targets = {"b": at % 3, "a": at % 5 if at % 2 else None, "c": at % 2 if at < len(self) - 16 else None}
        return {"image": self.images[at], "targets": {task: each for task, each in targets.items() if each is not None}}


def build(architecture="test_resnet", **keywords):
    torch.manual_seed(0)
    return timm.create_model(f"{architecture}_tsbn", num_classes=TASKS, in_chans=1, **keywords)


def build_optimizer(model, name="adamw"):
    return create_optimizer_v2(model, name, **OPTIMIZERS[name], param_group_fn=tsbn_hub.param_groups)


def batch(size=6, **missing):
    """Images, and targets; `missing` maps tasks to how many of their last targets are missing."""
    generator = torch.Generator().manual_seed(1)
    targets = Targets({task: torch.randint(n, (size,), generator=generator) for task, n in TASKS.items()})
    for task, number in missing.items():
        targets[task][size - number :] = -100
    return torch.rand(size, 1, 32, 32, generator=generator), targets


def train_one_epoch(training, loader, optimizer, scheduler, epoch, clip=None, scaler=None, accumulate=1):
    """What timm's train.py does with a task."""
    training.get_trainable_module().train()
    updates = epoch * len(loader) // accumulate
    optimizer.zero_grad()
    for at, (images, targets) in enumerate(loader):
        targets = targets.to(device=torch.device("cpu"))
        update = (at + 1) % accumulate == 0
        loss = training(images, targets)["loss"]
        if accumulate > 1:
            loss /= accumulate
        parameters = None if clip is None else training.get_clip_parameters(exclude_head=False)
        if scaler is not None:
            scaler(loss, optimizer, clip_grad=clip, parameters=parameters, need_update=update)
        else:
            loss.backward()
            if update:
                if clip is not None:
                    dispatch_clip_grad(parameters, clip)
                optimizer.step()
        if update:
            updates += 1
            optimizer.zero_grad()
            training.update_ema(step=updates)
            scheduler.step_update(num_updates=updates)
    scheduler.step(epoch + 1)


@torch.inference_mode()
def validate(model, loader, evaluator):
    """What timm's train.py does with an evaluator, but for `compute`, which it calls in no inference mode."""
    evaluator.reset()
    model.eval()
    for images, targets in loader:
        evaluator.update(model(images), targets.to(device=torch.device("cpu")))
        assert evaluator.summary().keys() == set(evaluator.metric_names)


class Run:
    """A training run as timm's train.py sets one up."""

    def __init__(self, folder, resume=None, scaler=None, clip=None, accumulate=1):
        folder.mkdir(exist_ok=True)
        self.options, updates = {"clip": clip, "accumulate": accumulate, "scaler": scaler}, 6 // accumulate
        self.training = MultiTaskTraining(build(), weighting=UncertaintyWeighting(list(TASKS)))
        self.optimizer = build_optimizer(self.training.get_trainable_module())
        self.optimizer.add_param_group({"params": self.training.weighting.parameters(), "weight_decay": 0.0})
        start = 0
        if resume is not None:
            start = resume_task_checkpoint(self.training, resume, self.optimizer, loss_scaler=scaler)
        self.training.setup_ema(decay=0.9)
        if resume is not None:
            load_task_ema_checkpoint(self.training, resume)
        self.training.guard(self.optimizer)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer, "cosine", num_epochs=4, warmup_epochs=1, step_on_epochs=False, updates_per_epoch=updates
        )
        if start:
            self.scheduler.step_update(start * updates)
        self.saver = CheckpointSaver(
            self.training.get_trainable_module(),
            self.optimizer,
            checkpoint_dir=str(folder),
            task=self.training,
            amp_scaler=scaler,
        )
        self.start = start

    def epochs(self, stop):
        for epoch in range(self.start, stop):
            order = torch.Generator().manual_seed(epoch)
            loader = DataLoader(
                Labelled(), 8, shuffle=True, generator=order, collate_fn=TimmCollate(dict.fromkeys(TASKS, -100))
            )
            train_one_epoch(self.training, loader, self.optimizer, self.scheduler, epoch, **self.options)
            self.training.after_epoch()
            self.saver.save_checkpoint(epoch, metric=epoch)

    def state(self):
        optimizer = self.optimizer.state_dict()
        moments = {f"optimizer {at} {key}": v for at, each in optimizer["state"].items() for key, v in each.items()}
        ema = self.training.get_trainable_module(ema=True).module.state_dict()
        return {
            **copy.deepcopy(self.training.get_trainable_module().state_dict()),
            **{f"ema {key}": value.clone() for key, value in ema.items()},
            **{f"weighting {key}": value.clone() for key, value in self.training.weighting.state_dict().items()},
            **moments,
            "lr": torch.tensor([group["lr"] for group in optimizer["param_groups"]]),
        }


ONE, CLIPPED = {}, {"clip": 1.0, "accumulate": 2}


@pytest.mark.parametrize(
    ("scaled", "options"), cases_of(product([False, True], [ONE, CLIPPED]), [(False, ONE), (True, CLIPPED)])
)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, options, scaled):
    def scaler():
        return NativeScaler(device="cpu") if scaled else None

    straight = Run(tmp_path / "straight", scaler=scaler(), **options)
    initial = straight.state()
    straight.epochs(3)
    Run(tmp_path / "parts", scaler=scaler(), **options).epochs(2)
    resumed = Run(tmp_path / "parts", resume=tmp_path / "parts" / "last.pth.tar", scaler=scaler(), **options)
    assert resumed.start == 2
    resumed.epochs(3)
    expected, state = straight.state(), resumed.state()
    assert state.keys() == expected.keys()
    different = [key for key in expected if not torch.equal(state[key], expected[key])]
    assert not different
    assert not any(torch.equal(expected[key], value) for key, value in initial.items() if key.startswith("weighting"))


def test_a_checkpoint_is_a_plain_one_of_the_model(tmp_path):
    run = Run(tmp_path)
    run.epochs(1)
    model = build()
    timm.models.load_checkpoint(model, str(tmp_path / "last.pth.tar"), use_ema=False)
    images, _ = batch()
    trained = run.training.get_trainable_module().eval()
    for task, output in model.eval()(images).items():
        assert torch.equal(output, trained(images, task=task))


def test_training_learns_and_timm_validates_it():
    """Which quadrant is bright, and whether the image is bright at all; some targets are missing."""
    torch.manual_seed(0)
    quadrant, bright = torch.randint(4, (256,)), torch.randint(2, (256,))
    images = 0.1 * torch.rand(256, 1, 32, 32) + bright.view(-1, 1, 1, 1)
    for at, corner in enumerate(quadrant.tolist()):
        images[at, :, 16 * (corner // 2) :, 16 * (corner % 2) :][:, :16, :16] += 1
    quadrant[::3] = -100
    data = [
        {"image": image, "targets": {"where": where, "bright": how} if where >= 0 else {"bright": how}}
        for image, where, how in zip(images, quadrant, bright, strict=True)
    ]
    model = timm.create_model("test_resnet_tsbn", num_classes={"where": 4, "bright": 2}, in_chans=1, **SMALL)
    training = MultiTaskTraining(model)
    optimizer = create_optimizer_v2(model, "adamw", param_group_fn=lambda each: tsbn_hub.param_groups(each, lr=3e-3))
    training.guard(optimizer)
    scheduler, epochs = create_scheduler_v2(optimizer, "cosine", num_epochs=8, warmup_epochs=0)
    collate = TimmCollate({"where": -100, "bright": -100})
    loader = DataLoader(data, 32, shuffle=True, generator=torch.Generator().manual_seed(0), collate_fn=collate)
    evaluator = training.create_evaluator(max_samples=None)
    assert evaluator.default_metric in evaluator.metric_names
    losses = []
    for epoch in range(epochs):
        train_one_epoch(training, loader, optimizer, scheduler, epoch)
        losses.append(training.after_epoch())
    assert all(losses[-1][task] < 0.5 * losses[0][task] for task in ("where", "bright"))
    validate(training.get_eval_model(), DataLoader(data, 100, collate_fn=collate), evaluator)
    scores = evaluator.compute(distributed=False)
    with torch.no_grad():
        outputs = {task: output.argmax(1) for task, output in model(images).items()}
    labelled = quadrant >= 0
    assert scores["where_accuracy"] == accuracy_score(quadrant[labelled], outputs["where"][labelled]) > 0.9
    assert scores["bright_accuracy"] == accuracy_score(bright, outputs["bright"]) > 0.9
    assert scores["mean"] == (scores["where_accuracy"] + scores["bright_accuracy"]) / 2


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_gradients_are_those_of_the_sum_of_losses(architecture):
    images, targets = batch(b=2, c=6)
    images = images if architecture == "test_resnet" else F.interpolate(images, 160)
    weights = {"b": 0.5, "a": 2.0, "c": 3.0}
    training = MultiTaskTraining(build(architecture), weighting=FixedWeights(list(TASKS), weights))
    training.guard(build_optimizer(training.get_trainable_module()))
    result = training(images, targets)
    result["loss"].backward()

    model = build(architecture)
    b = F.cross_entropy(model(images, task="b")[:4], targets["b"][:4])
    a = F.cross_entropy(model(images, task="a"), targets["a"])
    (0.5 * b + 2.0 * a).backward()
    torch.testing.assert_close(result["loss"], 0.5 * b + 2.0 * a)
    torch.testing.assert_close([result["b_loss"], result["a_loss"]], [b.detach(), a.detach()])
    assert result.keys() == {"loss", "output", "b_loss", "a_loss"} and result["output"].keys() == {"b", "a"}
    assert not result["b_loss"].requires_grad
    for (name, parameter), other in zip(
        training.get_trainable_module().named_parameters(), model.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")
    for name, buffer in training.get_trainable_module().named_buffers():
        torch.testing.assert_close(buffer, model.get_buffer(name))


def test_a_batch_norm_before_the_fork_counts_a_step_once():
    images, targets = batch(c=6)
    training = MultiTaskTraining(build(gated="layer4*"))
    training.guard(build_optimizer(training.get_trainable_module()))
    training(images, targets)
    one = build(gated="layer4*")
    one(images, task="b")
    shared = [name for name, _ in one.named_buffers() if "layer1" in name]
    assert shared
    for name in shared:
        assert torch.equal(training.get_trainable_module().get_buffer(name), one.get_buffer(name)), name


def test_one_task_is_timms_classification_task():
    images, targets = batch()
    grads = []
    for kind in (ClassificationTask, MultiTaskTraining):
        torch.manual_seed(0)
        model = timm.create_model("test_resnet_tsbn", num_classes={"b": 3}, in_chans=1)
        training = kind(model)
        if kind is MultiTaskTraining:
            training.guard(build_optimizer(model))
        training(images, targets["b"] if kind is ClassificationTask else {"b": targets["b"]})["loss"].backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("absent", [True, False], ids=["absent", "all missing"])
def test_a_step_moves_nothing_of_idle_tasks(name, absent, scaled):
    training = MultiTaskTraining(build())
    model = training.get_trainable_module().train()
    optimizer = build_optimizer(model, name)
    training.guard(optimizer)
    scaler = NativeScaler(device="cpu")
    for step, active in enumerate((["b", "a", "c"], ["a"], ["c", "b"], [], ["b"])):
        before = {task: rows_of(model, optimizer, task) for task in TASKS}
        trunk = copy.deepcopy(model.layer1[0].conv1.weight)
        images, targets = batch(**{task: 6 for task in TASKS if task not in active})
        if absent:
            targets = Targets({task: targets[task] for task in active})
        optimizer.zero_grad()
        loss = training(images, targets)["loss"]
        if scaled:
            scaler(loss, optimizer)
        else:
            loss.backward()
            optimizer.step()
        for task in TASKS:
            unchanged = same(rows_of(model, optimizer, task), before[task])
            assert unchanged == (task not in active), f"step {step}, task {task}"
        assert torch.equal(model.layer1[0].conv1.weight, trunk) == (not active)


def test_a_step_is_for_the_tasks_of_all_its_forwards():
    training = MultiTaskTraining(build())
    model = training.get_trainable_module().train()
    optimizer = build_optimizer(model)
    training.guard(optimizer)
    images, targets = batch()
    training(images, targets)["loss"].backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    before = {task: rows_of(model, optimizer, task) for task in TASKS}
    for task in ("b", "a"):
        training(images, {task: targets[task]})["loss"].backward()
    with torch.no_grad():
        assert not training.eval()(images, {"c": targets["c"]})["loss"].requires_grad
    optimizer.step()
    moved = {task for task in TASKS if not same(rows_of(model, optimizer, task), before[task])}
    assert moved == {"b", "a"}


def test_the_tasks_of_a_skipped_step_do_not_count_in_the_next():
    """A gradient scaler skips a step whose gradients are not finite."""
    training = MultiTaskTraining(build())
    model = training.get_trainable_module().train()
    optimizer, scaler = build_optimizer(model), NativeScaler(device="cpu")
    training.guard(optimizer)
    images, targets = batch()
    scaler(training(images, targets)["loss"], optimizer)
    optimizer.zero_grad()
    before = copy.deepcopy(model.state_dict())
    scaler(training(images, {"a": targets["a"]})["loss"] * math.inf, optimizer)
    assert torch.equal(model.layer1[0].conv1.weight, before["layer1.0.conv1.weight"])
    optimizer.zero_grad()
    idle = rows_of(model, optimizer, "a")
    scaler(training(images, {"b": targets["b"]})["loss"], optimizer)
    assert not torch.equal(model.layer1[0].conv1.weight, before["layer1.0.conv1.weight"])
    assert same(rows_of(model, optimizer, "a"), idle)


def test_weightings_learn():
    images, targets = batch()
    weighting = UncertaintyWeighting(list(TASKS))
    training = MultiTaskTraining(build(), weighting=weighting)
    groups = [*tsbn_hub.param_groups(training.get_trainable_module()), {"params": weighting.parameters(), "lr": 0.1}]
    optimizer = torch.optim.SGD(groups)
    training.guard(optimizer)
    first = training(images, {"b": targets["b"]})
    second = training(images, {"b": targets["b"], "a": targets["a"]})
    (first["loss"] + second["loss"]).backward()
    optimizer.step()
    # The gradient of exp(-s) L + s / 2 at s = 0 is 1 / 2 - L, with the mean loss of both forwards.
    expected = [-0.1 * (0.5 - (first["b_loss"] + second["b_loss"]) / 2), -0.1 * (0.5 - second["a_loss"]), 0.0]
    torch.testing.assert_close([each.item() for each in weighting.log_variances], [float(each) for each in expected])

    weighting = DynamicWeightAverage(list(TASKS))
    training = MultiTaskTraining(build(), weighting=weighting)
    training.guard(build_optimizer(training.get_trainable_module()))
    sums = [training(images, targets), training(images, {"b": targets["b"]})]
    losses = training.after_epoch()
    assert losses["b"] == pytest.approx((sums[0]["b_loss"] + sums[1]["b_loss"]).item() / 2)
    assert losses["a"] == pytest.approx(sums[0]["a_loss"].item())
    torch.testing.assert_close(weighting.last, torch.tensor([losses[task] for task in TASKS]))
    assert training.after_epoch() == {}


@pytest.mark.parametrize(
    ("architecture", "keywords"),
    [
        pytest.param("test_resnet", {}, marks=pytest.mark.nightly),  # what is deep compiles for long
        ("test_vit", {"img_size": 32, "embed_dim": 16, "depth": 1}),
    ],
)
def test_compiled(tmp_path, architecture, keywords):
    images, targets = batch()
    results = []
    for compiled in (False, True):
        training = MultiTaskTraining(build(architecture, **keywords))
        optimizer = build_optimizer(training.get_trainable_module())
        training.setup_ema(decay=0.5)
        if compiled:
            assert training.compile(backend="eager") is training.get_eval_model()
            training.compile_ema(backend="eager")
            assert isinstance(training.get_trainable_module(), torch._dynamo.OptimizedModule)
        training.guard(optimizer)
        for active in (list(TASKS), ["a", "c"]):
            optimizer.zero_grad()
            result = training(images, {task: targets[task] for task in active})
            result["loss"].backward()
            optimizer.step()
            training.update_ema()
        CheckpointSaver(training.get_trainable_module(), optimizer, checkpoint_dir=str(tmp_path), task=training)._save(
            tmp_path / "checkpoint", 0
        )
        saved = torch.load(tmp_path / "checkpoint", weights_only=True)
        with torch.no_grad():
            averaged = training.get_eval_model(ema=True).eval()(images)
        results.append((result["loss"], saved["state_dict"], saved["state_dict_ema"], averaged))
    torch.testing.assert_close(*results)
    assert results[0][1].keys() == build(architecture, **keywords).state_dict().keys()


def test_evaluator():
    generator = torch.Generator().manual_seed(0)
    outputs = {task: torch.randn(10, size, generator=generator) for task, size in TASKS.items()}
    targets = {task: torch.randint(size, (10,), generator=generator) for task, size in TASKS.items()}
    targets["a"][::2] = -100
    del targets["c"]
    evaluator = MultiTaskEvaluator(dict.fromkeys(TASKS, Classification()), max_samples=7)
    for part in (slice(0, 5), slice(5, 10)):
        evaluator.update({t: each[part] for t, each in outputs.items()}, {t: each[part] for t, each in targets.items()})
    scores = evaluator.compute()
    assert scores.keys() == set(evaluator.metric_names) == {"b_accuracy", "a_accuracy", "c_accuracy", "mean"}
    in_float32 = functools.partial(pytest.approx, rel=1e-7)
    assert scores["b_accuracy"] == in_float32(accuracy_score(targets["b"][:7], outputs["b"][:7].argmax(1)))
    assert scores["a_accuracy"] == in_float32(accuracy_score(targets["a"][1:7:2], outputs["a"][1:7:2].argmax(1)))
    assert math.isnan(scores["c_accuracy"])
    assert scores["mean"] == (scores["b_accuracy"] + scores["a_accuracy"]) / 2
    evaluator.reset()
    assert math.isnan(evaluator.compute()["mean"])
    one = MultiTaskEvaluator({"b": Classification()})
    one.update(outputs["b"], {"b": targets["b"]})
    assert one.compute()["mean"] == in_float32(accuracy_score(targets["b"], outputs["b"].argmax(1)))


def test_the_mean_is_of_what_can_be_compared():
    evaluator = MultiTaskEvaluator({"b": Classification(), "a": Depth()})
    output, depth = {"b": torch.eye(4), "a": torch.full((4, 1, 2, 2), 2.0)}, torch.full((4, 2, 2), 2.2)
    depth[0] = 4
    evaluator.update(output, {"b": torch.tensor([0, 1, 2, 0]), "a": depth})
    scores = evaluator.compute()
    assert [name for name in evaluator.metric_names if name.startswith("a_")] == [f"a_{name}" for name in Depth.metrics]
    assert (scores["b_accuracy"], scores["a_delta1"]) == (0.75, 0.75)
    assert scores["a_abs_err"] == pytest.approx((2 + 3 * 0.2) / 4)
    assert scores["mean"] == 0.75


def test_what_is_refused():
    model = build()
    images, targets = batch()
    with pytest.raises(TypeError, match="ResNet has no tasks"):
        MultiTaskTraining(timm.create_model("test_resnet"))
    with pytest.raises(ValueError, match=r"has no \['smile'\].*'b', 'a', 'c'"):
        MultiTaskTraining(model, {"a": Classification(), "smile": Classification()})
    with pytest.raises(ValueError, match=r"\['a'\], the training \['b', 'a', 'c'\]"):
        MultiTaskTraining(model, weighting=LossWeighting(["a"]))
    training = MultiTaskTraining(model)
    with pytest.raises(RuntimeError, match=r"call guard\(optimizer\)"):
        training(images, targets)
    with pytest.raises(TypeError, match="Tensor, not a dict by task"):
        training(images, targets["a"])
    with pytest.raises(ValueError, match=r"targets of \['smile'\]"):
        training(images, {**targets, "smile": targets["a"]})
    with pytest.raises(ValueError, match="Lookahead wraps another optimizer"):
        training.guard(create_optimizer_v2(model, "lookahead_adamw"))
    optimizer = build_optimizer(model)
    model.add_task("smile")
    with pytest.raises(ValueError, match="Build it after add_task"):
        training.guard(optimizer)
    learned = MultiTaskTraining(build(), weighting=UncertaintyWeighting(list(TASKS)))
    with pytest.raises(ValueError, match="a learned weighting as a group"):
        learned.guard(build_optimizer(learned.get_trainable_module()))


def test_training_some_tasks_leaves_the_others_at_rest():
    training = MultiTaskTraining(build(), {"c": Classification(), "a": Classification()})
    model = training.get_trainable_module().train()
    optimizer = create_optimizer_v2(model, "adamw", weight_decay=0.1)
    training.guard(optimizer)
    before = {task: rows_of(model, optimizer, task) for task in TASKS}
    images, targets = batch()
    del targets["b"]
    for _ in range(2):
        optimizer.zero_grad()
        training(images, targets)["loss"].backward()
        optimizer.step()
    parameters_and_buffers = len(before["b"])
    after = {task: rows_of(model, torch.optim.SGD(model.parameters()), task) for task in TASKS}
    assert all(len(each) == parameters_and_buffers for each in after.values())
    assert [task for task in TASKS if same(after[task], before[task])] == ["b"]


def test_targets_of_a_loader_with_workers():
    loader = DataLoader(Labelled(), 16, num_workers=1, collate_fn=TimmCollate(dict.fromkeys(TASKS, -100)))
    batches = list(loader)
    assert [sorted(targets) for _, targets in batches] == [["a", "b", "c"], ["a", "b", "c"], ["a", "b"]]
    moved = batches[0][1].to(dtype=torch.int32, non_blocking=True)
    assert isinstance(moved, Targets) and all(target.dtype == torch.int32 for target in moved.values())


def test_the_docs(monkeypatch, capsys):
    monkeypatch.setattr(MultiDigits, "__len__", lambda self: 256)
    page = Path(__file__).parents[2] / "docs" / "timm-loop.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(code, {})
    losses, scores = capsys.readouterr().out.splitlines()
    assert "'right'" in losses and "'right_accuracy'" in scores


def test_processes_that_name_the_tasks_in_another_order(monkeypatch):
    def gather(given, own):
        given[:] = [own, [own[0][::-1], own[1]]]

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with pytest.raises(ValueError, match=r"The processes have the tasks, of model and training, in these orders: \[\["):
        MultiTaskTraining(build()).prepare_distributed()
