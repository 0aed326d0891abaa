"""Rendered rooms: from a room drawn at random to an image with dense targets."""

from .dataset import Scenes

__all__ = ["Scenes"]
