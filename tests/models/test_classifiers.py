"""One classifier a task, wherever the plain model has one."""

from itertools import product

import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import tsbn_hub  # noqa: F401
from tests.matrices import cases_of, diagonal
from tsbn_hub.models.timm.classifiers import TaskClassifier

SIZES = {"gender": 2, "age": 8, "hair": 5}
# A linear one, a convolution, two of a distilled model, one inside a module of its own.
ARCHITECTURES = ["test_resnet", "resnetv2_18", "deit_tiny_distilled_patch16_224", "levit_128s", "test_efficientnet"]


def build(architecture, **kwargs):
    torch.manual_seed(0)
    size = 224 if "224" in architecture or "levit" in architecture else 64
    model = timm.create_model(f"{architecture}_tsbn", num_classes=SIZES, **kwargs).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, TaskClassifier):
                module.weight.normal_(0, 0.05)
                module.bias.normal_()
    return model, torch.randn(3, 3, size, size)


@pytest.mark.parametrize(
    ("architecture", "norm"),
    cases_of(product(ARCHITECTURES, ["sigmoid", "shared"]), diagonal(ARCHITECTURES, ["sigmoid", "shared"])),
)
def test_each_task_has_rows_of_its_own(architecture, norm):
    model, x = build(architecture, norm=norm)
    outputs = model(x)
    assert model.task_classes == [2, 8, 5] and model.num_classes == 8
    assert {task: output.shape for task, output in outputs.items()} == {task: (3, size) for task, size in SIZES.items()}
    classifiers = {name: module for name, module in model.named_modules() if isinstance(module, TaskClassifier)}
    named = model.pretrained_cfg["classifier"]
    assert set(classifiers) == {named} if isinstance(named, str) else set(named)
    folded = {task: model.fold(task) for task in SIZES}
    for name, classifier in classifiers.items():
        for parameter in ("weight", "bias"):
            stacked = torch.cat([getattr(plain.get_submodule(name), parameter) for plain in folded.values()])
            assert torch.equal(stacked, getattr(classifier, parameter)), "every row belongs to one task"
    for task, plain in folded.items():
        assert plain.num_classes == SIZES[task]
        torch.testing.assert_close(plain(x), outputs[task], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(x, task=task), outputs[task], rtol=1e-5, atol=1e-5)
    mixed = model(x, task=["hair", "gender", "age"])
    for sample, (task, output) in enumerate(zip(["hair", "gender", "age"], mixed, strict=True)):
        torch.testing.assert_close(output, outputs[task][sample], rtol=1e-4, atol=1e-4)


def test_gradients_stay_with_the_task():
    model, x = build("test_resnet")
    model(x, task="age").sum().backward()
    gradient = model.fc.weight.grad
    assert gradient[2:10].any() and not gradient[:2].any() and not gradient[10:].any()


class CountsOfSize(TorchDispatchMode):
    """How many operations give a new tensor of a shape."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if isinstance(output, torch.Tensor) and output.shape == self.shape and not function.is_view:
            self.count += 1
        return output


@pytest.mark.parametrize("execution", ["sequential", "batched"])
def test_the_gradient_of_many_tasks_is_made_once(execution):
    """And not once for each task, of all tasks' size: forty classifiers would be written forty times."""
    model, x = build("test_resnet", execution=execution)
    outputs = model(x)
    with CountsOfSize(model.fc.weight.shape) as made:
        sum(output.sum() for output in outputs.values()).backward()
    assert made.count == 1
    together = model.fc.weight.grad.clone()
    model.zero_grad()
    for task in SIZES:
        model(x, task=task).sum().backward()
    torch.testing.assert_close(together, model.fc.weight.grad)


@torch.no_grad()
def test_a_batched_pass_that_is_compiled():
    model, x = build("test_resnet", execution="batched")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_each_task_can_have_a_backward_of_its_own():
    model, x = build("test_resnet", execution="sequential")
    for output in model(x).values():
        output.sum().backward()
    assert model.fc.weight.grad.any(dim=1).all()


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_classifier_that_is_computed_again_has_gradients(use_reentrant, monkeypatch):
    model, x = build("test_resnet", execution="sequential")
    forward = model.fc.forward
    monkeypatch.setattr(model.fc, "forward", lambda x: checkpoint(forward, x, use_reentrant=use_reentrant))
    sum(output.sum() for output in model(x).values()).backward()
    assert model.fc.weight.grad.any(dim=1).all()


def test_add_and_remove():
    model, x = build("test_resnet")
    before = model(x)
    model.add_task("smile", num_classes=3)
    model.add_task("old", like="age")
    assert model.tasks == [*SIZES, "smile", "old"] and model.task_classes == [2, 8, 5, 3, 8]
    after = model(x)
    assert all(torch.equal(after[task], before[task]) for task in SIZES)
    assert torch.equal(after["old"], before["age"]) and after["smile"].shape == (3, 3)
    model.remove_task("age")
    assert model.task_classes == [2, 5, 3, 8]
    assert all(torch.equal(model(x)[task], after[task]) for task in model.tasks)
    for task in ("gender", "hair", "smile"):
        model.remove_task(task)
    assert model.tasks == ["old"] and torch.equal(model(x), after["old"])
    assert (
        model.state_dict()["fc.weight"].shape
        == (8, 96)
        == timm.create_model("test_resnet", num_classes=8).fc.weight.shape
    )


def test_from_one_task_to_two():
    model = timm.create_model("test_resnet_tsbn", tasks=["first"], num_classes=4).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = model(x)
    model.add_task("second", num_classes=7)
    outputs = model(x)
    assert torch.equal(outputs["first"], expected) and outputs["second"].shape == (2, 7)


def test_reset_for_some_tasks():
    model, x = build("test_resnet")
    model.reset_classifier({"age": 100})
    assert {task: len(output[0]) for task, output in model(x).items()} == {"gender": 2, "age": 100, "hair": 5}
    model.reset_classifier(6)
    assert model.task_classes == [6, 6, 6]
    model.reset_classifier(0)
    assert model(x)["age"].shape == (3, 96) and model.num_classes == 0
    model.reset_classifier(6)
    assert model(x)["hair"].shape == (3, 6)


def test_get_classifier_computes_the_tasks_logits():
    model, x = build("test_resnet")
    with pytest.raises(RuntimeError, match="using_task"):
        model.get_classifier()
    with model.using_task("age"):
        features = model.forward_head(model.forward_features(x), pre_logits=True)
        assert torch.equal(model.get_classifier()(features), model(x))
        assert all(isinstance(parameter, torch.nn.Parameter) for parameter in model.get_classifier().parameters())


def test_a_plain_classifier_goes_to_tasks_of_its_size():
    plain = timm.create_model("test_resnet", num_classes=8)
    model, _ = build("test_resnet", keep_affine=True)
    others = model.fc.weight[:2].clone(), model.fc.weight[10:].clone()
    model.load_state_dict(plain.state_dict())
    assert torch.equal(model.fc.weight[2:10], plain.fc.weight)
    assert torch.equal(model.fc.weight[:2], others[0]) and torch.equal(model.fc.weight[10:], others[1])
    with pytest.raises(RuntimeError, match="size mismatch for fc"):
        model.load_state_dict(timm.create_model("test_resnet", num_classes=9).state_dict())
