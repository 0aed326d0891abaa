"""How all tasks are run: what is before the fork once, what is behind it for each task, and never half of a pass."""

import copy
from itertools import product

import pytest
import timm
import torch
from torch import Tensor, fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from transformers import ResNetConfig

import tsbn_hub
from tests.matrices import cases_of
from tsbn_hub import Task, TsbnForMultiTask, convert
from tsbn_hub.norms import SharedBatchNorm, TaskModule
from tsbn_hub.norms.execution import batched, choice

TASKS = ["a", "b", "c"]


class Counted(nn.Conv2d):
    """Counts its calls, and the images in them."""

    calls = images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.images += len(x)
        return super().forward(x)


def network(conv: type[nn.Conv2d] = Counted, **kwargs: object) -> TaskModule:
    """Two convolutions with a shared norm, the fork, and two more."""
    torch.manual_seed(0)
    parts = [conv(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), conv(8, 8, 3), nn.BatchNorm2d(8)]
    parts += [nn.ReLU(inplace=True), conv(8, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = convert(nn.Sequential(*parts), TASKS, gated="4", **kwargs)
    nn.init.normal_(net[4].gate_logits)
    return net


def images(batch: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 3, 12, 12)


def twin(net: TaskModule) -> TaskModule:
    """A copy that runs one task after another."""
    other = copy.deepcopy(net)
    other.execution = "sequential"
    return other


def backward(outputs: dict[str, Tensor]) -> None:
    sum(output.square().sum() for output in outputs.values()).backward()


def assert_same_gradients(one: nn.Module, other: nn.Module, **bounds: float) -> None:
    for (name, ours), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name, **bounds)


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_what_is_before_the_fork_is_computed_once():
    net = network(execution="batched").train()
    net(images())  # and a trial with the first image
    for module in net:
        if isinstance(module, Counted):
            module.calls = 0
    net(images())
    assert [module.calls for module in net if isinstance(module, Counted)] == [1, 1, 1]


@pytest.mark.parametrize("training", [True, False])
def test_batched_is_as_sequential(training):
    net = network().train(training)
    other = copy.deepcopy(net)
    net.execution, other.execution = "batched", "sequential"
    for _ in range(2):
        ours, theirs = net(images()), other(images())
        for task in TASKS:
            torch.testing.assert_close(ours[task], theirs[task])
        backward(ours)
        backward(theirs)
    assert_same_gradients(net, other, rtol=1e-4, atol=1e-5)
    assert_same_state(net, other)


def test_statistics_before_the_fork_count_once_and_behind_it_once_a_task():
    net = network(execution="batched").train()
    net(images())
    assert [int(net[at].num_batches_tracked) for at in (1, 7)] == [1, 3]
    assert net[4].num_batches_tracked.tolist() == [1, 1, 1]


IN_MIXED_PRECISION = {
    "test_resnet_tsbn": dict(gated="layer4*", zero_init_last=False),
    "test_vit_tsbn": dict(gated="blocks.5*"),
    "test_convnext_tsbn": dict(gated="stages.3*", ls_init_value=1.0),
}


@pytest.mark.parametrize("name", IN_MIXED_PRECISION)
def test_in_mixed_precision(name):
    """A convolution in vmap is not one that autocast knows. No branch starts near zero, where errors would hide."""
    options = dict(tasks=TASKS, num_classes=4, execution="batched", **IN_MIXED_PRECISION[name])
    model = timm.create_model(name, **options).eval()
    x = torch.randn(2, 3, 160, 160)
    with torch.autocast("cpu", torch.bfloat16):
        ours = model(x)
        for task in TASKS:
            theirs = model(x, task=task)
            assert ours[task].dtype == theirs.dtype == torch.bfloat16
            torch.testing.assert_close(ours[task], theirs, rtol=0, atol=0.02 * theirs.abs().max().item())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16], ids=str)
def test_on_cuda(dtype):
    net = network(execution="batched").cuda().train()
    other = twin(net)
    with torch.autocast("cuda", dtype, enabled=dtype is not None):
        ours, theirs = net(images().cuda()), other(images().cuda())
    for task in TASKS:
        torch.testing.assert_close(ours[task], theirs[task], rtol=0.02, atol=0.02)
    sum(output.float().square().sum() for output in ours.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    for (name, mine), yours in zip(net.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=0.02, atol=0.02, msg=name)


def test_in_inference_mode():
    net = network(execution="batched").eval()
    with torch.no_grad():
        expected = {task: net(images(), task=task) for task in TASKS}
    with torch.inference_mode():
        for task, output in net(images()).items():
            torch.testing.assert_close(output, expected[task])


class OfItsOwnWeights(nn.Module):
    """A convolution whose weights depend on its input, and so on the task."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight * x.mean())


def test_weights_that_depend_on_the_task():
    net = network(execution="batched").train()
    net[5] = OfItsOwnWeights()
    other = twin(net)
    for each in (net, other):
        backward(each(images()))
    assert_same_gradients(net, other, rtol=1e-4, atol=1e-5)


class WithNone(nn.Module):
    """Gives more than tensors."""

    def forward(self, x: Tensor) -> tuple[None, Tensor, dict[str, object]]:
        return None, x, {"mean": x.mean(), "what": "features"}


@torch.no_grad()
def test_outputs_of_any_structure():
    net = network(execution="batched").eval()
    net.append(WithNone())
    for task, (nothing, x, others) in net(images()).items():
        expected = net(images(), task=task)
        assert nothing is None and others["what"] == "features"
        torch.testing.assert_close(x, expected[1])
        torch.testing.assert_close(others["mean"], expected[2]["mean"])


def test_where_no_trial_can_be_made():
    """On the meta device, under a dispatch mode, within torch.func: one task after another."""
    net = network(nn.Conv2d).eval()
    x = images()
    expected = net(x)
    tried = len(net.task_selector.differences)
    with FlopCounterMode(display=False) as counter:
        counted = net(x)
    with FlopCounterMode(display=False) as of_one:
        net(x, task="a")
    assert counter.get_total_flops() == len(TASKS) * of_one.get_total_flops()
    mapped = torch.func.vmap(lambda image: net(image[None]))(x)
    for task in TASKS:
        torch.testing.assert_close(counted[task], expected[task])
        torch.testing.assert_close(mapped[task][:, 0], expected[task])
    assert len(net.task_selector.differences) == tried
    meta = copy.deepcopy(net).to("meta")
    assert {task: output.shape for task, output in meta(x.to("meta")).items()} == dict.fromkeys(TASKS, (4, 8))
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert net(fake.from_tensor(x))["a"].shape == (4, 8)


def test_a_batch_of_half_of_what_a_pass_takes_runs_one_task_after_another(monkeypatch):
    monkeypatch.setattr(choice, "SAMPLES_AT_ONCE", 7)
    net = network(execution="batched").eval()
    with torch.no_grad():
        net(images())
    assert net[0].calls == 3 and not net.task_selector.differences


@pytest.mark.parametrize("training", [True, False])
def test_without_gradients_a_large_batch_is_several_passes(training, monkeypatch):
    monkeypatch.setattr(batched, "SAMPLES_AT_ONCE", 8)
    net = network(execution="batched").train(training)
    other = twin(net)
    with torch.no_grad():
        net(images())
        other(images())
        net[0].calls = net[0].images = 0
        ours, theirs = net(images()), other(images())
    assert (net[0].calls, net[0].images) == (2, 8), "two tasks, and one"
    for task in TASKS:
        torch.testing.assert_close(ours[task], theirs[task])
    assert_same_state(net, other)


def test_auto_is_batched_where_enough_is_before_the_fork():
    net = network().train()
    assert net.execution == "auto"
    net(images())
    (part,) = net.task_selector.shared_parts.values()
    assert 0.5 < part < 1
    net[3].calls = 0
    net(images())
    assert net[3].calls == 1
    early = convert(nn.Sequential(nn.BatchNorm2d(3), Counted(3, 8, 3)), TASKS)
    early(images())
    early[1].calls = 0
    early(images())
    assert early[1].calls == 3
    assert list(early.task_selector.shared_parts.values()) == [0]


class Drawing(nn.Module):
    """Draws random numbers, in evaluation, too, and gives its input."""

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return x


def test_a_trial_leaves_no_trace():
    net = network(execution="batched").train()
    net[2] = Drawing()
    net(images())
    after_one = torch.rand(1)
    assert net.task_selector.differences and all(module.training for module in net.modules())
    assert int(net[1].num_batches_tracked) == 1
    net(images())  # from the same seed, and not tried again
    assert torch.equal(torch.rand(1), after_one)


def test_a_hook_on_a_part_sees_tensors_of_one_task():
    net, seen = network().train(), []
    net[6].register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(images())
    assert len(seen) == 3 and all(torch.isfinite(each).all() for each in seen)
    net.execution = "batched"
    with pytest.raises(RuntimeError, match=r"6 has the hook .* would see tensors of vmap"):
        net(images())


@torch.no_grad()
def test_a_compiled_part_runs_one_task_after_another():
    net = network(nn.Conv2d).eval()
    expected = net(images())
    net[6] = torch.compile(net[6], backend="eager", fullgraph=True)
    for task, output in net(images()).items():
        torch.testing.assert_close(output, expected[task])
    net.execution = "batched"
    with pytest.raises(RuntimeError, match="6 is compiled by itself"):
        net(images())


def test_hooks_on_the_network_run_around_the_pass():
    net, seen = network(execution="batched"), []
    net.register_forward_hook(lambda module, inputs, output: seen.append(list(output)))
    net(images())
    assert seen == [TASKS]


def test_checkpointing_goes_one_task_after_another():
    model = timm.create_model("test_vit_tsbn", tasks=TASKS, gated="blocks.4*,blocks.5*").train()
    other = twin(model)
    model.set_grad_checkpointing()
    x = torch.randn(2, 3, 160, 160)
    for each in (model, other):
        backward(each(x))
    assert_same_gradients(model, other)
    model.execution = "batched"
    with pytest.raises(RuntimeError, match="gradient checkpointing"):
        model(x)
    with torch.no_grad():
        assert list(model(x)) == TASKS


class Recomputing(nn.Module):
    """A block that recomputes itself, and shows it to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.conv, x, use_reentrant=False) if torch.is_grad_enabled() else self.conv(x)


def test_what_recomputes_itself_is_found_by_the_trial():
    net = network().train()
    net[5] = Recomputing()
    other = twin(net)
    for each in (net, other):
        backward(each(images()))
    assert_same_state(net, other)
    assert_same_gradients(net, other)


class OfTheBatch(nn.Module):
    """Asks for something that vmap does not say."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 if float(x.detach().mean()) > 100 else 1)


def test_what_vmap_cannot_run_leaves_nothing_half_done():
    net = network().train()
    net[5] = OfTheBatch()
    other = twin(net)
    for each in (net, other):
        each(images())
    assert_same_state(net, other)
    net.execution = "batched"
    with pytest.raises(RuntimeError, match=r'execution="batched" is not possible: torch\.func\.vmap'):
        net(images())
    assert_same_state(net, other)


class OfSeveral(nn.Module):
    """Compares the images of a batch, and cannot with one."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x[1]


class Dishonest(nn.Module):
    """Does something else in vmap."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch._C._functorch.is_batchedtensor(x)


@pytest.mark.parametrize("layer", [OfSeveral, Dishonest])
def test_what_one_image_cannot_be_tried_with_or_is_other_then_runs_one_task_after_another(layer):
    net = network().train()
    net[5] = layer()
    other = twin(net)
    ours, theirs = net(images()), other(images())
    for task in TASKS:
        assert torch.equal(ours[task], theirs[task])


@pytest.mark.parametrize("name", ["resnet18_tsbn", "test_vit_tsbn"])
def test_tasks_with_different_classes(name):
    gated = "layer4*" if name.startswith("resnet") else "blocks.5*"
    model = timm.create_model(name, num_classes={"a": 2, "b": 5, "c": 3}, gated=gated, execution="batched").eval()
    x = torch.randn(2, 3, 160, 160)
    outputs = model(x)
    assert {task: output.shape[1] for task, output in outputs.items()} == {"a": 2, "b": 5, "c": 3}
    for task in TASKS:
        torch.testing.assert_close(outputs[task], model(x, task=task), rtol=1e-4, atol=1e-5)


def test_features_only():
    model = timm.create_model(
        "resnet18_tsbn", tasks=TASKS, features_only=True, gated="layer4*", execution="batched"
    ).eval()
    x = torch.randn(2, 3, 64, 64)
    features = model(x)
    for task in TASKS:
        for ours, theirs in zip(features[task], model(x, task=task), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def heads_on_resnet(**kwargs: object) -> TsbnForMultiTask:
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic")
    tasks = [Task("seg", "segmentation", num_classes=3), Task("kind", num_classes=4)]
    return TsbnForMultiTask.from_backbone(config, tasks, gated="encoder.stages.3*", **kwargs)


def test_heads_on_a_backbone_of_transformers():
    model, x = heads_on_resnet(execution="batched"), torch.randn(2, 3, 64, 64)
    seg = torch.randint(3, (2, 64, 64))
    together = model(x, labels={"seg": seg, "kind": torch.tensor([1, 2])})
    assert model.task_selector.differences, "it was batched"
    for task in ("seg", "kind"):
        torch.testing.assert_close(together.logits[task], model(x, task=task).logits[task], rtol=1e-4, atol=1e-5)
    together.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_one_way_to_say_it():
    for model in (
        timm.create_model("test_resnet_tsbn", tasks=TASKS, execution="sequential"),
        heads_on_resnet(execution="sequential"),
        network(execution="sequential"),
    ):
        assert model.execution == copy.deepcopy(model).execution == "sequential"
        model.execution = "auto"
        with pytest.raises(ValueError, match=r"execution='fast' is unknown\. Known: .auto., .batched., .sequential."):
            model.execution = "fast"
    with pytest.raises(ValueError, match="fast"):
        timm.create_model("test_resnet_tsbn", tasks=TASKS, execution="fast")


def test_nothing_of_it_is_saved(tmp_path):
    model = timm.create_model("test_resnet_tsbn", tasks=TASKS, num_classes=4, execution="sequential")
    tsbn_hub.save_pretrained(model, tmp_path / "timm")
    assert "execution" not in (tmp_path / "timm" / "config.json").read_text()
    assert tsbn_hub.from_pretrained(tmp_path / "timm").execution == "auto"
    assert tsbn_hub.from_pretrained(tmp_path / "timm", execution="sequential").execution == "sequential"
    tsbn_hub.save_pretrained(model.fold("a"), tmp_path / "fold")
    assert "execution" not in (tmp_path / "fold" / "config.json").read_text()
    heads_on_resnet(execution="sequential").save_pretrained(tmp_path / "heads")
    assert "execution" not in (tmp_path / "heads" / "config.json").read_text()
    assert tsbn_hub.from_pretrained(tmp_path / "heads", execution="sequential").execution == "sequential"


def test_a_network_of_shared_norms_alone_runs_once():
    net = convert(nn.Sequential(Counted(3, 8, 3), nn.BatchNorm2d(8)), TASKS, norm="shared", execution="batched")
    net(images())
    assert net[0].calls == 1 and not any(isinstance(module, SharedBatchNorm) for module in net)


def compiled(net: nn.Module) -> tuple[nn.Module, list[int]]:
    """A network compiled to one graph, and, for each graph, its number of convolutions."""
    convolutions: list[int] = []

    def count(graph: fx.GraphModule, inputs: object) -> object:
        convolutions.append(sum("aten.convolution.default" in str(node.target) for node in graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    return torch.compile(net, backend=aot_autograd(fw_compiler=count), fullgraph=True), convolutions


@pytest.mark.parametrize(
    ("momentum", "training"), cases_of(product([0.1, None], [True, False]), [(0.1, False), (None, True)])
)
def test_a_compiled_graph_holds_once_what_is_before_the_fork(training, momentum):
    net = network(nn.Conv2d, execution="batched").train(training)
    net[4].momentum = momentum
    other = twin(net)
    graph, convolutions = compiled(net)
    for _ in range(2):
        with torch.set_grad_enabled(training):
            ours, theirs = graph(images()), other(images())
        for task in TASKS:
            torch.testing.assert_close(ours[task], theirs[task])
        if training:
            backward(ours)
            backward(theirs)
    assert [each for each in convolutions if each] == [3], "one graph, and each convolution once"
    assert_same_state(net, other)
    if training:
        assert_same_gradients(net, other, rtol=1e-4, atol=1e-5)


def test_compiled_auto_runs_one_task_after_another():
    """Nothing can be tried there, and a network that vmap cannot run must not break."""
    net = network(nn.Conv2d).eval()
    graph, convolutions = compiled(net)
    with torch.no_grad():
        first, tried, second = graph(images()), net(images()), graph(images())
    assert [each for each in convolutions if each] == [9] and net.task_selector.differences
    for task in TASKS:
        assert torch.equal(first[task], second[task])
        torch.testing.assert_close(first[task], tried[task])


@pytest.mark.nightly
def test_compiled_tasks_with_different_classes():
    model = timm.create_model(
        "test_resnet_tsbn", num_classes={"a": 2, "b": 5, "c": 3}, gated="layer4*", execution="batched"
    ).eval()
    graph, _ = compiled(model)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        outputs = graph(x)
        for task in TASKS:
            torch.testing.assert_close(outputs[task], model(x, task=task), rtol=1e-4, atol=1e-5)
