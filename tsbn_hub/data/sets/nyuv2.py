"""NYUv2: rooms with segmentation, depth and normals."""

from pathlib import Path
from typing import Literal

from ...tasks import Task
from .npy_folders import NpyFolders
from .registry import register_data_set

LABELS = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip


@register_data_set("NYUv2")
class NYUv2(NpyFolders):
    """Photos of rooms with segmentation in 13 classes, depth and normals, 288x384, as MTAN and LibMTL have them.

    The files are `{root}/{train,val}/{image,label,depth,normal}/{i}.npy`: 795 images to train, and 654 of the folder
    `val`, which are the test set; there is no other validation set than what the training holds out. Where a folder of
    targets is not there, its task is not either.

    A sample has an image (3, H, W), float32 in [0, 1], and the targets

    - `seg`: (H, W), int64, one of 13 classes; -100 where there is none (-1 in the files).
    - `depth`: (H, W), float32, metres; 0 where there is none.
    - `normals`: (3, H, W), float32, unit vectors; zero where there is none.

    Args:
        root: The folder that has `train` and `val`.
        split: "train"; "test" or "val", which are the same.

    Attributes:
        tasks: Those of `seg`, `depth` and `normals` that have a folder.

    Raises:
        ValueError: if there is no such split, or, when a sample is read, if a file is not as it should be.
        FileNotFoundError: if a folder or file is not there; the message says what was looked for, and what found.

    Example:
        >>> from tsbn_hub.data import NYUv2
        >>> sample = NYUv2("data/nyuv2", "train")[0]  # doctest: +SKIP
        >>> sample["image"].shape, sorted(sample["targets"])  # doctest: +SKIP
        (torch.Size([3, 288, 384]), ['depth', 'normals', 'seg'])

    Source: Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012; the arrays are
    those that https://github.com/lorenmt/mtan links to. The data say no licence: they are for research, and not part
    of this package.
    """

    url = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"

    def __init__(self, root: str | Path, split: Literal["train", "test", "val"] = "train") -> None:
        targets = {
            "label": Task("seg", kind="segmentation", labels=LABELS),
            "depth": Task("depth", kind="depth"),
            "normal": Task("normals", kind="normals"),
        }
        super().__init__(root, split, targets)
