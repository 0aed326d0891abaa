"""CelebA: faces with 40 attributes."""

import copy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from ...files.images import read_image
from ...files.paths import no_folder
from ...tasks import Task
from ..sample import Sample
from .registry import register_data_set

_SPLITS = {"train": 0, "val": 1, "test": 2}
_ATTRIBUTES, _PARTITION, _IMAGES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
# The folders of attributes, partition and images: as CelebA is given out, and as torchvision lays it.
_LAYOUTS = (("Anno", "Eval", "Img"), (".", ".", "."), ("celeba", "celeba", "celeba"))


@register_data_set("CelebA")
class CelebA(Dataset[Sample]):
    """Photos of faces, aligned, with 40 attributes that are there or not: a task for each, or one for all.

    The files are `{root}/Anno/list_attr_celeba.txt`, `{root}/Eval/list_eval_partition.txt` and
    `{root}/Img/img_align_celeba/*.jpg`, or all in one folder, as torchvision lays them: `{root}` or `{root}/celeba`.
    Images are read when a sample is.

    A sample has an image (3, size, size), uint8, and for each task, of the kind "attributes", the target (1,), int64,
    1 or 0; of the one task `attributes` it is (40,). The kind's metrics are accuracy and F1.

    Args:
        root: The folder of the files.
        split: "train": 162,770 images. "val": 19,867. "test": 19,962.
        size: Height and width of the images, resized without regard to their shape, as those who compare methods of
            balancing do; None: 218x178 pixels, or the crop.
        crop: Take a square of as many pixels from the middle before.
        joint: One task, `attributes`, in place of 40.

    Attributes:
        tasks: One for each attribute, in the order of the file, or one for all.

    Raises:
        FileNotFoundError: if a file is not there; the message says what was looked for, and what found.
        ValueError: if there is no such split, or a file is not as it should be.

    Example:
        >>> from tsbn_hub.data import CelebA
        >>> data = CelebA("data/celeba", "train")  # doctest: +SKIP
        >>> data[0]["image"].shape, len(data.tasks), data.tasks[0].name  # doctest: +SKIP
        (torch.Size([3, 64, 64]), 40, '5_o_Clock_Shadow')

    Source: Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", arXiv 1411.7766. The data are for
    non-commercial research, under the terms of the site below, and not part of this package.
    """

    validation_split = "CelebA's own validation split"
    url = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val", "test"] = "train",
        size: int | None = 64,
        crop: int | None = None,
        joint: bool = False,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split={split!r} is unknown. Known: {', '.join(map(repr, _SPLITS))}.")
        for name, value in (("size", size), ("crop", crop)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be positive.")
        attributes, partition, self._images = _find_files(Path(root).expanduser())
        self._split, self._size, self._crop, self._joint = split, size, crop, joint
        splits = read_partition(partition)
        self._parts = {name: [file for file, of in splits.items() if of == _SPLITS[name]] for name in _SPLITS}
        self._attributes, self._rows, self._values = read_attributes(attributes)
        unknown = sorted(splits.keys() - self._rows.keys())
        if unknown:
            raise ValueError(f"{partition} has {len(unknown)} images, as {unknown[0]}, that {attributes} has not.")
        there = {path.name for path in self._images.iterdir()}
        used = self._parts[split] + (self._parts["val"] if split == "train" else [])
        missing = [file for file in used if file not in there]
        if missing:
            raise FileNotFoundError(
                f"Looked for {len(used)} images in {self._images}; {len(missing)} are not there, as {missing[0]}."
            )
        self._files = self._parts[split]
        single = [Task(name, kind="attributes", labels=[name]) for name in self._attributes]
        self.tasks = [Task("attributes", kind="attributes", labels=self._attributes)] if joint else single

    def split_off(self, fraction: float, seed: int = 0) -> tuple["CelebA", "CelebA"]:
        """Of the training images: all of them, and those of CelebA's own validation split, whatever the fraction.

        These have no person in common, as parts of the training images would have. Of another split: the images
        without a random fraction, and this fraction.

        Args:
            fraction: The part to split off of another split, in (0, 1).
            seed: Draws it.
        """
        if self._split == "train":
            return self, self._with(self._parts["val"])
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed)).tolist()
        files, number = [self._files[at] for at in order], max(int(fraction * len(self)), 1)
        return self._with(files[number:]), self._with(files[:number])

    def _with(self, files: list[str]) -> "CelebA":
        part = copy.copy(self)
        part._files = files
        return part

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, at: int) -> Sample:
        """The sample: image (3, size, size), uint8, and its targets.

        Raises:
            ValueError: if the image cannot be read.
        """
        file = self._files[at]
        image = read_image(self._images / file)
        if self._crop is not None:
            left, top = (image.width - self._crop) // 2, (image.height - self._crop) // 2
            image = image.crop((left, top, left + self._crop, top + self._crop))
        if self._size is not None:
            image = image.resize((self._size, self._size), Image.Resampling.BILINEAR)
        values = self._values[self._rows[file]].long()
        targets = {"attributes": values} if self._joint else dict(zip(self._attributes, values[:, None], strict=True))
        return {"image": pil_to_tensor(image), "targets": targets}


def _find_files(root: Path) -> tuple[Path, Path, Path]:
    """The files of attributes and partition, and the folder of images."""
    if not root.is_dir():
        raise FileNotFoundError(no_folder(root))
    layouts = [tuple(map(Path, folders, (_ATTRIBUTES, _PARTITION, _IMAGES))) for folders in _LAYOUTS]
    there = [[(root / path).exists() for path in paths] for paths in layouts]
    nearest = max(range(len(layouts)), key=lambda index: sum(there[index]))
    if all(there[nearest]):
        attributes, partition, images = (root / path for path in layouts[nearest])
        return attributes, partition, images
    paths = [str(path) for path in layouts[nearest]]
    missing = [path for path, found in zip(paths, there[nearest], strict=True) if not found]
    names = sorted(each.name + "/" * each.is_dir() for each in root.iterdir())
    hint = ""
    if any((root / path).with_suffix(".zip").exists() for path in missing):
        hint = " Unpack img_align_celeba.zip."
    elif any(name.endswith(".csv") for name in names):
        hint = " Files of .csv are another layout: get the .txt files of the data set's site."
    raise FileNotFoundError(
        f"Looked for {', '.join(paths)} in {root}, or all in one folder; {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} not there; found {', '.join(names[:8]) or 'nothing'}.{hint}"
    )


def read_partition(path: Path) -> dict[str, int]:
    """By the name of each image, its split: 0 (train), 1 (validation) or 2 (test).

    Raises:
        ValueError: if a line is another.
    """
    splits = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, _, split = line.strip().partition(" ")
        if not name:
            continue
        if split.strip() not in ("0", "1", "2"):
            raise ValueError(f"{path}, line {number}: {line[:60]!r} is no name with a split of 0, 1 or 2.")
        splits[name] = int(split)
    return splits


def read_attributes(path: Path) -> tuple[list[str], dict[str, int], Tensor]:
    """The attributes of all images.

    The first line is the number of images, the second the names of the attributes, and each other one the name of an
    image and -1 or 1 for each attribute.

    Returns:
        The names of the K attributes; by the name of each image its row; and the rows, (N, K), int8, of 1 and 0.

    Raises:
        ValueError: if it is another file.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    names = lines[1].split() if len(lines) > 1 else []
    rows = [line.split() for line in lines[2:] if line.strip()]
    if not names or not lines[0].strip().isdecimal() or int(lines[0]) != len(rows):
        raise ValueError(
            f"{path} is truncated, or no list of attributes: expected are the number of images, the names of the "
            f"attributes, and a line for each image; found are {len(rows)} after {lines[0][:60] if lines else ''!r}."
        )
    values = np.empty((len(rows), len(names)), np.int8)
    for index, (image, *entries) in enumerate(rows):
        if len(entries) != len(names) or not set(entries) <= {"1", "-1"}:
            raise ValueError(f"{path}, image {image}: expected are {len(names)} times -1 or 1.")
        values[index] = np.array(entries) == "1"
    return names, {row[0]: index for index, row in enumerate(rows)}, torch.from_numpy(values)
