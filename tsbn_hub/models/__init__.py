"""The surfaces: timm names, the models of transformers, and what the models behind them can do."""

from .saving import from_pretrained, save_pretrained
from .timm_model import TimmTaskModel
from .timm_names import register, register_timm_architectures

__all__ = [
    "TimmTaskModel",
    "from_pretrained",
    "register",
    "register_timm_architectures",
    "save_pretrained",
]
