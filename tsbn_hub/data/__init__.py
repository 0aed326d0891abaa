"""Data sets. All yield the same sample: `{"image": (C, H, W), "targets": {task: …}}`."""

from .collate import Collate
from .mixture import Mixture, split_off
from .multi_digits import MultiDigits
from .multi_fashion import MultiFashion
from .overlay import OverlaidPairs, Sample
from .sampling import Draw, EvaluationBatches, SeededSamples, TrainingBatches

__all__ = [
    "Collate",
    "Draw",
    "EvaluationBatches",
    "Mixture",
    "MultiDigits",
    "MultiFashion",
    "OverlaidPairs",
    "Sample",
    "SeededSamples",
    "TrainingBatches",
    "split_off",
]
