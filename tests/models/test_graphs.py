"""Compiling, exporting, tracing, scripting, copying, and running in threads."""

import copy
import gc
import pickle
import threading
import weakref
from itertools import product

import pytest
import timm
import torch
from torch._dynamo.testing import CompileCounter

import tsbn_hub  # noqa: F401
from tests.matrices import cases_of
from tsbn_hub.norms import TaskNorm

from .test_families import randomize

TWELVE = [f"task{number:02}" for number in range(12)]
ARCHITECTURES = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


def small(architecture="test_resnet", tasks=("b", "a", "c"), **kwargs):
    torch.manual_seed(0)
    model = timm.create_model(f"{architecture}_tsbn", tasks=list(tasks), num_classes=5, **kwargs)
    randomize(model)
    return model.eval()


def images(architecture="test_resnet", batch=2):
    size = 160 if "vit" in architecture else 64
    return torch.randn(batch, 3, size, size)


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("architecture", "training"),
    cases_of(product(ARCHITECTURES, [False, True]), [("test_resnet", True)]),
)
def test_one_compiled_graph_for_twelve_tasks(architecture, training):
    model, x = small(architecture, TWELVE).train(training), images(architecture)
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    for task in TWELVE:
        model.set_task(task)
        reference = copy.deepcopy(model)
        torch.testing.assert_close(compiled(x), reference(x), rtol=0, atol=0)
        for mine, expected in zip(model.buffers(), reference.buffers(), strict=True):
            assert torch.equal(mine, expected)
    assert graphs.frame_count == 1


@pytest.mark.nightly
def test_one_compiled_graph_for_a_tensor_of_the_task():
    model, x = small(tasks=TWELVE), images()
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    for row, task in enumerate(TWELVE):
        assert torch.equal(compiled(x, task=torch.tensor(row)), model(x, task=task))
    assert graphs.frame_count == 1


@pytest.mark.nightly
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_compiled_graph_for_a_tensor_of_rows(architecture):
    model, x = small(architecture), images(architecture, batch=4)
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    for rows in ([0, 1, 2, 0], [2, 2, 1, 1], [0, 0, 0, 0]):
        expected = model(x, task=[model.tasks[row] for row in rows])
        torch.testing.assert_close(compiled(x, task=torch.tensor(rows)), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(x, task=torch.tensor(rows)), expected, rtol=0, atol=0)
    assert graphs.frame_count == 1


def test_rows_of_samples_are_exported_and_refused_in_training():
    model, x = small(), images(batch=3)
    program = torch.export.export(model, (x,), {"task": torch.tensor([0, 1, 2])})
    rows = torch.tensor([2, 0, 0])
    torch.testing.assert_close(program.module()(x, task=rows), model(x, task=rows), rtol=1e-4, atol=1e-4)
    compiled = torch.compile(model.train(), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="normalises each task's samples by themselves"):
        compiled(x, task=rows)
    assert model(x, task=rows).shape == (3, 5)


@pytest.mark.nightly
def test_compiled_gradients():
    model, x = small(tasks=TWELVE).train(), images()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for task in TWELVE[:3]:
        model.set_task(task)
        state = copy.deepcopy(model.state_dict())
        gradients = []
        for run in (model, compiled):
            model.load_state_dict(state)
            model.zero_grad()
            run(x).square().sum().backward()
            gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        for mine, expected in zip(gradients[1], gradients[0], strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.nightly
def test_compiled_calls_with_all_tasks_and_with_a_name():
    model, x = small(), images()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for task, output in compiled(x).items():
        assert torch.equal(output, model(x, task=task))
        assert torch.equal(compiled(x, task=task), output)


@pytest.mark.nightly
def test_compiled_tasks_of_different_sizes():
    model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8}).eval()
    x = images()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for task, size in (("gender", 2), ("age", 8)):
        model.set_task(task)
        assert compiled(x).shape == (2, size)
        assert torch.equal(compiled(x), model(x))
    with pytest.raises(RuntimeError, match="several shapes cannot be selected by a tensor"):
        model(x, task=torch.tensor(0))


@pytest.mark.parametrize(
    ("architecture", "strict"),
    cases_of(product(ARCHITECTURES, [False, True]), [("test_resnet", False), ("test_vit", False)]),
)
def test_exported_with_the_task_switchable(architecture, strict):
    model, x = small(architecture), images(architecture)
    program = torch.export.export(model, (x,), {"task": torch.tensor(0)}, strict=strict)
    for row, task in enumerate(model.tasks):
        torch.testing.assert_close(program.module()(x, task=torch.tensor(row)), model(x, task=task), rtol=0, atol=0)


def test_exported_with_one_task_set():
    model, x = small(), images()
    model.set_task("a")
    program = torch.export.export(model, (x,))
    assert torch.equal(program.module()(x), model(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", cases_of(ARCHITECTURES, ["test_efficientnet"]))
def test_traced_and_scripted_with_one_task_set(architecture):
    with timm.layers.set_scriptable(True):
        model, x = small(architecture), images(architecture)
    state = list(model.state_dict())
    for task in model.tasks:
        model.set_task(task)
        with torch.no_grad():
            expected = model(x)
            torch.testing.assert_close(torch.jit.trace(model, x)(x), expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(torch.jit.script(model)(x), expected, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == state, "scripting must leave the model as it is"
    model.set_task(None)
    with pytest.raises(Exception, match="set_task"):
        torch.jit.script(model)
    with pytest.raises(RuntimeError, match="Script the whole model"):
        torch.jit.script(next(parent for parent in model.children() if _has_task_norm(parent)))
    assert list(model.state_dict()) == state


def _has_task_norm(module):
    return not isinstance(module, TaskNorm) and any(isinstance(each, TaskNorm) for each in module.modules())


def test_feature_graph_needs_a_task():
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = small(), images()
    leaves = {"leaf_modules": timm.models.get_notrace_modules()}
    with pytest.raises(RuntimeError, match="set_task"):
        create_feature_extractor(model, ["layer1"], tracer_kwargs=leaves)
    model.set_task("c")
    features = create_feature_extractor(model, ["fc"], tracer_kwargs=leaves).eval()
    assert torch.equal(features(x)["fc"], model(x))


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_feature_graph_scripts_with_parts_that_it_does_not_trace():
    """MobileViT's blocks are nodes of their graph, and the model's own, which must stay as they are."""
    from torchvision.models.feature_extraction import create_feature_extractor

    with timm.layers.set_scriptable(True):
        model, x = small("mobilevit_xxs"), images()
    state = list(model.state_dict())
    for task in ("c", "a"):
        with model.using_task(task):
            graph = create_feature_extractor(
                model, ["head.fc"], tracer_kwargs={"leaf_modules": timm.models.get_notrace_modules()}
            ).eval()
            scripted = torch.jit.script(graph)
        torch.testing.assert_close(scripted(x)["head.fc"], model(x, task=task), rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == state


@pytest.mark.filterwarnings("ignore")
def test_a_part_scripts_as_the_task_that_is_selected():
    model = small()
    for part in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        part.set_task("c")
        x = torch.randn(2, 32, 8, 8)
        torch.testing.assert_close(torch.jit.script(part.layer2)(x), part.layer2(x), rtol=1e-5, atol=1e-5)
        assert len(part.layer2.state_dict()) == len(model.layer2.state_dict())


def test_a_model_that_nobody_needs_is_freed_at_once():
    """Without waiting for the search for circles, which knows nothing of a device's memory."""
    model = small()
    parts = [weakref.ref(part) for part in model.modules()]
    gc.disable()
    try:
        del model
        assert not [part() for part in parts if part() is not None]
    finally:
        gc.enable()


def test_copies_are_models_of_their_own():
    model, x = small(), images()
    expected = model(x)
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for other in (copied, pickled):
        assert type(other) is type(model) and isinstance(other, timm.models.ResNet)
        for task, output in other(x).items():
            assert torch.equal(output, expected[task])
        other.set_task("a")
        assert model.task is None and model(x).keys() == expected.keys()
        with torch.no_grad():
            next(other.parameters()).zero_()
    assert torch.equal(model(x)["a"], expected["a"])


@pytest.mark.parametrize("architecture", cases_of(ARCHITECTURES, ["test_resnet", "test_vit"]))
def test_channels_last_and_bfloat16(architecture):
    model, x = small(architecture), images(architecture)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    half = copy.deepcopy(model).bfloat16()
    for task, output in model(x).items():
        torch.testing.assert_close(
            last(x.contiguous(memory_format=torch.channels_last), task=task), output, rtol=1e-4, atol=1e-4
        )
        one, folded = half(x.bfloat16(), task=task), half.fold(task)(x.bfloat16())
        assert one.dtype == torch.bfloat16 and torch.equal(one, folded)
        torch.testing.assert_close(one.float(), output, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("how", ["task=", "using_task"])
def test_threads_with_different_tasks(how):
    model, x = small(tasks=TWELVE), images()
    with torch.no_grad():
        expected = {task: model(x, task=task) for task in TWELVE}
    wrong, barrier = [], threading.Barrier(4)

    def work(offset):
        barrier.wait()
        with torch.no_grad():
            for step in range(24):
                task = TWELVE[(offset + step) % 12]
                if how == "task=":
                    output = model(x, task=task)
                else:
                    with model.using_task(task):
                        output = model(x)
                if not torch.equal(output, expected[task]):
                    wrong.append(task)

    threads = [threading.Thread(target=work, args=(3 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_meta_device_then_weights():
    source = small()
    with torch.device("meta"):
        model = timm.create_model("test_resnet_tsbn", tasks=source.tasks, num_classes=5)
    model.load_state_dict(source.state_dict(), assign=True)
    model.eval()
    x = images()
    for task, output in model(x).items():
        assert torch.equal(output, source(x, task=task))
    model.set_task("c")
    assert torch.equal(model(x), source(x, task="c"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda():
    model, x = small(), images()
    expected = model(x)
    model.cuda()
    for task, output in model(x.cuda()).items():
        torch.testing.assert_close(output.cpu(), expected[task], rtol=1e-3, atol=1e-3)
        assert torch.equal(model(x.cuda(), task=task), model.fold(task)(x.cuda()))
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    for task in model.tasks:
        model.set_task(task)
        assert torch.equal(compiled(x.cuda()), model(x.cuda()))
    assert graphs.frame_count == 1
