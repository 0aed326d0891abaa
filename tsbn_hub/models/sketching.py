"""Networks that configs of anybody's describe: built without memory and in bounded time first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..files.checkpoints import CheckpointError, Shapes
from ..files.names import CONFIG

T = TypeVar("T")

# A config may ask for this many values and no more, or for this many times those that the weights have.
_VALUES, _TIMES = 10**7, 10
# How many calls of torch it takes to build a network: some for each of its tensors.
_CALLS, _CALLS_FOR_EACH_TENSOR = 20_000, 200


def check_size(folder: Path, shapes: Shapes, build: Callable[[], nn.Module]) -> nn.Module:
    """Refuse a config that asks for much more than the weights have.

    Args:
        folder: Of the checkpoint.
        shapes: Of its weights.
        build: Builds the model that the config describes.

    Returns:
        The model, without memory.

    Raises:
        CheckpointError: if it asks for too much, or cannot be built.
    """
    model = sketched(folder, build, len(shapes))
    asked = sum(tensor.numel() for tensors in (model.parameters(), model.buffers()) for tensor in tensors)
    given = sum(torch.Size(shape).numel() for shape in shapes.values())
    if asked > max(_VALUES, _TIMES * given):
        raise CheckpointError(
            f"{folder / CONFIG} describes a model of {asked:,} values, and the weights beside it are {given:,}."
        )
    return model


def sketched(source: str | Path, build: Callable[[], T], tensors: int) -> T:
    """What is built by what a config of anybody's says: on the meta device, without memory, and in bounded time.

    Args:
        source: Where the config is from.
        build: Builds it.
        tensors: How many tensors the checkpoint has.

    Raises:
        CheckpointError: if it cannot be built, or has many more layers than the checkpoint has tensors.
    """
    limit = _CALLS + _CALLS_FOR_EACH_TENSOR * tensors
    with _restored_modes(), torch.device("meta"), _CallsOfTorch(limit):
        return built(source, build)


def built(source: str | Path, build: Callable[[], T]) -> T:
    """What is built by what a config of anybody's says.

    Raises:
        CheckpointError: if it cannot be built.
    """
    try:
        return build()
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # what a config says can make timm and transformers fail anywhere
        raise CheckpointError(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error


@contextmanager
def _restored_modes() -> Iterator[None]:
    """Leave torch as it was: what the block has changed, it cannot restore where its calls of torch are refused."""
    dtype = torch.get_default_dtype()
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


class _CallsOfTorch(TorchFunctionMode):
    """Within the block, a limit to the number of torch's functions that this thread calls."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._left -= 1
        if self._left < 0:
            raise CheckpointError("The config describes a network of many more layers than the weights have.")
        return func(*args, **(kwargs or {}))
