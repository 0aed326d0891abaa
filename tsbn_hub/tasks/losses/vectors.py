"""Losses of unit vectors at every pixel: surface normals."""

from torch import Tensor

from .loss import Loss, register_loss


@register_loss("cosine", "normals")
class Cosine(Loss):
    """1 - cos of the angle between prediction and target: the default.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", arXiv 1803.10704.
    """

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum over the valid pixels."""
        return (1 - (output * target).sum(dim=1)).where(valid, 0).sum()


@register_loss("l1", "normals")
class VectorL1(Loss):
    """The absolute difference of unit vectors, the mean of x, y and z.

    Source: Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", arXiv 1904.08918.
    """

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum over the valid pixels."""
        return (output - target).abs().mean(dim=1).where(valid, 0).sum()


@register_loss("mse", "normals")
class VectorMSE(Loss):
    """The squared difference of unit vectors, the mean of x, y and z: two thirds of 1 - cos."""

    def total(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The sum over the valid pixels."""
        return (output - target).square().mean(dim=1).where(valid, 0).sum()
