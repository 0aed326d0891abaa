"""The code of a card, for a model of transformers."""

from collections.abc import Iterator

from transformers import PreTrainedModel

from ...files.repositories import with_revision
from ...tasks import Classification
from ..surface import Surface
from ..usage import IMAGE_MODES, opened_image, quoted, random_images
from .features import image_shape_of


def usage(surface: Surface, model: PreTrainedModel, name: str, revision: str | None) -> str:
    """Python that loads and calls a model.

    Args:
        surface: Of the model.
        model: The model.
        name: "org/name", or a folder beside which the code runs.
        revision: The branch of the repo; None: the main one.
    """
    if surface.tasks:
        return "\n".join(_with_tasks(surface, model, with_revision(name, revision)))
    return "\n".join(_plain(model, name, revision))


def _with_tasks(surface: Surface, model: PreTrainedModel, name: str) -> Iterator[str]:
    task = quoted(surface.tasks[0])
    shape = surface.image_shape if surface.has_heads else image_shape_of(model.config.backbone_config)
    knows_images = model.image_processor is not None and shape[0] in IMAGE_MODES
    yield "import tsbn_hub"
    yield "import torch"
    if knows_images:
        yield "from PIL import Image"
    yield ""
    yield f"model = tsbn_hub.from_pretrained({quoted(name)}){_or_repo(name)}"
    if knows_images:
        grey = ", do_convert_rgb=False" if shape[0] == 1 else ""
        yield f"image = {opened_image(shape[0])}"
        yield f'pixel_values = model.image_processor(image, return_tensors="pt"{grey}).pixel_values'
    else:
        yield random_images("pixel_values", shape)
    yield "with torch.inference_mode():"
    if not surface.has_heads:
        yield f"    output = model(pixel_values, task={task})  # what the plain backbone gives"
        return
    yield "    logits = model(pixel_values).logits  # a dict: a tensor for each task"
    yield f"    logits = model(pixel_values, task={task}).logits  # of one task"
    kind = surface.kinds()[surface.tasks[0]]
    said = '["class"]' if isinstance(kind, Classification) else ""
    yield f"prediction = model.kinds[{task}].predict(logits[{task}])"
    yield f"print(model.kinds[{task}].describe(prediction[0]){said})"
    if not model.trunk.folds:
        return
    yield ""
    if kind.dense:
        yield f"backbone = model.fold({task})  # a plain one of transformers: without tsbn_hub from here on"
        yield f"head = model.fold_head({task})"
    else:
        yield f"plain = model.fold({task})  # a plain model of transformers: without tsbn_hub from here on"


def _plain(model: PreTrainedModel, name: str, revision: str | None) -> Iterator[str]:
    class_name = type(model).__name__
    arguments = quoted(name) + (f", revision={quoted(revision)}" if revision else "")
    shape = image_shape_of(model.config)
    knows_images = getattr(model, "image_processor", None) is not None and shape[0] == 3
    yield "import torch"
    if knows_images:
        yield "from PIL import Image"
    yield f"from transformers import {'AutoImageProcessor, ' if knows_images else ''}{class_name}"
    yield ""
    yield f"model = {class_name}.from_pretrained({arguments}){_or_repo(name)}"
    if knows_images:
        yield f"processor = AutoImageProcessor.from_pretrained({arguments})"
        yield f"image = {opened_image(shape[0])}"
        yield 'pixel_values = processor(image, return_tensors="pt").pixel_values'
    else:
        yield random_images("pixel_values", shape)
    yield "with torch.inference_mode():"
    yield "    output = model(pixel_values)"
    if class_name.endswith("ForImageClassification"):
        yield "print(model.config.id2label[output.logits[0].argmax().item()])  # the name of the class"


def _or_repo(name: str) -> str:
    return "" if "/" in name else '  # or "org/name"'
