"""The state of a run as one file: tensors as safetensors, all else as JSON in its header. No pickle."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...files.atomic import write_atomically

State = dict[str, Any]
"""Nested dicts, lists and tuples of tensors, numbers, strings, booleans and None."""


def write_state(path: Path, state: State) -> None:
    """Write a state.

    The file appears whole or not at all: until then, and if the disk is full, the earlier one stays.

    Raises:
        OSError: if it cannot be written.
        TypeError: if the state holds anything else.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from tsbn_hub.training.state.run_state import read_state, write_state
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_state(Path(folder, "state"), {"step": 3, "betas": (0.9, 0.99), "state": {0: torch.ones(2)}})
        ...     read_state(Path(folder, "state"))
        {'step': 3, 'betas': (0.9, 0.99), 'state': {0: tensor([1., 1.])}}
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    metadata = {"state": tree, "sha256": _digest(tree, tensors)}
    write_atomically({path: lambda file: save_file(tensors, file, metadata=metadata)})


def read_state(path: Path) -> State:
    """Read what `write_state` wrote, bit for bit, onto the CPU.

    Raises:
        ValueError: if it is no such file, or a bit of it has changed.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        tree = metadata["state"]
        state = _unpack(json.loads(tree), tensors)
        if _digest(tree, tensors) != metadata.get("sha256"):
            raise ValueError("its SHA-256 is another than when it was written, or an older version has written it")
        if not isinstance(state, dict):
            raise TypeError(f"it holds {state!r}")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or not the state of a run: {error}. Start anew with restart.") from error
    return state


def read_entry(path: Path, name: str) -> object:
    """An entry of a state that holds no tensors, without reading those; None: there is no such file, or entry."""
    try:
        with safe_open(path, "pt") as file:
            tree = json.loads((file.metadata() or {})["state"])
        return next((_unpack(packed, {}) for key, packed in tree["dict"] if key == name), None)
    except (
        FileNotFoundError,
        SafetensorError,
        LookupError,
        TypeError,
        ValueError,
    ):  # what is wrong, `read_state` tells
        return None


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of a state, in hexadecimal."""
    digest = hashlib.sha256(tree.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _pack(value: object, tensors: dict[str, Tensor]) -> object:
    """JSON for a value: containers carry their kind, for JSON knows neither tuples nor keys that are numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, tensors), _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_pack(item, tensors) for item in value]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"The state of a run cannot hold {value!r}, a {type(value).__name__}.")


def _unpack(packed: object, tensors: dict[str, Tensor]) -> object:
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in content}
    return {"tuple": tuple, "list": list}[kind](_unpack(item, tensors) for item in content)


def random_state(device: torch.device) -> State:
    """The state of all random generators of this process."""
    algorithm, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (algorithm, keys.tolist(), *rest),  # type: ignore[union-attr]
        "torch": torch.get_rng_state(),
        "device": None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(),
    }


def set_random_state(state: State, device: torch.device) -> None:
    """Put all random generators of this process into the state of `random_state`."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["device"] is not None:
        torch.get_device_module(device).set_rng_state(state["device"])
