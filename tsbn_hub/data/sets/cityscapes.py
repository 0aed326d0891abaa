"""Cityscapes: streets with segmentation and disparity."""

from pathlib import Path
from typing import Literal

from ...tasks import Task
from .npy_folders import NpyFolders
from .registry import register_data_set

# By the number of classes, the names that their folder has by source.
_FOLDERS = {7: ("label_7", "label"), 2: ("label_2",), 19: ("label_19",)}


@register_data_set("Cityscapes")
class Cityscapes(NpyFolders):
    """Photos of streets with segmentation and disparity, 128x256, as MTAN and LibMTL have them.

    The files are `{root}/{train,val}/{image,label_7,depth}/{i}.npy`: 2,975 images to train, and 500 of the folder
    `val`, which are the test set. Where a folder of targets is not there, its task is not either.

    A sample has an image (3, H, W), float32 in [0, 1], and the targets

    - `seg`: (H, W), int64, a class; -100 where there is none (-1 in the files).
    - `depth`: (H, W), float32, the disparity of a pair of cameras, which is greater for what is nearer: of a range of
      65,536 as a share of 1; 0 where there is none. Papers call it depth, and so is the task; its kind is "disparity",
      and its errors are those that papers print.

    Args:
        root: The folder that has `train` and `val`.
        split: "train"; "test" or "val", which are the same.
        classes: How many classes `seg` has: 7 (of the folder `label_7`, or `label`), 2 (`label_2`) or 19 (`label_19`).
            None: the first of these that the split has a folder for.

    Attributes:
        tasks: Those of `seg` and `depth` that have a folder.

    Raises:
        ValueError: if there is no such split or number of classes, or, when a sample is read, if a file is not as it
            should be.
        FileNotFoundError: if a folder or file is not there; the message says what was looked for, and what found.

    Example:
        >>> from tsbn_hub.data import Cityscapes
        >>> sample = Cityscapes("data/cityscapes", "train", classes=19)[0]  # doctest: +SKIP
        >>> sample["image"].shape, sorted(sample["targets"])  # doctest: +SKIP
        (torch.Size([3, 128, 256]), ['depth', 'seg'])

    Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", arXiv 1604.01685; the arrays
    are those that https://github.com/lorenmt/mtan links to. The data are for non-commercial use, under the terms of
    https://www.cityscapes-dataset.com/license, and not part of this package.
    """

    url = "https://www.cityscapes-dataset.com"

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test", "val"] = "train",
        classes: Literal[2, 7, 19] | None = None,
    ) -> None:
        if classes is not None and classes not in _FOLDERS:
            raise ValueError(f"classes={classes!r} is unknown. Known: {', '.join(map(str, sorted(_FOLDERS)))}.")
        folder = Path(root).expanduser() / ("train" if split == "train" else "val")
        known = {name: number for number, names in _FOLDERS.items() for name in names if classes in (None, number)}
        found = next((name for name in known if (folder / name).is_dir()), None)
        if classes is not None and found is None and (folder / "image").is_dir():
            there = sorted(each.name for each in folder.iterdir())
            raise FileNotFoundError(f"Looked for {folder}/{' or '.join(known)}; found {', '.join(there)}.")
        label = found or next(iter(known))
        targets = {
            label: Task("seg", kind="segmentation", num_classes=known[label]),
            "depth": Task("depth", kind="disparity"),
        }
        super().__init__(root, split, targets)
