"""The gradients of a step are those of a plain loop, over whatever backwards, micro-batches and processes it runs."""

import importlib
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import pytest
import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from tests.training import processes
from tsbn_hub.data import Collate
from tsbn_hub.norms import TaskParameters, convert_sync_batchnorm
from tsbn_hub.tasks import Classification
from tsbn_hub.training import TasksForward, fill_gradients, label_counts, make_balancing


class ExactClassification(Classification):
    """In the precision of the logits, where `Classification` rounds to float32."""

    def loss(self, logits, target):
        total = F.cross_entropy(logits, target, ignore_index=self.missing, reduction="sum")
        return total / self.count(target).clamp(min=1)

    def count(self, target):
        return super().count(target).double()


TASKS = {"b": 3, "a": 5, "c": 2}
KINDS = {task: ExactClassification() for task in TASKS}
WEIGHTS = {task: torch.tensor(weight, dtype=torch.float64) for task, weight in {"b": 1.0, "a": 0.3, "c": 2.0}.items()}
MODELS = {
    "vit": ("test_vit_tsbn", {"img_size": 32, "embed_dim": 16, "depth": 2}),
    "convnext": ("test_convnext_tsbn", {"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)}),
    "resnet": ("test_resnet_tsbn", {"channels": (8, 8, 16, 16), "stem_width": 8}),
}
STYLES = {
    "sigmoid": {},
    "sigmoid and affine": {"keep_affine": True},
    "affine": {"norm": "affine"},
    "statistics": {"norm": "statistics"},
    "shared": {"norm": "shared"},
    "fork after the stem": {"gated": "layer*"},
}
# The samples that have a label, of 8. Two processes have four each; two micro-batches have two of these each.
SAMPLES = 8
LABELLED = {
    "whole": {"b": range(8), "a": range(8), "c": range(8)},
    "partly": {"b": [0, 2, 3, 5, 7], "a": [1, 2, 6], "c": [0, 4, 5, 6]},
    "one process has none": {"b": range(4), "a": [6], "c": range(8)},
    "nobody has c": {"b": [0, 1], "a": [2, 6, 7]},
}


class Way(NamedTuple):
    """How a step is run."""

    processes: int
    micro_batches: int
    backward: str = "all"
    aggregator: str | None = None
    total: str | None = None


class Case(NamedTuple):
    """What is run."""

    model: str
    style: str
    labels: str


UNEVEN = ("partly", "nobody has c")
STATELESS = [
    *(Case("vit", "sigmoid", labels) for labels in LABELLED),
    *(Case("vit", style, labels) for style in ("affine", "shared") for labels in UNEVEN),
    *(Case("convnext", "sigmoid and affine", labels) for labels in UNEVEN),
]
BATCH_NORM = [
    *(Case("resnet", "sigmoid", labels) for labels in LABELLED),
    *(Case("resnet", style, labels) for style in STYLES if style != "sigmoid" for labels in UNEVEN),
]
AGGREGATED = [*(Case("vit", "sigmoid", labels) for labels in LABELLED), Case("vit", "shared", "partly")]
WAYS = [Way(number, parts, backward) for number in (1, 2) for parts in (1, 2) for backward in ("all", "task")]
TORCHJD = ["Mean", "UPGrad"]
RUNS = [
    *((case, way) for case in STATELESS for way in WAYS),
    # A BatchNorm takes the statistics of a micro-batch: with several, it is another function.
    *((case, way) for case in BATCH_NORM for way in WAYS if way.micro_batches == 1),
    *((case, way._replace(aggregator="sum")) for case in AGGREGATED for way in WAYS if way.backward == "all"),
    *((case, Way(2, 1, aggregator="sum")) for case in BATCH_NORM if case.style == "sigmoid"),
    *((case, Way(number, 1, total="gls")) for case in (AGGREGATED[1], BATCH_NORM[2]) for number in (1, 2)),
]
RUNS_OF_TORCHJD = [
    (case, Way(number, 2, aggregator=name))
    for case in AGGREGATED
    if case.style == "sigmoid"
    for number in (1, 2)
    for name in TORCHJD
]
named = pytest.mark.parametrize(("case", "way"), RUNS, ids=lambda each: " ".join(map(str, each)))


def build(case):
    name, keywords = MODELS[case.model]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=TASKS, **keywords, **STYLES[case.style]).double()
    with torch.no_grad():
        for parameter in model.parameters():  # away from 0 and 1, where scales and gates start
            parameter += 0.1 * torch.randn_like(parameter)
    return convert_sync_batchnorm(model).train()


def samples(labels):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, 3, 32, 32, generator=generator, dtype=torch.float64)
    images += torch.arange(SAMPLES).view(-1, 1, 1, 1) / 4  # the parts of the batch differ
    classes = {task: torch.randint(number, (SAMPLES,), generator=generator) for task, number in TASKS.items()}
    return [
        {
            "image": images[at],
            "targets": {task: classes[task][at] for task, where in LABELLED[labels].items() if at in where},
        }
        for at in range(SAMPLES)
    ]


def batches_of(way, labels, rank):
    """The micro-batches of a process. What no sample of one has a label for is not in it."""
    size = SAMPLES // way.processes // way.micro_batches
    starts = range(rank * SAMPLES // way.processes, (rank + 1) * SAMPLES // way.processes, size)
    collate = Collate(dict.fromkeys(TASKS, -100))
    return [collate(samples(labels)[start : start + size]) for start in starts]


def aggregator_named(name):
    if name == "sum":
        return lambda jacobian: jacobian.sum(0)
    return getattr(importlib.import_module("torchjd.aggregation"), name)()


def run(case, way, accelerator):
    """A step as the training loop takes it, but the optimizer's."""
    model = build(case)
    network = accelerator.prepare(TasksForward(model))
    batches = batches_of(way, case.labels, accelerator.process_index)
    counts = label_counts(batches, KINDS, accelerator).T.tolist()
    active = {task: column for task, column in zip(TASKS, counts, strict=True) if any(column)}
    aggregator = None if way.aggregator is None else aggregator_named(way.aggregator)
    weights = WEIGHTS if way.total is None else make_balancing(way.total, list(TASKS)).step_weights(list(active))
    losses = fill_gradients(network, batches, KINDS, active, weights, accelerator, way.backward, aggregator)
    return {
        "losses": losses,
        "gradients": {name: parameter.grad for name, parameter in model.named_parameters()},
        "buffers": dict(model.named_buffers()),
    }


@cache
def run_alone(case, way):
    return run(case, way, Accelerator(cpu=True))


def run_all(folder):
    """What each of two processes does."""
    runs = RUNS + (RUNS_OF_TORCHJD if find_spec("torchjd") and find_spec("quadprog") else [])
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
    results = {str((case, way)): run(case, way, accelerator) for case, way in runs if way.processes == 2}
    torch.save(results, folder / f"{accelerator.process_index}.pt")


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    codes = processes.train(folder, 2, target=run_all)
    assert codes == [0, 0], [processes.printed(folder, rank) for rank in range(2)]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture
def results(request, case, way):
    """What each process has after a step."""
    if way.processes == 1:
        return [run_alone(case, way)]
    return [result[str((case, way))] for result in request.getfixturevalue("of_two_processes")]


@cache
def plain_losses(case):
    """The model, and the loss of each task on the joined batch, with a graph."""
    model, data = build(case), samples(case.labels)
    outputs = model(torch.stack([sample["image"] for sample in data]))
    losses = {}
    for task, where in LABELLED[case.labels].items():
        target = torch.stack([data[at]["targets"][task] for at in where])
        losses[task] = F.cross_entropy(outputs[task][list(where)], target)
    return model, losses


@cache
def gradients_by_task(case):
    """The gradient of each task's weighted loss, by parameter."""
    model, losses = plain_losses(case)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return {
        task: dict(zip(names, torch.autograd.grad(WEIGHTS[task] * loss, parameters, retain_graph=True), strict=True))
        for task, loss in losses.items()
    }


@cache
def plain_gradients(case):
    """The gradients of all tasks' weighted losses together, by parameter."""
    model, losses = plain_losses(case)
    model.zero_grad()
    sum(WEIGHTS[task] * loss for task, loss in losses.items()).backward(retain_graph=True)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def gradients_of_the_geometric_mean(case):
    """Those of the geometric mean of the losses on the joined batch, each with 3% of itself, its first one."""
    model, losses = plain_losses(case)
    model.zero_grad()
    guarded = torch.stack([loss + 0.03 * loss.detach() for loss in losses.values()])
    guarded.prod().pow(1 / len(losses)).backward(retain_graph=True)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def plain_buffers(case):
    """Those of one forward for all tasks, but for the rows of tasks that no sample has a label for."""
    model, losses = plain_losses(case)
    buffers, initial = ({name: each.clone() for name, each in of.named_buffers()} for of in (model, build(case)))
    for name, module in model.named_modules():
        for stacked in module.stacked_names() if isinstance(module, TaskParameters) else ():
            for row, task in enumerate(TASKS):
                if task not in losses and f"{name}.{stacked}" in buffers:
                    rows = module.rows(row)
                    buffers[f"{name}.{stacked}"][rows] = initial[f"{name}.{stacked}"][rows]
    return buffers


def check_same(actual, expected):
    """Up to the order of sums of at most 10^4 float64: 10^4 * 2^-53 = 1e-12 of the largest gradient."""
    bound = 1e-12 * max(each.abs().max().item() for each in expected.values())
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, rtol=1e-10, atol=bound, msg=lambda text, name=name: f"{name}: {text}"
        )


@named
def test_gradients(case, way, results):
    expected = plain_gradients(case) if way.total is None else gradients_of_the_geometric_mean(case)
    for result in results:
        check_same(result["gradients"], expected)
        for name, gradient in result["gradients"].items():
            assert torch.equal(gradient, results[0]["gradients"][name]), f"{name} differs between processes"


@named
def test_the_losses_of_the_processes_add_up_to_the_mean_over_the_joined_batch(case, way, results):
    _, expected = plain_losses(case)
    for task, loss in expected.items():
        joined = sum(result["losses"][task] for result in results)
        torch.testing.assert_close(joined, loss.detach(), rtol=1e-12, atol=0)
    assert all(result["losses"].keys() == expected.keys() for result in results)


@named
def test_statistics_are_those_of_the_joined_batch(case, way, results):
    """Before the fork they count a batch once, after it once a task; a task that is not run keeps its own."""
    expected = plain_buffers(case)
    assert any(name.endswith("running_mean") for name in expected) == (case.model == "resnet")
    for result in results:
        assert result["buffers"].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                result["buffers"][name], value, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize("case", [case for case in STATELESS + BATCH_NORM if case.labels == "nobody has c"])
@pytest.mark.parametrize("way", WAYS[:2])
def test_a_task_without_labels_has_no_gradient(case, way, results):
    model, row, seen = build(case), list(TASKS).index("c"), 0
    for name, module in model.named_modules():
        for stacked in module.stacked_names() if isinstance(module, TaskParameters) else ():
            gradient = results[0]["gradients"].get(f"{name}.{stacked}")
            if gradient is not None:
                assert not gradient[module.rows(row)].any() and gradient.any(), f"{name}.{stacked}"
                seen += 1
    assert seen


def test_accelerates_own_accumulation_changes_nothing():
    """`Accelerator.backward` divides by it."""
    case = Case("vit", "sigmoid", "partly")
    result = run(case, Way(1, 2), Accelerator(cpu=True, gradient_accumulation_steps=2))
    check_same(result["gradients"], plain_gradients(case))


class Recording(TasksForward):
    """Keeps the tasks of each forward."""

    def forward(self, images, tasks, *others):
        self.seen = [*getattr(self, "seen", []), list(tasks)]
        return super().forward(images, tasks, *others)


@pytest.mark.parametrize(("backward", "expected"), [("all", [["b", "a"], ["a"]]), ("task", [["b"], ["a"], ["a"]])])
def test_only_what_has_labels_is_run(backward, expected):
    case, way, accelerator = Case("vit", "sigmoid", "nobody has c"), Way(1, 2, backward), Accelerator(cpu=True)
    batches = batches_of(way, case.labels, rank=0)
    network = Recording(build(case))
    counts = label_counts(batches, KINDS, accelerator)
    assert counts.tolist() == [[2, 1, 0], [0, 2, 0]]
    active = {"b": [2, 0], "a": [1, 2]}
    fill_gradients(network, batches, KINDS, active, WEIGHTS, accelerator, backward)
    assert network.seen == expected


@pytest.mark.parametrize("aggregator", [None, "sum"])
def test_a_step_without_any_label_has_no_gradient(aggregator):
    case, accelerator = Case("vit", "sigmoid", "whole"), Accelerator(cpu=True)
    model = build(case)
    batches = [{"image": torch.rand(2, 3, 32, 32, dtype=torch.float64), "targets": {}}]
    assert not label_counts(batches, KINDS, accelerator).any()
    chosen = None if aggregator is None else aggregator_named(aggregator)
    assert fill_gradients(TasksForward(model), batches, KINDS, {}, {}, accelerator, aggregator=chosen) == {}
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("way", [Way(1, 2), Way(1, 1, "task"), Way(1, 1, aggregator="sum")])
def test_weights_of_losses_that_are_not_there_at_once(way):
    with pytest.raises(ValueError, match="they take one micro-batch, backward='all' and no aggregator"):
        run(Case("vit", "sigmoid", "whole"), way._replace(total="gls"), Accelerator(cpu=True))


class Scaler:
    """What fp16 has: a loss, and its gradients, are larger by a factor until they are unscaled."""

    def get_scale(self):
        return 1024.0

    def scale(self, loss):
        return loss * 1024.0


@pytest.mark.parametrize("broken", [False, True])
def test_an_aggregator_gets_finite_gradients_without_the_scale_of_fp16(broken):
    case, way, accelerator, seen = Case("vit", "sigmoid", "whole"), Way(1, 1), Accelerator(cpu=True), []
    accelerator.scaler = Scaler()
    model = build(case)
    if broken:
        model.blocks[0].mlp.fc1.weight.register_hook(lambda gradient: gradient * float("inf"))
    batches = batches_of(way, case.labels, rank=0)
    counts = {task: [SAMPLES] for task in TASKS}

    def aggregator(jacobian):
        seen.append(jacobian)
        return jacobian.sum(0)

    fill_gradients(TasksForward(model), batches, KINDS, counts, WEIGHTS, accelerator, aggregator=aggregator)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    if broken:
        assert not seen and not gradients["blocks.0.mlp.fc1.weight"].isfinite().any()
        return
    expected = plain_gradients(case)
    check_same({name: gradient / 1024 for name, gradient in gradients.items()}, expected)
    shared = [name for name in expected if "gate_logits" not in name and not name.startswith("head.")]
    rows = [torch.cat([gradient[name].flatten() for name in shared]) for gradient in gradients_by_task(case).values()]
    torch.testing.assert_close(seen[0], torch.stack(rows), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("case", "way"), RUNS_OF_TORCHJD, ids=lambda each: " ".join(map(str, each)))
def test_torchjd_aggregates_the_gradients_of_the_tasks(case, way, request):
    pytest.importorskip("torchjd")
    if way.aggregator == "UPGrad":
        pytest.importorskip("quadprog")
    results = request.getfixturevalue("results")
    by_task = gradients_by_task(case)
    expected = dict(plain_gradients(case))
    shared = [name for name in expected if "gate_logits" not in name and not name.startswith("head.")]
    assert 0 < len(shared) < len(expected)
    rows = [torch.cat([gradient[name].flatten() for name in shared]) for gradient in by_task.values()]
    aggregate = aggregator_named(way.aggregator)(torch.stack(rows))
    assert not torch.allclose(aggregate, sum(rows)), "it is no sum"
    sizes = [expected[name].numel() for name in shared]
    for name, part in zip(shared, aggregate.split(sizes), strict=True):
        expected[name] = part.view_as(expected[name])
    for result in results:
        check_same(result["gradients"], expected)
