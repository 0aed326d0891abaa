"""Castles: its formats on small files, and its depth against the castle's model where the data is installed."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tsbn_hub.data.cameras import seen_by_image
from tsbn_hub.data.sets.castles import _RECORDINGS, _SIZE, DEBIAN, Castles, read_depth, read_grey

installed = pytest.mark.skipif(not (DEBIAN / "mbt-depth").is_dir(), reason="needs `apt install visp-images-data`")

# The camera in frame 0 of the real sequence: where ViSP's testGenericTrackerDepth.cpp lets its tracker start. The
# castle's position, and its axis of rotation times the angle, as the depth camera sees it.
REAL_POSE = (0.04431452054, 0.09294637757, 0.3357760654, -2.677922443, 0.121297639, -0.6028463357)


def write_pgm(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape
    path.write_bytes(b"P5\n# comment\n%d %d\n255\n" % (width, height) + pixels.astype("u1").tobytes())


def write_depth(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<II", *values.shape) + values.astype("<u2").tobytes())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Files of a simulated sequence: the image of frame n is n everywhere, its depth half a metre."""
    root = tmp_path_factory.mktemp("ViSP-images")
    for frame in range(1, 41):
        recording = _RECORDINGS["simulated"]
        write_pgm(root / recording.image.format(frame), np.full(_SIZE, frame))
        write_depth(root / recording.depth.format(frame), np.full(_SIZE, 1 << 14))
    return root


def test_a_sample(root):
    data = Castles("test", root=root)
    sample = data[2]
    image, depth = sample["image"], sample["targets"]["depth"]
    assert image.shape == (3, *_SIZE) and image.dtype == torch.float32
    assert (image == torch.tensor(data._frames[2] / 255)).all()
    assert depth.shape == _SIZE and depth.dtype == torch.float32
    assert [task.name for task in Castles.tasks] == list(sample["targets"]) and Castles.tasks[0].kind == "depth"
    # The depth camera is 5 cm to the right: at half a metre, and a focal length of 700 pixels, that is 70 pixels.
    assert (depth[:, :70] == 0).all() and (depth[:, 70:] == 0.5).all()


def test_no_test_frame_is_a_neighbour_of_a_training_frame(root):
    train, test = (Castles(split, root=root)._frames for split in ("train", "test"))
    assert test == [*range(17, 25)] and train == [*range(1, 15), *range(27, 41)]
    for recording in _RECORDINGS.values():
        assert recording.test[0] - 2 in recording.frames and recording.test[-1] + 2 in recording.frames


@pytest.mark.parametrize("seed", range(4))
def test_split_off_a_run(root, seed):
    data = Castles("train", root=root)
    kept, held_out = (part._frames for part in data.split_off(0.2, seed))
    assert len(data) == 28, "the whole must stay as it is"
    at = data._frames.index(held_out[0])
    assert len(held_out) == 6 and held_out == data._frames[at : at + 6]
    assert set(kept) == {one for one in data._frames if all(abs(one - other) > 2 for other in held_out)}
    assert held_out == data.split_off(0.2, seed)[1]._frames


def test_read_grey(tmp_path):
    pixels = np.arange(12).reshape(3, 4)
    write_pgm(tmp_path / "image.pgm", pixels)
    assert torch.equal(read_grey(tmp_path / "image.pgm"), torch.from_numpy(pixels.astype("u1")))


def test_read_depth(tmp_path):
    values = np.array([[0, 1, 255], [256, 65535, 4660]])
    write_depth(tmp_path / "depth.bin", values)
    assert (tmp_path / "depth.bin").read_bytes()[8:].hex() == "00000100ff000001ffff3412"
    assert read_depth(tmp_path / "depth.bin").tolist() == values.tolist()


@pytest.mark.parametrize(
    "content", [b"", b"P5\n4 3\n255\n" + b"0" * 11, b"P5\n4", b"P5\n4 x\n255\n", b"GIF89a" + b"0" * 99]
)
def test_malformed_images(tmp_path, content):
    path = tmp_path / "image.pgm"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is truncated, or no PGM file"):
        read_grey(path)


@pytest.mark.parametrize("content", [b"P6\n1 1\n255\n000", b"P5\n1 1\n65535\n00"])
def test_images_of_another_kind(tmp_path, content):
    path = tmp_path / "image.pgm"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is no grey image of 8 bits"):
        read_grey(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\3\0\0",
        struct.pack("<II", 2, 3) + bytes(11),
        struct.pack("<II", 2, 3) + bytes(13),
        struct.pack("<II", 0, 3),
    ],
    ids=["empty", "half a head", "short", "long", "no rows"],
)
def test_malformed_depths(tmp_path, content):
    path = tmp_path / "depth.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is truncated, or no depth file: it has {len(content)} bytes"):
        read_depth(path)


@pytest.mark.parametrize("kind", ["image", "depth"])
def test_frames_of_another_size(tmp_path, kind):
    recording = _RECORDINGS["real"]
    for frame in recording.frames:
        write_pgm(tmp_path / recording.image.format(frame), np.zeros((2, 3) if kind == "image" else _SIZE))
        write_depth(tmp_path / recording.depth.format(frame), np.zeros((2, 3) if kind == "depth" else _SIZE))
    path = tmp_path / getattr(recording, kind).format(12)
    with pytest.raises(ValueError, match=rf"{path} has \(2, 3\) pixels"):
        Castles("test", "real", tmp_path)[0]


def test_a_package_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/mbt-depth.*apt install visp-images-data.*root="):
        Castles(root=tmp_path)
    with pytest.raises(ValueError, match="split='valid' is unknown"):
        Castles("valid", root=tmp_path)
    with pytest.raises(ValueError, match="sequence='dreamt' is unknown"):
        Castles(sequence="dreamt", root=tmp_path)


@pytest.mark.parametrize(("down", "across"), [(100, 90), (246, 311), (300, 450)])
def test_a_point_lands_where_the_cameras_say(down, across):
    """Against the same in 4x4 matrices and double precision."""
    cameras = _RECORDINGS["real"].cameras
    depth = torch.zeros(_SIZE)
    depth[down, across] = 0.3
    x, y = ((at - c) / f for at, c, f in zip((across, down), cameras.depth.center, cameras.depth.focal, strict=True))
    k1, k2, p1, p2, k3 = cameras.depth.distortion
    r = (x * x + y * y) ** 0.5
    bend = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
    bent = (x * bend + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2), y * bend + 2 * p2 * x * y + p1 * (r**2 + 2 * y**2))
    image_to_depth = np.eye(4)
    image_to_depth[:3, :3], image_to_depth[:3, 3] = cameras.rotation, cameras.translation
    point = np.linalg.inv(image_to_depth) @ [0.3 * bent[0], 0.3 * bent[1], 0.3, 1]
    pixel = point[:2] / point[2] * cameras.image.focal + cameras.image.center
    seen = seen_by_image(depth, cameras)
    places = seen.nonzero().double()
    assert 1 <= len(places) <= 4  # four points, less than a pixel apart
    assert ((places - torch.from_numpy(pixel[::-1].copy())).abs() <= 1).all()
    assert (seen[seen > 0] - point[2]).abs().max() < 1e-3  # a quarter of a pixel is 0.16 mm aside, and tilts as much


def test_the_nearest_hides_the_others():
    cameras = _RECORDINGS["simulated"].cameras
    depth = torch.zeros(_SIZE)
    depth[200, 250] = 0.7  # 700 * 0.05 / 0.7 = 50 pixels to the right
    depth[200, 230] = 0.5  # 70 pixels to the right
    seen = seen_by_image(depth, cameras)
    assert seen[200, 300] == 0.5 and seen.count_nonzero() == 1


def test_points_outside_the_image_are_dropped():
    cameras = _RECORDINGS["simulated"].cameras
    depth = torch.full(_SIZE, 1e-4)  # they would be 350,000 pixels aside
    assert not seen_by_image(depth, cameras).any()
    assert not seen_by_image(torch.zeros(_SIZE), cameras).any()


def faces_of(path: Path) -> dict[str, np.ndarray]:
    """The flat faces of a ViSP model file, which has counts of points, segments, faces of segments, faces of points."""
    lines = [words for line in path.read_text().splitlines() if (words := line.split("#")[0].split())]
    count = int(lines[1][0])
    points = np.array([[float(word) for word in words[:3]] for words in lines[2 : 2 + count]])
    faces = lines[2 + count + 3 :][: int(lines[2 + count + 2][0])]
    return {words[-1]: points[[int(word) for word in words[1 : 1 + int(words[0])]]] for words in faces}


def depth_of_face(face: np.ndarray, pose: np.ndarray, focal, center) -> np.ndarray:
    """The depth of a flat face, shrunk by a tenth, in a pinhole camera; 0 beside it: (480, 640)."""
    face = face.mean(axis=0) + 0.9 * (face - face.mean(axis=0))
    corners = face @ pose[:3, :3].T + pose[:3, 3]
    mask = Image.new("1", _SIZE[::-1])
    ImageDraw.Draw(mask).polygon([tuple(corner[:2] / corner[2] * focal + center) for corner in corners], fill=1)
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    down, across = np.mgrid[: _SIZE[0], : _SIZE[1]]
    rays = np.stack([(across - center[0]) / focal[0], (down - center[1]) / focal[1], np.ones(_SIZE)], axis=-1)
    return np.array(mask) * (corners[0] @ normal) / (rays @ normal)


def pose_of(vector) -> np.ndarray:
    """The 4x4 matrix of a translation and a rotation vector."""
    x, y, z = vector[3:]
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))
    pose[:3, 3] = torch.tensor(vector[:3])
    return pose.numpy()


def millimetres_off(sample, face, pose, camera) -> np.ndarray:
    expected = depth_of_face(face, pose, camera.focal, camera.center)
    depth = sample["targets"]["depth"].numpy()
    both = (expected > 0) & (depth > 0)
    assert both.sum() > 0.6 * (expected > 0).sum() > 5000
    return 1000 * (depth - expected)[both]


@installed
@pytest.mark.parametrize("split", ["train", "test"])
def test_simulated_depth_is_that_of_the_model(split):
    """The tower's front in the image's camera, from the model of the castle and the camera's pose, and the image."""
    data = Castles(split)
    folder = DEBIAN / "mbt-depth" / "Castle-simu"
    tower = faces_of(folder / "Models/chateau_parts/chateau_tower.cao")["name=tower_front"]
    for at in range(0, len(data), 9):
        sample, frame = data[at], data._frames[at]
        pose = np.loadtxt(folder / f"CameraPose/Camera_{frame:03d}.txt")
        off = millimetres_off(sample, tower, pose, data._recording.cameras.image)
        assert abs(np.median(off)) < 0.5 and (abs(off) < 1).mean() > 0.9
        # All that is empty in the depth is 64 in the image, and seldom what is not.
        background = sample["image"][0] == torch.tensor(64 / 255)
        assert background[sample["targets"]["depth"] > 0].float().mean() < 0.01


@installed
def test_real_depth_is_that_of_the_model():
    data = Castles("train", "real")
    cameras = data._recording.cameras
    image_to_depth = np.eye(4)
    image_to_depth[:3, :3], image_to_depth[:3, 3] = cameras.rotation, cameras.translation
    pose = np.linalg.inv(image_to_depth) @ pose_of(REAL_POSE)
    for part, name, within in (("tower", "tower_front", 0.5), ("floor", "floor", 1), ("front_door", "front_door", 1)):
        face = faces_of(DEBIAN / f"mbt-depth/castel/chateau_parts/chateau_{part}.cao")[f"name={name}"]
        off = millimetres_off(data[0], face, pose, cameras.image)
        assert abs(np.median(off)) < within and (abs(off) < 3).mean() > 0.9, name


@installed
@pytest.mark.parametrize(
    ("sequence", "sizes", "valid", "metres"),
    [("simulated", (28, 8), (0.15, 0.28), (0.25, 0.76)), ("real", (20, 6), (0.65, 0.70), (0.17, 0.83))],
)
def test_the_package(sequence, sizes, valid, metres):
    for split, size in zip(("train", "test"), sizes, strict=True):
        data = Castles(split, sequence)
        assert len(data) == size
        for at in range(len(data)):
            sample = data[at]
            image, depth = sample["image"], sample["targets"]["depth"]
            assert image.min() >= 0 and 0.9 < image.max() <= 1 and torch.equal(image[0], image[2])
            known = depth[depth > 0]
            assert valid[0] <= len(known) / depth.numel() <= valid[1]
            assert metres[0] <= known.min() and known.max() <= metres[1]
