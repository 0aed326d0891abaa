"""Two articles of clothing in one image."""

import gzip
import os
import struct
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ...files.disk_cache import user_cache
from ...tasks import Task
from .overlaid_pairs import OverlaidPairs
from .registry import register_data_set

FOLDER_VARIABLE = "TSBN_FASHION_MNIST"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@register_data_set("MultiFashion")
class MultiFashion(OverlaidPairs):
    """Two images of Fashion-MNIST overlaid: task `left` and task `right`, 10 classes each.

    The pairs are kept in the user's cache (see `tsbn_hub.files.disk_cache`), 78 MB for those of the training set.

    Args:
        root: Folder with the four (or the two of the split) `…-ubyte.gz` files of Fashion-MNIST. None looks at
            $TSBN_FASHION_MNIST, then where the Debian package dataset-fashion-mnist puts them.
        split: "train": 60,000 pairs. "test": 10,000 pairs.
        seed: Draws the pairs.
        download: Where no folder has the files, let torchvision download them to its cache under `root`, or
            the user's cache: ~/.cache/tsbn_hub, or below $XDG_CACHE_HOME.

    Raises:
        FileNotFoundError: if the files are not there; the message says what to do.
        ValueError: if a file is truncated or no file of Fashion-MNIST, or there is no such split.

    Source: Xiao et al., Fashion-MNIST, arXiv 1708.07747 (MIT licence). The benchmark is Lin et al., Pareto multi-task
    learning, arXiv 1912.12854: 36x36 images, the second shifted by 8 pixels.
    """

    tasks: ClassVar = [Task("left", num_classes=10), Task("right", num_classes=10)]
    url = "https://github.com/zalandoresearch/fashion-mnist"
    license = "mit"
    kept_as = "MultiFashion"
    labels = (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip

    def __init__(
        self,
        root: str | Path | None = None,
        split: Literal["train", "test"] = "train",
        seed: int = 0,
        download: bool = False,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is unknown. Known: "train", "test".')
        folder = find_fashion_mnist(root, split, download)
        prefix = _prefix(split)
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        classes = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").long()
        if images.ndim != 3 or classes.shape != images.shape[:1]:
            raise ValueError(f"{folder} holds images {tuple(images.shape)} and labels {tuple(classes.shape)}.")
        super().__init__(images, classes, shift=8, seed=seed + (split == "test"))


def _prefix(split: str) -> str:
    return "train" if split == "train" else "t10k"


def find_fashion_mnist(root: str | Path | None, split: str, download: bool = False) -> Path:
    """The folder that has a split's files.

    Raises:
        FileNotFoundError: if there is none.
    """
    files = [f"{_prefix(split)}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    variable = os.environ.get(FOLDER_VARIABLE)
    folders = [Path(root)] if root is not None else [Path(variable)] if variable else [_DEBIAN]
    if download:
        cache = Path(root) if root is not None else user_cache()
        folders.append(cache / "FashionMNIST" / "raw")
    for folder in folders:
        if all((folder / file).is_file() for file in files):
            return folder
    if download:
        from torchvision.datasets import FashionMNIST

        FashionMNIST(str(cache), download=True)
        return folders[-1]
    raise FileNotFoundError(
        f"Fashion-MNIST's {files[0]} is not in {folders[0]}: pass root= or set ${FOLDER_VARIABLE} to its folder, "
        "`apt install dataset-fashion-mnist`, or pass download=True."
    )


def read_idx(path: Path) -> Tensor:
    """The array of a gzipped IDX file of unsigned bytes.

    Raises:
        ValueError: if it is truncated or no such file.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is truncated, or no gzip file: {error}") from error
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is no IDX file of unsigned bytes: it starts with {content[:4]!r}.")
    dims = content[3]
    shape = struct.unpack(f">{dims}I", content[4 : 4 + 4 * dims])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dims)
    if values.size != int(np.prod(shape)):
        raise ValueError(f"{path} is truncated: it has {values.size} of {int(np.prod(shape))} values.")
    return torch.from_numpy(values.reshape(shape).copy())
