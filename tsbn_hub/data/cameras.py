"""Pinhole cameras, and what one camera measured as another sees it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Args:
        focal: Focal lengths across and down, in pixels.
        center: The pixel (across, down) on the optical axis, counted from the middle of the first one.
        distortion: k1, k2, p1, p2, k3 of the inverse Brown-Conrady model, which takes a pixel to its ray.
    """

    focal: tuple[float, float]
    center: tuple[float, float]
    distortion: tuple[float, float, float, float, float] = (0, 0, 0, 0, 0)

    def points(self, across: Tensor, down: Tensor, depth: Tensor) -> Tensor:
        """The points, (N, 3), in metres, that pixels, (N,) each, see at depths, (N,)."""
        x, y = (across - self.center[0]) / self.focal[0], (down - self.center[1]) / self.focal[1]
        k1, k2, p1, p2, k3 = self.distortion
        square = x**2 + y**2
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        bent_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
        bent_y = y * radial + 2 * p2 * x * y + p1 * (square + 2 * y**2)
        return torch.stack([bent_x * depth, bent_y * depth, depth], dim=-1)

    def pixels(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels across and down, int64, (N,) each, that see points, (N, 3). For cameras without distortion."""
        x, y, z = points.unbind(-1)
        across, down = x / z * self.focal[0] + self.center[0], y / z * self.focal[1] + self.center[1]
        return across.round().long(), down.round().long()


@dataclass(frozen=True)
class CameraPair:
    """The camera of the image, without distortion, and that of the depth: a point x of the first is R x + t there."""

    image: Camera
    depth: Camera
    rotation: tuple[tuple[float, float, float], ...]
    translation: tuple[float, float, float]


def seen_by_image(depth: Tensor, cameras: CameraPair) -> Tensor:
    """What the depth camera measured, as the image's camera sees it.

    Args:
        depth: (H, W), float32, metres along the depth camera's optical axis; 0: unknown.
        cameras: Both have H x W pixels.

    Returns:
        (H, W), float32, metres along the optical axis of the image's camera; 0: unknown.
    """
    height, width = depth.shape
    # Four points a pixel, a quarter of a pixel from its middle: the image may be finer than the depth.
    fine = depth.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    down, across = fine.nonzero(as_tuple=True)
    points = cameras.depth.points((across - 0.5) / 2, (down - 0.5) / 2, fine[down, across])
    points = (points - points.new_tensor(cameras.translation)) @ points.new_tensor(cameras.rotation)
    across, down = cameras.image.pixels(points)
    inside = (points[:, 2] > 0) & (across >= 0) & (across < width) & (down >= 0) & (down < height)
    # Of several points in a pixel, the nearest hides the others.
    nearest = depth.new_full((height * width,), math.inf)
    nearest.scatter_reduce_(0, (down * width + across)[inside], points[inside, 2], "amin")
    return nearest.where(nearest.isfinite(), 0).view(height, width)
