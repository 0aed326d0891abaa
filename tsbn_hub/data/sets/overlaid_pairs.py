"""Two images overlaid in one, with a target for each: the construction of MultiMNIST."""

import copy
import hashlib
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...files.disk_cache import DiskCache
from ..sample import Sample


class OverlaidPairs(Dataset[Sample]):
    """Pairs of single-channel images: one at the upper left, one at the lower right, the brighter pixel on top.

    Each image appears once as the left one; its partner is drawn at random. The tasks are `left` and `right`: the
    classes of the two. All pairs are drawn when the first is read.

    Args:
        images: (N, H, W), uint8.
        classes: (N,), int64.
        shift: Pixels by which the two are apart, down and across: the result is (1, H + shift, W + shift).
        seed: Draws the partners.
        copies: How many pairs each image is the left one of.

    Attributes:
        kept_as: Of a subclass with many pairs: the name under which they are kept in the user's cache (see
            `tsbn_hub.files.disk_cache`), so that a second run draws nothing.

    Source: the construction follows MultiMNIST in Sabour et al., arXiv 1710.09829, section 6, and the MultiFashion of
    Lin et al., arXiv 1912.12854, section 6.1.
    """

    kept_as: ClassVar[str | None] = None

    def __init__(self, images: Tensor, classes: Tensor, shift: int, seed: int = 0, copies: int = 1) -> None:
        self._images, self._classes, self._shift, self._seed, self._copies = images, classes, shift, seed, copies
        generator = torch.Generator().manual_seed(seed)
        self._left = torch.arange(len(images)).repeat(copies)
        self._right = torch.randint(len(images), (len(self._left),), generator=generator)

    def split_off(self, fraction: float, seed: int = 0) -> tuple["OverlaidPairs", "OverlaidPairs"]:
        """The data set without a fraction of its single images, and the pairs of these: no image is in both.

        Args:
            fraction: The part to split off, in (0, 1).
            seed: Draws it.
        """
        order = torch.randperm(len(self._images), generator=torch.Generator().manual_seed(seed))
        kept, held_out = order[round(fraction * len(order)) :], order[: round(fraction * len(order))]

        def pairs_of(which: Tensor) -> OverlaidPairs:
            part = copy.copy(self)  # a subclass keeps what it says of itself
            part.__dict__.pop("_pairs", None)
            OverlaidPairs.__init__(
                part, self._images[which], self._classes[which], self._shift, self._seed, self._copies
            )
            return part

        return pairs_of(kept), pairs_of(held_out)

    def __len__(self) -> int:
        return len(self._left)

    def __getitem__(self, at: int) -> Sample:
        """The pair: image (1, H, W), float32 in [0, 1]; targets `left` and `right`, int64 scalars."""
        return {
            "image": self._pairs[at, None].float() / 255,
            "targets": {"left": self._classes[self._left[at]], "right": self._classes[self._right[at]]},
        }

    @cached_property
    def _pairs(self) -> Tensor:
        """All pairs, (pairs, H + shift, W + shift), uint8."""
        if self.kept_as is None:
            return self._drawn_pairs()["pairs"]
        content = hashlib.sha256()
        for tensor in (self._images, self._left, self._right):
            content.update(tensor.contiguous().numpy().data)
        key = {"content": content.hexdigest(), "shift": self._shift}
        return DiskCache(self.kept_as, key, Path(__file__)).get("pairs", self._drawn_pairs)["pairs"]

    def _drawn_pairs(self) -> dict[str, Tensor]:
        height, width = self._images.shape[1:]
        pairs = torch.zeros(len(self._left), height + self._shift, width + self._shift, dtype=torch.uint8)
        pairs[:, :height, :width] = self._images[self._left]
        lower_right = pairs[:, self._shift :, self._shift :]
        torch.maximum(lower_right, self._images[self._right], out=lower_right)
        return {"pairs": pairs}
