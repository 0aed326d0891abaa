"""What a model takes and gives, be it of timm or transformers: images as its checkpoint wants them, a kind a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.model_config import resolve_input_data_config
from torch import Tensor, nn
from torchvision.transforms import Normalize

from ..tasks import Classification, Kind
from .timm.model import TimmTaskModel

DEFAULT_TASK = "default"


def is_timm(model: nn.Module) -> bool:
    """Whether it is a model of timm, with task norms or without."""
    return hasattr(model, "pretrained_cfg")


def task_kinds(model: Any) -> dict[str, Kind]:
    """The kind of each task, in order. A plain timm model has one task, "default".

    Raises:
        ValueError: if the model has no heads.

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.models.surface import task_kinds
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> {task: kind.num_classes for task, kind in task_kinds(model).items()}
        {'gender': 2, 'age': 8}
    """
    if is_timm(model) and not model.num_classes:
        raise ValueError(f"This {type(model).__name__} has no classifier: reset_classifier(…) gives it one.")
    if isinstance(model, TimmTaskModel):
        return {task: Classification(size) for task, size in zip(model.tasks, model.task_classes, strict=True)}
    if hasattr(model, "kinds"):
        return dict(model.kinds)
    if is_timm(model):
        return {DEFAULT_TASK: Classification(model.num_classes)}
    raise ValueError(f"{type(model).__name__} has no heads for tasks. Known are timm's models and TsbnForMultiTask.")


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint wants its images.

    Args:
        channels: 1 or 3: the images are grey, or RGB.
        prepare: From an image of PIL to what the model takes, (C, H, W), float32.
        show: The same, as the model sees it: before its values are normalised, (C, H, W), float32 in [0, 1].
    """

    channels: int
    prepare: Callable[[Image.Image], Tensor]
    show: Callable[[Image.Image], Tensor]


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """The preprocessing of a model: timm's evaluation transform, or the image processor.

    Raises:
        ValueError: if the checkpoint says none, or one that does not fit the model, or its images are neither grey nor
            RGB.

    Example:
        >>> import timm, tsbn_hub
        >>> from PIL import Image
        >>> from tsbn_hub.models.surface import preprocessing_of
        >>> preprocessing = preprocessing_of(timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8}))
        >>> preprocessing.prepare(Image.new("RGB", (640, 480))).shape
        torch.Size([3, 160, 160])
    """
    channels, *_ = _shape_by_config(model)
    if channels not in (1, 3):
        raise ValueError(f"This model takes images of {channels} channels: only grey (1) and RGB (3) are known here.")
    return _of_timm(model, channels) if is_timm(model) else _of_transformers(model, channels)


def _of_timm(model: Any, channels: int) -> Preprocessing:
    config = resolve_data_config(pretrained_cfg=model.pretrained_cfg) | {"input_size": _shape_by_config(model)}
    _check_mean(config["mean"], channels, "save_pretrained(model, folder, data_config={'mean': …, 'std': …})")
    unchanged = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    return Preprocessing(channels, create_transform(**config), create_transform(**config | unchanged))


def _of_transformers(model: Any, channels: int) -> Preprocessing:
    processor = model.image_processor
    if processor is None:
        raise ValueError(
            "The checkpoint does not say how its images are prepared: it has no preprocessor_config.json. Set "
            "model.image_processor to the image processor that the model was trained with, and save it anew."
        )
    if processor.do_normalize:
        _check_mean(processor.image_mean, channels, "an image processor whose image_mean and image_std fit")

    def process(image: Image.Image, **options: Any) -> Tensor:
        pixel_values: Tensor = processor(image, return_tensors="pt", do_convert_rgb=False, **options)["pixel_values"]
        return pixel_values[0]

    def show(image: Image.Image) -> Tensor:
        return process(image, do_rescale=True, do_normalize=False)

    return Preprocessing(channels, process, show)


def _check_mean(mean: Any, channels: int, way_out: str) -> None:
    if isinstance(mean, Sequence) and len(mean) != channels:
        raise ValueError(
            f"The checkpoint subtracts the mean {list(mean)} from images of {channels} channel{'s' * (channels > 1)}. "
            f"Save it anew with {way_out}."
        )


def normalization_of(model: Any) -> nn.Module:
    """How a checkpoint shifts and scales images whose values are from 0 to 1: a module, (…, C, H, W) → (…, C, H, W).

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.models.surface import normalization_of
        >>> normalization_of(timm.create_model("resnet10t_tsbn", num_classes=10))
        Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    """
    if is_timm(model):
        config = resolve_input_data_config(model)
        mean, std = config["mean"], config["std"]
    elif model.image_processor is not None and model.image_processor.do_normalize:
        mean, std = model.image_processor.image_mean, model.image_processor.image_std
    else:
        return nn.Identity()
    return Normalize(mean, std) if any(mean) or any(value != 1 for value in std) else nn.Identity()


def image_shape(model: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images that a model is for: as its preprocessing gives them, of square ones.

    Where a model of transformers came without an image processor, the backbone's configuration tells.
    """
    channels, height, width = _shape_by_config(model)
    if is_timm(model) or model.image_processor is None or channels not in (1, 3):
        return channels, height, width
    side = 2 * max(height, width)
    image = Image.new("RGB" if channels == 3 else "L", (side, side))
    _, height, width = preprocessing_of(model).prepare(image).shape
    return channels, height, width


def _shape_by_config(model: Any) -> tuple[int, int, int]:
    if not is_timm(model):
        from .hf.features import image_channels, image_size

        return image_channels(model.tsbn.backbone), *image_size(model.tsbn.backbone)
    channels, *size = model.pretrained_cfg["input_size"]
    arguments = getattr(model, "_model_args", {})
    size, channels = arguments.get("img_size", size), arguments.get("in_chans", channels)
    height, width = (size, size) if isinstance(size, int) else size
    return channels, height, width
