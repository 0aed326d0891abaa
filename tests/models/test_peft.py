"""Layers of PEFT in a model with tasks: a fold merges them, and nothing is saved without what they have learned."""

import pytest
import timm
import torch
from torch import nn
from transformers import ViTConfig

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask

VIT = ViTConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
)
X = torch.rand(2, 3, 32, 32)


def vit():
    torch.manual_seed(0)
    tasks = [Task("a", num_classes=3), Task("b", "regression", kind_args={"size": 2})]
    return TsbnForMultiTask.from_backbone(VIT, tasks)


class LowRank(nn.Module):
    """What PEFT's layers have in common."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer, self.merged, self.disable_adapters = base_layer, False, False
        self.delta = nn.Parameter(torch.randn_like(base_layer.weight))

    def get_base_layer(self):
        return self.base_layer

    def merge(self, safe_merge=False):
        self.base_layer.weight.data += self.delta.data
        self.merged = True

    def unmerge(self):
        self.base_layer.weight.data -= self.delta.data
        self.merged = False

    def forward(self, x):
        y = self.base_layer(x)
        return y if self.merged or self.disable_adapters else y + nn.functional.linear(x, self.delta)


class Unmergeable(LowRank):
    def merge(self, safe_merge=False):
        raise NotImplementedError("it depends on the input")


def with_low_rank(model, layer_class=LowRank):
    """Its query layers and the linear layers of its heads, replaced."""
    for name, module in list(model.named_modules()):
        if name.endswith(("q_proj", "head.linear")):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer_class(module))
    return model


@torch.no_grad()
def assert_folds(model):
    for task in model.tasks:
        expected = model(X, task=task).logits[task]
        plain = model.fold(task)
        if hasattr(plain, "classifier"):
            output = plain(X).logits
        else:
            features = tsbn_hub.TsbnModel.from_backbone(plain, [task]).features(X)
            output = model.fold_head(task)(features, X.shape[-2:])
        torch.testing.assert_close(output, expected)
        assert not [key for key in plain.state_dict() if "base_layer" in key or "delta" in key or "lora" in key]


def test_a_fold_merges_what_is_not_merged():
    model = with_low_rank(vit())
    assert_folds(model)
    assert not any(module.merged for module in model.modules() if isinstance(module, LowRank)), "the model stays"
    for module in model.modules():
        if isinstance(module, LowRank):
            module.merge()
    assert_folds(model)
    for module in model.modules():
        if isinstance(module, LowRank):
            module.unmerge()
            module.disable_adapters = True
    assert_folds(model)


def test_of_timm_and_of_any_network():
    model = timm.create_model("test_vit_tsbn", num_classes={"a": 3}).eval()
    model.head = LowRank(model.head)
    x = torch.rand(1, 3, 160, 160)
    torch.testing.assert_close(model.fold("a")(x), model(x))
    timm.create_model("test_vit", num_classes=3).load_state_dict(model.fold("a").state_dict())
    net = tsbn_hub.convert(nn.Sequential(LowRank(nn.Linear(4, 4)), nn.LayerNorm(4)), ["a"], gated="*")
    torch.testing.assert_close(net.fold("a")(x[0, 0, 0, :4]), net(x[0, 0, 0, :4]))


def test_what_cannot_be_merged_is_refused():
    model = with_low_rank(vit(), Unmergeable)
    for fold in (model.fold, model.fold_head):
        with pytest.raises(RuntimeError, match=r"Unmergeable of PEFT that cannot be merged.*depends on the input"):
            fold("a")
    model = with_low_rank(vit())
    module = next(module for module in model.modules() if isinstance(module, LowRank))
    module.forward = lambda x: x
    with pytest.raises(RuntimeError, match="its forward was replaced"):
        model.fold("a")


SAVES = {
    "save_pretrained": tsbn_hub.save_pretrained,
    "class": lambda model, folder: model.save_pretrained(folder),
    "save_task": lambda model, folder: tsbn_hub.save_task(model, "a", folder),
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_nothing_is_saved_unmerged(save, tmp_path):
    with pytest.raises(RuntimeError, match=r"q_proj is a LowRank of PEFT.*merge first"):
        save(with_low_rank(vit()), tmp_path / "folder")
    assert not (tmp_path / "folder").exists() or not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("name", ["q_proj", "head.linear"])
@pytest.mark.parametrize("replace", ["quantized", "parametrized"])
def test_other_layers_are_no_plain_classifier(replace, name):
    model = vit()
    for path, module in list(model.named_modules()):
        if path.endswith(name):
            if replace == "parametrized":
                nn.utils.parametrizations.weight_norm(module)
                continue
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Sequential(module))
    with pytest.raises(RuntimeError, match=r"other layers than its architecture.*Fold a task first"):
        model.fold("a")


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_layer_of_another_forward_is_no_plain_one():
    model, name = vit(), "tsbn.backbone.layers.0.attention.q_proj"
    model.set_submodule(name, Doubled(32, 32))
    with pytest.raises(RuntimeError, match=r"other layers than its architecture.*Doubled"):
        model.fold("a")


# --- quantized layers ---


def quantized(model):
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore:.*deprecated")
@torch.no_grad()
def test_a_quantized_model_is_folded_by_timm_and_refused_by_transformers():
    model, x = timm.create_model("test_vit_tsbn", num_classes={"a": 3, "b": 3}).eval(), torch.rand(1, 3, 160, 160)
    model = quantized(model)
    assert torch.equal(model.fold("b")(x), model(x, task="b"))
    with pytest.raises(RuntimeError, match=r"other layers than its architecture.*quantize .* the plain model"):
        quantized(vit()).fold("a")


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_nothing_is_saved_quantized(save, tmp_path):
    with pytest.raises(RuntimeError, match=r"_packed_params.* is no tensor.*quantize what is loaded"):
        save(quantized(vit()), tmp_path / "folder")
    assert not (tmp_path / "folder").exists() or not list((tmp_path / "folder").iterdir())


# --- with PEFT itself ---


def randomized(model):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "lokr", "oft", "hra", "vera"])
def test_tuners_of_peft(kind):
    peft = pytest.importorskip("peft")
    configs = {
        "lora": peft.LoraConfig,
        "dora": lambda **options: peft.LoraConfig(use_dora=True, **options),
        "ia3": lambda **options: peft.IA3Config(feedforward_modules=["linear"], **options),
        "lokr": peft.LoKrConfig,
        "oft": lambda **options: peft.OFTConfig(oft_block_size=4, **options),
        "hra": peft.HRAConfig,
        "vera": peft.VeraConfig,
    }
    model = vit()
    randomized(peft.get_peft_model(model, configs[kind](target_modules=["q_proj", "linear"])))
    assert_folds(model)


def test_peft_with_one_of_several_adapters_on_and_with_none():
    peft = pytest.importorskip("peft")
    model = vit()
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "linear"]))
    tuned.add_adapter("other", peft.LoraConfig(r=2, target_modules=["v_proj"]))
    randomized(tuned)
    assert_folds(model)
    tuned.set_adapter("other")
    assert_folds(model)
    with tuned.disable_adapter():
        assert_folds(model)
    tuned.merge_adapter()
    assert_folds(model)


def test_heads_that_peft_keeps_copies_of():
    peft = pytest.importorskip("peft")
    model = vit()
    options = dict(r=2, target_modules=["q_proj"], modules_to_save=["a_head", "b_head"])
    randomized(peft.get_peft_model(model, peft.LoraConfig(**options)))
    assert_folds(model)


def test_lora_on_convolutions_of_timm():
    peft = pytest.importorskip("peft")
    model = timm.create_model("test_resnet_tsbn", num_classes={"a": 3, "b": 2})
    randomized(peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["conv2"], init_lora_weights=False)))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.fold("b")(x), model(x, task="b"))
    timm.create_model("test_resnet", num_classes=2).load_state_dict(model.fold("b").state_dict())


def test_adapters_added_by_transformers():
    peft = pytest.importorskip("peft", minversion="0.22")
    model = vit()
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj", "linear"], init_lora_weights=False))
    assert_folds(model.eval())
