"""The surfaces: timm names, the models of transformers, and what the models behind them can do."""

from ..files.checkpoints import CheckpointError
from ..files.repositories import HubError
from .libraries import surface_of
from .loading import from_pretrained
from .saving import save_pretrained
from .timm.model import TimmTaskModel
from .timm.names import register, register_timm_architectures

__all__ = [
    "CheckpointError",
    "HubError",
    "TimmTaskModel",
    "from_pretrained",
    "register",
    "register_timm_architectures",
    "save_pretrained",
    "surface_of",
]
