"""What is costly to make is kept on disk, and comes back bit for bit; whatever is wrong there only costs time."""

import logging
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tsbn_hub.files import disk_cache
from tsbn_hub.files.disk_cache import FOLDER_VARIABLE, DiskCache

MADE = {
    "bytes": torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4),
    "floats": torch.tensor([0.1, -0.0, float("nan"), float("inf")]),
    "number": torch.tensor(-100),
}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(disk_cache, "_logged", set())
    monkeypatch.setattr(disk_cache, "_KEPT_FREE", 0)


class Maker:
    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {name: tensor.clone() for name, tensor in MADE.items()}


def cached(**key):
    return DiskCache("Rooms", {"size": 3, **key}, Path(__file__))


def the_file(tmp_path):
    (path,) = (tmp_path / "cache").rglob("*.safetensors")
    return path


def assert_made(tensors):
    assert tensors.keys() == MADE.keys()
    for name, tensor in MADE.items():
        assert tensors[name].dtype == tensor.dtype and tensors[name].shape == tensor.shape
        assert tensors[name].numpy().tobytes() == tensor.numpy().tobytes()


def test_made_once(tmp_path):
    make = Maker()
    for _ in range(3):
        assert_made(cached().get("all", make))
    assert make.times == 1
    assert the_file(tmp_path).relative_to(tmp_path / "cache").parts[:3] == ("tsbn_hub", "data", "Rooms")
    assert stat.S_IMODE(the_file(tmp_path).stat().st_mode) & 0o600 == 0o600


def test_what_is_not_contiguous(tmp_path):
    for _ in range(2):
        assert cached().get("all", lambda: {"turned": torch.arange(6).reshape(2, 3).T})["turned"].tolist() == [
            [0, 3], [1, 4], [2, 5],
        ]  # fmt: skip


def test_writing_to_what_was_read_does_not_reach_the_disk():
    make = Maker()
    cached().get("all", make)
    cached().get("all", make)["bytes"].zero_()
    assert_made(cached().get("all", make))
    assert make.times == 1


def test_all_that_they_depend_on_makes_another(tmp_path):
    make, code = Maker(), tmp_path / "code"
    code.mkdir()
    (code / "drawing.py").write_text("old")
    caches = [
        lambda: cached(),
        lambda: cached(size=4),
        lambda: cached(seed=None),
        lambda: DiskCache("Others", {"size": 3}, Path(__file__)),
        lambda: DiskCache("Rooms", {"size": 3}, code),
    ]
    for number, cache in enumerate(caches, start=1):
        cache().get("all", make)
        cache().get("all", make)
        assert make.times == number
    cached().get("part", make)
    assert make.times == len(caches) + 1
    (code / "drawing.py").write_text("new")
    disk_cache._digest.cache_clear()  # as in another process
    DiskCache("Rooms", {"size": 3}, code).get("all", make)
    assert make.times == len(caches) + 2


@pytest.mark.parametrize("harm", ["truncated", "empty", "foreign", "flipped", "folder", "other content"])
def test_a_broken_file_is_made_anew(tmp_path, harm, caplog):
    make = Maker()
    cached().get("all", make)
    path = the_file(tmp_path)
    content = path.read_bytes()
    if harm == "folder":
        path.unlink()
        path.mkdir()
    elif harm == "other content":
        from safetensors.torch import save_file

        save_file({"bytes": torch.zeros(3)}, path)
    else:
        path.write_bytes(
            {
                "truncated": content[:-1],
                "empty": b"",
                "foreign": b"GIF89a" * 99,
                "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
            }[harm]
        )
    assert_made(cached().get("all", make))
    assert make.times == 2
    assert_made(cached().get("all", make))
    assert make.times == (3 if harm == "folder" else 2)


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def fails(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache, "save_file", fails)
    assert_made(cached().get("all", Maker()))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("why", ["a file in its place", "a full disk", "nearly full"])
def test_what_cannot_be_kept_is_said_once(tmp_path, monkeypatch, caplog, why):
    attempts = []

    def full(tensors, path, metadata):
        attempts.append(path)
        raise OSError(28, "No space left on device")

    if why == "a file in its place":
        (tmp_path / "cache").write_text("")
    elif why == "nearly full":
        monkeypatch.setattr(disk_cache, "_KEPT_FREE", shutil.disk_usage(tmp_path).total + 1)
    else:
        monkeypatch.setattr(disk_cache, "save_file", full)
    make, cache = Maker(), cached()
    with caplog.at_level(logging.WARNING):
        for part in ("one", "two"):
            assert_made(cache.get(part, make))
        assert_made(cached().get("one", make))
    assert make.times == 3 and len(attempts) in (0, 2), "one for each data set"
    (record,) = caplog.records
    assert record.message.startswith("Rooms is made anew in each run, for it cannot be kept on disk: ")
    assert record.message.endswith("$TSBN_DATA_CACHE may name another folder.")


def test_a_folder_of_ones_own_and_none(tmp_path, monkeypatch):
    make = Maker()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "scratch"))
    cached().get("all", make)
    cached().get("all", make)
    assert make.times == 1 and len(list((tmp_path / "scratch" / "Rooms").rglob("*.safetensors"))) == 1
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    cached().get("all", make)
    cached().get("all", make)
    assert make.times == 3 and not (tmp_path / "cache").exists()


def test_a_user_without_a_home(monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
    )
    assert_made(cached().get("all", Maker()))
    assert "Could not determine home" in caplog.text


def test_several_at_once():
    with ThreadPoolExecutor(4) as pool:
        for tensors in pool.map(lambda number: cached().get(str(number % 3), Maker()), range(60)):
            assert_made(tensors)
