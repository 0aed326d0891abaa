"""A package of somebody else's: one of everything that can be registered, by what docs/extending.md says is public."""

from . import architecture, data, head, kind, trunk, weighting  # noqa: F401
