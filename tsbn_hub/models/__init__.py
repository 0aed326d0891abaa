"""The surfaces: timm names, the models of transformers, and what the models behind them can do."""

from .checkpoint_files import CheckpointError
from .loading import from_pretrained
from .repositories import HubError
from .saving import save_pretrained
from .timm_model import TimmTaskModel
from .timm_names import register, register_timm_architectures

__all__ = [
    "CheckpointError",
    "HubError",
    "TimmTaskModel",
    "from_pretrained",
    "register",
    "register_timm_architectures",
    "save_pretrained",
]
