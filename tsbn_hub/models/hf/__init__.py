"""The models of transformers. Importing this registers them with AutoConfig, AutoModel and AutoBackbone."""

from .backbone import TsbnBackbone
from .config import TsbnConfig
from .features import FeatureLayout, FeatureReader
from .model import TsbnModel
from .multi_task import TsbnForMultiTask
from .trunk import Trunk, feature_layout_of, make_trunk, register_trunk
from .with_heads import ModelWithHeads, MultiTaskOutput

__all__ = [
    "FeatureLayout",
    "FeatureReader",
    "ModelWithHeads",
    "MultiTaskOutput",
    "Trunk",
    "TsbnBackbone",
    "TsbnConfig",
    "TsbnForMultiTask",
    "TsbnModel",
    "feature_layout_of",
    "make_trunk",
    "register_trunk",
]
