"""A castle in grey images with depth: two sequences of the Debian package visp-images-data."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ...tasks import Task
from ..cameras import Camera, CameraPair, seen_by_image
from ..sample import Sample
from .registry import register_data_set

DEBIAN = Path("/usr/share/visp-images-data/ViSP-images")
_SIZE = (480, 640)
_GAP = 2  # frames on either side of a held-out run that are in neither part


@register_data_set("Castles")
class Castles(Dataset[Sample]):
    """A toy castle from a moving camera, 480x640: task `depth`.

    Image and depth come from two cameras side by side. The depth is given here as the image's camera sees it: each
    measured point is moved to its pixel of the image. Where no point falls there is no depth: where nothing was
    measured (all of the simulated background), where only one of the cameras looks, and in gaps of surfaces that the
    depth camera saw at a sharper angle.

    The test set is a run of consecutive frames from the middle of the sequence, where the camera is fastest. The two
    frames before and after it are in neither set, so that no test frame is a neighbour of a training frame.

    Args:
        split: "train" or "test".
        sequence: "simulated": rendered, with exact depth; 28 and 8 frames, 15-28% of the pixels with depth, from
            0.25 m to 0.75 m. "real": from an Intel RealSense SR300; 20 and 6 frames, two thirds of the pixels with
            depth, from 0.17 m to 0.82 m.
        root: The folder that has `mbt-depth`. The default is where the Debian package visp-images-data puts it.

    Raises:
        FileNotFoundError: if a file is not there; the message says how to install the package.
        ValueError: if there is no such split or sequence, or, when a sample is read, if a file is truncated or
            malformed.

    Example:
        >>> from tsbn_hub.data.sets.castles import Castles
        >>> sample = Castles("train", sequence="real")[0]  # doctest: +SKIP
        >>> sample["image"].shape, sample["targets"]["depth"].shape  # doctest: +SKIP
        (torch.Size([3, 480, 640]), torch.Size([480, 640]))

    Source: ViSP, https://visp.inria.fr (the images are under GPL-2, and not part of this package).
    """

    tasks: ClassVar = [Task("depth", kind="depth")]
    url = "https://visp.inria.fr"
    license = "gpl-2.0"

    def __init__(
        self,
        split: Literal["train", "test"] = "train",
        sequence: Literal["simulated", "real"] = "simulated",
        root: str | Path = DEBIAN,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is unknown. Known: "train", "test".')
        if sequence not in _RECORDINGS:
            raise ValueError(f'sequence={sequence!r} is unknown. Known: "simulated", "real".')
        self._root, self._recording = Path(root), _RECORDINGS[sequence]
        test = self._recording.test
        self._frames = list(test) if split == "test" else _away_from(test, self._recording.frames)
        for path in (path for frame in self._frames for path in self._paths(frame)):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is not there: `apt install visp-images-data`, or pass root= the folder that has mbt-depth."
                )

    def split_off(self, fraction: float, seed: int = 0) -> tuple["Castles", "Castles"]:
        """The data set without a run of consecutive frames and the two on either side of it, and this run.

        Args:
            fraction: The part to split off, in (0, 1).
            seed: Draws where it starts.
        """
        length = round(fraction * len(self._frames))
        generator = torch.Generator().manual_seed(seed)
        start = int(torch.randint(len(self._frames) - length + 1, (), generator=generator))
        held_out = self._frames[start : start + length]
        return self._with(_away_from(held_out, self._frames)), self._with(held_out)

    def _with(self, frames: list[int]) -> "Castles":
        part = copy.copy(self)
        part._frames = frames
        return part

    def _paths(self, frame: int) -> tuple[Path, Path]:
        return self._root / self._recording.image.format(frame), self._root / self._recording.depth.format(frame)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, at: int) -> Sample:
        """A frame, read from its files.

        Returns:
            image: (3, 480, 640), float32 in [0, 1]; three equal channels, as networks for colour images take them.
            targets: `depth`, (480, 640), float32: the distance along the optical axis, in metres; 0 where unknown.
        """
        image_path, depth_path = self._paths(self._frames[at])
        image, depth = read_grey(image_path), read_depth(depth_path)
        for path, pixels in ((image_path, image), (depth_path, depth)):
            if pixels.shape != _SIZE:
                raise ValueError(f"{path} has {tuple(pixels.shape)} pixels, but its camera is calibrated for {_SIZE}.")
        depth = seen_by_image(depth.float() * self._recording.metres, self._recording.cameras)
        return {"image": (image.float() / 255).repeat(3, 1, 1), "targets": {"depth": depth}}


def _away_from(held_out: Sequence[int], frames: Sequence[int]) -> list[int]:
    """The frames that are no neighbours of a run of them."""
    return [frame for frame in frames if all(abs(frame - other) > _GAP for other in held_out)]


def read_grey(path: Path) -> Tensor:
    """The pixels of a grey PGM file, (H, W), uint8.

    Raises:
        ValueError: if it is truncated or no such file.
    """
    try:
        with Image.open(path, formats=["PPM"]) as image:
            pixels = np.array(image)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is truncated, or no PGM file: {error}") from error
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"{path} is no grey image of 8 bits: it has {pixels.dtype}{pixels.shape}.")
    return torch.from_numpy(pixels)


def read_depth(path: Path) -> Tensor:
    """The values of a ViSP depth file, (H, W), int32 in [0, 65535], in the unit of its camera; 0: unknown.

    The file has height and width, 32 bits each, and then the rows, 16 bits a value: all unsigned, little-endian.

    Raises:
        ValueError: if it is truncated or no such file.
    """
    content = path.read_bytes()
    height, width = np.frombuffer(content[:8], "<u4").tolist() if len(content) >= 8 else (0, 0)
    size = 8 + 2 * height * width
    if height * width == 0 or len(content) != size:
        raise ValueError(
            f"{path} is truncated, or no depth file: it has {len(content)} bytes"
            + (f", and its first eight speak of {height}x{width} values, so {size} bytes." if height * width else ".")
        )
    return torch.from_numpy(np.frombuffer(content, "<u2", offset=8).reshape(height, width).astype(np.int32))


@dataclass(frozen=True)
class _Recording:
    """Where a sequence's files are, its frames and those of the test set, and how it was recorded."""

    image: str
    depth: str
    frames: range
    test: range
    metres: float  # in a unit of depth
    cameras: CameraPair


_SIMULATED_CAMERA = Camera(focal=(700, 700), center=(320, 240))

# From the package's config files and, what these lack (units, distortion, the simulated cameras' distance), from ViSP's
# tests: modules/tracker/mbt/test/generic-with-dataset, testGenericTracker.cpp and testGenericTrackerDepth.cpp.
_RECORDINGS = {
    "simulated": _Recording(
        image="mbt-depth/Castle-simu/Images/Image_{:04d}.pgm",
        depth="mbt-depth/Castle-simu/Depth/Depth_{:04d}.bin",
        frames=range(1, 41),
        test=range(17, 25),
        metres=1 / 32768,
        cameras=CameraPair(
            image=_SIMULATED_CAMERA,
            depth=_SIMULATED_CAMERA,
            rotation=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            translation=(-0.05, 0, 0),
        ),
    ),
    "real": _Recording(
        image="mbt-depth/castel/castel/image_{:04d}.pgm",
        depth="mbt-depth/castel/castel/depth_image_{:04d}.bin",
        frames=range(30),
        test=range(12, 18),
        metres=0.000124986647,
        cameras=CameraPair(
            image=Camera(focal=(615.1674804688, 615.1675415039), center=(312.1889953613, 243.4373779297)),
            depth=Camera(
                focal=(476.0536193848, 476.0534973145),
                center=(311.4845581055, 246.2832336426),
                distortion=(0.165056542, -0.0508309528, 0.00435937941, 0.00541406544, 0.250085592),
            ),
            rotation=(
                (0.9999922514, -0.003901827615, -0.000573842437),
                (0.003898504889, 0.9999762774, -0.005681734998),
                (0.0005959979608, 0.005679453723, 0.9999836683),
            ),
            translation=(-0.02470519207, 0.0006583171198, -0.003773850389),
        ),
    ),
}
