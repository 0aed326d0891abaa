"""Predictions for many images: batches, workers, maps that a table reads back, and what stays in memory."""

import json
from dataclasses import replace
from functools import partial
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from tsbn_hub import Task
from tsbn_hub.data import Table
from tsbn_hub.data.sets.table.maps import read_array, target_of
from tsbn_hub.deploy import Destinations, find_images, predict, predict_many, predict_to_files
from tsbn_hub.deploy.batch_prediction import batches
from tsbn_hub.deploy.batch_prediction.maps import encoded_map, whole_map, write_map
from tsbn_hub.files.file_names import file_names
from tsbn_hub.models import surface_of
from tsbn_hub.tasks import Kind, make_kind
from tsbn_hub.training.loaders import WorkersTold

from .test_prediction import broken, noise, timm_model, transformers_model

SIZES = [(48, 40), (300, 50), (64, 96), (20, 20), (97, 31)]


@pytest.fixture
def photos(tmp_path):
    for number, size in enumerate(SIZES):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        noise(*size).save(path)
    return tmp_path / "photos"


def without_crop():
    return transformers_model(size={"shortest_edge": 64})


@pytest.mark.parametrize("build", [timm_model, transformers_model, without_crop])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_says_what_single_images_do(build, workers, photos):
    if workers and build is not transformers_model:
        pytest.skip("once is enough")
    model, images = build(), find_images([photos])
    found = list(predict_many(model, images, batch_size=3, workers=workers))
    assert [each.image for each in found] == images and [each.size for each in found] == SIZES
    for prediction in found:
        for task, expected in predict(model, prediction.image.read()).items():
            value = prediction.values[task]
            assert value.dtype == expected.value.dtype and value.shape == expected.value.shape
            if value.is_floating_point():
                torch.testing.assert_close(value, expected.value, rtol=1e-5, atol=1e-5)
            else:
                assert (value == expected.value).float().mean() > 0.999  # but for classes that are as good


@pytest.mark.nightly
def test_a_process_that_is_no_fork_reads_images(photos, tmp_path, monkeypatch):
    """As on Windows, macOS and in Python 3.14: of files, of a table of files, and of one that holds them."""
    cells = [{"bytes": path.read_bytes(), "path": None} for path in sorted(photos.iterdir())]
    pyarrow.parquet.write_table(pyarrow.table({"photo": [*cells, None]}), tmp_path / "held.parquet")
    (tmp_path / "named.csv").write_text("file\nphotos/0.png\nphotos/none.png\n")
    model, images = timm_model(), find_images([photos, tmp_path / "held.parquet", tmp_path / "named.csv"])
    with monkeypatch.context() as patch:
        patch.setattr(batches, "WorkersTold", partial(WorkersTold, multiprocessing_context="spawn"))
        found = list(predict_many(model, images, batch_size=4, workers=1, photos=True))
    for prediction, expected in zip(found, predict_many(model, images, batch_size=4, photos=True), strict=True):
        torch.testing.assert_close(prediction.values, expected.values, rtol=0, atol=0)
        assert replace(prediction, values={}) == replace(expected, values={})
    assert [each.error is None for each in found] == [True] * 10 + [False, True, False]


@pytest.mark.parametrize("build", [timm_model, transformers_model, without_crop])
def test_what_prepares_images_reaches_other_processes(build):
    preprocessing = surface_of(build()).preprocessing()
    sent = ForkingPickler.loads(ForkingPickler.dumps(preprocessing))
    assert torch.equal(sent.prepare(noise()), preprocessing.prepare(noise()))
    assert torch.equal(sent.show(noise()), preprocessing.show(noise()))


def test_an_image_without_finite_values_is_an_error(photos):
    predictions = list(predict_many(broken(timm_model()), find_images([photos])))
    assert all(each.error == "What the model gives for the task 'b' is not finite." for each in predictions)
    assert not any(each.values for each in predictions)


def test_images_are_read_as_they_are_needed(photos, monkeypatch):
    """However many there are."""
    read, images = [], find_images([photos]) * 20_000
    ours = type(images[0])
    monkeypatch.setattr(ours, "read", lambda image: read.append(image) or noise(8, 8))
    stream = predict_many(timm_model(), images, ["a"], batch_size=4)
    assert not read
    next(stream)
    assert len(read) == 4


KINDS = {
    "segmentation": (Task("t", "segmentation", num_classes=3), torch.randint(3, (24, 32))),
    "many classes": (Task("t", "segmentation", num_classes=300), torch.randint(300, (24, 32))),
    "depth": (Task("t", "depth"), 0.5 + 60 * torch.rand(24, 32)),
    "disparity": (Task("t", "disparity"), 0.5 + 60 * torch.rand(24, 32)),
    "normals": (Task("t", "normals"), torch.nn.functional.normalize(torch.randn(3, 24, 32), dim=0)),
    "edges": (Task("t", "edges"), torch.rand(24, 32).where(torch.rand(24, 32) < 0.4, 0)),
    "saliency": (Task("t", "saliency"), torch.rand(24, 32)),
}


@pytest.mark.parametrize("form", ["png", "npy"])
@pytest.mark.parametrize("name", KINDS)
def test_a_table_reads_maps_back(name, form, tmp_path):
    """The middle of an image has values, the rest has none: as targets they are what was predicted."""
    task, value = KINDS[name]
    kind, path = make_kind(task), tmp_path / f"map.{form}"
    whole = whole_map(kind, value, (8, 0, 40, 24), (48, 24))
    assert (whole[..., 8:40] - value).abs().max() < 1e-6
    write_map(encoded_map(kind, whole, form), path, form)
    ignore = 65535 if name == "many classes" else 255
    target = target_of(kind, read_array(path), ignore=ignore)
    kind.check(target[None], (24, 48))
    seen = target[..., 8:40]
    valid = kind.valid(target[None])[0]
    if name in ("edges", "saliency"):
        assert (seen != (value > 0.5)).sum() < 5  # probabilities of nearly a half are rounded
        assert not target[..., :8].any()
        return
    assert valid[:, 8:40].all() and not valid[:, :8].any() and not valid[:, 40:].any()
    off = {"depth": 5.1e-4, "disparity": 5.1e-4, "normals": 0.01}.get(name, 0) if form == "png" else 1e-6
    assert (seen - value).abs().max() <= off


def test_depths_beyond_png_are_an_error_of_the_image(tmp_path):
    kind = make_kind(Task("far", "depth"))
    with pytest.raises(ValueError, match=r"a depth of 80 is above 65\.535, which PNG ends at: take npy"):
        encoded_map(kind, torch.full((2, 2), 80.0), "png")
    assert encoded_map(kind, torch.full((2, 2), 80.0), "npy").max() == 80


def test_maps_and_pictures_of_a_dense_model(photos, tmp_path):
    """As large as the photos, and what they say is what the record names."""
    model = transformers_model()
    to = Destinations(tmp_path / "out.jsonl", tmp_path / "pictures", tmp_path / "maps")
    counts = predict_to_files(model, find_images([photos]), to, batch_size=2)
    assert (counts.predicted, counts.failed) == (5, 0)
    for line, size in zip((tmp_path / "out.jsonl").read_text().splitlines(), SIZES, strict=True):
        record = json.loads(line)
        assert list(record["maps"]) == ["seg", "depth"] and list(record["pictures"]) == ["seg", "depth", "place"]
        for path in record["maps"].values():
            assert Image.open(path).size == size
        expected = predict(model, Image.open(record["file"]))
        with Image.open(record["pictures"]["seg"]) as picture:
            assert picture.size == expected["seg"].picture.shape[:0:-1]
    # The first photo is as large as what the model sees, but for its shape.
    depth = read_array(tmp_path / "maps" / "0.depth.png").astype(np.float32) / 1000
    assert abs(depth.max() - predict(model, noise())["depth"].value.max().item()) < 0.05


def test_a_table_of_predictions_trains(photos, tmp_path):
    """Pseudo-labels: masks and depths of a model are columns of a table."""
    predict_to_files(
        transformers_model(), find_images([photos]), Destinations(tmp_path / "o.jsonl", maps=tmp_path / "maps")
    )
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    rows = [f"{line['file']},{line['maps']['seg']},{line['maps']['depth']}" for line in lines]
    (tmp_path / "t.csv").write_text("\n".join(["file,mask,depth", *rows]))
    data = Table("train", tmp_path / "t.csv", columns={"mask": {"kind": "segmentation", "num_classes": 3}}, size=32)
    assert {task.name: task.kind for task in data.tasks} == {"mask": "segmentation", "depth": "depth"}
    assert data[0]["targets"]["mask"].shape == (32, 32)


def test_what_paths_stand_for(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (photos / ".hidden").mkdir()
    noise().save(photos / ".hidden" / "9.png")
    noise().save(photos / "[x].png")
    (photos / "notes.txt").write_text("file\n")

    def names(*paths, **options):
        return [image.name for image in find_images(paths, **options)]

    every = [f"photos/{name}.png" for name in (0, 1, 2, 3, 4, "[x]")]
    assert names("photos") == names("photos", "photos/1.png") == names("photos/*.png") == every
    assert names("photos/3.png", "photos/[01].png") == ["photos/3.png", "photos/0.png", "photos/1.png"]
    assert names("photos/[x].png") == ["photos/[x].png"]
    (tmp_path / "rows.jsonl").write_text('{"image": "photos\\\\1.png"}\n{"image": "photos/1.png"}\n')
    assert names("rows.jsonl") == ["photos\\1.png", "photos/1.png"]
    assert names("rows.jsonl", file="image")[1:] == ["photos/1.png"]


def test_many_images_of_one_name():
    names = file_names(range(50_000), lambda number: "cat")  # in linear time
    assert list(names.values())[:3] == ["cat", "cat-2", "cat-3"] and len(set(names.values())) == 50_000


def test_images_within_a_table(tmp_path, photos):
    """Of a Parquet file."""
    pytest.importorskip("datasets")
    import datasets

    data = datasets.Dataset.from_dict({"image": [str(photos / "0.png"), str(photos / "1.png")]})
    data.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
    found = find_images([tmp_path / "saved"])
    assert [image.stem for image in found] == ["row-1", "row-2"] and found[1].read().size == SIZES[1]
    assert all(prediction.error is None for prediction in predict_many(timm_model(), found, batch_size=2))


def test_a_kind_of_ones_own_has_maps_as_npy():
    class Heat(Kind):
        name = "heat"

    heat = type("Heat", (Heat,), dict.fromkeys(Heat.__abstractmethods__))()
    assert encoded_map(heat, torch.rand(2, 3), "npy").shape == (2, 3)
    with pytest.raises(ValueError, match="maps of the kind 'heat' have no form as PNG: take npy"):
        encoded_map(heat, torch.rand(2, 3), "png")
