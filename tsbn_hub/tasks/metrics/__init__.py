"""The metrics of the kinds, exact over a data set however it is split into batches. Importing it imports torchmetrics.

To add a metric is to add a file here, or to register one from anywhere.
"""

from .attributes import (
    AttributeAccuracy,
    AttributeF1,
    BestThresholds,
    MeanAveragePrecision,
    MicroF1,
    SampleF1,
)
from .binary_maps import BestMeanIoU, MaxF
from .classification import Accuracy
from .depth import AbsoluteError, RelativeError, RootMeanSquareError, WithinRatio
from .metric import DataSetMetric, make_metric, register_metric
from .normals import AngleWithin, MeanAngle, MedianAngle
from .pixels import PixelMean
from .regression import R2, MeanAbsoluteError, RootMeanSquaredError
from .segmentation import MeanIoU, PixelAccuracy

__all__ = [
    "R2",
    "AbsoluteError",
    "Accuracy",
    "AngleWithin",
    "AttributeAccuracy",
    "AttributeF1",
    "BestMeanIoU",
    "BestThresholds",
    "DataSetMetric",
    "MaxF",
    "MeanAbsoluteError",
    "MeanAngle",
    "MeanAveragePrecision",
    "MeanIoU",
    "MedianAngle",
    "MicroF1",
    "PixelAccuracy",
    "PixelMean",
    "RelativeError",
    "RootMeanSquareError",
    "RootMeanSquaredError",
    "SampleF1",
    "WithinRatio",
    "make_metric",
    "register_metric",
]
