"""Scenes."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from tsbn_hub.data import Collate
from tsbn_hub.data.sets.scenes import Scenes, dataset
from tsbn_hub.data.sets.scenes.furnishing import draw_interior
from tsbn_hub.data.sets.scenes.interiors import Camera, Frame, Interior, Lamp, Piece
from tsbn_hub.data.sets.scenes.materials import Material
from tsbn_hub.data.sets.scenes.rendering import render
from tsbn_hub.tasks import make_kind

TASKS = ["segmentation", "depth", "normals", "edges"]
LABELS = Scenes.tasks[0].labels
WHITE = Material("plain", ((1, 1, 1), (1, 1, 1)), (1, 1, 1), (0, 0, 0))


def samples(count, height=48, width=64, **more):
    data = Scenes(size=count, height=height, width=width, **more)
    return [data[at] for at in range(count)]


def target(task, of):
    return torch.stack([sample["targets"][task] for sample in of])


def same(one, other):
    return torch.equal(one["image"], other["image"]) and all(
        torch.equal(one["targets"][task], other["targets"][task]) for task in TASKS
    )


def digest(sample):
    content = b"".join(tensor.numpy().tobytes() for tensor in (sample["image"], *sample["targets"].values()))
    return hashlib.sha256(content).hexdigest()


def empty_room(*pieces, lamps=(), ambient=1.0, **turns):
    """4 m x 3 m x 6 m. The camera is 1.2 m above the floor, 1.5 m from the left wall, 5 m from the far one."""
    camera = Camera((-0.5, 1.2, 2.0), **{"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "tangent": 0.75, **turns})
    return Interior(Frame((0, 1.5, 0), (2, 1.5, 3)), WHITE, WHITE, WHITE, list(pieces), list(lamps), ambient, camera)


def piece(shape, centre, half_size, label="ball"):
    return Piece(label, shape, Frame(centre, half_size), WHITE)


def test_what_a_sample_is():
    assert (len(Scenes()), len(Scenes("test"))) == (5000, 500)
    assert [task.name for task in Scenes.tasks] == TASKS
    sample = Scenes("test")[499]
    assert sample["image"].shape == (3, 96, 128) and sample["image"].dtype == torch.float32
    assert 0 <= sample["image"].min() < 0.3 and 0.5 < sample["image"].max() <= 1
    assert list(sample["targets"]) == TASKS


def test_targets_are_what_the_kinds_take():
    kinds = {task.name: make_kind(task) for task in Scenes.tasks}
    loader = DataLoader(
        Scenes(size=8, height=24, width=40), 8, collate_fn=Collate({n: k.missing for n, k in kinds.items()})
    )
    (batch,) = loader
    for task, kind in kinds.items():
        kind.check(batch["targets"][task], (24, 40))
    assert (batch["targets"]["depth"] > 0).all()
    torch.testing.assert_close(batch["targets"]["normals"].norm(dim=1), torch.ones(8, 24, 40))
    assert batch["targets"]["edges"].unique().tolist() == [0, 1]


def test_a_sample_depends_on_seed_split_and_index_alone():
    few, many = (Scenes(size=size, height=24, width=32) for size in (3, 1000))
    in_order = [few[at] for at in range(3)]
    assert all(same(many[at], in_order[at]) for at in (2, 0, 1))
    for other in (Scenes("test", height=24, width=32), Scenes(seed=1, height=24, width=32)):
        assert not same(other[0], in_order[0])
    assert not torch.equal(in_order[0]["image"], in_order[1]["image"])


def test_another_process_makes_the_same_bits(python, monkeypatch):
    monkeypatch.setenv("TSBN_DATA_CACHE", "")  # each renders for itself
    code = "from tsbn_hub.data import Scenes; from tests.data.test_scenes import digest; print(digest(Scenes()[7]))"
    result = python(code)
    assert result.stdout.strip() == digest(Scenes()[7])
    drawn = DataLoader(Scenes(size=8), batch_size=None, num_workers=2)
    assert [digest(sample) for sample in drawn][7] == result.stdout.strip()


def test_a_second_run_renders_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TSBN_DATA_CACHE", str(tmp_path))
    shape = {"height": 24, "width": 32}
    first = Scenes(size=3, labelled={"depth": 0.5}, **shape)
    rendered = [first[at] for at in range(3)]
    view = render(draw_interior(first._random(2)), 24, 32)
    monkeypatch.setattr(dataset, "render", None)
    again = Scenes(size=1000, **shape)  # of other labels, and more
    for at, sample in enumerate(rendered):
        targets = again[at]["targets"]
        assert torch.equal(again[at]["image"], sample["image"]) and again[at]["image"].dtype == torch.float32
        assert all(torch.equal(targets[task], target) for task, target in sample["targets"].items())
        assert ("depth" in sample["targets"]) == first._has_target("depth", at)
    for task, array in {"segmentation": view.labels, "depth": view.depth, "normals": view.normals}.items():
        target = again[2]["targets"][task]
        assert target.numpy().dtype == array.dtype and np.array_equal(target, array), task
    assert again[2]["targets"]["edges"].dtype == torch.int64
    for other in ({"split": "test"}, {"seed": 1}, {"width": 33}):
        with pytest.raises(TypeError):
            Scenes(**{**shape, **other})[0]
    with pytest.raises(IndexError):
        Scenes(size=2, **shape)[2]


def test_another_resolution_shows_the_same_scene():
    coarse, fine = samples(10, 24, 32), samples(10, 72, 96)
    for task in ("segmentation", "depth"):
        # every pixel of the coarse one has the ray of the middle one of nine
        one, other = target(task, coarse), target(task, fine)[:, 1::3, 1::3]
        assert ((one - other).abs() < 1e-4).float().mean() > 0.9995, task
    differences = target("normals", coarse) - target("normals", fine)[:, :, 1::3, 1::3]
    assert (differences.abs() < 1e-4).float().mean() > 0.9995


def test_another_shape_shows_more_at_the_sides():
    narrow, wide = samples(5, 24, 32), samples(5, 24, 64)
    assert torch.equal(target("segmentation", narrow), target("segmentation", wide)[:, :, 16:48])


def test_depth_of_planes_in_closed_form():
    height, width = 96, 128
    view = render(empty_room(), height, width)
    focal = height / 2 / 0.75
    up = (height / 2 - np.arange(height) - 0.5) / focal
    right = (np.arange(width) + 0.5 - width / 2) / focal
    with np.errstate(divide="ignore"):
        above_and_below = np.where(up > 0, 1.8 / up, -1.2 / up)
        aside = np.where(right > 0, 2.5 / right, -1.5 / right)
    expected = np.minimum(np.minimum(above_and_below[:, None], aside), 5)
    np.testing.assert_allclose(view.depth, expected, rtol=1e-6)
    assert view.depth.dtype == np.float32


def test_depth_and_normals_of_a_ball_in_closed_form():
    height = width = 65  # the middle ray is (0, 0, -1)
    view = render(empty_room(piece("ball", (-0.5, 1.2, -1.0), (0.5, 0.5, 0.5))), height, width)
    focal = height / 2 / 0.75
    x, y = np.meshgrid((np.arange(width) - 32) / focal, (32 - np.arange(height)) / focal)
    # |t (x, y, -1) - (0, 0, -3)| = 0.5
    a, b, c = x * x + y * y + 1, -6.0, 9 - 0.25
    inside = b * b - 4 * a * c > 0
    depth = (-b - np.sqrt(np.where(inside, b * b - 4 * a * c, 0))) / (2 * a)
    normals = np.stack([depth * x, depth * y, 3 - depth]) / 0.5
    assert np.array_equal(view.labels == LABELS.index("ball"), inside) and inside.sum() > 100
    assert view.depth[32, 32] == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(view.depth[inside], depth[inside], rtol=1e-5)
    np.testing.assert_allclose(view.normals[:, inside], normals[:, inside], atol=1e-3)


@pytest.mark.parametrize(
    ("pixel", "label", "normal"),
    [
        ((48, 64), "wall", (0, 0, 1)),
        ((48, 127), "wall", (-1, 0, 0)),
        ((48, 0), "wall", (1, 0, 0)),
        ((95, 64), "floor", (0, 1, 0)),
        ((0, 64), "ceiling", (0, -1, 0)),
    ],
)
def test_normals_have_the_documented_axes(pixel, label, normal):
    view = render(empty_room(), 96, 128)
    assert LABELS[view.labels[pixel]] == label
    np.testing.assert_allclose(view.normals[:, *pixel], normal, atol=1e-6)


def test_a_mirrored_room_has_mirrored_targets():
    view = render(empty_room(piece("cube", (0.2, 0.5, -1), (0.4, 0.5, 0.3))), 96, 128)
    room = empty_room(piece("cube", (-0.2, 0.5, -1), (0.4, 0.5, 0.3)))
    other = render(Interior(**{**vars(room), "camera": Camera((0.5, 1.2, 2.0), 0, 0, 0, 0.75)}), 96, 128)
    assert np.array_equal(view.labels, other.labels[:, ::-1])
    np.testing.assert_allclose(view.depth, other.depth[:, ::-1], rtol=1e-5)
    np.testing.assert_allclose(view.normals, other.normals[:, :, ::-1] * [[[-1]], [[1]], [[1]]], atol=1e-5)


@pytest.mark.parametrize(
    ("turns", "normal"),
    [
        ({"yaw": 0.2}, (-np.sin(0.2), 0, np.cos(0.2))),  # to the left: the far wall faces left, seen from there
        ({"pitch": 0.3}, (0, np.sin(0.3), np.cos(0.3))),  # upwards
        ({"yaw": 0.2, "pitch": 0.3}, (-np.sin(0.2), np.sin(0.3) * np.cos(0.2), np.cos(0.3) * np.cos(0.2))),
        ({"roll": 0.3}, (0, 0, 1)),
    ],
)
def test_a_turned_camera(turns, normal):
    view = render(empty_room(**turns), 96, 128)
    np.testing.assert_allclose(view.normals[:, 48, 64], normal, atol=1e-6)
    if "roll" in turns:  # turned counterclockwise, it sees the floor turned clockwise
        np.testing.assert_allclose(view.normals[:, 95, 64], (np.sin(0.3), np.cos(0.3), 0), atol=1e-6)


def points_of(depth, focal):
    """(3, H, W), in camera coordinates, as the documentation says."""
    height, width = depth.shape
    x = (torch.arange(width) + 0.5 - width / 2) * depth / focal
    y = (height / 2 - torch.arange(height) - 0.5)[:, None] * depth / focal
    return torch.stack([x, y, -depth])


def test_normals_agree_with_the_depth_map():
    data, angles = Scenes(), []
    for at in range(40):
        targets = data[at]["targets"]
        points = points_of(targets["depth"].double(), data.focal_length(at))
        to_right = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
        to_up = points[:, :-2, 1:-1] - points[:, 2:, 1:-1]
        normals = F.normalize(torch.linalg.cross(to_right, to_up, dim=0), dim=0)
        near_edge = F.max_pool2d(targets["edges"][None].float(), 3, stride=1)[0] > 0
        cosine = (normals * targets["normals"][:, 1:-1, 1:-1]).sum(dim=0)[~near_edge]
        angles.append(cosine.clamp(-1, 1).acos().rad2deg())
    angles = torch.cat(angles)
    assert len(angles) > 40 * 96 * 128 / 2
    assert angles.median() < 0.1 and angles.quantile(0.99) < 2


def test_visible_surfaces_face_the_camera():
    data = Scenes(size=20)
    for at in range(20):
        targets = data[at]["targets"]
        assert ((points_of(targets["depth"], data.focal_length(at)) * targets["normals"]).sum(dim=0) < 0).all()


def test_edges_are_where_something_jumps():
    curved = torch.tensor([label in ("ball", "vase", "door") for label in LABELS])  # doors have knobs
    data, missed, unseen, edges = Scenes(), 0, 0, 0
    for at in range(40):
        targets = data[at]["targets"]
        points = points_of(targets["depth"].double(), data.focal_length(at))
        expected = torch.zeros(96, 128, dtype=torch.bool)
        unclear = expected.clone()
        for axis in (0, 1):
            one, other = (
                lambda x, s=slice(*s), axis=axis: x[..., s, :] if axis == 0 else x[..., s] for s in ((1, None), (0, -1))
            )
            labels, normals = targets["segmentation"], targets["normals"].double()
            off_plane = ((one(points) - other(points)) * other(normals)).sum(dim=0).abs()
            turned = (one(normals) * other(normals)).sum(dim=0) < 0.999
            other_label = one(labels) != other(labels)
            on_curved = curved[one(labels)] & ~other_label
            for side in (one, other):
                side(expected).logical_or_(other_label | (~on_curved & (turned | (off_plane > 2e-3))))
                side(unclear).logical_or_(on_curved)
        drawn = targets["edges"].bool()
        missed += int((expected & ~drawn).sum())
        unseen += int((drawn & ~expected & ~unclear).sum())
        edges += int(drawn.sum())
    assert missed == 0
    assert unseen < 1e-3 * edges  # two pictures side by side, with nothing between


def test_every_class_is_there_and_none_is_everywhere():
    labels = target("segmentation", samples(300))
    counts = F.one_hot(labels, len(LABELS)).sum(dim=(1, 2))
    assert len(LABELS) == 10
    assert ((counts > 0).float().mean(dim=0) > 0.5).all()
    assert (counts.sum(dim=0) / counts.sum() < 0.45).all()
    edges = target("edges", samples(100, 96, 128)).float().mean()
    assert 0.05 < edges < 0.2


def test_colours_do_not_tell_the_class():
    seen = samples(400, 24, 32)
    images = torch.stack([sample["image"] for sample in seen]).movedim(1, -1)
    colours = ((images * 7.999).long() * torch.tensor([64, 8, 1])).sum(dim=-1)
    labels = target("segmentation", seen)
    counts = torch.zeros(512, len(LABELS)).index_put_(
        (colours[:300].flatten(), labels[:300].flatten()), torch.tensor(1.0), accumulate=True
    )
    guessed = (counts / counts.sum(dim=0)).argmax(dim=1)[colours[300:]]  # the best guess if all classes are as frequent
    recalls = torch.stack([(guessed == at)[labels[300:] == at].float().mean() for at in range(len(LABELS))])
    assert recalls.mean() < 0.25 and recalls.max() < 0.5, recalls


def test_light_and_shadow_in_closed_form():
    lamp = Lamp((-0.5, 2.8, 0.0), (3.0, 2.0, 1.0))
    plate = piece("cube", (-0.5, 1.4, 0.0), (0.25, 0.01, 0.25), "table")  # half way up: its shadow is twice as large
    view = render(empty_room(plate, lamps=[lamp], ambient=0.25, pitch=-0.4), 96, 128)
    focal, (sine, cosine) = 96 / 2 / 0.75, (np.sin(-0.4), np.cos(-0.4))
    x, y, z = points_of(torch.from_numpy(view.depth).double(), focal).numpy()
    points = np.stack([x - 0.5, 1.2 + cosine * y - sine * z, 2 + sine * y + cosine * z])
    floor = view.labels == LABELS.index("floor")
    np.testing.assert_allclose(points[1][floor], 0, atol=1e-5)
    beside = np.maximum(np.abs(points[0] + 0.5), np.abs(points[2]))  # of the lamp's foot
    square = (points[0] + 0.5) ** 2 + points[2] ** 2 + 2.8**2
    lit = 2.8 / np.sqrt(square) / (1 + square)
    shadow, sun = floor & (beside < 0.49), floor & (beside > 0.52)
    assert shadow.sum() > 50 and sun.sum() > 1000
    np.testing.assert_allclose(view.light[:, shadow], 0.25)
    for channel, power in enumerate(lamp.colour):
        np.testing.assert_allclose(view.light[channel][sun], (0.25 + power * lit)[sun], rtol=1e-4)


def test_labelled_shares():
    data = Scenes(size=200, height=8, width=8, labelled={"depth": 0.5, "edges": 0.25, "normals": 0})
    has = {task: torch.tensor([task in sample["targets"] for sample in data]) for task in TASKS}
    assert has["segmentation"].all() and not has["normals"].any()
    assert has["depth"].float().mean() == pytest.approx(0.5, abs=0.1)
    assert has["edges"].float().mean() == pytest.approx(0.25, abs=0.1)
    both = (has["depth"] & has["edges"]).float().mean()
    assert both == pytest.approx(0.125, abs=0.07), "they drop out independently"
    again, more = (Scenes(size=200, height=8, width=8, labelled={"depth": share}) for share in (0.5, 0.7))
    for at in range(30):
        assert ("depth" in again[at]["targets"]) == has["depth"][at]
        assert ("depth" in more[at]["targets"]) >= has["depth"][at]
        assert torch.equal(again[at]["image"], data[at]["image"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, 'split=\'valid\' is unknown. Known: "train", "test"'),
        ({"size": 0}, "size=0 must be positive"),
        ({"width": 7}, "height=96 and width=7 must be at least 8"),
        ({"labelled": {"seg": 0.5}}, "'seg'. Known: segmentation, depth, normals, edges"),
        ({"labelled": {"depth": 1.5}}, r"labelled={'depth': 1.5}: the share must lie in \[0, 1\]"),
        ({"labelled": {"depth": float("nan")}}, "the share must lie"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**arguments)


@pytest.mark.parametrize("at", [-1, 3])
def test_a_sample_that_there_is_not(at):
    with pytest.raises(IndexError, match=f"no sample {at}: the data set has 3"):
        Scenes(size=3)[at]
