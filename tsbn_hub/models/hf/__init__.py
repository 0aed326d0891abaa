"""The models of transformers. Importing this registers them with AutoConfig, AutoModel and AutoBackbone."""

from .backbone import TsbnBackbone
from .config import TsbnConfig
from .model import TsbnModel
from .multi_task import MultiTaskOutput, TsbnForMultiTask

__all__ = [
    "MultiTaskOutput",
    "TsbnBackbone",
    "TsbnConfig",
    "TsbnForMultiTask",
    "TsbnModel",
]
