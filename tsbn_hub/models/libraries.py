"""Which library a model, a checkpoint or a name is of. This is asked here, and nowhere else."""

from collections.abc import Mapping

from torch import nn

from ..norms import unwrapped
from .surface import NewModel, Surface
from .timm.surface import TimmSurface


def surface_of(model: nn.Module) -> Surface:
    """The surface of a model of timm or transformers, with tasks or plain; what is wrapped around it does not matter.

    Raises:
        TypeError: if it is of neither.

    Example:
        >>> import timm, tsbn_hub
        >>> from tsbn_hub.models import surface_of
        >>> surface = surface_of(timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8}))
        >>> surface.library, surface.image_shape, {task: kind.num_classes for task, kind in surface.kinds().items()}
        ('timm', (3, 160, 160), {'gender': 2, 'age': 8})
    """
    model = unwrapped(model)
    if hasattr(model, "pretrained_cfg"):
        return TimmSurface(model)
    if hasattr(model, "save_pretrained") and hasattr(model, "config"):
        return _transformers()(model)
    raise TypeError(
        f"{type(model).__name__} is a model of neither timm nor transformers. Known are what timm.create_model makes, "
        "TsbnForMultiTask and the other models of transformers, and what their fold gives. Save another network's "
        "state_dict() with safetensors.torch.save_file."
    )


def surface_class_of_config(config: Mapping[str, object]) -> type[Surface]:
    """The surface of what a config.json describes."""
    return _transformers() if "model_type" in config else TimmSurface


def surface_class_of_library(library: str) -> type[Surface]:
    """The surface of the models of a library, "timm" or "transformers"."""
    return TimmSurface if library == TimmSurface.library else _transformers()


def build_model(new: NewModel) -> nn.Module:
    """A new model: of timm, where all tasks are classified by timm's own classifiers, else of transformers.

    Raises:
        ValueError: if the name is unknown, or the model cannot be built so.
        TypeError: if it does not take a keyword.
        OSError: if there is no such repo or folder.
    """
    is_of_timm = TimmSurface.is_name(new.name)
    classifies = all(task.kind == "classification" and task.head is None for task in new.tasks)
    surface_class = TimmSurface if is_of_timm and classifies and new.trunk is None else _transformers()
    return surface_class.build(new)


def trunk_names() -> list[str]:
    """The names of the trunks that are registered, that of task norms among them."""
    from .hf.trunk import trunks

    return list(trunks)


def _transformers() -> type[Surface]:
    # Importing transformers takes seconds, and users of timm's models do not need it.
    from .hf.surface import TransformersSurface

    return TransformersSurface
