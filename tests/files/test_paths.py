"""A folder that is not there: what is said of it names what lies near, and what it may have been meant as."""

from pathlib import Path

import pytest
import timm

import tsbn_hub
from tsbn_hub import Task, TsbnForMultiTask
from tsbn_hub.files.paths import near_folders
from tsbn_hub.files.repositories import HubError, is_repo

TASKS = [Task("a", num_classes=2)]
DOORS = {
    "from_pretrained": tsbn_hub.from_pretrained,
    "load_task": lambda name: tsbn_hub.load_task(timm.create_model("test_resnet_tsbn", num_classes={"b": 2}), name),
    "load_task's base": lambda name: tsbn_hub.load_task(name, Path("runs", "a task")),
    "TsbnForMultiTask.from_pretrained": TsbnForMultiTask.from_pretrained,
    "from_backbone": lambda name: TsbnForMultiTask.from_backbone(name, TASKS),
    "from_backbone, without weights": lambda name: TsbnForMultiTask.from_backbone(name, TASKS, pretrained=False),
}


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    for name in ("multi_digits", "scenes"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    tsbn_hub.save_task(timm.create_model("test_resnet_tsbn", num_classes={"a": 2}), "a", Path("runs", "a task"))


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_typo_in_a_folder_is_told_as_one(door):
    near = r"Did you mean runs/multi_digits\?"
    with pytest.raises(HubError, match=rf"^There is no folder runs/multi_digts\. {near} As a repo of the Hub: runs/m"):
        door("runs/multi_digts")
    for path in ("./runs/multi_digts", "~/runs/multi_digts", Path("runs/multi_digts")):
        with pytest.raises(FileNotFoundError, match=r"^There is no folder .*multi_digts\. Did you mean .*multi_digits"):
            door(path)
    with pytest.raises(FileNotFoundError, match=r"^runs/multi_digits/best is neither a folder nor a Hub repo"):
        door("runs/multi_digits/best")


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_what_is_like_no_folder_is_a_repo(door):
    with pytest.raises(HubError, match=r"^lab/net: HF_HUB_OFFLINE"):
        door("lab/net")


def test_local_files_only_of_a_typo():
    with pytest.raises(
        HubError, match=r"^There is no folder runs/scene\. Did you mean runs/scenes\?.*local_files_only"
    ):
        tsbn_hub.from_pretrained("runs/scene", local_files_only=True)


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("run/scenes", ["runs/scenes"]),
        ("run/nothing", ["runs"]),
        ("runs/nothing", []),
        ("/nothing/here", []),
        ("lab/net", []),
    ],
)
def test_near_folders(source, near):
    assert near_folders(source) == near


def test_a_folder_in_the_home():
    assert near_folders("~/runs/scenes") == [str(Path("runs/scenes").resolve())] and not is_repo("~/runs")


def test_timms_own_weights_are_asked_for_once_and_named():
    for load in (
        lambda: timm.create_model("test_resnet_tsbn", pretrained=True),
        lambda: TsbnForMultiTask.from_backbone("timm/test_resnet", TASKS),
    ):
        with pytest.raises(HubError, match=r"^timm/test_resnet\.r160_in1k: HF_HUB_OFFLINE .* is set, and the cache"):
            load()
