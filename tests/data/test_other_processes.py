"""What goes to worker processes that are no forks of this one, as on Windows, macOS and in Python 3.14."""

import io
from multiprocessing.reduction import ForkingPickler

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.data.folders import write_celeba, write_cityscapes, write_nyuv2
from tests.data.test_overlaid_pairs import FASHION
from tsbn_hub.data import Avatars, CelebA, Cityscapes, Mixture, MultiDigits, MultiFashion, NYUv2, Scenes, Table
from tsbn_hub.data.augmentation.step import augmentations
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.loaders import Loaders
from tsbn_hub.training.recipe.building import build_augmentation, build_kinds

COLUMNS = ("shape", "framed", "price", "map")


def write_rows(folder, count=12):
    """Pictures with a class, an attribute, a number and a map each; the rows, by columns of texts."""
    rows = {"file": []} | {name: [] for name in COLUMNS}
    for number in range(count):
        for name, mode in (("photo", "RGB"), ("map", "L")):
            Image.new(mode, (32, 32), (number,) * len(mode)).save(folder / f"{name}{number}.png")
        cells = (f"photo{number}.png", f"{number % 2}a", ("yes", "no")[number % 2], f"{number}.5", f"map{number}.png")
        for column, cell in zip(rows.values(), cells, strict=True):
            column.append(cell)
    return rows


def csv_table(folder):
    rows = write_rows(folder)
    lines = [",".join(rows), *(",".join(cells) for cells in zip(*rows.values(), strict=True))]
    (folder / "t.csv").write_text("\n".join(lines))
    return folder / "t.csv"


def with_content(folder):
    rows = write_rows(folder)
    return rows | {name: [(folder / each).read_bytes() for each in rows[name]] for name in ("file", "map")}


def parquet_table(folder):
    rows = with_content(folder)
    rows |= {name: [{"bytes": each, "path": None} for each in rows[name]] for name in ("file", "map")}
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "t.parquet")
    return folder / "t.parquet"


def saved_data_set(folder):
    rows = with_content(folder)
    features = {name: datasets.Value("string") for name in COLUMNS}
    features |= dict.fromkeys(("file", "map"), datasets.Image()) | {"shape": datasets.ClassLabel(names=["0a", "1a"])}
    rows |= {name: [Image.open(io.BytesIO(each)) for each in rows[name]] for name in ("file", "map")}
    ours = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    ours.save_to_disk(str(folder / "saved"))
    return folder / "saved"


def table(write):
    columns = {"map": {"kind": "segmentation", "num_classes": 12}}
    return lambda folder: Table("train", write(folder), columns=columns, file="file")


DATA = {
    "Avatars": lambda folder: Avatars("train", images=4),
    "CelebA": lambda folder: CelebA(write_celeba(folder), "train"),
    "Cityscapes": lambda folder: Cityscapes(write_cityscapes(folder), "train"),
    "MultiDigits": lambda folder: MultiDigits("train"),
    "MultiFashion": lambda folder: MultiFashion(FASHION, "test"),
    "NYUv2": lambda folder: NYUv2(write_nyuv2(folder), "train"),
    "Scenes": lambda folder: Scenes("train", size=8, height=32, width=32),
    "Table": table(csv_table),
    "Table, Parquet": table(parquet_table),
    "Table, saved": table(saved_data_set),
}


def loaders_of(data, **config):
    config = TrainingConfig(model="resnet18_tsbn", data="Scenes", output="run", batch_size=2, **config)
    kinds = build_kinds(data.tasks)
    augment = build_augmentation(config, kinds, data)
    return Loaders(config, kinds, torch.nn.Identity(), Accelerator(cpu=True), augment=augment)


def sent(value):
    """What another process gets."""
    return ForkingPickler.loads(ForkingPickler.dumps(value))


def assert_alike(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", DATA)
def test_every_data_set(name, tmp_path):
    """The whole of it, and the part that is held out."""
    kept, held_out = Mixture([DATA[name](tmp_path)]).split_off(0.5)
    for data in (kept, held_out):
        batches = loaders_of(data).evaluation_batches(data)
        dataset, collate = sent(batches.dataset), sent(batches.collate_fn)
        draws = next(iter(batches.batch_sampler))
        assert_alike(collate([dataset[draw] for draw in draws]), next(iter(batches)))


@pytest.mark.parametrize("step", augmentations)
def test_every_augmentation(step):
    data = Mixture([MultiDigits("train")])
    loader = loaders_of(data, augmentation={step: True}).training_steps(data)._loader
    draws = next(iter(loader.batch_sampler))
    found, expected = ([each[draw] for draw in draws] for each in (sent(loader.dataset), loader.dataset))
    assert_alike(found, expected)
