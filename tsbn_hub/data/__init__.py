"""Data sets. All yield the same sample: `{"image": (C, H, W), "targets": {task: …}}`."""

from .castles import Castles
from .collate import Collate
from .mixture import Mixture, split_off
from .multi_digits import MultiDigits
from .multi_fashion import MultiFashion
from .overlay import OverlaidPairs, Sample
from .sampling import Draw, EvaluationBatches, SeededSamples, TrainingBatches
from .scenes import Scenes
from .tasks import tasks_of

__all__ = [
    "Castles",
    "Collate",
    "Draw",
    "EvaluationBatches",
    "Mixture",
    "MultiDigits",
    "MultiFashion",
    "OverlaidPairs",
    "Sample",
    "Scenes",
    "SeededSamples",
    "TrainingBatches",
    "split_off",
    "tasks_of",
]
