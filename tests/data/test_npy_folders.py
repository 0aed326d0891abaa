"""NYUv2 and Cityscapes as MTAN lays them: each variant, and each way in which a folder can be wrong."""

import pickle
import re
import shutil

import numpy as np
import pytest
import torch

from tests.data.folders import save, write_cityscapes, write_nyuv2
from tsbn_hub import Task
from tsbn_hub.data import Cityscapes, NYUv2
from tsbn_hub.tasks import make_kind
from tsbn_hub.training import TrainingConfig


@pytest.fixture
def nyuv2(tmp_path):
    return write_nyuv2(tmp_path / "nyuv2")


def test_a_sample_of_nyuv2(nyuv2):
    data = NYUv2(nyuv2, "train")
    image, targets = data[11]["image"], data[11]["targets"]
    assert len(data) == 12 and image.shape == (3, 4, 6) and image.dtype == torch.float32
    assert image[:, 0, 0].tolist() == [1.0, 0.5, 0.0] and (image[:, 1:] == 11 / 16).all()
    assert targets["seg"].dtype == torch.int64 and targets["seg"][0].tolist() == [-100, 12, 12, 12, 12, 12]
    assert targets["seg"][1].tolist() == [12, 12, 3, 12, 12, 12]
    assert targets["depth"].dtype == torch.float32 and targets["depth"][0].tolist() == [0.0, 2.5, 2.5, 2.5, 2.5, 2.5]
    assert targets["depth"][1].tolist() == [2.5, 2.5, 1.25, 2.5, 2.5, 2.5]
    assert targets["normals"].shape == (3, 4, 6) and not targets["normals"][:, 0].any()
    assert targets["normals"][:, 3, 5].tolist() == pytest.approx([0.6, 0.0, 0.8])
    for task in data.tasks:
        make_kind(task).check(targets[task.name][None], (4, 6))


def test_samples_are_in_the_order_of_their_numbers(nyuv2):
    data = NYUv2(nyuv2, "train")
    assert [data[at]["image"][0, 1, 0].item() for at in range(12)] == [at / 16 for at in range(12)]


def test_the_folder_val_is_the_test_split(nyuv2):
    assert len(NYUv2(nyuv2, "test")) == len(NYUv2(nyuv2, "val")) == 3
    with pytest.raises(ValueError, match=r"split='valid' is unknown. Known: \"train\", \"test\" \(or \"val\"\)"):
        NYUv2(nyuv2, "valid")


def test_the_classes_of_nyuv2(nyuv2):
    seg, depth, normals = NYUv2(nyuv2, "train").tasks
    assert (seg.num_classes, seg.labels[0], seg.labels[12]) == (13, "bed", "window")
    assert depth == Task("depth", kind="depth") and normals == Task("normals", kind="normals")


def test_a_folder_that_is_not_there_is_no_task(nyuv2):
    shutil.rmtree(nyuv2 / "train" / "normal")
    data = NYUv2(nyuv2, "train")
    assert [task.name for task in data.tasks] == list(data[0]["targets"]) == ["seg", "depth"]
    assert [task.name for task in NYUv2(nyuv2, "test").tasks] == ["seg", "depth", "normals"]


def test_other_dtypes_and_shapes(nyuv2):
    save(nyuv2 / "train/image/0.npy", np.full((4, 6, 3), 255, np.uint8))
    save(nyuv2 / "train/label/0.npy", np.full((4, 6), -1, np.int8))
    save(nyuv2 / "train/depth/0.npy", np.full((4, 6), 3, np.float64))
    sample = NYUv2(nyuv2, "train")[0]
    assert (sample["image"] == 1).all() and sample["image"].dtype == torch.float32
    assert (sample["targets"]["seg"] == -100).all() and (sample["targets"]["depth"] == 3).all()


@pytest.mark.parametrize(
    ("folder", "classes", "number"),
    [
        ("label", None, 7),
        ("label_7", None, 7),
        ("label_2", None, 2),
        ("label_19", None, 19),
        ("label", 7, 7),
        ("label_19", 19, 19),
    ],
)
def test_cityscapes(folder, classes, number, tmp_path):
    data = Cityscapes(write_cityscapes(tmp_path, folder), "train", classes=classes)
    sample = data[3]
    assert len(data) == 4 and len(Cityscapes(tmp_path, "test", classes=classes)) == 2
    assert data.tasks == [Task("seg", kind="segmentation", num_classes=number), Task("depth", kind="disparity")]
    assert torch.equal(sample["image"], torch.full((3, 4, 8), 0.2))
    assert sample["targets"]["seg"][3].tolist() == [1, 1, 1, 1, 1, 1, 1, 0] and sample["targets"]["seg"][0, 0] == -100
    assert sample["targets"]["depth"][0].tolist() == [0.0] + [0.25] * 7
    for task in data.tasks:
        make_kind(task).check(sample["targets"][task.name][None], (4, 8))


def test_of_two_folders_of_labels_one_chooses(tmp_path):
    write_cityscapes(write_cityscapes(tmp_path, "label_19"), "label_7")
    assert Cityscapes(tmp_path, "train").tasks[0].num_classes == 7
    assert Cityscapes(tmp_path, "train", classes=19).tasks[0].num_classes == 19
    with pytest.raises(FileNotFoundError, match=r"Looked for .*/val/label_2; found depth, image, label_19, label_7\."):
        Cityscapes(tmp_path, "test", classes=2)
    with pytest.raises(ValueError, match=r"classes=13 is unknown. Known: 2, 7, 19"):
        Cityscapes(tmp_path, "test", classes=13)
    shutil.rmtree(tmp_path / "val" / "label_7"), shutil.rmtree(tmp_path / "val" / "label_19")
    assert [task.name for task in Cityscapes(tmp_path, "test").tasks] == ["depth"]


def remove(name):
    def change(root):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def pad_names(root):
    for path in (root / "train").glob("*/*.npy"):
        path.rename(path.with_name(f"{path.stem:0>4}.npy"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("train"), r"Looked for .*/train/{image,label,depth,normal}/0.npy, …; found in .*nyuv2: val/\.$"),
        (remove("train/image"), r"Looked for .*; found in .*/train: depth/, label/, normal/\.$"),
        (
            remove("train/label/3.npy"),
            r"Looked for .*/train/{image,label,depth,normal}/0.npy to 11.npy; found 12 in image, 11 in label, "
            r"12 in depth, 12 in normal; label/3.npy is not there\.$",
        ),
        (remove("train/image/11.npy"), r"found 11 in image, .*; image/11.npy is not there\.$"),
        (lambda root: [path.unlink() for path in (root / "train").glob("*/4.npy")], r"image/4.npy and 3 more are not"),
        (lambda root: [path.unlink() for path in (root / "train/image").iterdir()], r"image/0.npy and 11 more are not"),
        (pad_names, r"image/0.npy and 47 more are not there. There is 0000.npy, which is no such name\.$"),
        (lambda root: shutil.move(root, root.with_name("whole")), r"There is no folder .*nyuv2\."),
    ],
    ids=["split", "images", "label", "image", "index", "empty", "names", "root"],
)
def test_a_folder_that_is_not_whole(change, message, nyuv2):
    change(nyuv2)
    with pytest.raises(FileNotFoundError, match=message) as error:
        NYUv2(nyuv2, "train")
    assert "\n" not in str(error.value)


def test_folders_near_by(nyuv2):
    for wrong, right in ((nyuv2.parent, nyuv2), (nyuv2 / "train", nyuv2)):
        with pytest.raises(FileNotFoundError, match=f"Is root={re.escape(str(right))} meant"):
            NYUv2(wrong, "train")


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("image", np.zeros((3, 4, 6), np.float32), r"image/0.npy has the shape \(3, 4, 6\); expected is \(H, W, 3\)"),
        ("label", np.full((4, 6), 0.5), r"label/0.npy has labels that are no whole numbers"),
        ("label", np.full((4, 6), np.nan), r"label/0.npy has labels that are no whole numbers"),
        ("depth", np.zeros((4, 6, 2)), r"depth/0.npy has the shape \(4, 6, 2\); expected is \(H, W\) or \(H, W, 1\)"),
        ("depth", np.zeros((8, 6)), r"depth/0.npy has \(8, 6\) pixels, its image \(4, 6\)"),
        ("normal", np.zeros((4, 6)), r"normal/0.npy has the shape \(4, 6\); expected is \(H, W, 3\)"),
        ("label", np.array([["a"]]), r"label/0.npy is no npy file of numbers: it has <U1"),
    ],
)
def test_an_array_that_is_another(file, array, message, nyuv2):
    save(nyuv2 / "train" / file / "0.npy", array)
    with pytest.raises(ValueError, match=message):
        NYUv2(nyuv2, "train")[0]


def test_nothing_is_unpickled(nyuv2):
    path = nyuv2 / "train/label/0.npy"
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"label/0.npy is no npy file of numbers, or truncated: .*allow_pickle=False"):
        NYUv2(nyuv2, "train")[0]
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"label/0.npy is no npy file of numbers"):
        NYUv2(nyuv2, "train")[0]
    content = (nyuv2 / "train/label/1.npy").read_bytes()
    for shorter in (b"", content[:50], content[:-1]):
        path.write_bytes(shorter)
        with pytest.raises(ValueError, match=r"label/0.npy is no npy file of numbers"):
            NYUv2(nyuv2, "train")[0]


def test_a_config_names_them(nyuv2, tmp_path):
    write_cityscapes(tmp_path / "cityscapes")
    for name, args in (("NYUv2", {"root": str(nyuv2)}), ("Cityscapes", {"root": "cityscapes"})):
        args["root"] = str(tmp_path / args["root"])
        (source,) = TrainingConfig(model="test_resnet_tsbn", data=name, output="run", data_args=args).sources()
        assert len(source.dataset("test")) < len(source.dataset("train"))
