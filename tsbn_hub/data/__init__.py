"""Data sets. All yield the same sample: `{"image": (C, H, W), "targets": {task: …}}`."""

from .multi_digits import MultiDigits
from .multi_fashion import MultiFashion
from .overlay import OverlaidPairs, Sample

__all__ = ["MultiDigits", "MultiFashion", "OverlaidPairs", "Sample"]
