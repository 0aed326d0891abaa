"""CelebA in its layouts, and each way in which a folder can be wrong."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.folders import NAMES, write_celeba
from tsbn_hub import Task
from tsbn_hub.data import CelebA, split_off
from tsbn_hub.data.splitting import told_of_split
from tsbn_hub.tasks import make_kind
from tsbn_hub.training import TrainingConfig


@pytest.mark.parametrize("flat", [None, ".", "celeba"])
def test_layouts(flat, tmp_path):
    write_celeba(tmp_path, flat)
    assert [len(CelebA(tmp_path, split)) for split in ("train", "val", "test")] == [8, 2, 1]
    sample = CelebA(tmp_path, "val")[1]  # the tenth image
    assert sample["image"].shape == (3, 64, 64) and sample["image"].dtype == torch.uint8
    assert ((sample["image"].int() - 100).abs() <= 1).all()
    present = [name for name, target in sample["targets"].items() if target.item() == 1]
    assert present == ["5_o_Clock_Shadow", "Blurry", "Male", "Sideburns"]  # numbers 0, 10, 20, 30
    assert {(target.shape, target.dtype) for target in sample["targets"].values()} == {((1,), torch.int64)}


def test_forty_tasks_or_one(tmp_path):
    write_celeba(tmp_path)
    each, joint = CelebA(tmp_path, "train"), CelebA(tmp_path, "train", joint=True)
    assert [task.name for task in each.tasks] == NAMES.split() and len(each.tasks) == 40
    assert each.tasks[20] == Task("Male", kind="attributes", labels=["Male"])
    assert joint.tasks == [Task("attributes", kind="attributes", labels=NAMES.split())]
    assert joint[2]["targets"]["attributes"].tolist() == [1, 0, 0] * 13 + [1]
    assert list(make_kind(each.tasks[20]).metrics) == ["accuracy", "f1", "micro_f1", "sample_f1", "map"]
    for data in (each, joint):
        for task in data.tasks:
            make_kind(task).check(data[2]["targets"][task.name][None], (64, 64))


def test_the_metrics_of_an_attribute():
    """F1 of 2 found, 1 missed, 1 wrongly found, and of an attribute that never occurs: left out of a mean."""
    metrics = make_kind(Task("Bald", kind="attributes", labels=["Bald"])).new_metrics()
    metrics.update(torch.tensor([[0.9], [0.8], [0.2], [0.7], [0.1]]), torch.tensor([[1], [1], [1], [0], [0]]))
    scores = metrics.compute()
    assert scores["f1"].item() == pytest.approx(2 * 2 / (2 * 2 + 2)) and scores["accuracy"].item() == pytest.approx(0.6)


def test_sizes(tmp_path):
    write_celeba(tmp_path)
    file = tmp_path / "Img/img_align_celeba/000001.jpg"
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[20:198] = 200  # the square in the middle
    Image.fromarray(pixels).save(file, quality=95)
    assert CelebA(tmp_path, size=None)[0]["image"].shape == (3, 218, 178)
    cropped = CelebA(tmp_path, size=None, crop=178)[0]["image"].int()
    assert cropped.shape == (3, 178, 178) and ((cropped[:, 8:-8] - 200).abs() <= 3).all()
    assert CelebA(tmp_path, size=32, crop=148)[0]["image"].shape == (3, 32, 32)
    whole = CelebA(tmp_path, size=218)[0]["image"].int()  # its height stays: bands above and below
    assert (whole[:, :12] < 10).all() and (whole[:, 30:188] > 190).all()
    with pytest.raises(ValueError, match="size=0 must be positive"):
        CelebA(tmp_path, size=0)


def test_held_out_is_the_validation_split(tmp_path):
    write_celeba(tmp_path)
    data = CelebA(tmp_path, "train", size=8)
    kept, held_out = split_off(data, 0.5)
    assert len(kept) == 8 and len(held_out) == 2 and held_out.tasks == data.tasks
    assert torch.equal(held_out[1]["image"], CelebA(tmp_path, "val", size=8)[1]["image"])
    assert held_out[1]["targets"].keys() == data[0]["targets"].keys() and held_out[1]["image"].shape == (3, 8, 8)
    kept, held_out = split_off(CelebA(tmp_path, "val"), 0.5)
    assert len(kept) == len(held_out) == 1 and kept._files != held_out._files


def test_a_config_names_it(tmp_path):
    write_celeba(tmp_path)
    args = {"root": str(tmp_path), "size": 16}
    (source,) = TrainingConfig(model="test_resnet_tsbn", data="CelebA", output="run", data_args=args).sources()
    assert len(source.dataset("train").tasks) == 40 and len(source.dataset("test")) == 1


def move(root, name, new):
    (root / name).rename(root / new)


def replace(root, name, old, new):
    path = root / name
    path.write_text(path.read_text().replace(old, new))


PARTITION, ATTRIBUTES, IMAGES = "Eval/list_eval_partition.txt", "Anno/list_attr_celeba.txt", "Img/img_align_celeba"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "Eval"), rf"{PARTITION} is not there; found Anno/, Img/\.$"),
        (lambda root: shutil.rmtree(root / "Img"), rf"{IMAGES} is not there; found Anno/, Eval/\.$"),
        (lambda root: move(root, IMAGES, f"{IMAGES}.zip"), r"is not there; .* Unpack img_align_celeba.zip\.$"),
        (
            lambda root: (shutil.rmtree(root / "Anno"), (root / "list_attr_celeba.csv").touch()),
            r"list_attr_celeba.txt is not there; .* Files of .csv are another layout: get the .txt files",
        ),
        (
            lambda root: (root / IMAGES / "000009.jpg").unlink(),
            r"Looked for 10 images in .*; 1 are not there, as 000009.jpg\.$",
        ),
        (lambda root: shutil.move(root, root.with_name("other")), r"There is no folder .*celeba"),
    ],
    ids=["partition", "images", "zip", "csv", "image", "root"],
)
def test_a_folder_that_is_not_whole(change, message, tmp_path):
    root = write_celeba(tmp_path / "celeba")
    change(root)
    with pytest.raises(FileNotFoundError, match=message) as error:
        CelebA(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (PARTITION, "000003.jpg 0", "000003.jpg 5", r"line 3: '000003.jpg 5' is no name with a split of 0, 1 or 2"),
        (PARTITION, "000003.jpg", "000099.jpg", r"has 1 images, as 000099.jpg, that .*list_attr_celeba.txt has not"),
        (ATTRIBUTES, "11\n", "12\n", r"is truncated, or no list of attributes: .* found are 11 after '12'"),
        (ATTRIBUTES, " Young", "", r"image 000001.jpg: expected are 39 times -1 or 1"),
        (ATTRIBUTES, "000002.jpg  1", "000002.jpg  0", r"image 000002.jpg: expected are 40 times -1 or 1"),
    ],
)
def test_a_file_that_is_another(file, old, new, message, tmp_path):
    write_celeba(tmp_path)
    replace(tmp_path, file, old, new)
    with pytest.raises(ValueError, match=message):
        CelebA(tmp_path)


def test_an_image_that_cannot_be_read(tmp_path):
    write_celeba(tmp_path)
    file = tmp_path / IMAGES / "000001.jpg"
    file.write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"{re.escape(str(file))} is no image"):
        CelebA(tmp_path)[0]


def test_an_empty_list(tmp_path):
    write_celeba(tmp_path)
    (tmp_path / ATTRIBUTES).write_text("")
    with pytest.raises(ValueError, match=r"is truncated, or no list of attributes: .* found are 0 after ''"):
        CelebA(tmp_path)


def test_the_validation_split_is_told(tmp_path):
    """A card that says "10% of the training data" would not be true."""
    data = CelebA(write_celeba(tmp_path), "test")
    assert told_of_split([data], 0.1) == "CelebA's own validation split"
    both = told_of_split([data, object(), data], 0.1)
    assert both == "CelebA's own validation split and 10% of the training data, which were held out"
