"""The models of transformers. Importing this registers them with AutoConfig, AutoModel and AutoBackbone."""

from .hf_backbone import TsbnBackbone
from .hf_config import TsbnConfig
from .hf_model import TsbnModel
from .hf_multi_task import MultiTaskOutput, TsbnForMultiTask

__all__ = ["MultiTaskOutput", "TsbnBackbone", "TsbnConfig", "TsbnForMultiTask", "TsbnModel"]
