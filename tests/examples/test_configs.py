"""The configs of examples/configs are read, and those whose data are embedded give a model of the size they say."""

import pytest
import torch

from tests.scripts import ROOT
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.recipe.building import build_data, build_model, build_tasks

CONFIGS = sorted((ROOT / "examples" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read(path):
    config = TrainingConfig.read(path)
    assert config.output.startswith("runs/")


@pytest.mark.parametrize(("name", "tasks"), [("avatars", 6), ("avatars_40_attributes", 40)])
def test_avatars(name, tasks):
    config = TrainingConfig.read(ROOT / "examples" / "configs" / f"{name}.yaml", **{"data_args.images": 2})
    data = build_data(config, "train")
    model = build_model(config, build_tasks(config, data), tuple(data[0]["image"].shape))
    assert len(build_tasks(config, data)) == tasks
    assert 0.3e6 < sum(parameter.numel() for parameter in model.parameters()) < 0.45e6
    out = model.eval()(torch.stack([data[index]["image"] for index in range(2)]))
    assert len(getattr(out, "logits", out)) == tasks
