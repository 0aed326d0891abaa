"""The kinds of task: to add one is to add a file here, or to register one from anywhere."""

from .attributes import Attributes
from .classification import Classification
from .depth import Depth
from .disparity import Disparity
from .edges import Edges
from .normals import Normals
from .regression import Regression
from .saliency import Saliency
from .segmentation import Segmentation

__all__ = [
    "Attributes",
    "Classification",
    "Depth",
    "Disparity",
    "Edges",
    "Normals",
    "Regression",
    "Saliency",
    "Segmentation",
]
