"""Training with transformers' own loop."""

from .trainer import TsbnTrainer

__all__ = ["TsbnTrainer"]
