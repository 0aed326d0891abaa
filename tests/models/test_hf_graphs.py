"""Compiling, exporting and copying models of transformers."""

import copy
import threading

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tests.matrices import cases_of
from tsbn_hub import TsbnBackbone, TsbnConfig

from .hf_backbones import (
    BACKBONES,
    FEW,
    FEWEST,
    NAMES,
    SHALLOW,
    SOME,
    TASKS,
    assert_equal,
    assert_states_equal,
    each_of,
    leaves,
)

some_backbones, few_backbones = each_of(SOME, SHALLOW), each_of(cases_of(FEW, FEWEST), SHALLOW)


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()


@each_of(cases_of(BACKBONES, ["vit", "timm/test_resnet"]), SHALLOW)
def test_one_compiled_graph_for_all_tasks(tiny):
    """The task that is set is a tensor of the graph."""
    model, x = tiny.backbone(), tiny.images()
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    with torch.no_grad():
        outputs = {}
        for task in NAMES:
            model.set_task(task)
            outputs[task] = compiled(x).last_hidden_state
            assert_equal(outputs[task], model(x).last_hidden_state, task, bound=1e-5)
    assert graphs.frame_count == 1
    assert not torch.equal(outputs["z"], outputs["a"])


@each_of(cases_of(FEW, ["vit"]), SHALLOW)
def test_one_compiled_graph_with_all_heads(tiny):
    model, x, labels = tiny.multi_task(), tiny.images(), tiny.labels()
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    with torch.no_grad():
        for images, targets in ((x, labels), (x.flip(-1), {name: each.flip(0) for name, each in labels.items()})):
            expected, out = model(images, labels=targets), compiled(images, labels=targets)
            assert_equal(out.logits, expected.logits, bound=1e-5)
            torch.testing.assert_close(out.losses, expected.losses)
            torch.testing.assert_close(out.loss, expected.loss)
    assert graphs.frame_count == 1


@pytest.mark.parametrize("name", cases_of(["vit", "resnet"], ["vit"]))
def test_compiled_training_step(name):
    tiny = SHALLOW[name]
    model, x, labels = tiny.multi_task(), tiny.images(), tiny.labels()
    gradients = []
    state = copy.deepcopy(model.state_dict())
    for run in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.load_state_dict(state)
        model.train().zero_grad()
        for module in model.modules():
            if "Drop" in type(module).__name__:
                module.eval()
        run(x, labels=labels).loss.backward()
        gradients.append({name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None})
    largest = max(each.abs().max() for each in gradients[0].values())
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).abs().max() <= 1e-4 * largest, name


@pytest.mark.parametrize("name", cases_of(["vit", "resnet"], ["vit"]))
def test_one_compiled_graph_for_a_tensor_of_rows(name):
    model, x = SHALLOW[name].backbone(), SHALLOW[name].images(3)
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    with torch.no_grad():
        for rows in ([0, 1, 2], [2, 2, 0]):
            expected = model(x, task=[NAMES[row] for row in rows]).last_hidden_state
            assert_equal(compiled(x, task=torch.tensor(rows)).last_hidden_state, expected, rows, bound=1e-5)
    assert graphs.frame_count == 1


@pytest.mark.nightly
def test_compiled_with_sizes_that_change():
    """From the first call on: transformers would install what records hidden states in it, and break the graph."""
    model = SHALLOW["vit"].multi_task(TASKS[:2])
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for size in ((64, 64), (64, 128)):
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert_equal(compiled(x).logits, model(x).logits, size, bound=1e-5)


ANY_BATCH = {"pixel_values": {0: torch.export.Dim("batch", min=2, max=64)}}
EXPORTED = [*FEW, "beit", "dinov3_vit", "segformer"]


@pytest.mark.parametrize("name", cases_of(EXPORTED, ["vit", "resnet"]))
def test_exported_with_a_task_set(name):
    _assert_exports(SHALLOW[name], SHALLOW[name].backbone(), strict=False, task="a")


@pytest.mark.parametrize("name", cases_of(["vit", "resnet"], ["vit"]))
def test_exported_strictly(name):
    _assert_exports(SHALLOW[name], SHALLOW[name].backbone(), strict=True, task="m")


@pytest.mark.parametrize(
    ("name", "strict"),
    cases_of([("vit", True), ("vit", False), ("swin", False), ("resnet", False)], [("vit", False)]),
)
def test_exported_with_all_heads(name, strict):
    _assert_exports(SHALLOW[name], SHALLOW[name].multi_task(), strict, task=None)


@torch.no_grad()
def _assert_exports(tiny, model, strict, task):
    model.set_task(task)
    program = torch.export.export(model, (tiny.images(3),), dynamic_shapes=ANY_BATCH, strict=strict)
    for batch in (3, 5):
        x = tiny.images(batch)
        assert_equal(leaves(program.module()(x)), leaves(model(x)), bound=1e-5)


@few_backbones
def test_copies_are_models_of_their_own(tiny):
    model, x = tiny.multi_task(), tiny.images()
    with torch.no_grad():
        expected = model(x).logits
        other = copy.deepcopy(model)
        assert type(other) is type(model)
        assert_states_equal(other, model)
        assert_equal(other(x).logits, expected)
        other.set_task("a")
        assert model.task is None
        for parameter in other.parameters():
            parameter.zero_()
        assert_equal(model(x).logits, expected)


@pytest.mark.parametrize("name", ["swin", "resnet"])
def test_threads_with_different_tasks(name):
    model, x = SHALLOW[name].multi_task(), SHALLOW[name].images()
    with torch.no_grad():
        expected = {task: model(x, task=task).logits[task] for task in NAMES}
    wrong, barrier = [], threading.Barrier(3)

    def work(offset):
        barrier.wait()
        with torch.no_grad():
            for step in range(12):
                task = NAMES[(offset + step) % 3]
                if not torch.equal(model(x, task=task).logits[task], expected[task]):
                    wrong.append(task)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@some_backbones
def test_built_without_memory(tiny):
    """On the meta device; and building there leaves nothing behind that a real model would meet."""
    source = tiny.multi_task()
    with torch.no_grad():
        expected = source(tiny.images()).logits
    config = copy.deepcopy(source.config)
    config.feature_layout = None
    with torch.device("meta"):
        model = type(source)(config)
    assert {each.device.type for each in model.parameters()} == {"meta"}
    assert config.feature_layout == source.config.feature_layout
    with torch.no_grad():
        assert_equal(tiny.multi_task()(tiny.images()).logits, expected)


@few_backbones
def test_bfloat16_and_channels_last(tiny):
    model, x = tiny.multi_task(), tiny.images()
    with torch.no_grad():
        expected = model(x).logits
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        assert_equal(last(x.contiguous(memory_format=torch.channels_last)).logits, expected, bound=1e-4)
        half = copy.deepcopy(model).bfloat16()
        for task in NAMES:
            folded, other = half.tsbn.fold(task)(x.bfloat16()), half.tsbn(x.bfloat16(), task=task)
            assert other.last_hidden_state.dtype == torch.bfloat16
            assert_equal(other, folded)


@pytest.mark.parametrize("name", cases_of(["swin", "resnet"], ["resnet"]))
def test_exported_backbone(name):
    tiny = SHALLOW[name]
    model, x = TsbnBackbone(TsbnConfig(tiny.config, NAMES)).eval(), tiny.images()
    model.set_task("m")
    program = torch.export.export(model, (x,))
    with torch.no_grad():
        assert_equal(program.module()(x).feature_maps, model(x).feature_maps, bound=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@some_backbones
def test_cuda(tiny):
    model, x = tiny.multi_task(), tiny.images()
    labels = {name: each.cuda() for name, each in tiny.labels().items()}
    with torch.no_grad():
        expected = model(x).logits
        model.cuda()
        out = model(x.cuda(), labels=labels)
        for task in NAMES:
            torch.testing.assert_close(out.logits[task].cpu(), expected[task], rtol=1e-2, atol=1e-2)
            folded = model.tsbn.fold(task)(x.cuda())
            assert_equal(model.tsbn(x.cuda(), task=task), folded)
    model.train()(x.cuda(), labels=labels).loss.backward()
