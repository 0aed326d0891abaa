"""The code of a card, for a model of timm."""

from collections.abc import Iterator

from ..surface import Surface
from ..usage import IMAGE_MODES, new_image, quoted, random_images


def usage(surface: Surface, source: str) -> str:
    """Python that loads and calls a model.

    Args:
        surface: Of the model.
        source: "org/name", "org/name@branch", or a folder beside which the code runs.
    """
    return "\n".join(_with_tasks(surface, source) if surface.tasks else _plain(surface, source))


def _with_tasks(surface: Surface, source: str) -> Iterator[str]:
    task = quoted(surface.tasks[0])
    yield "import tsbn_hub  # registers the `_tsbn` names with timm"
    yield from _loading(surface, source)
    if len(surface.tasks) > 1 and surface.has_heads:
        yield "    outputs = model(images)  # a dict: a tensor for each task"
    yield f"    output = model(images, task={task})"
    yield ""
    yield f"plain = model.fold({task})  # a plain timm model with the same output: without tsbn_hub from here on"


def _plain(surface: Surface, source: str) -> Iterator[str]:
    yield from _loading(surface, source)
    yield "    output = model(images)"


def _loading(surface: Surface, name: str) -> Iterator[str]:
    """Up to the line that has calls of the model below it."""
    source, hint = (f"hf-hub:{name}", "") if "/" in name else (f"local-dir:{name}", '  # or "hf-hub:org/name"')
    shape = surface.image_shape
    yield "import timm"
    yield "import torch"
    if shape[0] in IMAGE_MODES:
        yield "from PIL import Image"
    yield ""
    yield f"model = timm.create_model({quoted(source)}, pretrained=True).eval(){hint}"
    if shape[0] in IMAGE_MODES:
        yield "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
        yield f"images = transform({new_image(shape)}).unsqueeze(0)"
    else:
        yield random_images("images", shape)
    yield "with torch.inference_mode():"
