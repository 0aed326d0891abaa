"""Metrics over all valid pixels of a data set.

Each is exact over the data set, not a mean of the batches' metrics: its states are sums, over batches and processes,
and what they are summed up to does not depend on how the data set is split into them. Without any valid pixel a metric
is NaN. Counts are int64; sums of values are kept in two float32, as float32 alone loses digits over many batches and
not every device has float64.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from .normals import unit_vectors


class DataSetMetric(Metric):
    """A metric that is NaN, without a warning, for a data set without targets."""

    full_state_update = False

    @property
    def update_called(self) -> bool:
        """True: a data set without a single batch has an answer, too."""
        return True


class ConfusionMetric(DataSetMetric):
    """What is computed of a confusion matrix.

    Unlike torchmetrics' it takes no more memory under `torch.use_deterministic_algorithms`: theirs then compares
    every pixel with every pair of classes at once.

    Takes: int64 (B, H, W) classes, predicted and true; -100 in the target for none.

    State: counts (num_classes, num_classes), int64, by true class, then by predicted class.
    """

    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        valid = target != -100
        pairs = target[valid] * self.num_classes + prediction[valid]
        self.counts += torch.bincount(pairs, minlength=self.num_classes**2).view(self.num_classes, -1)


class MeanIoU(ConfusionMetric):
    """Intersection over union, true positives / (true positives + false positives + false negatives), in [0, 1].

    The mean over the classes that are in the targets or the predictions of the data set: of a class in neither there is
    nothing to score.
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        right = self.counts.diag()
        union = self.counts.sum(0) + self.counts.sum(1) - right
        return (right / union)[union > 0].mean()


class PixelAccuracy(ConfusionMetric):
    """The share of pixels whose class is right, in [0, 1]."""

    higher_is_better = True

    def compute(self) -> Tensor:
        return self.counts.diag().sum() / self.counts.sum()


class PixelMean(DataSetMetric):
    """A mean over the valid pixels; `update` of a subclass says of what, through `add`.

    States: total (2,), float32, the sum and what it lost in rounding; pixels (), int64.
    """

    higher_is_better = False
    total: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Add the valid ones of a batch's values."""
        self.total = compensated_sum(self.total, values.where(valid, 0).sum())
        self.pixels = self.pixels + valid.sum()

    def compute(self) -> Tensor:
        return self.total.sum() / self.pixels


def compensated_sum(total: Tensor, value: Tensor) -> Tensor:
    """Add a value to a sum of two parts: float32 (2, ...), the rounded sum and the sum of its rounding errors.

    Source: the two-sum of Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.
    """
    rounded, lost = total
    new = rounded + value
    added = new - rounded
    return torch.stack([new, lost + ((rounded - (new - added)) + (value - added))])


class AbsoluteError(PixelMean):
    """The mean of |p - t| for depths p and t, float (B, H, W), where t > 0: in the target's unit."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((prediction.float() - target).abs(), target > 0)


class RelativeError(PixelMean):
    """The mean of |p - t| / t for depths p and t, float (B, H, W), where t > 0."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((prediction.float() - target).abs() / target, target > 0)


class RootMeanSquareError(PixelMean):
    """The root of the mean of (p - t)² for depths p and t, float (B, H, W), where t > 0: in the target's unit."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((prediction.float() - target).square(), target > 0)

    def compute(self) -> Tensor:
        return super().compute().sqrt()


class WithinRatio(PixelMean):
    """The share of depths with max(p / t, t / p) < ratio, in [0, 1], for p and t, float (B, H, W), where t > 0.

    A p that is not positive is not within.
    """

    higher_is_better = True

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio

    def update(self, prediction: Tensor, target: Tensor) -> None:
        prediction = prediction.float()
        within = (prediction < self.ratio * target) & (target < self.ratio * prediction)
        self.add(within.float(), target > 0)


class MeanAngle(PixelMean):
    """The mean angle between normals, in degrees. Takes: float (B, 3, H, W); a target of 0 is invalid."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add(angles(prediction, target), target.any(dim=1))


class AngleWithin(PixelMean):
    """The share of angles between normals below some degrees, in [0, 1].

    Takes: float (B, 3, H, W); a target of 0 is invalid.
    """

    higher_is_better = True

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add((angles(prediction, target) < self.degrees).float(), target.any(dim=1))


class MedianAngle(DataSetMetric):
    """The median angle between normals, in degrees, to 0.005 degrees: the middle of a bin of 0.01.

    Takes: float (B, 3, H, W); a target of 0 is invalid.

    State: counts (18000,), int64, the angles from 0 to 180 in bins of 0.01, which adds up over processes where the
    angles themselves would have to be gathered.
    """

    higher_is_better = False
    bins_a_degree = 100
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(180 * self.bins_a_degree, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        found = angles(prediction, target)[target.any(dim=1)].nan_to_num(180)
        bins = (found * self.bins_a_degree).long().clamp(max=len(self.counts) - 1)
        self.counts += torch.bincount(bins, minlength=len(self.counts))

    def compute(self) -> Tensor:
        seen = self.counts.cumsum(0)
        middle = torch.searchsorted(seen, (seen[-1:] + 1) // 2).squeeze()
        return ((middle + 0.5) / self.bins_a_degree).where(seen[-1] > 0, torch.nan)


def angles(prediction: Tensor, target: Tensor) -> Tensor:
    """The angles between vectors, (B, 3, H, W), in degrees, float32 (B, H, W): 90 if one of them is 0.

    By 2 atan2(|p - t|, |p + t|) for unit vectors p and t, which is precise at every angle. The arc cosine of a float32
    cannot tell angles below 0.02 degrees from 0.

    Source: Kahan, "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?", 2006, section 12.
    """
    p, t = unit_vectors(prediction.float()), unit_vectors(target.float())
    apart, along = (p - t).square().sum(dim=1).sqrt(), (p + t).square().sum(dim=1).sqrt()
    return 2 * torch.atan2(apart, along).rad2deg()


class MaxF(DataSetMetric):
    r"""The best F over thresholds of the precision P and recall R of all pixels of a data set, in [0, 1].

    .. math:: F = \frac{(1 + \beta^2) P R}{\beta^2 P + R}

    at the thresholds 0.01, 0.02, ..., 0.99; a probability equal to a threshold is above it. With a tolerance, a pixel
    that is predicted is right if a true one is in the square of so many pixels around it, and a true one is found
    likewise. NaN if no pixel of the data set is true.

    Takes: probabilities, float (B, H, W), and int64 (B, H, W) of 0, 1, and -100 for none.

    States: right, wrong, found, (100,), int64: predicted pixels that are right and wrong, and true pixels, by the
    number of thresholds up to their probability, which for a true one is the highest within the tolerance.

    Args:
        beta_squared: β², what recall weighs against precision.
        tolerance: In pixels.
    """

    higher_is_better = True
    right: Tensor
    wrong: Tensor
    found: Tensor

    def __init__(self, beta_squared: float, tolerance: int = 0) -> None:
        super().__init__()
        self.beta_squared = beta_squared
        self.tolerance = tolerance
        for name in ("right", "wrong", "found"):
            self.add_state(name, torch.zeros(100, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        true = target == 1
        # 0 is below every threshold: an invalid pixel is never a predicted one.
        probability = prediction.float().where(target != -100, 0)
        near_true = self._highest_around(true.float()) == 1
        self.right += self._counts(probability[near_true])
        self.wrong += self._counts(probability[~near_true])
        self.found += self._counts(self._highest_around(probability)[true])

    def compute(self) -> Tensor:
        right, wrong, found = (counts.flip(0).cumsum(0).flip(0)[1:] for counts in (self.right, self.wrong, self.found))
        precision = right / (right + wrong).clamp(min=1)
        recall = found / self.found.sum()
        weighted = self.beta_squared * precision + recall
        return ((1 + self.beta_squared) * precision * recall / weighted.clamp(min=torch.finfo().tiny)).max()

    def _highest_around(self, values: Tensor) -> Tensor:
        return F.max_pool2d(values, 2 * self.tolerance + 1, stride=1, padding=self.tolerance)

    def _counts(self, probabilities: Tensor) -> Tensor:
        thresholds = torch.arange(1, 100, device=probabilities.device) / 100
        return torch.bincount(torch.bucketize(probabilities, thresholds, right=True), minlength=100)


class BestMeanIoU(DataSetMetric):
    """The mean over images of the intersection over union of what is true, at the best threshold, in [0, 1].

    The thresholds are 0.2, 0.25, ..., 0.9, one for all images; a probability equal to a threshold is above it. An image
    in which nothing is true and nothing predicted has 1; an image without a valid pixel does not count.

    Takes: probabilities, float (B, H, W), and int64 (B, H, W) of 0, 1, and -100 for none.

    States: total (2, 15), float32, the sum at each threshold and what it lost in rounding; images (), int64.
    """

    higher_is_better = True
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, 15), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        true, valid = target == 1, target != -100
        counts = valid.any(dim=(1, 2))
        sums = []
        for percent in range(20, 91, 5):
            predicted = (prediction >= percent / 100) & valid
            union = (predicted | true).sum((1, 2))
            overlap = ((predicted & true).sum((1, 2)) / union).where(union > 0, 1)
            sums.append(overlap.where(counts, 0).sum())
        self.total = compensated_sum(self.total, torch.stack(sums))
        self.images = self.images + counts.sum()

    def compute(self) -> Tensor:
        return (self.total.sum(0) / self.images).max()
