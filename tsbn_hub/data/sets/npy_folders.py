"""Dense data sets in the layout of MTAN: a folder of numbered npy files for images and for each target."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...files.paths import no_folder
from ...tasks import Segmentation, Task
from ..sample import Sample

_FOLDERS = {"train": "train", "test": "val", "val": "val"}
_SHOWN = 8  # names in a message


class NpyFolders(Dataset[Sample]):
    """`{root}/{train,val}/{image,…}/{i}.npy`, i = 0, 1, …: an array for each image and each of its targets.

    Images are (H, W, 3), floating-point numbers from 0 to 1 or bytes; labels (H, W), whole numbers of any dtype, -1
    where there is none; depths (H, W) or (H, W, 1), 0 where there is none; normals (H, W, 3). Nothing is unpickled.

    Args:
        root: The folder that has `train` and `val`.
        split: "train"; "test" or "val", which are both the folder `val`.
        targets: By the name of its folder, what each target is. Folders that are not there are no tasks.

    Attributes:
        tasks: Those of `targets` that have a folder.

    Raises:
        ValueError: if there is no such split.
        FileNotFoundError: if a folder or file is not there; the message says what was looked for, and what found.
    """

    def __init__(self, root: str | Path, split: str, targets: Mapping[str, Task]) -> None:
        if split not in _FOLDERS:
            raise ValueError(f'split={split!r} is unknown. Known: "train", "test" (or "val").')
        self._folder = find_split(Path(root).expanduser(), _FOLDERS[split], list(targets))
        self._targets = {folder: task for folder, task in targets.items() if (self._folder / folder).is_dir()}
        self._indices = range(_count(self._folder, ["image", *self._targets]))
        self.tasks = list(self._targets.values())

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, at: int) -> Sample:
        """The sample: image (3, H, W), float32 in [0, 1], and its targets.

        Raises:
            ValueError: if a file is no array, or not as it should be.
        """
        name = f"{self._indices[at]}.npy"
        image = read_image_array(self._folder / "image" / name)
        sample: Sample = {"image": image, "targets": {}}
        for folder, task in self._targets.items():
            path = self._folder / folder / name
            target = _READERS[task.kind](path)
            if target.shape[-2:] != image.shape[-2:]:
                raise ValueError(f"{path} has {tuple(target.shape[-2:])} pixels, its image {tuple(image.shape[-2:])}.")
            sample["targets"][task.name] = target
        return sample


def find_split(root: Path, split: str, targets: list[str]) -> Path:
    """The folder of a split.

    Raises:
        FileNotFoundError: if it is not there, or lacks the images or all targets.
    """
    if not root.is_dir():
        raise FileNotFoundError(no_folder(root))
    folder = root / split
    if (folder / "image").is_dir() and any((folder / name).is_dir() for name in targets):
        return folder
    looked_for = f"{root}/{split}/{{image,{','.join(targets)}}}/0.npy, …"
    below = [each for each in sorted(root.iterdir()) if (each / split / "image").is_dir()]
    hint = ""
    if below:
        hint = f" Is root={below[0]} meant?"
    elif (root / "image").is_dir():
        hint = f" Is root={root.parent} meant?"
    raise FileNotFoundError(f"Looked for {looked_for}; found {_listed(folder if folder.is_dir() else root)}.{hint}")


def _listed(folder: Path) -> str:
    names = sorted(each.name + "/" * each.is_dir() for each in folder.iterdir())
    return f"in {folder}: " + (", ".join(names[:_SHOWN]) + ", …" * (len(names) > _SHOWN) or "nothing")


def _count(split: Path, folders: list[str]) -> int:
    """How many samples a split has.

    Raises:
        FileNotFoundError: if one lacks a file.
    """
    found = {folder: {path.name for path in (split / folder).iterdir() if path.suffix == ".npy"} for folder in folders}
    numbers = [int(name[:-4]) for names in found.values() for name in names if name[:-4].isdecimal()]
    count = max(numbers, default=0) + 1
    expected = [f"{at}.npy" for at in range(count)]
    missing = [f"{folder}/{name}" for name in expected for folder, names in found.items() if name not in names]
    if missing:
        counts = ", ".join(f"{len(names)} in {folder}" for folder, names in found.items())
        more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
        others = sorted(set().union(*found.values()).difference(expected))
        raise FileNotFoundError(
            f"Looked for {split}/{{{','.join(folders)}}}/0.npy to {count - 1}.npy; found {counts}; {missing[0]}{more} "
            f"not there.{f' There is {others[0]}, which is no such name.' if others else ''}"
        )
    return count


def read_array(path: Path) -> npt.NDArray[np.generic]:
    """The array of numbers of an npy file.

    Raises:
        ValueError: if it is none, or truncated, or holds pickled objects.
    """
    try:
        with path.open("rb") as file:
            array: npt.NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no npy file of numbers, or truncated: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} is no npy file of numbers: it has {array.dtype}.")
    return array


def read_image_array(path: Path) -> Tensor:
    """An image, (3, H, W), float32 in [0, 1], from an array (H, W, 3) of such numbers or of bytes.

    Raises:
        ValueError: if it is none.
    """
    array = read_array(path)
    image = _channels_first(path, array)
    return image / 255 if array.dtype == np.uint8 else image


def read_label_array(path: Path) -> Tensor:
    """Classes, (H, W), int64, -100 where there is none, from whole numbers of any dtype, -1 where there is none.

    Raises:
        ValueError: if they are not whole.
    """
    array = _plane(path, read_array(path))
    if array.dtype.kind == "f" and not (np.mod(array, 1) == 0).all():
        raise ValueError(f"{path} has labels that are no whole numbers.")
    labels = torch.from_numpy(array.astype(np.int64))
    return labels.masked_fill(labels == -1, Segmentation.missing)


def read_depth_array(path: Path) -> Tensor:
    """Depths or disparities, (H, W), float32, 0 where there is none.

    Raises:
        ValueError: if they are not (H, W) or (H, W, 1).
    """
    return torch.from_numpy(_plane(path, read_array(path)).astype(np.float32))


def read_normal_array(path: Path) -> Tensor:
    """Normals, (3, H, W), float32, 0 where there is none, from an array (H, W, 3).

    Raises:
        ValueError: if it is none.
    """
    return _channels_first(path, read_array(path))


def _plane(path: Path, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    plane = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if plane.ndim != 2:
        raise ValueError(f"{path} has the shape {array.shape}; expected is (H, W) or (H, W, 1).")
    return plane


def _channels_first(path: Path, array: npt.NDArray[np.generic]) -> Tensor:
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{path} has the shape {array.shape}; expected is (H, W, 3).")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), np.float32))


_READERS = {
    "segmentation": read_label_array,
    "depth": read_depth_array,
    "disparity": read_depth_array,
    "normals": read_normal_array,
}
