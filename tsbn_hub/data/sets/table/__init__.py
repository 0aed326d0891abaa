"""A table of files as a data set: a column has the images' names, the others are tasks."""

from .dataset import Table

__all__ = ["Table"]
