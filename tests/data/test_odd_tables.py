"""Odd tables: each is read as it is meant, or refused in one clear line."""

import json
import re

import pytest

from tests.data.tables import write_pictures, write_table
from tsbn_hub.data import Table

NAMES = [f"{at}.png" for at in range(12)]
KINDS = ["mug", "plate", "box"]


def lines(delimiter=",", header="file,kind,price", price="{}.5", kind=None, name="{}.png", more=""):
    header = [header.replace(",", delimiter)] if header else []
    kinds = kind or KINDS
    rows = [(name.format(at), kinds[at % len(kinds)], price.format(at)) for at in range(12)]
    return header + [delimiter.join(row) + more for row in rows]


# What a table of twelve rows is written as: rows, and how they become a file.
WORKING = {
    "plain": (lines(), {}),
    "BOM": (lines(), {"encoding": "utf-8-sig"}),
    "UTF-16": (lines(), {"encoding": "utf-16"}),
    "UTF-16 without a mark": (lines(), {"encoding": "utf-16-le"}),
    "UTF-16 of the other order": (lines(), {"encoding": "utf-16-be"}),
    "Latin-1": (lines(kind=["café", "plâtre", "boîte"]), {"encoding": "latin-1"}),
    "semicolons": (lines(";"), {}),
    "semicolons and decimal commas": (lines(";", price="{},5"), {}),
    "decimal commas alone": (lines(";", header=None, price="{},5"), {}),
    "tabs": (lines("\t"), {"name": "train.tsv"}),
    "tabs in a CSV": (lines("\t"), {}),
    "bars": (lines("|"), {}),
    "quotes": ([",".join(f'"{cell}"' for cell in row.split(",")) for row in lines()], {}),
    "a delimiter in quotes": (lines(kind=['"mug, red"', '"plate; red"', "box"]), {}),
    "a line end in quotes": (lines(kind=['"mug\nred"', "plate", "box"]), {}),
    "quotes in quotes": (lines(kind=['"6"" mug"', "plate", "box"]), {}),
    "a quote in a cell": (lines(kind=['6" mug', "plate", "box"]), {}),
    "Windows' line ends": (lines(), {"end": "\r\n"}),
    "old line ends": (lines(), {"end": "\r"}),
    "mixed line ends": ([row + "\r" * (at % 2) for at, row in enumerate(lines())], {}),
    "a last line end": ([*lines(), ""], {}),
    "blank lines": ([each for row in lines() for each in (row, "")], {}),
    "spaces": (lines(delimiter=" , "), {}),
    "spaces at the ends": ([row.replace(",", " ,") + "  " for row in lines()], {}),
    "delimiters at the ends": ([row + "," for row in lines()], {}),
    "delimiters at the ends of rows": (lines(more=",,"), {}),
    "no header": (lines(header=None), {}),
    "an index of pandas": ([f"{'' if not at else at - 1},{row}" for at, row in enumerate(lines())], {}),
    "no value": ([*lines()[:-1], "11.png,NaN,null"], {}),
    "short rows": ([*lines()[:-1], "11.png"], {}),
    "Windows' paths": (lines(name="sub\\{}.png"), {}),
    "a dot before": (lines(name="./{}.png"), {}),
    "out of the folder": (lines(name="../pictures/{}.png"), {}),
    "Arabic names": (lines(name="صورة {}.png"), {}),
    "a dot in a name": (lines(header="file,kind,price.net"), {}),
    "a long line": (lines(more=",\\" + "x" * 100_000, header="file,kind,price,note"), {}),
    "thousands": (lines(";", price="1.{:03},5"), {}),
    "JSON lines": ([json.dumps({"file": f"{at}.png", "kind": KINDS[at % 3], "price": at + 0.5}) for at in range(12)],
                   {"name": "train.jsonl"}),
    "JSON": ([json.dumps([{"file": f"{at}.png", "kind": KINDS[at % 3], "price": at + 0.5} for at in range(12)])],
             {"name": "train.json"}),
    "JSON lines with gaps": ([json.dumps({"file": f"{at}.png", **({"kind": KINDS[at % 3], "price": at + 0.5} if at
                              else {"kind": None})}) for at in range(12)], {"name": "train.jsonl"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "pictures"
    for prefix in ("", "sub/", "صورة "):
        write_pictures(folder, [prefix + name for name in NAMES])
    return folder


@pytest.mark.parametrize("name", WORKING)
def test_it_works(name, folder):
    rows, written = WORKING[name]
    data = Table("train", write_table(folder, rows, **written), test=0.25)
    kind, price = data.tasks
    assert [kind.kind, price.kind] == ["classification", "regression"] and len(data) == 9 and not data.broken_files
    assert len(kind.labels) == 3 and all(label == label.strip() for label in kind.labels)
    found = {int(image[0, 0, 0]): targets for image, targets in ((each["image"], each["targets"]) for each in data)}
    for number, targets in found.items():
        if kind.name in targets:
            assert re.sub("[^a-zâéî]", "", kind.labels[targets[kind.name]])[:3] in "mug plate box café plâtre boîte"
            start = 1000 + number if name == "thousands" else number
            assert targets[price.name].tolist() == [start + 0.5]


def test_labels_of_latin_1(folder):
    rows, written = WORKING["Latin-1"]
    assert Table("train", write_table(folder, rows, **written)).tasks[0].labels == ["boîte", "café", "plâtre"]


def test_absolute_paths(folder, tmp_path):
    path = write_table(tmp_path, lines(name=str(folder / "{}.png")))
    assert len(Table("train", path, test=0.25)) == 9


# What a table is refused with.
REFUSED = {
    "no row": (["file,kind"], "has no row"),
    "nothing": ([], "is empty"),
    "only blanks": (["", " ", ""], "is empty"),
    "two columns of a name": (lines(header="file,kind,kind"), "has two columns 'kind': rename one"),
    "one class": (lines(kind=["mug"], price=""), "has no task .*kind: all cells are 'mug'"),
    "all empty": (["file,kind", *(f"{at}.png," for at in range(12))], "has no task .*kind: all cells are empty"),
    "files alone": (["file", *NAMES], "has no task .*there is no further column"),
    "one row": (["file,kind", "0.png,mug"], "has no task .*kind: all cells are 'mug'"),
    "ids": (["file,id", *(f"{at}.png,x{at}" for at in range(12))], "has no task .*id: 12 texts in 12 rows"),
    "numbers of rows": (["file,id", *(f"{at}.png,{at}" for at in range(12))], "id: the rows' numbers"),
    "dates": (["file,day", *(f"{at}.png,2024-02-{at + 1}" for at in range(12))], "day: dates"),
    "a unit": (["file,price", *(f"{at}.png,{at}.5" for at in range(11)), "11.png,3 EUR"], "but for '3 EUR'"),
    "NUL": ([*lines()[:5], "4.png,\0,1"], "line 6 has a NUL byte"),
    "too many cells": ([*lines()[:5], "4.png,mug,1,2"], "line 6: 4 cells, and 3 in the first row"),
    "an open quote": ([*lines()[:5], '4.png,"mug,1', "5.png,box,2"], "Is a quote opened and not closed"),
    "an endless cell": ([*lines()[:5], f"4.png,{'x' * 200_000},1"], "line 6: field larger than field limit"),
    "no such files": (lines(name="img/{}.jpg"), "names? files in .*: there is no .*img/0.jpg"),
    "files of the web": (lines(name="https://example.org/{}.jpg"), "Files of the web are not fetched"),
    "many missing": ([*lines(), *(f"{at}.png,mug,1.5" for at in range(20, 30))], r"max_broken=0.01.*\n.*2\d.png"),
    "JSON that is none": (['{"file": "0.png"', "{}"], "line 1 is no JSON", "train.jsonl"),
    "JSON that is no object": (['{"file": "0.png"}', "[1]", "3"], "line 2: .* is no object", "train.jsonl"),
    "another file": (lines(), "no table that is known by its name: .csv", "train.xlsx"),
    "Parquet that is none": (lines(), "is no Parquet file that can be read", "train.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name, folder):
    rows, message, *file = REFUSED[name]
    if "parquet" in message.lower():
        pytest.importorskip("pyarrow")
    path = write_table(folder, rows, *file)
    with pytest.raises(ValueError, match=f"(?s){message}") as refused:
        Table("train", path, test=0.25)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()[0]) < 500
