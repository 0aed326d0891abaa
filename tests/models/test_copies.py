"""Copies, parts that are copied, and folding a model that others have wrapped."""

import copy
import functools
import pickle
from types import MethodType

import pytest
import timm
import torch
from torch import nn

import tsbn_hub  # noqa: F401
from tests.matrices import cases_of

from .test_graphs import images, small


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()


def shake(model):
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)


@torch.no_grad()
@pytest.mark.parametrize("how", cases_of(["model", "part", "norm", "shared norm"], ["model", "shared norm"]))
def test_a_compiled_model_s_copies_are_models_of_their_own(how):
    model, x = small(gated="layer*"), images()
    {"model": model, "part": model.layer2, "norm": model.layer1[0].bn1, "shared norm": model.bn1}[how].compile(
        backend="eager"
    )
    model.set_task("a")
    copies = [
        copy.deepcopy(model),
        timm.utils.ModelEmaV3(model).module,
        pickle.loads(pickle.dumps(model)),
        model.fold(),
    ]
    before, folded = model(x), model.fold("c")
    expected = model(x, task="c")
    shake(model)
    for other in copies:
        torch.testing.assert_close(other(x), before)
    assert torch.equal(folded(x), expected) and type(folded) is timm.models.ResNet


@torch.no_grad()
def test_a_copied_part_follows_the_model_it_goes_into():
    """As PEFT's modules_to_save, which puts a copy in the place of a part."""
    model, x = small(), images()
    expected = model(x)
    for task in ("a", None):
        model.set_task(task)
        model.bn1, model.layer2, model.fc = map(copy.deepcopy, (model.bn1, model.layer2, model.fc))
        for name, output in expected.items():
            assert torch.equal(model(x, task=name), output)
    other = copy.deepcopy(model)
    other.set_task("c")
    assert model.task is None and torch.equal(other(x), expected["c"])


@torch.no_grad()
def test_a_copy_of_what_holds_a_part_and_then_the_model():
    model, x = small(), images()
    outer = nn.ModuleDict({"norm": model.bn1, "model": model})
    other = copy.deepcopy(outer)["model"]
    other.set_task("a")
    assert model.task is None and torch.equal(other(x), model(x, task="a"))


class Hook:
    """As those of accelerate that keep the weights elsewhere."""

    def __init__(self, module):
        self.weights = {name: each.data for name, each in module.named_parameters(recurse=False)}
        for each in module.parameters(recurse=False):
            each.data = torch.zeros(0)

    def detach_hook(self, module):
        for name, each in module.named_parameters(recurse=False):
            each.data = self.weights[name]


def wrap(module, hook=None):
    if hook is not None:
        module._hf_hook = hook
    module._old_forward = module.forward

    def forward(module, *args, **kwargs):
        return module._old_forward(*args, **kwargs)

    module.forward = functools.update_wrapper(functools.partial(forward, module), module._old_forward)


@torch.no_grad()
@pytest.mark.parametrize("how", ["model", "every part", "elsewhere"])
def test_folding_what_hooks_are_around(how):
    model, x = small(gated="layer*"), images()
    expected = model(x, task="c")
    for part in [model] if how == "model" else list(model.modules()):
        wrap(part, Hook(part) if how == "elsewhere" else None)
    folded = model.fold("c")
    if how != "model":
        for part in folded.modules():
            assert not isinstance(part, nn.BatchNorm2d) or "forward" not in vars(part)
    assert torch.equal(folded(x), expected)


@torch.no_grad()
def test_folding_after_accelerate_has_wrapped_the_forward():
    model, x = small(), images()
    expected = model(x, task="c")
    plain = model.forward.__func__

    @functools.wraps(plain)
    def in_another_precision(self, *args, **kwargs):
        return plain(self, *args, **kwargs)

    model._original_forward = model.forward
    model.forward = MethodType(in_another_precision, model)
    folded = model.fold("c")
    assert torch.equal(folded(x), expected) and "forward" not in vars(folded)


def test_folding_what_a_function_of_the_user_runs():
    model = small()
    plain = model.layer1.forward
    model.layer1.forward = lambda x: plain(x)
    with pytest.raises(RuntimeError, match=r"The forward of layer1 was replaced by the function .*lambda.*Fold before"):
        model.fold("a")


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"keep_affine": True}, {"norm": "affine"}])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("plain", [False, True])
def test_a_model_of_the_meta_device_leaves_it_whole(architecture, options, plain):
    name = f"{architecture}_tsbn"
    options = {"keep_affine": False, **options} if plain else options
    source = (
        timm.create_model(architecture, num_classes=5)
        if plain
        else timm.create_model(name, tasks=["a", "b"], num_classes=5, **options)
    )
    with torch.device("meta"):
        model = timm.create_model(name, tasks=["a", "b"], num_classes=5, **options)
    state = {key: each for key, each in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    model.load_state_dict(state, assign=True)
    assert not [key for key, each in [*model.named_parameters(), *model.named_buffers()] if each.is_meta]
    model.to("cpu").eval()(images(architecture, batch=1))
