"""Faces drawn from seeds."""

from .dataset import Avatars

__all__ = ["Avatars"]
