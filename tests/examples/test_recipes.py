"""The recipes for published benchmarks: each trains on a made-up folder, and its network is the published one."""

import re
import shlex
from itertools import pairwise

import pytest
import torch

from tests.cli.commands import tsbn
from tests.data.folders import write_celeba, write_cityscapes, write_nyuv2
from tests.matrices import cases_of
from tests.own_code import nothing_imported
from tests.scripts import ROOT
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.recipe.building import build_data, build_model, build_tasks

PAGE = (ROOT / "docs/recipes.md").read_text()
SMOKE = re.search(r"```bash\n# smoke\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
CONFIGS = ROOT / "examples" / "configs"
pytestmark = pytest.mark.filterwarnings("ignore:Overwriting celeba_cnn9")  # imported anew by each test that names it


@pytest.fixture
def root(tmp_path):
    def make(name, **sizes):
        write = {"nyuv2": write_nyuv2, "cityscapes": write_cityscapes, "celeba": write_celeba}
        return write[name.partition("_")[0]](tmp_path / "data", **sizes)

    return make


def recipe_of(command):
    return re.search(r"(\w+)\.yaml", command)[1]


DAILY = ["celeba_cnn9", "nyuv2_resnet50_deeplab"]


@pytest.mark.parametrize(
    "command", cases_of(SMOKE, [command for command in SMOKE if recipe_of(command) in DAILY]), ids=recipe_of
)
def test_a_trial(command, root, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, train, config, *overrides = shlex.split(command)
    name = config.split("/")[-1].removesuffix(".yaml")
    sizes = {} if name.startswith("celeba") else {"train": 8, "val": 2, "height": 32, "width": 48}
    folder, output = root(name, **sizes), tmp_path / "run"
    with nothing_imported():
        done = tsbn(train, config, *overrides, "--set", f"data_args.root={folder}", "--set", f"output={output}")
    assert program == "tsbn" and done.exit_code == 0, done.output
    for metric in ("f1",) if name.startswith("celeba") else ("miou", "abs_err", "rel_err"):
        assert metric in done.output
    assert (output / "model.safetensors").is_file()
    chosen_on = "CelebA's own validation split" if name.startswith("celeba") else "20% of the training data"
    assert chosen_on in (output / "README.md").read_text()


@pytest.mark.parametrize(("name", "tasks", "millions"), [("nyuv2", 3, 71.9), ("cityscapes", 2, 55.8)])
def test_the_network_has_as_many_parameters_as_the_published_one(name, tasks, millions, root):
    """LibMTL's, with hard sharing; of the second by its heads of 16.1 M each."""
    config = TrainingConfig.read(
        CONFIGS / f"{name}_resnet50_deeplab.yaml",
        **{"pretrained": False, "norm": "shared", "data_args.root": str(root(name))},
    )
    data = build_data(config, "train")
    with torch.device("meta"):
        model = build_model(config, build_tasks(config, data), (3, 64, 96))
    assert len(data.tasks) == tasks
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions


def test_the_cnn_of_nine_layers(root, monkeypatch):
    """By the layers of FAMO's: 3x3 convolutions, BatchNorms, two 512x512, and a number for each of 40 heads."""
    monkeypatch.chdir(ROOT)
    with nothing_imported():
        from tsbn_hub.files.own_code import import_file

        import_file("examples/celeba_cnn9.py")
        config = TrainingConfig.read(
            CONFIGS / "celeba_cnn9.yaml", **{"norm": "shared", "data_args.root": str(root("celeba"))}
        )
        model = build_model(config, build_tasks(config, build_data(config, "train")), (3, 64, 64))
    widths = [3, 64, 128, 128, 256, 256, 512, 512]
    convolutions = sum(9 * before * after for before, after in pairwise(widths))
    norms = 2 * (sum(widths[1:]) + 2 * 512)
    expected = convolutions + norms + 2 * 512 * 512 + 40 * 513
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert len(model.tasks) == 40


def test_every_recipe_has_a_trial_and_is_on_the_page():
    recipes = {path.name for path in CONFIGS.glob("*.yaml") if path.name.startswith(("nyuv2", "cityscapes", "celeba"))}
    assert len(recipes) == len(SMOKE) == 4
    for recipe in recipes:
        assert "docs/recipes.md" in (CONFIGS / recipe).read_text()
        assert PAGE.count(f"tsbn train examples/configs/{recipe}") == 2
