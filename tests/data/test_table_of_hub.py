"""A table that is a data set of the Hub: downloaded by datasets, from a Hub on this machine."""

from dataclasses import replace

import pytest

from tests.data.test_other_processes import parquet_table
from tests.hub.loopback import LoopbackHub

SCRIPT = """
from tsbn_hub.data import Table
from tsbn_hub.deploy import find_images
data = {split: Table(split, "hf:ada/products", columns={"map": None}) for split in ("train", "test")}
print({split: len(each) for split, each in data.items()}, [(task.name, task.kind) for task in data["train"].tasks])
sample = data["train"][1]
print(tuple(sample["image"].shape), int(sample["image"].max()), sample["targets"]["price"].item())
print(len(find_images(["hf:ada/products"])), find_images(["hf:ada/products"])[1].read().size)
from tsbn_hub.cli.main import app
app(["train", "--table", "hf:ada/none"])
"""


class HubOfDataSets(LoopbackHub):
    """Its repositories are data sets, whose addresses are those of models but for a word."""

    def answer(self, request):
        target = request.target.replace("/api/datasets/", "/api/models/").replace("/datasets/", "/", 1)
        return super().answer(replace(request, target=target))


@pytest.fixture(scope="module")
def hub(hub_port, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    content = parquet_table(folder).read_bytes()
    with HubOfDataSets(folder / "hub", hub_port) as hub:
        hub.commit(
            "ada/products", {"data/train-00000-of-00001.parquet": content, "data/test-00000-of-00001.parquet": content}
        )
        yield hub
        assert not hub.errors


@pytest.fixture(scope="module")
def told(hub, clients, tmp_path_factory):
    """Of a process, which is one for both tests."""
    home = tmp_path_factory.mktemp("home")
    return clients.run("-c", SCRIPT, cwd=home, env=hub.environment(home))


def test_it_is_downloaded(hub, told):
    tasks = [("shape", "classification"), ("framed", "attributes"), ("price", "regression")]
    assert told.stdout.splitlines() == [f"{{'train': 12, 'test': 12}} {tasks}", "(3, 32, 32) 1 1.5", "12 (32, 32)"]
    assert any("/datasets/ada/products/resolve/" in asked.path and asked.status == 200 for asked in hub.requests)


def test_there_is_none(hub, told):
    assert told.returncode == 1 and not hub.errors
    assert "tsbn: Dataset 'ada/none' doesn't exist on the Hub" in told.stderr and "Traceback" not in told.stderr
