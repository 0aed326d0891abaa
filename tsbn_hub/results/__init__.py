"""What was measured of a checkpoint, and how it is kept beside its weights."""

from .delta_m import delta_m
from .results import Results

__all__ = ["Results", "delta_m"]
