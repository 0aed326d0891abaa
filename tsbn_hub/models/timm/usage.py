"""The code of a card, for a model of timm."""

from collections.abc import Iterator

from timm.data import resolve_model_data_config

from ..surface import Surface
from ..usage import IMAGE_MODES, opened_image, quoted, random_images
from .model import labels_of


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
    if surface.has_heads:
        yield from _class(surface.described(surface.tasks[0]).labels is not None, "model.task_labels[0]")
    yield ""
    yield f"plain = model.fold({task})  # a plain timm model with the same output: without tsbn_hub from here on"


def _plain(surface: Surface, source: str) -> Iterator[str]:
    yield from _loading(surface, source)
    yield "    output = model(images)"
    if surface.has_heads:
        yield from _class(labels_of(surface.model) is not None, 'model.pretrained_cfg["label_names"]')


def _class(named: bool, labels: str) -> Iterator[str]:
    """The lines that print the class of the first image, by its name where it has one."""
    if named:
        yield f"labels = {labels}"
        yield "print(labels[output[0].argmax()])  # the name of the class"
    else:
        yield "print(output[0].argmax().item())  # the number of the class"


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
        config = "timm.data.resolve_model_data_config(model)"
        if resolve_model_data_config(surface.model)["input_size"] != shape:  # as of a ViT that was built larger
            config += f' | {{"input_size": {shape}}}'
        yield f"transform = timm.data.create_transform(**{config})"
        yield f"images = transform({opened_image(shape[0])}).unsqueeze(0)"
    else:
        yield random_images("images", shape)
    yield "with torch.inference_mode():"
