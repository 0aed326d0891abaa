"""Data sets. All yield the same sample: `{"image": (C, H, W), "targets": {task: …}}`."""

from ..files.images import read_image
from .batches.collate import Collate
from .batches.mixture import Mixture
from .batches.sampling import Draw, EvaluationBatches, SeededSamples, TrainingBatches
from .sample import Sample, tasks_of
from .sets.avatars import Avatars
from .sets.castles import Castles
from .sets.celeba import CelebA
from .sets.cityscapes import Cityscapes
from .sets.multi_digits import MultiDigits
from .sets.multi_fashion import MultiFashion
from .sets.nyuv2 import NYUv2
from .sets.overlaid_pairs import OverlaidPairs
from .sets.registry import register_data_set
from .sets.scenes import Scenes
from .sets.table import Table
from .splitting import split_off

__all__ = [
    "Avatars",
    "Castles",
    "CelebA",
    "Cityscapes",
    "Collate",
    "Draw",
    "EvaluationBatches",
    "Mixture",
    "MultiDigits",
    "MultiFashion",
    "NYUv2",
    "OverlaidPairs",
    "Sample",
    "Scenes",
    "SeededSamples",
    "Table",
    "TrainingBatches",
    "read_image",
    "register_data_set",
    "split_off",
    "tasks_of",
]
