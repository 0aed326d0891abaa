"""Rendered interiors with dense targets: made as they are read, from nothing but a seed."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ....files.disk_cache import DiskCache
from ....tasks import Task
from ...sample import Sample
from ..registry import register_data_set
from .furnishing import draw_interior
from .interiors import LABELS
from .ray_casting import Floats, Integers
from .rendering import render

_SMALLEST = 8  # pixels


@register_data_set("Scenes")
class Scenes(Dataset[Sample]):
    """Furnished rooms, rendered by ray casting, with the targets of four dense tasks. Nothing is read or downloaded.

    A room has a floor, a ceiling and walls, and cabinets, tables, chairs, balls, vases, doors and pictures. Sizes,
    places, patterns, colours, lights with their shadows, and the camera are drawn at random; every class has every
    colour. There is sensor noise.

    The targets are exact, each that of the ray through the pixel's centre:

    - `segmentation`: (H, W), int64: the class, in the order of the task's labels.
    - `depth`: (H, W), float32, > 0: metres along the optical axis, as in NYUv2; not along the ray.
    - `normals`: (3, H, W), float32: unit vectors that point out of the surface, in camera coordinates: x to the right,
      y up, z towards the viewer. A wall on the right has a negative x, the floor a positive y, and the wall that one
      faces a positive z. Who mirrors an image negates x.
    - `edges`: (H, W), int64: 1 at borders of objects and creases of their surfaces, which is where the pixel above,
      below, to the left or to the right shows another face. Lines are two pixels wide, one on each side.

    Sample i is a function of the seed, the split, i, the height and the width alone. Another size in pixels shows the
    same room from the same place, and more or less at the sides where the shape is another.

    A sample is rendered when it is first read, and kept in the user's cache, bit for bit (see
    `tsbn_hub.files.disk_cache`): a second epoch or run renders nothing. That takes 30 bytes a pixel: 1.8 GB for the
    training set in the default size.

    Args:
        split: "train" or "test".
        size: How many samples; None: 5,000 to train, 500 to test.
        height: H, at least 8.
        width: W, at least 8.
        seed: Another one gives other rooms.
        labelled: For some tasks, the share of samples in [0, 1] that have a target. Which ones is drawn for each task
            and sample by itself. A greater share adds to those of a smaller one. Tasks that are not named have all.

    Attributes:
        tasks: Segmentation, depth, normals and edges.

    Raises:
        ValueError: if there is no such split or task, or a number is out of range.
        IndexError: if there is no such sample.

    Example:
        >>> from tsbn_hub.data import Scenes
        >>> data = Scenes("train", labelled={"depth": 0.5})
        >>> sample = data[0]
        >>> sample["image"].shape, sample["targets"]["normals"].shape
        (torch.Size([3, 96, 128]), torch.Size([3, 96, 128]))
        >>> [sorted(data[at]["targets"]) for at in (0, 1)]
        [['edges', 'normals', 'segmentation'], ['depth', 'edges', 'normals', 'segmentation']]
    """

    tasks: ClassVar = [
        Task("segmentation", kind="segmentation", labels=LABELS),
        Task("depth", kind="depth"),
        Task("normals", kind="normals"),
        Task("edges", kind="edges"),
    ]
    license = "apache-2.0"

    def __init__(
        self,
        split: Literal["train", "test"] = "train",
        size: int | None = None,
        height: int = 96,
        width: int = 128,
        seed: int = 0,
        labelled: Mapping[str, float] | None = None,
    ) -> None:
        sizes = {"train": 5000, "test": 500}
        if split not in sizes:
            raise ValueError(f'split={split!r} is unknown. Known: "train", "test".')
        if size is not None and size < 1:
            raise ValueError(f"size={size} must be positive.")
        if min(height, width) < _SMALLEST:
            raise ValueError(f"{height=} and {width=} must be at least {_SMALLEST} pixels.")
        self._split, self._seed = split, seed
        self._size = sizes[split] if size is None else size
        self._height, self._width = height, width
        key = {"split": split, "seed": seed, "height": height, "width": width, "numpy": version("numpy")}
        self._cache = DiskCache("Scenes", key, Path(__file__).parent)
        self._labelled = _checked_shares(labelled or {}, [task.name for task in self.tasks])

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, at: int) -> Sample:
        """The sample: image (3, H, W), float32 in [0, 1], and its targets."""
        self._check_index(at)
        sample = self._cache.get(str(at), lambda: self._render(at))
        targets = {
            "segmentation": sample["segmentation"].long(),
            "depth": sample["depth"],
            "normals": sample["normals"],
            "edges": sample["edges"].long(),
        }
        return {
            "image": sample["image"],
            "targets": {task: target for task, target in targets.items() if self._has_target(task, at)},
        }

    def _render(self, at: int) -> dict[str, Tensor]:
        """The image and all targets of a sample; classes and edges, which are few, in uint8."""
        random = self._random(at)
        view = render(draw_interior(random), self._height, self._width)
        arrays = {
            "segmentation": view.labels.astype(np.uint8),
            "depth": view.depth,
            "normals": view.normals,
            "edges": _edges(view.surfaces).astype(np.uint8),
            "image": _photograph(view.light, random),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def focal_length(self, at: int) -> float:
        """The focal length of a sample's camera, in pixels.

        With it, the pixel in row r and column c at depth d shows the point x = (c + 0.5 - W / 2) * d / f,
        y = (H / 2 - r - 0.5) * d / f, z = -d.
        """
        return self._height / 2 / draw_interior(self._random(at)).camera.tangent

    def _random(self, at: int, purpose: str = "scene") -> Random:
        self._check_index(at)
        return Random(f"{self._seed} {self._split} {at} {purpose}")

    def _check_index(self, at: int) -> None:
        if not 0 <= at < self._size:
            raise IndexError(f"There is no sample {at}: the data set has {self._size}.")

    def _has_target(self, task: str, at: int) -> bool:
        return task not in self._labelled or self._random(at, task).random() < self._labelled[task]


def _checked_shares(labelled: Mapping[str, float], tasks: list[str]) -> dict[str, float]:
    for task, share in labelled.items():
        if task not in tasks:
            raise ValueError(f"labelled names the unknown task {task!r}. Known: {', '.join(tasks)}.")
        if not 0 <= share <= 1:
            raise ValueError(f"labelled={{{task!r}: {share}}}: the share must lie in [0, 1].")
    return dict(labelled)


def _edges(surfaces: Integers) -> Integers:
    """1 where a pixel (H, W) has another surface than one of its four neighbours, else 0; int64."""
    edges = np.zeros(surfaces.shape, np.int64)
    down, right = surfaces[1:] != surfaces[:-1], surfaces[:, 1:] != surfaces[:, :-1]
    for borders, one, other in ((down, edges[1:], edges[:-1]), (right, edges[:, 1:], edges[:, :-1])):
        one |= borders
        other |= borders
    return edges


def _photograph(light: Floats, random: Random) -> Floats:
    """The image (3, H, W), in [0, 1]: exposed, gamma-corrected and noisy."""
    exposure, noise = random.uniform(0.9, 1.6), random.uniform(0.02, 0.07)
    grain = np.random.default_rng(random.getrandbits(64)).random(light.shape, np.float32)
    image = np.sqrt(np.float32(exposure) * light) + np.float32(2 * noise) * (grain - np.float32(0.5))
    return np.clip(image, 0, 1, out=image)
