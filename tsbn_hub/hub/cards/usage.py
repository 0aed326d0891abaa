"""The code of a card: how its model is loaded and called."""

import json
from collections.abc import Iterator
from typing import Any

from torch import nn

from ...files.repositories import with_revision
from ...models.surface import image_shape, is_timm
from ...norms import TaskModule

_MODES = {1: "L", 3: "RGB"}


def has_heads(model: nn.Module) -> bool:
    """Whether a model gives what tasks ask for, and not only features."""
    return bool(model.num_classes) if is_timm(model) else hasattr(model, "kinds")


def usage_code(model: Any, name: str, revision: str | None = None) -> str:
    """Python that loads a model and calls it, and runs as it stands.

    Args:
        model: Of timm or transformers, with tasks or folded.
        name: A repo, "org/name", or a folder beside which the code runs.
        revision: The branch of the repo; None: the main one.

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.hub.cards.usage import usage_code
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> print(usage_code(model, "ada/faces").splitlines()[0])
        import tsbn_hub  # registers the `_tsbn` names with timm
    """
    lines: Iterator[str]
    source = with_revision(name, revision)
    if isinstance(model, TaskModule):
        lines = _of_timm_with_tasks(model, source) if is_timm(model) else _of_transformers_with_tasks(model, source)
    elif is_timm(model):
        lines = _of_plain_timm(model, source)
    else:
        lines = _of_plain_transformers(model, name, revision)
    return "\n".join(lines)


def _of_timm_with_tasks(model: Any, name: str) -> Iterator[str]:
    task = quoted(model.tasks[0])
    yield "import tsbn_hub  # registers the `_tsbn` names with timm"
    yield from _loading_by_timm(model, name)
    if len(model.tasks) > 1 and has_heads(model):
        yield "    outputs = model(images)  # a dict: a tensor for each task"
    yield f"    output = model(images, task={task})"
    yield ""
    yield f"plain = model.fold({task})  # a plain timm model with the same output: without tsbn_hub from here on"


def _of_plain_timm(model: Any, name: str) -> Iterator[str]:
    yield from _loading_by_timm(model, name)
    yield "    output = model(images)"


def _loading_by_timm(model: Any, name: str) -> Iterator[str]:
    """Up to the line that has calls of the model below it."""
    source, hint = (f"hf-hub:{name}", "") if "/" in name else (f"local-dir:{name}", '  # or "hf-hub:org/name"')
    shape = image_shape(model)
    yield "import timm"
    yield "import torch"
    if shape[0] in _MODES:
        yield "from PIL import Image"
    yield ""
    yield f"model = timm.create_model({quoted(source)}, pretrained=True).eval(){hint}"
    if shape[0] in _MODES:
        yield "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
        yield f"images = transform({_image(shape)}).unsqueeze(0)"
    else:
        yield _tensor("images", shape)
    yield "with torch.inference_mode():"


def _of_transformers_with_tasks(model: Any, name: str) -> Iterator[str]:
    task = quoted(model.tasks[0])
    shape = image_shape(model) if has_heads(model) else _shape_by_config(model.config.backbone_config)
    knows_images = model.image_processor is not None and shape[0] in _MODES
    yield "import tsbn_hub"
    yield "import torch"
    if knows_images:
        yield "from PIL import Image"
    yield ""
    yield f"model = tsbn_hub.from_pretrained({quoted(name)}){_or_repo(name)}"
    if knows_images:
        grey = ", do_convert_rgb=False" if shape[0] == 1 else ""
        yield f"image = {_image(shape)}"
        yield f'pixel_values = model.image_processor(image, return_tensors="pt"{grey}).pixel_values'
    else:
        yield _tensor("pixel_values", shape)
    yield "with torch.inference_mode():"
    if not has_heads(model):
        yield f"    output = model(pixel_values, task={task})  # what the plain backbone gives"
        return
    yield "    logits = model(pixel_values).logits  # a dict: a tensor for each task"
    yield f"    logits = model(pixel_values, task={task}).logits  # of one task"
    yield f"prediction = model.kinds[{task}].predict(logits[{task}])"
    yield ""
    if model.kinds[model.tasks[0]].dense:
        yield f"backbone = model.fold({task})  # a plain one of transformers: without tsbn_hub from here on"
        yield f"head = model.fold_head({task})"
    else:
        yield f"plain = model.fold({task})  # a plain model of transformers: without tsbn_hub from here on"


def _of_plain_transformers(model: Any, name: str, revision: str | None) -> Iterator[str]:
    class_name = type(model).__name__
    arguments = quoted(name) + (f", revision={quoted(revision)}" if revision else "")
    shape = _shape_by_config(model.config)
    knows_images = getattr(model, "image_processor", None) is not None and shape[0] == 3
    yield "import torch"
    if knows_images:
        yield "from PIL import Image"
    yield f"from transformers import {'AutoImageProcessor, ' if knows_images else ''}{class_name}"
    yield ""
    yield f"model = {class_name}.from_pretrained({arguments}){_or_repo(name)}"
    if knows_images:
        yield f"processor = AutoImageProcessor.from_pretrained({arguments})"
        yield f'pixel_values = processor({_image(shape)}, return_tensors="pt").pixel_values'
    else:
        yield _tensor("pixel_values", shape)
    yield "with torch.inference_mode():"
    yield "    output = model(pixel_values)"


def _or_repo(name: str) -> str:
    return "" if "/" in name else '  # or "org/name"'


def _image(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f'Image.new("{_MODES[channels]}", ({width}, {height}))'


def _tensor(name: str, shape: tuple[int, int, int]) -> str:
    return f"{name} = torch.rand{(1, *shape)}  # images, prepared as those that it was trained on"


def _shape_by_config(config: Any) -> tuple[int, int, int]:
    """Channels, height and width that a native configuration of transformers names, or what is usual."""
    arguments = getattr(config, "model_args", None) or {}  # of timm's architectures
    _, *size = (getattr(config, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))
    size = arguments.get("img_size", getattr(config, "image_size", size))
    height, width = (size, size) if isinstance(size, int) else size
    return arguments.get("in_chans", getattr(config, "num_channels", 3)), height, width


def quoted(text: str) -> str:
    """Text as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)
