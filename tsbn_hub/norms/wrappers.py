"""A model that another module is wrapped around, to train or average it."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .task_module import TaskModule

_LIBRARIES = {"torch", "timm", __name__.partition(".")[0]}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of whatever wrappers are around it.

    Known are those of torch (DistributedDataParallel, DataParallel, what `torch.compile` returns, AveragedModel), of
    timm (ModelEmaV3) and of this package (TasksForward). A module of somebody else's is a model of its own: what its
    forward does besides is not known. The hooks of accelerate are on the model itself.

    Example:
        >>> import timm, tsbn_hub
        >>> from torch import nn
        >>> from tsbn_hub.norms import unwrapped
        >>> model = timm.create_model("test_resnet_tsbn", tasks=["left", "right"])
        >>> unwrapped(nn.DataParallel(model)) is model
        True
    """
    while (inner := _inner(model)) is not None:
        model = inner
    return model


def unwrapped_to_change(model: nn.Module, change: str) -> nn.Module:
    """The model itself, for what changes which parameters it has or trains.

    Args:
        model: The model, perhaps in wrappers.
        change: What is about to happen, as the beginning of a sentence.

    Raises:
        ValueError: if DistributedDataParallel is around it, which has noted the parameters as they were.
    """
    outer: nn.Module | None = model
    while outer is not None:
        if isinstance(outer, DistributedDataParallel):
            raise ValueError(
                f"{change} must come before the model is wrapped in DistributedDataParallel, which would not notice. "
                "Give the model itself, and wrap it afterwards."
            )
        outer = _inner(outer)
    return unwrapped(model)


def _inner(model: nn.Module) -> nn.Module | None:
    if isinstance(model, TaskModule):
        return None
    names = list(model._modules)
    of_library = any(
        part.__module__.partition(".")[0] in _LIBRARIES for part in type(model).__mro__ if part is not nn.Module
    )
    is_wrapper = of_library and len(names) == 1 and names[0] in ("module", "_orig_mod", "model")
    return model._modules[names[0]] if is_wrapper else None
