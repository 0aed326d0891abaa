"""A zoomed and mirrored scene is one that a camera sees: the normals of its depth are its normals."""

import pytest
import torch

from tsbn_hub import Task
from tsbn_hub.data import Scenes
from tsbn_hub.tasks import make_kind

from .steps import flipped, in_window

SIZE = (120, 180)  # of which 1.2 and 1.5 leave whole numbers
STEP = 6  # pixels, as many as make whole ones of the scene at a zoom of 1, 1.2 and 1.5
KINDS = {task.name: make_kind(task) for task in Scenes.tasks}


@pytest.fixture(scope="module")
def scene():
    data = Scenes("train", size=1, height=SIZE[0], width=SIZE[1], seed=3)
    return data[0], data.focal_length(0)


def zoom(sample, kinds, scale, top, left):
    """The part of a sample, 1 / scale as high and as wide, in the size of the whole."""
    height, width = sample["image"].shape[-2:]
    return in_window(sample, kinds, top, left, round(height / scale), round(width / scale))


def normals_of(depth, focal, center):
    """What a camera sees of surfaces: (3, H, W) from depth, by differences; x to the right, y up, z to the viewer.

    Args:
        depth: (H, W).
        focal: In pixels.
        center: The pixel on the optical axis, across and down.
    """
    down, across = torch.meshgrid(*(torch.arange(size) + 0.5 for size in depth.shape), indexing="ij")
    points = torch.stack([(across - center[0]) * depth / focal, (center[1] - down) * depth / focal, -depth])
    right = points[:, STEP:-STEP, 2 * STEP :] - points[:, STEP:-STEP, : -2 * STEP]
    up = points[:, : -2 * STEP, STEP:-STEP] - points[:, 2 * STEP :, STEP:-STEP]
    return torch.nn.functional.normalize(torch.linalg.cross(right, up, dim=0), dim=0)


def angles(one, other):
    """In degrees, inside the margin where there are differences."""
    inside = other[:, STEP:-STEP, STEP:-STEP]
    return torch.rad2deg((one * inside).sum(dim=0).clamp(-1, 1).acos())


@pytest.mark.parametrize("scale", [1, 1.2, 1.5])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_normals_of_the_depth_are_the_normals(scale, mirrored, scene):
    """Of a camera with scale times the focal length. Where surfaces end the differences are of two: the median."""
    sample, focal = scene
    top, left = 6, 12
    zoomed = zoom(sample, KINDS, scale, top, left) if scale > 1 else sample
    center = ((SIZE[1] / 2 - left) * scale, (SIZE[0] / 2 - top) * scale) if scale > 1 else (SIZE[1] / 2, SIZE[0] / 2)
    if mirrored:
        zoomed, center = flipped(zoomed, KINDS), (SIZE[1] - center[0], center[1])
    depth, normals = zoomed["targets"]["depth"], zoomed["targets"]["normals"]
    seen = normals_of(depth, focal * scale, center)
    assert angles(seen, normals).median() < 0.5
    # What would be wrong is seen to be wrong.
    assert angles(seen, normals * torch.tensor([-1.0, 1, 1]).view(3, 1, 1)).median() > 5
    if scale > 1:
        # A camera whose focal length stays would see depths over the scale with other normals: (x, y, scale z).
        seen = normals_of(depth, focal, center)
        assert angles(seen, normals).median() > 3
        other = torch.nn.functional.normalize(normals * torch.tensor([1, 1, scale]).view(3, 1, 1), dim=0)
        assert angles(seen, other).median() < 0.5


def test_each_pixel_is_one_of_the_scene(scene):
    sample, _ = scene
    zoomed = zoom(sample, KINDS, 1.5, 10, 20)
    for name, target in zoomed["targets"].items():
        assert target.shape == sample["targets"][name].shape and target.dtype == sample["targets"][name].dtype
        KINDS[name].check(target[None], SIZE)
    part = sample["targets"]["segmentation"][10:90, 20:140]
    assert torch.equal(zoomed["targets"]["segmentation"][1::3, 1::3], part[1::2, 1::2][:40])
    assert torch.equal(zoomed["targets"]["depth"][1::3, 1::3], sample["targets"]["depth"][11:90:2, 21:140:2] / 1.5)
    assert torch.equal(zoomed["targets"]["normals"][:, 1::3, 1::3], sample["targets"]["normals"][:, 11:90:2, 21:140:2])
    # The image is aligned with its targets: the same pixels, within its interpolation.
    image = zoomed["image"][:, 1::3, 1::3] - sample["image"][:, 11:90:2, 21:140:2]
    assert zoomed["image"].shape == (3, *SIZE) and image.abs().median() < 0.03


def test_literal_values():
    """Twice as large: the upper right quarter."""
    sample = {
        "image": torch.arange(16.0).view(1, 4, 4) / 16,
        "targets": {
            "seg": torch.tensor([[0, 0, 1, 2], [0, 0, 3, -100], [0] * 4, [0] * 4]),
            "depth": torch.tensor([[9, 9, 4.0, 2], [9, 9, 0, 6], [9] * 4, [9] * 4]),
            "near": torch.tensor([[9, 9, 0.25, 0.5], [9, 9, 0, 1], [9] * 4, [9] * 4]),
            "normals": torch.tensor([0.6, 0.0, 0.8]).view(3, 1, 1).expand(3, 4, 4),
            "room": torch.tensor(3),
        },
    }
    kinds = {
        "seg": make_kind(Task("seg", kind="segmentation", num_classes=4)),
        "depth": make_kind(Task("depth", kind="depth")),
        "near": make_kind(Task("near", kind="disparity")),
        "normals": make_kind(Task("normals", kind="normals")),
        "room": make_kind(Task("room", num_classes=4)),
    }
    targets = flipped(zoom(sample, kinds, 2, top=0, left=2), kinds)["targets"]
    assert targets["seg"].tolist() == [[2, 2, 1, 1]] * 2 + [[-100, -100, 3, 3]] * 2
    assert targets["depth"].tolist() == [[1, 1, 2, 2]] * 2 + [[3, 3, 0, 0]] * 2
    assert targets["near"].tolist() == [[1, 1, 0.5, 0.5]] * 2 + [[2, 2, 0, 0]] * 2
    assert targets["normals"][:, 0, 0].tolist() == pytest.approx([-0.6, 0.0, 0.8]) and targets["room"] == 3
