"""How pictures of any size become pictures of one size, and maps of their pixels with them."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Way = Literal["stretch", "crop"]


@dataclass(frozen=True)
class Fit:
    """Makes pictures squares of one size.

    Args:
        size: Of the square, in pixels.
        way: "crop": the square in its middle. "stretch": the whole picture, without regard to its shape.

    Raises:
        ValueError: if the size is not positive, or there is no such way.
    """

    size: int
    way: Way = "crop"

    def __post_init__(self) -> None:
        if self.way not in get_args(Way):
            raise ValueError(f"fit={self.way!r} is unknown. Known: {', '.join(get_args(Way))}.")
        if self.size < 1:
            raise ValueError(f"size={self.size} must be positive.")

    def picture(self, picture: Image.Image) -> Image.Image:
        """The picture in this size."""
        (width, height), left, top = self._geometry(picture.size)
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + self.size, top + self.size))

    def map(self, values: Tensor, picture_size: tuple[int, int]) -> Tensor:
        """Values of the pixels, (…, H, W), for the picture in this size. Each is one that was there, none is mixed.

        Args:
            values: For the whole picture, perhaps in another resolution.
            picture_size: Width and height of the picture.

        Raises:
            ValueError: if the map is of another shape than the picture.
        """
        height, width = values.shape[-2:]
        if abs(width * picture_size[1] - height * picture_size[0]) > 0.02 * width * picture_size[1]:
            raise ValueError(
                f"it has {width} x {height} pixels, and its image {picture_size[0]} x {picture_size[1]}: another shape"
            )
        (wide, high), left, top = self._geometry(picture_size)
        planes = values.reshape(1, -1, height, width).float()
        resized = F.interpolate(planes, (high, wide), mode="nearest-exact")
        cut = resized[..., top : top + self.size, left : left + self.size]
        return cut.to(values.dtype).reshape(*values.shape[:-2], self.size, self.size)

    def _geometry(self, size: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
        """The size, width and height, that a picture is resized to, and where in it the square begins."""
        if self.way == "stretch":
            return (self.size, self.size), 0, 0
        scale = self.size / min(size)
        width, height = (max(self.size, round(length * scale)) for length in size)
        return (width, height), (width - self.size) // 2, (height - self.size) // 2
