"""Random changes of an image together with its dense targets, so that depth and normals stay right."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tasks import Depth, Disparity, Kind, Normals, Saliency, Segmentation, Task, make_kind
from .images import as_image, scaled
from .sample import Sample

_KNOWN = (Segmentation, Saliency, Depth, Normals)


class ZoomAndMirror:
    """Take a random crop of a sample, zoom it to the size of the whole, and mirror it in one of two cases.

    The image is resized bilinearly. A pixel of a target takes the value of the nearest one before, so that no values
    are mixed: of classes, across borders, with what is invalid. Zooming by s divides a depth by s, and multiplies a
    disparity by s. Mirroring negates the x of normals. Targets for whole images stay as they are.

    What is zoomed is what a camera of s times the focal length, looking at the scene made smaller by s, sees: depth
    over s, and the same normals. (A camera of the same focal length, which sees depths that are divided by s, would see
    normals (x, y, s z), normalised. Here, as in the references, they are left as they are.)

    All draws come from torch's global generator, which the training loop seeds for each sample.

    Args:
        tasks: Of the samples.
        scales: The zooms, each at least 1, of which one is drawn.

    Raises:
        ValueError: if a scale is less than 1, or a dense task is of a kind whose targets would not stay right.

    Example:
        >>> import torch
        >>> from tsbn_hub import Task
        >>> from tsbn_hub.data.transforms import ZoomAndMirror
        >>> transform = ZoomAndMirror([Task("depth", kind="depth")], scales=[2])
        >>> sample = {"image": torch.rand(3, 8, 8), "targets": {"depth": torch.full((8, 8), 3.0)}}
        >>> transform(sample)["targets"]["depth"].unique()
        tensor([1.5000])

    Source: Xu et al., PAD-Net, arXiv 1805.04409, section 4.1, as the code of MTAN (arXiv 1803.10704) has it, but that
    there normals are interpolated, and that pixels are aligned by their corners.
    """

    def __init__(self, tasks: Sequence[Task], scales: Sequence[float] = (1.0, 1.2, 1.5)) -> None:
        if not scales or min(scales) < 1:
            raise ValueError(f"scales={list(scales)} must be one or more numbers of at least 1.")
        self.scales = list(scales)
        self.kinds = {task.name: make_kind(task) for task in tasks}
        unknown = [name for name, kind in self.kinds.items() if kind.dense and not isinstance(kind, _KNOWN)]
        if unknown:
            raise ValueError(
                f"The targets of {unknown} would not stay right. Known kinds: "
                f"{', '.join(kind.name for kind in (*_KNOWN, Disparity))}, and those that are not dense."
            )

    def __call__(self, sample: Sample) -> Sample:
        """The changed sample, of the same size, with an image of floating-point numbers from 0 to 1."""
        height, width = sample["image"].shape[-2:]
        scale = self.scales[_below(len(self.scales))]
        rows, columns = int(height / scale), int(width / scale)
        top, left = _below(height - rows + 1), _below(width - columns + 1)
        zoomed = zoom(sample, self.kinds, scale, top, left)
        return mirror(zoomed, self.kinds) if _below(2) else zoomed


def zoom(sample: Sample, kinds: Mapping[str, Kind], scale: float, top: int, left: int) -> Sample:
    """The part of a sample, 1 / scale as high and as wide, in the size of the whole.

    Args:
        sample: The image (C, H, W), and targets in its size.
        kinds: The kind of each task.
        scale: At least 1.
        top: The part's first row.
        left: The part's first column.
    """
    image = scaled(as_image(sample["image"]))
    size = image.shape[-2:]
    part = (..., slice(top, top + int(size[0] / scale)), slice(left, left + int(size[1] / scale)))

    def target_of(name: str, target: Tensor) -> Tensor:
        kind = kinds[name]
        if not kind.dense:
            return target
        maps = target[part].reshape(1, -1, *target[part].shape[-2:])
        nearest = F.interpolate(maps.float(), size, mode="nearest-exact").to(target.dtype).view_as(target)
        if isinstance(kind, Depth):
            return nearest * scale if kind.near_is_greater else nearest / scale
        return nearest

    return {
        "image": F.interpolate(image[part][None], size, mode="bilinear")[0],
        "targets": {name: target_of(name, target) for name, target in sample["targets"].items()},
    }


def mirror(sample: Sample, kinds: Mapping[str, Kind]) -> Sample:
    """A sample with left and right exchanged.

    Args:
        sample: The image (C, H, W), and targets in its size.
        kinds: The kind of each task.
    """

    def target_of(name: str, target: Tensor) -> Tensor:
        kind = kinds[name]
        if isinstance(kind, Normals):
            return target.flip(-1) * target.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
        return target.flip(-1) if kind.dense else target

    return {
        "image": sample["image"].flip(-1),
        "targets": {name: target_of(name, target) for name, target in sample["targets"].items()},
    }


def _below(number: int) -> int:
    """A random number in [0, number)."""
    return int(torch.randint(number, ()))
