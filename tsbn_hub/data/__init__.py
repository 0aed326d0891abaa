"""Data sets. All yield the same sample: `{"image": (C, H, W), "targets": {task: …}}`."""

from .collate import Collate
from .multi_digits import MultiDigits
from .multi_fashion import MultiFashion
from .overlay import OverlaidPairs, Sample

__all__ = ["Collate", "MultiDigits", "MultiFashion", "OverlaidPairs", "Sample"]
