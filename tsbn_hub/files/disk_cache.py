"""Tensors that are costly to make and are kept in the user's cache, so that a second run makes nothing."""

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .atomic import write_atomically

FOLDER_VARIABLE = "TSBN_DATA_CACHE"
_KEPT_FREE = 2**30  # bytes: a cache must not be what fills the disk
_logger = logging.getLogger(__name__)
_logged: set[str] = set()


def user_cache() -> Path:
    """The folder of this package in the user's cache: below $XDG_CACHE_HOME, or ~/.cache.

    Raises:
        RuntimeError: if the user has no home.
    """
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "tsbn_hub"


class DiskCache:
    """Named tensors on disk, in files that are written whole or not at all. They come back bit for bit.

    The folder is `data` in the user's cache, or what $TSBN_DATA_CACHE names; where that is empty, nothing is kept. A
    file that is broken is made anew. Where a folder cannot be written, or the disk has less than 1 GB left, nothing
    is kept, which is logged once for each name. Several processes may use one cache at
    once. All of it may be removed at any time.

    Args:
        name: What is kept, such as the name of a data set: a folder of the cache.
        key: All that the tensors depend on, but for their code, as plain values: arguments, versions of libraries.
        code: The file that makes the tensors, or the folder of such files: whenever one changes, all is made anew.

    Example:
        >>> import torch
        >>> from tsbn_hub.files.disk_cache import DiskCache
        >>> cache = DiskCache("squares", {"until": 4}, code=Path(torch.__file__))
        >>> cache.get("all", lambda: {"squares": torch.arange(4) ** 2})["squares"]
        tensor([0, 1, 4, 9])
    """

    def __init__(self, name: str, key: Mapping[str, object], code: Path) -> None:
        self._name, self._writes = name, True
        try:
            digest = hashlib.sha256(json.dumps([dict(key), _digest(code)], sort_keys=True).encode()).hexdigest()
            variable = os.environ.get(FOLDER_VARIABLE)
            root = user_cache() / "data" if variable is None else Path(variable) if variable else None
        except (OSError, RuntimeError) as error:  # code in an archive; a user without a home
            _log_once(name, error)
            root = None
        self._folder = root and root / name / digest[:32]

    def get(self, part: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of a part: read, memory-mapped; or, where they are not there, made and kept.

        Args:
            part: The name of a file.
            make: Makes the tensors.
        """
        if self._folder is None:
            return make()
        path = self._folder / f"{part}.safetensors"
        tensors = _read(path)
        if tensors is None:
            tensors = {name: tensor.contiguous() for name, tensor in make().items()}
            self._keep(path, tensors)
        return tensors

    def _keep(self, path: Path, tensors: dict[str, Tensor]) -> None:
        if not self._writes:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < _KEPT_FREE:
                raise OSError(f"{path.parent} is on a disk with less than 1 GB left")
            metadata = {"crc32": _checksum(tensors)}
            write_atomically({path: lambda file: save_file(tensors, file, metadata=metadata)}, durable=False)
        except OSError as error:
            self._writes = False
            _log_once(self._name, error)


def _read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None: there is none, or it is broken."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return tensors if metadata.get("crc32") == _checksum(tensors) else None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of names, dtypes, shapes and contents."""
    checksum = 0
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.numpy().data, checksum)
    return f"{checksum:08x}"


@cache
def _digest(code: Path) -> str:
    files = sorted(code.glob("*.py")) if code.is_dir() else [code]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _log_once(name: str, error: Exception) -> None:
    if name not in _logged:
        _logged.add(name)
        _logger.warning(
            "%s is made anew in each run, for it cannot be kept on disk: %s. $%s may name another folder.",
            name,
            error,
            FOLDER_VARIABLE,
        )
