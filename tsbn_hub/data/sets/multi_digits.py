"""Two handwritten digits in one image."""

from typing import ClassVar, Literal

import torch

from ...tasks import Task
from .overlaid_pairs import OverlaidPairs
from .registry import register_data_set


@register_data_set("MultiDigits")
class MultiDigits(OverlaidPairs):
    """Two handwritten digits overlaid, as in MultiMNIST: task `left` and task `right`, 10 classes each.

    The digits are scikit-learn's, which lie in its wheel: nothing is downloaded. They are 8x8 pixels in 17 grey
    levels, enlarged here to 24x24; an image is 32x32. Training and test set share no digit.

    Args:
        split: "train": 12,000 pairs of 1,500 digits. "test": 1,188 pairs of the other 297.
        seed: Draws the pairs.

    Raises:
        ImportError: if scikit-learn is not installed.
        ValueError: if there is no such split.

    Example:
        >>> from tsbn_hub.data import MultiDigits
        >>> sample = MultiDigits("train")[0]
        >>> sample["image"].shape, sorted(sample["targets"])
        (torch.Size([1, 32, 32]), ['left', 'right'])

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (CC BY 4.0).
    """

    tasks: ClassVar = [Task("left", num_classes=10), Task("right", num_classes=10)]
    url = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
    license = "cc-by-4.0"

    def __init__(self, split: Literal["train", "test"] = "train", seed: int = 0) -> None:
        if split not in ("train", "test"):
            raise ValueError(f'split={split!r} is unknown. Known: "train", "test".')
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError(
                "MultiDigits takes its digits from scikit-learn: pip install 'tsbn_hub[digits]'."
            ) from error
        digits = load_digits()
        images = torch.from_numpy(digits.images).float() / 16 * 255
        images = (
            torch.nn.functional.interpolate(images[:, None], size=24, mode="bilinear")[:, 0].round().to(torch.uint8)
        )
        classes = torch.from_numpy(digits.target).long()
        # The digits come in the order of their writers: a fixed shuffle gives both splits digits of all of them.
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        part, copies = (order[:1500], 8) if split == "train" else (order[1500:], 4)
        super().__init__(images[part], classes[part], shift=8, seed=seed + (split == "test"), copies=copies)
