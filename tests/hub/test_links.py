"""Links in a folder: nothing outside of it is published, or written."""

from pathlib import Path

import pytest
import timm

import tsbn_hub
from tests.cli.commands import tsbn
from tsbn_hub import CheckpointError
from tsbn_hub.hub import push_folder


@pytest.fixture
def folder(tmp_path):
    model = timm.create_model("test_resnet_tsbn", num_classes={"a": 2, "b": 3})
    tsbn_hub.save_pretrained(model, tmp_path / "model")
    (tmp_path / "key").write_text("secret")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "training.yaml", "model.safetensors"])
def test_a_link_that_leaves_the_folder_is_not_published(name, folder):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../key")
    with pytest.raises(CheckpointError, match=rf"{name} is a link to .*key, outside of its folder"):
        push_folder(folder, "ada/net", dry_run=True)


def test_links_within_the_folder_and_of_the_cache(folder):
    (folder / "LICENSE.txt").write_text("MIT")
    (folder / "LICENSE").symlink_to("LICENSE.txt")
    (folder / "data").symlink_to("/")  # a folder is not published
    expected = push_folder(folder, "ada/net", dry_run=True).files
    assert expected["LICENSE"] == 3 and "data" not in expected

    blobs, snapshot = folder.parent / "blobs", folder.parent / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            path.rename(blobs / path.name)
            (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    assert push_folder(snapshot, "ada/net", dry_run=True).files.keys() == expected.keys() - {"LICENSE"}


@pytest.mark.parametrize("name", ["gates.png", "predictions.png", "README.md"])
def test_a_link_is_replaced_and_not_written_through(name, folder):
    (folder / name).symlink_to("../key")
    tsbn("card", folder, "--overwrite")
    assert (folder.parent / "key").read_text() == "secret"
