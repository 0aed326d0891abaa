"""What the configuration of a model on timm's architecture says of its classes, and of how images are prepared."""

import logging
import math
from typing import Any

from timm.data.model_config import resolve_input_data_config
from transformers import BaseImageProcessor, BitImageProcessor, PreTrainedModel, TimmWrapperModel

from ..timm.model import OF_CLASSES

_logger = logging.getLogger(__name__)

_RESAMPLE = {"bilinear": 2, "bicubic": 3}  # as PIL numbers them
# What a pretrained config says of the weights that timm has of an architecture, and of tests of them.
_OF_OTHER_WEIGHTS = ("url", "hf_hub_id", "hf_hub_filename", "file", "source", "tag", "custom_load", "test_")


def timm_processor(model: Any) -> BitImageProcessor | None:
    """The evaluation transform of a `TimmWrapper…`, as an image processor of transformers; None for one that pads.

    Where a crop cannot be in the middle, it may be half a pixel off it in the other direction.
    """
    asked = {"img_size": (model.config.model_args or {}).get("img_size")}
    data = resolve_input_data_config(model.timm_model, asked, model.config.pretrained_cfg)
    if data["crop_mode"] == "border":
        return None
    _, height, width = data["input_size"]
    resized = [math.floor(length / data["crop_pct"]) for length in (height, width)]
    squashed = data["crop_mode"] == "squash"
    return BitImageProcessor(
        size={"height": resized[0], "width": resized[1]} if squashed else {"shortest_edge": min(resized)},
        crop_size={"height": height, "width": width},
        resample=_RESAMPLE.get(data["interpolation"], 3),
        image_mean=list(data["mean"]),
        image_std=list(data["std"]),
    )


def describe_folded(model: PreTrainedModel, processor: BaseImageProcessor | None) -> None:
    """Let the configuration of a folded model say, in place, what timm and transformers read there.

    Args:
        model: A plain model of transformers on timm's architecture. It has the backbone's configuration.
        processor: The image processor that it was trained with, or None. For timm's models, transformers reads the
            configuration in its place; where that cannot say what the processor does, the processor's own file.
    """
    config = model.config
    config.model_args = config.model_args or {}
    if isinstance(model, TimmWrapperModel):  # it has no classifier
        config.num_labels = 0
    for name in OF_CLASSES:  # of the backbone's classes; transformers writes those of id2label
        vars(config).pop(name, None)
    own = dict(getattr(config, "pretrained_cfg", None) or {})
    if processor is not None and (not own or _steps(processor) != _steps(timm_processor(model))):
        data = _data_config(processor, config.model_args.get("in_chans", own.get("input_size", [3])[0]))
        if data is None:
            _logger.warning("timm cannot say what this image processor does: the fold is for transformers alone.")
        own = {} if data is None else {**own, **data}
    vars(config).pop("pretrained_cfg", None)
    if own:
        config.pretrained_cfg = {
            key: value for key, value in own.items() if not key.startswith(_OF_OTHER_WEIGHTS) and key not in OF_CLASSES
        }


def _steps(processor: BaseImageProcessor | None) -> dict[str, Any] | None:
    """What an image processor does with an image."""
    if processor is None:
        return None
    said = processor.to_dict()
    by_switch = {
        "do_resize": ("size", "resample"),
        "do_center_crop": ("crop_size",),
        "do_rescale": ("rescale_factor",),
        "do_normalize": ("image_mean", "image_std"),
    }
    steps: dict[str, Any] = {
        key: said.get(key) for switch, keys in by_switch.items() if said.get(switch) for key in keys
    }
    for key, value in steps.items():
        steps[key] = dict(value) if key.endswith("size") else list(value) if isinstance(value, tuple) else value
    return steps


def _data_config(processor: BaseImageProcessor | None, channels: int) -> dict[str, Any] | None:
    """The same as `_steps`, in timm's words; None: it has none."""
    steps = _steps(processor) or {}
    size, crop = steps.get("size", {}), steps.get("crop_size")
    interpolation = next((name for name, number in _RESAMPLE.items() if number == steps.get("resample")), None)
    resized = (size.get("height"), size.get("width"))
    squashed = size.keys() == {"height", "width"}
    if size.keys() == {"shortest_edge"} and crop is not None and crop["height"] == crop["width"]:
        resized = (size["shortest_edge"],) * 2
    elif not squashed:
        return None
    height, width = (crop["height"], crop["width"]) if crop is not None else resized
    crop_pct = _crop_pct((height, width), resized)
    if crop_pct is None or interpolation is None or not math.isclose(steps.get("rescale_factor", 0), 1 / 255):
        return None
    return {
        "input_size": [channels, height, width],
        "crop_pct": crop_pct,
        "crop_mode": "squash" if squashed else "center",
        "interpolation": interpolation,
        "mean": list(steps.get("image_mean", [0.0] * channels)),
        "std": list(steps.get("image_std", [1.0] * channels)),
    }


def _crop_pct(cropped: tuple[int, int], resized: tuple[int, int]) -> float | None:
    """The part of the resized image that the crop is, for which timm finds just this size."""
    for crop_pct in (cropped[0] / resized[0], cropped[0] / (resized[0] + 0.5)):
        if tuple(math.floor(length / crop_pct) for length in cropped) == resized:
            return crop_pct
    return None
