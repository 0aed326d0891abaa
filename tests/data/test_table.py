"""Tables of files: what columns are, how pictures become one size, what is held out, and what is broken."""

import json
import struct
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tests.data.tables import write_pictures, write_table
from tests.matrices import NIGHTLY
from tsbn_hub.data import Table, split_off
from tsbn_hub.data.sets.table.parts import divided
from tsbn_hub.data.sets.table.reading import read_training_table
from tsbn_hub.data.splitting import told_of_split
from tsbn_hub.tasks import make_kind

NAMES = [f"{at}.png" for at in range(20)]


def table_of(folder, size=(40, 32), **columns):
    """A table of 20 pictures, and of further columns, each a function of the number of a row."""
    write_pictures(folder, NAMES, size)
    rows = [",".join(["file", *columns])]
    rows += [",".join([name, *(str(cell(at)) for cell in columns.values())]) for at, name in enumerate(NAMES)]
    return write_table(folder, rows)


GUESSES = {
    "text": (lambda at: "ab"[at % 2] * 3, "classification", ["aaa", "bbb"]),
    "few whole numbers": (lambda at: (10, 9, 2)[at % 3], "classification", ["2", "9", "10"]),
    "whole numbers of pandas": (lambda at: ("10.0", "9.0", "2.0", "")[at % 4], "classification", ["2", "9", "10"]),
    "many whole numbers": (lambda at: at * at, "regression", None),
    "numbers": (lambda at: at / 7, "regression", None),
    "numbers with gaps": (lambda at: at / 7 if at % 3 else "-", "regression", None),
    "yes and no": (lambda at: ("Yes", "no", "")[at % 3], "attributes", ["x"]),
    "true and false": (lambda at: at % 2 == 0, "attributes", ["x"]),
    "1 and 0": (lambda at: at % 2, "attributes", ["x"]),
    "1 and -1": (lambda at: at % 2 * 2 - 1, "attributes", ["x"]),
    "postal codes": (lambda at: ("00123", "00456")[at % 2], "classification", ["00123", "00456"]),
}


@pytest.mark.parametrize("name", GUESSES)
def test_guesses(name, tmp_path):
    cell, kind, labels = GUESSES[name]
    data = Table("train", table_of(tmp_path, x=cell))
    assert [(task.name, task.kind, task.labels) for task in data.tasks] == [("x", kind, labels)]
    checked = make_kind(data.tasks[0])
    for number in range(len(data)):
        for target in data[number]["targets"].values():
            checked.check(target[None], (32, 32))


def test_an_empty_cell_is_no_label(tmp_path):
    data = Table("train", table_of(tmp_path, a=lambda at: "" if at % 2 else "xy"[at % 4 // 2], b=lambda at: at / 3))
    given = [data[at]["targets"] for at in range(len(data))]
    assert all("b" in targets for targets in given) and 0 < sum("a" in targets for targets in given) < len(data)


def test_what_is_said(tmp_path):
    path = table_of(tmp_path, a=lambda at: at % 3, b=lambda at: "ja" if at % 2 else "nein", c=lambda at: "xy"[at % 2])
    columns = {"a": "regression", "b": {"kind": "attributes", "yes": "ja"}, "c": None}
    data = Table("train", path, columns=columns, test=0.2, size=8)
    assert [(task.name, task.kind) for task in data.tasks] == [("a", "regression"), ("b", "attributes")]
    for at in range(len(data)):
        number = int(data[at]["image"][0, 0, 0])
        assert data[at]["targets"]["a"].tolist() == [number % 3] and data[at]["targets"]["b"].tolist() == [number % 2]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"columns": {"aa": "regression"}}, "has no column 'aa'. Did you mean 'a'"),
        ({"columns": {"a": "regresion"}}, "say its kind.* Did you mean 'regression'"),
        ({"columns": {"a": {"labels": ["x"]}}}, "say its kind, or null"),
        ({"columns": {"a": {"kind": "classification", "labels": ["x"]}}}, "10 cells have .y.; expected are the cla"),
        ({"columns": {"a": "regression"}}, "20 cells have 'x', 'y'; expected are numbers"),
        ({"columns": {"a": "attributes"}}, "say which text means yes"),
        ({"columns": {"a": {"kind": "regression", "sise": 2}}}, "columns: .*cannot take"),
        ({"columns": {"a": {"kind": "depth", "unit": "mm"}}}, "unit='mm' is no positive number"),
        ({"file": "b"}, "file='b': .* has no such column. It has file, a"),
        ({"group": "b"}, "group: .* has no column 'b'"),
        ({"test": 1.5}, r"test=1.5 must be a table, or a share in \(0, 1\)"),
        ({"fit": "pad"}, "fit='pad' is unknown. Known: stretch, crop"),
        ({"size": 0}, "size=0 must be positive"),
        ({"max_broken": 2}, "max_broken=2 must lie in"),
        ({"images": "nowhere"}, "images: .*nowhere"),
        ({"split": "dev"}, "split='dev' is unknown"),
        ({"split": "validation"}, "there is no validation table"),
    ],
)  # fmt: skip
def test_what_cannot_be_said(said, message, tmp_path):
    path = table_of(tmp_path, a=lambda at: "xy"[at % 2])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Table(**{"split": "train", "train": path, **said})


def test_labels_are_those_of_the_training_table(tmp_path):
    train = table_of(tmp_path, a=lambda at: "bc"[at % 2])
    test = write_table(tmp_path, ["file,a", "0.png,c"], "test.csv")
    assert Table("test", train, test=test)[0]["targets"]["a"].item() == 1
    wrong = write_table(tmp_path, ["file,a", "0.png,a", "1.png,b"], "wrong.csv")
    with pytest.raises(ValueError, match=r"wrong.csv, column 'a': 1 cell has 'a'; expected are the classes of the tr"):
        Table("test", train, test=wrong)


def test_a_validation_table(tmp_path):
    train = table_of(tmp_path, a=lambda at: "bc"[at % 2])
    other = write_table(tmp_path, ["file,a", "0.png,c", "1.png,b", "2.png,"], "other.csv")
    data = Table("train", train, validation=other, test=other)
    kept, held_out = split_off(data, 0.5)
    assert (len(kept), len(held_out), len(Table("validation", train, validation=other))) == (20, 3, 3)
    assert told_of_split([data], 0.1) == "the validation table"


def test_parts_are_stratified_and_drawn_from_the_seed(tmp_path):
    path = table_of(tmp_path, a=lambda at: "b" if at < 2 else "c")
    for seed in range(5):
        train, test = (Table(split, path, test=0.25, seed=seed) for split in ("train", "test"))
        kept, held_out = split_off(train, 0.2, seed)
        labels = [[each["targets"]["a"].item() for each in part] for part in (train, test)]
        assert sorted(labels[0]).count(0) == labels[1].count(0) == 1 and len(labels[1]) in (5, 6)
        seen = [{int(each["image"][0, 0, 0]) for each in part} for part in (kept, held_out, test)]
        assert set.union(*seen) == set(range(20)) and sum(map(len, seen)) == 20
        assert seen[2] == {int(each["image"][0, 0, 0]) for each in Table("test", path, test=0.25, seed=seed)}


def test_groups_stay_together(tmp_path):
    path = table_of(tmp_path, a=lambda at: "bc"[at % 2], person=lambda at: f"p{at // 4}")
    train, test = (Table(split, path, group="person") for split in ("train", "test"))
    persons = [{int(each["image"][0, 0, 0]) // 4 for each in part} for part in (train, test)]
    assert persons[0].isdisjoint(persons[1]) and [task.name for task in train.tasks] == ["a"]


def test_rows_of_one_picture_stay_together(tmp_path):
    path = table_of(tmp_path, a=lambda at: "bc"[at % 2])
    path.write_text(path.read_text() + "\n" + "\n".join(path.read_text().splitlines()[1:]))
    train, test = (Table(split, path) for split in ("train", "test"))
    seen = [{int(each["image"][0, 0, 0]) for each in part} for part in (train, test)]
    assert seen[0].isdisjoint(seen[1]) and len(train) + len(test) == 40


def test_every_class_of_every_column_is_divided():
    generator = np.random.default_rng(0)
    labels = [generator.integers(-1, 6, 1000).astype(np.int32), (generator.random(1000) < 0.02).astype(np.int32)]
    kept, held_out = divided(1000, 0.2, 1, labels)
    assert len(kept) + len(held_out) == 1000 and 170 <= len(held_out) <= 230
    for codes in labels:
        for code in range(codes.max() + 1):
            total = int((codes == code).sum())
            assert abs(int((codes[held_out] == code).sum()) - 0.2 * total) <= 0.05 * total + 1


def test_pictures_of_any_mode(tmp_path):
    """Turned by EXIF, of a palette, grey, with alpha, CMYK, of 16 bits: RGB in 8 bits, as a viewer shows them."""
    write_table(tmp_path, ["file,a", *(f"{name},{'xy'[at % 2]}" for at, name in enumerate("pgacsj"))])
    plain = Image.new("RGB", (8, 4), (200, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    left_red = plain.copy()
    left_red.paste((0, 0, 0), (4, 0, 8, 4))
    left_red.save(tmp_path / "j", "JPEG", exif=exif, quality=100, subsampling=0)
    plain.quantize(4).save(tmp_path / "p", "PNG")
    plain.convert("L").save(tmp_path / "g", "PNG")
    Image.new("RGBA", (8, 4), (0, 0, 0, 0)).save(tmp_path / "a", "PNG")
    plain.convert("CMYK").save(tmp_path / "c", "JPEG", quality=100)
    Image.fromarray(np.full((4, 8), 40_000, np.uint16)).save(tmp_path / "s", "PNG")
    data = Table("test", tmp_path / "train.csv", test=tmp_path / "train.csv", size=4, fit="stretch")
    p, g, a, c, s, j = (data[at]["image"].int() for at in range(6))
    assert all(image.shape == (3, 4, 4) for image in (p, g, a, c, s, j))
    red = torch.tensor([200, 10, 10])[:, None, None]
    assert ((p - red).abs() <= 2).all() and ((c - red).abs() <= 8).all()
    assert (a == 255).all() and (g[0] == g[1]).all() and (s == 40_000 >> 8).all()
    assert j[0, 0].min() > 150 and j[0, -1].max() < 80  # its left is above


def test_ways_to_fit(tmp_path):
    path = table_of(tmp_path, size=(64, 32), a=lambda at: "xy"[at % 2])
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste((255, 255, 255), (16, 0, 48, 32))
    picture.save(tmp_path / "0.png")
    first = {"train": path, "test": write_table(tmp_path, ["file,a", "0.png,x"], "test.csv"), "split": "test"}
    assert (Table(**first)[0]["image"] == 255).all()
    stretched = Table(**first, fit="stretch")[0]["image"]
    assert stretched.shape == (3, 32, 32) and (stretched[:, :, 0] == 0).all() and (stretched[:, :, 16] == 255).all()
    assert Table(**first, size=20)[0]["image"].shape == (3, 20, 20)


def write_maps(folder):
    """Twelve pictures with a map of each kind, and their table."""
    write_pictures(folder, NAMES[:12], (8, 6))
    rows = ["file,mask,deep,far,surface_normal,facing,edge,shown,view"]
    for at in range(12):
        files = [f"{kind}{at}.{'npy' if kind in 'df' else 'png'}" for kind in "mDdnfesv"]
        rows.append(",".join([NAMES[at], *files]) if at else f"{NAMES[0]},m0.png,,,,,,,")
        mask = np.zeros((6, 8), np.uint8)
        mask[:, 4:], mask[0, 0] = 3, 255
        Image.fromarray(mask).save(folder / f"m{at}.png")
        Image.fromarray(np.full((6, 8), 2500, np.uint16)).save(folder / f"D{at}.png")
        np.save(folder / f"d{at}.npy", np.where(mask == 255, np.nan, 1.5).astype(np.float32))
        Image.fromarray(np.dstack([mask * 0 + 128, mask * 0 + 128, mask * 0 + 255])).save(folder / f"n{at}.png")
        np.save(folder / f"f{at}.npy", np.dstack([mask * 0.0, mask * 0.0, mask * 0.0 + 2 * (mask == 3) / 2]))
        Image.fromarray((mask == 3).astype(np.uint8) * 255).save(folder / f"e{at}.png")
        Image.fromarray((mask == 3).astype(np.uint8) * 255).save(folder / f"s{at}.png")
        Image.new("RGB", (8, 6), (at, 2, 3)).save(folder / f"v{at}.png")
    return write_table(folder, rows)


def test_maps(tmp_path):
    path = write_maps(tmp_path)
    data = Table("test", path, test=path, size=8, fit="stretch")
    kinds = {"mask": "segmentation", "deep": "depth", "far": "depth", "surface_normal": "normals", "facing": "normals",
             "edge": "edges", "shown": "saliency"}  # fmt: skip
    assert {task.name: task.kind for task in data.tasks} == kinds
    assert data.tasks[0].num_classes == 4 and list(data[0]["targets"]) == ["mask"]
    targets = data[1]["targets"]
    for task in data.tasks:
        make_kind(task).check(targets[task.name][None], (8, 8))
    assert targets["mask"][0, 0] == -100 and (targets["mask"][:, 4:] == 3).all() and targets["mask"][-1, 0] == 0
    assert targets["deep"].unique().tolist() == [2.5] and targets["far"][0, 0] == 0 and targets["far"][-1, -1] == 1.5
    assert torch.allclose(targets["surface_normal"][:, 3, 3], torch.tensor([0.0, 0, 1]), atol=0.01)
    assert targets["facing"][2, 3, 7] == 1 and targets["facing"][:, 3, 0].abs().sum() == 0
    assert targets["edge"].sum() == targets["shown"].sum() == 32
    notes = {note.column: (note.role, note.told) for note in data.column_notes}
    assert notes["view"] == ("left out", "pictures in colour: say what they are")
    said = {"mask": {"kind": "segmentation", "labels": ["floor", "wall", "door", "box"], "ignore": 3}, "far": None,
            "deep": {"kind": "depth", "unit": 0.01}}  # fmt: skip
    other = Table("test", path, test=path, size=8, fit="stretch", columns=said)
    assert other.tasks[0].labels == ["floor", "wall", "door", "box"] and "far" not in other[1]["targets"]
    assert (other[1]["targets"]["mask"][:, 4:] == -100).all() and other[1]["targets"]["deep"].unique().item() == 25


def test_maps_follow_their_pictures(tmp_path):
    """A cut is the same of both; a map of another shape is an error."""
    write_pictures(tmp_path, ["0.png"], (16, 8))
    mask = np.zeros((16, 32), np.uint8)
    mask[:, 8:24] = 1
    Image.fromarray(mask).save(tmp_path / "m0.png")
    path = write_table(tmp_path, ["file,mask", "0.png,m0.png"])
    said = {"columns": {"mask": {"kind": "segmentation", "num_classes": 2}}, "test": path, "fit": "crop"}
    assert (Table("test", path, **said, size=8)[0]["targets"]["mask"] == 1).all()
    Image.fromarray(mask.T).save(tmp_path / "m0.png")
    with pytest.raises(ValueError, match="it has 16 x 32 pixels, and its image 16 x 8: another shape"):
        Table("test", path, **said)[0]


def damage(path):
    """A picture whose pixels are damaged in the midst; its beginning and end are whole."""
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack(">I", content[33:37])
    content[41 : 41 + length] = bytes(length)
    path.write_bytes(content)


def test_broken_files(tmp_path):
    path = table_of(tmp_path, a=lambda at: "xy"[at % 2])
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    (tmp_path / "4.png").write_bytes(b"")
    (tmp_path / "5.png").unlink()
    given = {"train": path, "test": path, "split": "train"}
    with pytest.raises(ValueError, match=r"Of 20 rows of .*, 3 have files .* max_broken=0.01 allows. The first:\n"):
        Table(**given)
    data = Table(**given, max_broken=0.2)
    assert len(data) == 17 and sorted(map(str, data.broken_files)) == [str(tmp_path / f"{at}.png") for at in (3, 4, 5)]
    assert "no such file" in data.broken_files[str(tmp_path / "5.png")]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_turns_out_to_be_broken(workers, tmp_path):
    path = table_of(tmp_path, a=lambda at: "xy"[at % 2])
    for at in (3, 7):
        damage(tmp_path / f"{at}.png")
    data = Table("train", path, test=path, max_broken=0.1)
    assert len(data) == 20 and not data.broken_files
    samples = list(DataLoader(data, batch_size=None, num_workers=workers))
    without = [at for at, sample in enumerate(samples) if not sample["targets"]]
    assert without == [3, 7] and not samples[3]["image"].any()
    assert sorted(data.broken_files) == [str(tmp_path / f"{at}.png") for at in (3, 7)]
    strict = Table("train", path, test=path, max_broken=0.05)
    assert not strict[3]["targets"]
    with pytest.raises(ValueError, match=r"2 have files that are missing or broken, more than max_broken=0\.05 allows"):
        strict[7]


def test_a_missing_mask_is_no_label(tmp_path):
    path = write_maps(tmp_path)
    (tmp_path / "m5.png").unlink()
    data = Table("test", path, test=path, max_broken=0.1)
    assert list(data.broken_files) == [str(tmp_path / "m5.png")] and "mask" not in data[5]["targets"]
    assert "deep" in data[5]["targets"]


def test_all_forms_give_the_same_samples(tmp_path):
    """CSV, JSON lines, Parquet, Parquet with the pictures in it, a Hugging Face data set, and folders of classes."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    datasets = pytest.importorskip("datasets")
    records = [{"file": f"{kind}/{at}.png", "label": kind} for kind in ("a", "b") for at in range(6)]
    write_pictures(tmp_path / "all", [record["file"] for record in records])
    write_table(tmp_path / "all", ["file,label", *(",".join(record.values()) for record in records)])
    write_table(tmp_path / "all", [json.dumps(record) for record in records], "train.jsonl")
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "all" / "train.parquet")
    held = [{"image": {"bytes": (tmp_path / "all" / each["file"]).read_bytes(), "path": None}, "label": each["label"]}
            for each in records]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(held), tmp_path / "held.parquet")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    saved = datasets.Dataset.from_list(held).cast(features)
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": saved, "test": saved.select(range(3, 9))}).save_to_disk(tmp_path / "several")
    sources = ["all/train.csv", "all/train.jsonl", "all/train.parquet", "held.parquet", "one", "all"]
    first, *others = (Table("train", tmp_path / source, test=0.25, seed=3) for source in sources)
    for data in others:
        assert data.tasks == first.tasks and len(data) == len(first) == 8
        for one, other in zip(first, data, strict=True):
            assert torch.equal(one["image"], other["image"]) and one["targets"] == other["targets"]
    train, test = (Table(split, tmp_path / "several") for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 6) and test[3]["targets"]["label"] == 1


def test_folders_of_splits_are_told(tmp_path):
    write_pictures(tmp_path, [f"{split}/a/1.png" for split in ("train", "test")])
    with pytest.raises(ValueError, match=f"has the folders test, train: give each, as train: {tmp_path}/test"):
        Table("train", tmp_path)
    with pytest.raises(ValueError, match="has no images in folders named by their classes"):
        Table("train", tmp_path / "train" / "a")


def test_a_million_rows(tmp_path):
    """In a few seconds, each text held once; a part of it every day."""
    count = 1_000_000 if NIGHTLY else 30_000
    rows = (f"{at}.png,{'abcd'[at % 4] * 9},{at % 977}.25,{at % 2}" for at in range(count))
    path = write_table(tmp_path, ["file,kind,price,new", *rows])
    start = time.process_time()
    table = read_training_table(str(path))
    labels = [table.columns[name].codes for name in ("kind", "new")]
    kept, held_out = divided(count, 0.1, 0, labels)
    assert time.process_time() - start < 30 * count / 1_000_000 + 2
    assert len(table) == count and len(table.columns["kind"].values) == 4 and len(kept) + len(held_out) == count
