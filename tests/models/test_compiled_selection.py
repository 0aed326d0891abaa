"""Compiled, exported, traced and eager code run for the same task."""

import copy
import inspect
import warnings

import pytest
import timm
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask

from .test_families import randomize
from .test_graphs import images, small

TASKS = ["b", "a", "c"]
OF_SAMPLES = ["c", "b", "b", "a"]


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()


def every_selection(model, call, x):
    """How one task is selected, and what a call gives then."""
    outputs = []
    for task in model.tasks:
        outputs.append((task, call(x, task=task)))
        with model.using_task(task):
            outputs.append((task, call(x)))
        model.set_task(task)
        outputs.append((task, call(x)))
        model.set_task("a")
        with model.using_task("c"), model.using_task(task):
            outputs.append((task, call(x)))
        outputs.append((task, call(x, task=task)))
        outputs.append((task, call(x, task=torch.tensor(model.tasks.index(task)))))
        model.set_task(None)
    return outputs


def of_two_norms():
    """The smallest network of all: a selection by name is a graph of its own, which takes time to trace."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(channels, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU()) for channels in (3, 4)]
    net = tsbn_hub.convert(nn.Sequential(*layers), tasks=TASKS)
    randomize(net)
    return net.eval()


def assert_same_selection(build, model, call, x):
    plain = build()  # in which nothing is compiled
    plain.load_state_dict({name.replace("_orig_mod.", ""): each for name, each in model.state_dict().items()})
    expected = plain(x)
    for task, output in every_selection(model, call, x):
        torch.testing.assert_close(output, expected[task], rtol=1e-5, atol=1e-5)
    outputs = call(x)
    assert list(outputs) == model.tasks
    for task, output in outputs.items():
        torch.testing.assert_close(output, expected[task], rtol=1e-5, atol=1e-5)
    mixed = torch.stack([expected[task][sample] for sample, task in enumerate(OF_SAMPLES)])
    torch.testing.assert_close(call(x, task=OF_SAMPLES), mixed, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_whole_model():
    model = of_two_norms()
    assert_same_selection(of_two_norms, model, torch.compile(model, backend="eager"), images(batch=4))


@torch.no_grad()
def test_a_graph_that_breaks():
    model = of_two_norms()
    model[0].register_forward_hook(lambda module, args, output: float(output.mean()) and None)
    assert_same_selection(of_two_norms, model, torch.compile(model, backend="eager"), images(batch=4))


@torch.no_grad()
@pytest.mark.parametrize("how", cases_of(["in place", "wrapped"], ["in place"]))
def test_a_compiled_part(how):
    model = small()
    if how == "in place":
        model.layer2.compile(backend="eager", fullgraph=True)
    else:
        model.layer2 = torch.compile(model.layer2, backend="eager", fullgraph=True)
    assert_same_selection(small, model, model, images(batch=4))


@torch.no_grad()
def test_one_graph_for_the_blocks_of_all_tasks():
    tasks = [f"task{number:02}" for number in range(12)]
    model, x = small(tasks=tasks), images()
    expected = model(x)
    for part in (model, model.layer2):
        graphs = CompileCounter()
        compiled = torch.compile(part, backend=graphs, fullgraph=True)
        if part is not model:
            model.layer2 = compiled
        for task in tasks:
            with model.using_task(tasks[3]), model.using_task(task):
                torch.testing.assert_close((compiled if part is model else model)(x), expected[task])
            if part is not model:
                torch.testing.assert_close(model(x, task=task), expected[task])
        assert graphs.frame_count == 1


@torch.no_grad()
def test_a_block_of_another_model_is_not_this_one_s():
    one, other, x = of_two_norms(), of_two_norms(), images()
    for parameter in other.parameters():
        parameter.mul_(1.1)
    expected = one(x)
    compiled = torch.compile(one, backend="eager", fullgraph=True)
    with one.using_task("c"):
        assert torch.equal(compiled(x), expected["c"])
    with other.using_task("b"):
        assert list(compiled(x)) == TASKS
        with one.using_task("a"):
            assert torch.equal(compiled(x), expected["a"])


@pytest.mark.nightly
@torch.no_grad()
def test_tasks_of_different_sizes():
    model, x = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8}).eval(), images()
    expected, compiled = model(x), torch.compile(model, backend="eager", fullgraph=True)
    model.set_task("gender")
    for task in model.tasks:
        with model.using_task(task):
            assert torch.equal(compiled(x), expected[task])


@torch.no_grad()
def test_a_block_within_a_compiled_function():
    model, x = small(), images()
    expected = model(x)

    def function(x):
        with model.using_task("c"):
            return model(x) + 0

    assert torch.equal(torch.compile(function, backend="eager", fullgraph=True)(x), expected["c"])


@torch.no_grad()
def test_a_model_of_transformers():
    tasks = [Task("b", num_classes=3), Task("a", num_classes=3)]
    model = TsbnForMultiTask.from_backbone("timm/test_resnet", tasks, pretrained=False)
    compiled, x = torch.compile(model, backend="eager"), images()
    model.set_task("b")
    with model.using_task("a"):
        assert list(compiled(x).logits) == ["a"]
    assert list(compiled(x).logits) == ["b"]


@torch.no_grad()
@pytest.mark.parametrize("strict", cases_of([False, True], [False]))
def test_exported_within_a_block(strict):
    model, x = small(), images()
    model.set_task("a")
    with model.using_task("c"):
        program = torch.export.export(model, (x,), strict=strict)
    torch.testing.assert_close(program.module()(x), model(x, task="c"))


class Rows(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, rows):
        return self.model(x, task=rows)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_a_traced_graph_takes_other_rows(architecture):
    model, x = small(architecture), images(architecture)
    for example, other in ((torch.tensor([0, 1]), torch.tensor([2, 0])), (torch.tensor(0), torch.tensor(2))):
        traced = torch.jit.trace(Rows(model).eval(), (x, example), check_trace=False)
        torch.testing.assert_close(traced(x, other), model(x, task=other), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_rows_of_samples_are_not_traced_in_training():
    with pytest.raises(RuntimeError, match="normalises each task's samples by themselves"):
        torch.jit.trace(Rows(small().train()), (images(), torch.tensor([0, 1])), check_trace=False)


@torch.no_grad()
@pytest.mark.parametrize("rows", [[0, 1], 0])
def test_a_legacy_onnx_file_takes_other_rows(rows, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, x, example = small(), images(), torch.tensor(rows)
    names, file = ["x", "rows"], str(tmp_path / "model.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Rows(model).eval(), (x, example), file, dynamo=False, input_names=names)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    other = 2 - example
    output = torch.tensor(session.run(None, {"x": x.numpy(), "rows": other.numpy()})[0])
    torch.testing.assert_close(output, model(x, task=other), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_legacy_onnx_gives_the_default_of_task_by_position(architecture, tmp_path):
    model, x = small(architecture), images(architecture)
    defaults = [None] * (len(inspect.signature(model.forward).parameters) - 1)
    assert not defaults[1:] or architecture == "test_vit"
    for task, expected in ((None, model(x)), ("b", model(x, task="b"))):
        model.set_task(task)
        torch.testing.assert_close(model(x, *defaults), expected)
    with pytest.raises(TypeError, match="positional arguments"):
        model(x, *defaults, None)
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    for task in (None, "b"):
        model.set_task(task)
        torch.onnx.export(model, x, file := str(tmp_path / "model.onnx"), dynamo=False, input_names=["x"])
        outputs = runtime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})
        expected = [model(x)] if task else list(model(x).values())
        for output, other in zip(outputs, expected, strict=True):
            torch.testing.assert_close(torch.tensor(output), other, rtol=1e-4, atol=1e-4)


def test_compiled_code_is_recomputed_for_its_task():
    model, x = small(), images().requires_grad_()
    reference = copy.deepcopy(model)
    model.layer2.compile(backend="aot_eager")
    model.set_grad_checkpointing(True)
    for each in (model, reference):
        (each(x, task="c").sum() + each(x, task="b").square().sum()).backward()
    for (name, mine), expected in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-4, atol=1e-4, msg=name)
