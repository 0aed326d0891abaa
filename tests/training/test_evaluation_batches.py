"""How many samples validation and test take at once."""

import pytest
from accelerate import Accelerator

from tests.training.small_runs import config_of_data
from tsbn_hub.training import TrainingConfig, train
from tsbn_hub.training.loaders import Loaders
from tsbn_hub.training.recipe.building import build_data, build_kinds, build_tasks

DATA = """
import torch
from torch.utils.data import Dataset


class Widths(Dataset):
    num_classes = {"a": 2, "b": 3}

    def __init__(self, split):
        pass

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"image": torch.rand(3, 64, 64 + 32 * (index % 3)), "targets": {"a": index % 2, "b": index % 3}}
"""


@pytest.fixture
def config(tmp_path):
    return config_of_data(tmp_path, DATA, "Widths", batch_size=1, validation=0.5)


def test_images_of_several_sizes(config):
    scores = train(TrainingConfig.read(config))
    assert scores.keys() == {"a", "b"}
    assert train(TrainingConfig.read(config, eval_batch_size=2)) == scores, "it may change when going on"


@pytest.mark.parametrize(("given", "size"), [(None, 4), (3, 3), (100, 8)])
def test_sizes(given, size, config):
    config = TrainingConfig.read(config, batch_size=4, eval_batch_size=given)
    data = build_data(config, "test")
    loaders = Loaders(config, build_kinds(build_tasks(config, data)), lambda images: images, Accelerator())
    sizes = [len(batch) for batch in loaders.evaluation_batches(data).batch_sampler]
    assert sizes[0] == size and sum(sizes) == len(data)
