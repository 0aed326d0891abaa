"""`--set`: a key of the config, or one inside its mappings."""

import pytest
import yaml

from tsbn_hub.cli.settings import with_settings
from tsbn_hub.training import TrainingConfig

CONFIG = {
    "model": "test_resnet_tsbn",
    "data": "MultiDigits",
    "output": "runs/x",
    "data_args": {"size": 32, "crop": {"low": 1, "high": 2}},
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["data_args.size=96"], {"data_args": {"size": 96, "crop": {"low": 1, "high": 2}}}),
        (["data_args.crop.low=0"], {"data_args": {"size": 32, "crop": {"low": 0, "high": 2}}}),
        (["data_args.size=9", "data_args.new.deep=[a, b]"],
         {"data_args": {"size": 9, "crop": {"low": 1, "high": 2}, "new": {"deep": ["a", "b"]}}}),
        (["data_args={size: 96}"], {"data_args": {"size": 96}}),
        (["data_args={}"], {"data_args": {}}),
        (["heads.left=small"], {"heads": {"left": "small"}}),
        (["model_args.drop_rate=0.1", "lr=0.2"], {"model_args": {"drop_rate": 0.1}, "lr": 0.2}),
        (["data_args.root=a=b"], {"data_args": {"size": 32, "crop": {"low": 1, "high": 2}, "root": "a=b"}}),
    ],
)  # fmt: skip
def test_what_they_mean(settings, expected, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert TrainingConfig.read(path, **with_settings({}, settings)) == TrainingConfig(**CONFIG | expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["lr=0.2"], "--set lr=0.2: lr is given already, as 0.1."),
        (["lr.x=1"], "--set lr.x=1: lr is given already, as 0.1."),
        (["data_args={}", "data_args.size=1"], "--set data_args.size=1: data_args is given already, as {}."),
        (["data_args.size=1", "data_args={}"], "--set data_args={}: data_args.size is given already, as 1."),
        (["a.b=1", "a.b=1"], "--set a.b=1: a.b is given already, as 1."),
        (["lr"], "--set lr: write KEY=VALUE."),
        (["a.=1"], "--set a.=1: write KEY=VALUE."),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError) as error:
        with_settings({"lr": 0.1, "epochs": None}, settings)
    assert str(error.value) == message


def test_what_only_looks_like_a_part():
    assert list(with_settings({"data": "x"}, ["data_args.size=1", "data_args.sizes=2"])) == [
        "data", "data_args.size", "data_args.sizes",
    ]  # fmt: skip


def test_nothing_of_the_caller_changes(tmp_path):
    path, given = tmp_path / "config.yaml", {"size": 1}
    path.write_text(yaml.safe_dump(CONFIG))
    config = TrainingConfig.read(path, **{"data_args": given, "data_args.size": 2})
    assert config.data_args == {"size": 2} and given == {"size": 1}
