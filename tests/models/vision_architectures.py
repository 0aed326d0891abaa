"""Every vision architecture of the installed transformers, tiny, and what becomes of it with tasks."""

import inspect
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto import modeling_auto

from tests.models.hf_backbones import randomized
from tsbn_hub import Task, TsbnForMultiTask, TsbnModel
from tsbn_hub.models.hf.architectures import backbone_class_of
from tsbn_hub.models.hf.features import image_shape_of

TASKS = [
    Task("z", "segmentation", labels=["floor", "wall", "chair"], head_args={"channels": 8}),
    Task("a", "classification", labels=["wool", "cotton", "silk", "jute"]),
]
PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
ROUNDING = 1e-4
"""Of the largest value: a plain norm has the gate in its weights."""

# What the keys of a configuration are in a tiny one; a list has as many values as before.
_WIDTHS = {"hidden_sizes", "embed_dims", "encoder_hidden_sizes", "neck_hidden_sizes"}
_DEPTHS = {"depths", "depth", "layers", "num_blocks"}
_HEADS = {"num_attention_heads", "num_heads"}
_TINY = {
    "hidden_size": 32, "embed_dim": 32, "embedding_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
    "num_heads": 2, "intermediate_size": 48, "mlp_dim": 48, "image_size": 64, "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32,
}  # fmt: skip
_OWN: dict[str, dict[str, Any]] = {
    "bit": dict(num_groups=4, layer_type="bottleneck"),
    "cvt": dict(embed_dim=[8, 16, 24], num_heads=[1, 2, 2], depth=[1, 2, 3]),
    "donut-swin": dict(window_size=4, depths=[1, 1], num_heads=[2, 2]),
    "efficientnet": dict(width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128, num_hidden_layers=16),
    "hgnet_v2": dict(
        stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 24, 32], stage_mid_channels=[8] * 4,
        stage_out_channels=[16, 24, 32, 40], hidden_sizes=[16, 24, 32, 40], stage_numb_of_layers=[1] * 4,
    ),
    "levit": dict(hidden_sizes=[32, 48, 64], patch_size=16, image_size=128),
    "maskformer-swin": dict(window_size=4, depths=[1, 1], num_heads=[2, 2]),
    "mobilenet_v1": dict(depth_multiplier=0.1, min_depth=4),
    "mobilenet_v2": dict(depth_multiplier=0.1, min_depth=4),
    "mobilevitv2": dict(width_multiplier=0.25),
    "pp_lcnet": dict(scale=0.25),
    "efficientloftr": dict(hidden_size=256),
    "sam2_hiera_det_model": dict(
        hidden_size=16, image_size=[256, 256], embed_dim_per_stage=[16, 32, 48, 64],
        num_attention_heads_per_stage=[1, 2, 2, 4],
    ),
    "swin": dict(window_size=4, depths=[1, 1], num_heads=[2, 2]),
    "swinv2": dict(window_size=4, depths=[1, 1], num_heads=[2, 2]),
    "textnet": dict(hidden_sizes=[64, 8, 16, 24, 32]),
    "timm_backbone": dict(backbone="resnet18"),
    "timm_wrapper": dict(architecture="test_resnet"),
}  # fmt: skip


NOT_ALL_TRAINED = {
    "pp_lcnet_v3": "it has activations that its own forward does not use",
    "uvdoc_backbone": "its six maps have one resolution, and four of them are taken",
}
"""Architectures with parameters that no gradient reaches, and why."""


class Outcome(NamedTuple):
    """What becomes of an architecture.

    Attributes:
        works: With tasks, in all that `try_out` does.
        note: Where it works, the class that a classification task folds into; else why it does not.
    """

    works: bool
    note: str


def vision_types(exactly: bool = True) -> list[str]:
    """The model types with a class that takes `pixel_values`, or that transformers lists for images.

    Args:
        exactly: False: those alone that are listed for images, which needs no import of all models.
    """
    names = {name: getattr(modeling_auto, name) for name in dir(modeling_auto) if name.endswith("_MAPPING_NAMES")}
    listed: set[str] = set()
    for name, classes in names.items():
        if "IMAGE" in name or "BACKBONE" in name or name.startswith(("MODEL_FOR_DEPTH", "MODEL_FOR_SEMANTIC")):
            listed |= set(classes)
    if not exactly:
        return sorted(listed & set(CONFIG_MAPPING))
    mapped = {(kind, name) for classes in names.values() if isinstance(classes, dict) for kind, name in classes.items()}
    takes = {
        kind for kind, found in mapped for name in ([found] if isinstance(found, str) else found) if _takes_images(name)
    }
    return sorted((listed | takes) & set(CONFIG_MAPPING))


def _takes_images(class_name: str) -> bool:
    try:
        return "pixel_values" in inspect.signature(getattr(transformers, class_name).forward).parameters
    except (AttributeError, ImportError):  # it is named without being there, or needs a further library
        return False


def documented() -> dict[str, Outcome]:
    """What docs/backbones.md says of each model type."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return {
        kind: Outcome(note.startswith("`"), note.strip("`") if note.startswith("`") else note) for kind, note in rows
    }


def tiny_config(model_type: str) -> PreTrainedConfig:
    """A tiny configuration of a type; of what is no backbone the usual one, which is never built."""
    usual = CONFIG_MAPPING[model_type](**_OWN.get(model_type, {}))
    try:
        backbone_class_of(usual)
    except ValueError:  # whatever its size
        return usual
    values = {key: _tiny(key, value) for key, value in usual.to_dict().items()}
    values = {key: value for key, value in values.items() if value is not None}
    return CONFIG_MAPPING[model_type](**{**values, **_OWN.get(model_type, {})})


def _tiny(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple) and value and all(type(each) is int for each in value):
        if key in _WIDTHS:
            return [8 * 2**at for at in range(len(value))] if len(value) < 6 else [8] * len(value)
        small = 1 if key in _DEPTHS else 2 if key in _HEADS else {"image_size": 64, "patch_size": 8}.get(key)
        return small and [small] * len(value)
    if type(value) is int:
        return min(value, 8) if key == "patch_size" else min(value, _TINY[key]) if key in _TINY else None
    return None


def try_out(model_type: str) -> Outcome:
    """Forward, train, fold, save and load an architecture with a head for a vector, and one for maps.

    Raises:
        AssertionError: if something goes wrong that is not a refusal in a line.
    """
    config = tiny_config(model_type)
    name = f"{type(config).__name__} ({config.model_type}) cannot be a backbone: "
    try:
        model = TsbnForMultiTask.from_backbone(config, TASKS)
    except (ValueError, ImportError) as error:
        reason = str(error).strip()
        if isinstance(error, ImportError):  # a library that is not installed here
            return Outcome(False, reason.partition(" but ")[0] + ".")
        assert reason.startswith(name) and "\n" not in reason and len(reason) < 500, reason
        return Outcome(False, reason.removeprefix(name))
    x = torch.randn(2, *image_shape_of(config), generator=torch.Generator().manual_seed(0))
    without = _train(model, x)
    assert bool(without) == (model_type in NOT_ALL_TRAINED), f"no gradient reaches {without[:3]}"
    model = randomized(model).eval()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        note = _fold(model, x)
        _save_and_load(model, x, Path(folder, "with_heads"))
        _start_from_a_plain_folder(model, x, Path(folder, "plain"))
    return Outcome(True, note)


def _train(model: TsbnForMultiTask, x: Tensor) -> list[str]:
    """The names of the parameters that no gradient has reached."""
    height, width = x.shape[-2:]
    labels = {"z": torch.randint(0, 3, (len(x), height, width)), "a": torch.randint(0, 4, (len(x),))}
    loss = model.train()(x, labels=labels).loss
    assert loss is not None and loss.isfinite()
    loss.backward()
    assert all(each.grad.isfinite().all() for each in model.parameters() if each.grad is not None)
    gates = [each for name, each in model.named_parameters() if name.endswith("gate_logits")]
    assert gates and any(each.grad.abs().max() > 0 for each in gates if each.grad is not None)
    return [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]


def _fold(model: TsbnForMultiTask, x: Tensor) -> str:
    logits = model(x).logits
    assert logits["z"].shape == (len(x), 3, *x.shape[-2:]) and logits["a"].shape == (len(x), 4)
    for task in ("z", "a"):
        assert_near(model(x, task=task).logits[task], logits[task])
    backbone = model.fold("z")
    assert_near(first_tensor(backbone(x)), first_tensor(model.tsbn(x, task="z")))
    plain = model.fold("a")
    if type(plain) is not type(backbone):
        assert_near(plain(x).logits, logits["a"])
    return type(plain).__name__


def _save_and_load(model: TsbnForMultiTask, x: Tensor, folder: Path) -> None:
    model.save_pretrained(folder)
    again = TsbnForMultiTask.from_pretrained(folder)
    for task, one in model(x).logits.items():
        assert_near(again(x).logits[task], one)
    assert_near(first_tensor(TsbnModel.from_pretrained(folder)(x, task="a")), first_tensor(model.tsbn(x, task="a")))


def _start_from_a_plain_folder(model: TsbnForMultiTask, x: Tensor, folder: Path) -> None:
    plain = model.fold("z")
    assert isinstance(plain, backbone_class_of(plain.config))
    plain.save_pretrained(folder)
    for source in (folder, plain):
        again = TsbnModel.from_backbone(source, ["p", "q"])
        assert_near(first_tensor(again(x, task="q")), first_tensor(plain(x)))


def first_tensor(output: Any) -> Tensor:
    """What an output has first: the last hidden state, or the feature map."""
    return output if isinstance(output, Tensor) else first_tensor(output[0])


def assert_near(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape and expected.isfinite().all()
    error, largest = (actual - expected).abs().max().item(), expected.abs().max().item()
    assert error <= ROUNDING * max(largest, 1e-3), f"{error} of {largest}"
