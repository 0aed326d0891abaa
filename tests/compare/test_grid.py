"""Which runs a grid has, what they are called, and what is refused before any of them begins."""

from pathlib import Path

import pytest

from tsbn_hub.compare import Grid
from tsbn_hub.compare.grid import digest_of
from tsbn_hub.training import TrainingConfig

from .comparisons import grid_of, write_config

ROOT = Path(__file__).parents[2]


def labels(grid):
    return [variant.label for variant in grid.variants()]


def configs(grid):
    """By label the config with seed 0."""
    return {variant.label: grid.run(variant, 0).config for variant in grid.variants()}


def test_the_names_of_folders_stay():
    """Else the results of a grid would be computed anew."""
    grid = Grid(ROOT / "examples/configs/multi_digits.yaml", ["stl", "hps", "tssigma"], "grid", "alone", ["gls"])
    stl, hps, tssigma = grid.variants()
    assert digest_of(TrainingConfig(model="a", data="b", output="c")) == "b1b58c74"
    assert [str(grid.run(variant, seed=1).folder) for variant in (hps, tssigma)] == [
        "grid/runs/hps+gls-seed1-0f06ddef",
        "grid/runs/tssigma+gls-seed1-d2cf6c04",
    ]
    assert str(grid.run(stl, seed=1, task="left").folder) == "alone/stlleft-seed1-3ff842db"


def test_every_key_that_makes_another_run_makes_another_folder(tmp_path):
    first, same, other = (grid_of(tmp_path, "hps", overrides=each) for each in ({}, {"workers": 2}, {"epochs": 2}))
    assert first.run(first.variants()[0], 0).folder == same.run(same.variants()[0], 0).folder
    assert first.run(first.variants()[0], 0).folder != other.run(other.variants()[0], 0).folder


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": "stl,mtan"},
        {"balancings": ["gls"]},
        {"overrides": {"gate_lr_scale": 10}},
        {"overrides": {"model_args.gate_init": 0.9}},
        {"overrides": {"backward": "task"}},
        {"settings": {"balancing_args.alpha": [1, 2]}, "balancings": ["equal", "gradnorm"]},
    ],
)
def test_grids_of_the_same_data_and_recipe_share_single_task_runs(changes, tmp_path):
    first, second = grid_of(tmp_path), grid_of(tmp_path, folder=tmp_path / "another", **changes)
    folders = {grid.run(grid.variants()[0], seed=0, task="side").folder for grid in (first, second)}
    assert len(folders) == 1 and folders.pop().parent == tmp_path / "single_task"


def test_settings_are_for_the_methods_that_they_concern(tmp_path):
    grid = grid_of(
        tmp_path, "stl,hps,tsbn,tssigma,mtan", settings={"gate_lr_scale": [1, 100], "model_args.gate_init": [0.5, 0.9]}
    )
    assert labels(grid) == [
        "stl",
        "hps",
        *(f"tsbn, gate_lr_scale={scale}" for scale in (1, 100)),
        *(f"tssigma, gate_lr_scale={scale}, gate_init={gate}" for scale in (1, 100) for gate in (0.5, 0.9)),
        "mtan",
    ]


def test_settings_of_a_balancing_and_of_a_trunk(tmp_path):
    settings = {"balancing_args.alpha": [0.5, 1.5], "method_args.reduction": [2, 4]}
    found = configs(grid_of(tmp_path, "hps,mtan", settings=settings, balancings=["equal", "gradnorm"]))
    assert {
        label: (config.method_args.get("reduction"), config.balancing_args.get("alpha"))
        for label, config in found.items()
    } == {
        "hps": (None, None),
        "hps + gradnorm, alpha=0.5": (None, 0.5),
        "hps + gradnorm, alpha=1.5": (None, 1.5),
        **{f"mtan, reduction={each}": (each, None) for each in (2, 4)},
        **{f"mtan + gradnorm, alpha={a}, reduction={r}": (r, a) for a in (0.5, 1.5) for r in (2, 4)},
    }


def test_one_value_is_for_all_that_it_concerns(tmp_path):
    found = configs(grid_of(tmp_path, "hps,mtan,cross-stitch", overrides={"method_args.same": 0.8, "epochs": 2}))
    assert list(found) == ["hps", "mtan", "cross-stitch"]
    assert [config.method_args for config in found.values()] == [{}, {}, {"same": 0.8}]
    assert {config.epochs for config in found.values()} == {2}


def test_options_of_the_file_are_those_of_its_own_method_and_balancing(tmp_path):
    config = write_config(
        tmp_path, method="mtan", method_args={"reduction": 2}, balancing="dwa", balancing_args={"temperature": 1.0}
    )
    found = configs(grid_of(tmp_path, "mtan,cross-stitch", config, balancings=["dwa", "equal"]))
    assert [(config.method_args, config.balancing_args) for config in found.values()] == [
        ({"reduction": 2}, {"temperature": 1.0}), ({"reduction": 2}, {}), ({}, {"temperature": 1.0}), ({}, {})
    ]  # fmt: skip


def test_the_balancing_of_the_file_is_said(tmp_path):
    config = write_config(tmp_path, balancing="gls")
    assert labels(grid_of(tmp_path, "stl,hps", config)) == ["stl", "hps + gls"]
    assert labels(grid_of(tmp_path, "hps", overrides={"balancing": "dwa"})) == ["hps + dwa"]


def test_equal_compute_stretches_the_schedule(tmp_path):
    config = write_config(tmp_path, epochs=10, warmup_epochs=1.0, schedule="step", decay_epochs=4.0)
    grid = grid_of(tmp_path, "tssigma", config, settings={"weight_decay": [0.0, 0.1]})
    longer = grid.with_the_compute_of(2.5)
    assert [each.label for each in longer] == [f"hps, weight_decay={each}, 2.5x epochs" for each in (0.0, 0.1)]
    config = grid.run(longer[0], 0).config
    assert (config.epochs, config.warmup_epochs, config.decay_epochs) == (25, 2.5, 10)


def test_heads_of_single_tasks(tmp_path):
    config = write_config(tmp_path, heads={"corner": "small", "side": "linear"})
    grid = grid_of(tmp_path, "stl", config)
    assert grid.run(grid.variants()[0], 0, task="side").config.heads == {"side": "linear"}


@pytest.mark.parametrize(
    ("methods", "changes", "told"),
    [
        ("hps,tsigma", {}, "There is no method 'tsigma'. Did you mean 'tssigma'.*cross-stitch"),
        ("hps", {"balancings": ["glz"]}, "There is no balancing 'glz'. Did you mean 'gls'"),
        ("hps", {"seeds": 0}, "seeds=0"),
        ("hps", {"first_seed": -1}, "first_seed=-1 must be 0 or more"),
        ("hps", {"settings": {"gate_lr_scale": [1, 10]}}, "gate_lr_scale changes nothing for hps"),
        ("hps,mtan", {"overrides": {"method_args.same": 0.8}}, "method_args.same changes nothing for hps, mtan"),
        ("hps", {"overrides": {"seed": 3}}, "seed is not set .* say how many seeds"),
        ("hps", {"overrides": {"norm": "sigmoid"}}, "norm is not set .* name the methods"),
        ("hps", {"settings": {"workers": [0, 1]}}, r"workers=\[0, 1\]: all runs of a comparison have the same workers"),
        ("hps", {"settings": {"data_args.size": [8, 9]}}, "all runs of a comparison have the same data_args.size"),
        ("hps", {"overrides": {"epoch": 3}}, "unknown keys .* Did you mean 'epochs'"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_trained(methods, changes, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        grid_of(tmp_path, methods, **changes)


def test_imports_are_added_to_those_of_the_file(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("")
    config = write_config(tmp_path, imports=[f"{tmp_path}/one.py"])
    grid = grid_of(tmp_path, "hps", config, imports=[f"{tmp_path}/two.py"])
    assert configs(grid)["hps"].imports == [f"{tmp_path}/one.py", f"{tmp_path}/two.py"]
