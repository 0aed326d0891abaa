"""`tsbn config`: the keys of a config, and what a file stands for."""

import dataclasses

import pytest

from tests.examples.test_configs import CONFIGS
from tsbn_hub.training import TrainingConfig

from .commands import tsbn

FIELDS = [field.name for field in dataclasses.fields(TrainingConfig)]


def test_all_keys():
    told = tsbn("config", columns=80)
    lines = told.stdout.splitlines()
    assert told.exit_code == 0 and max(map(len, lines)) <= 80
    assert [line.partition(" (")[0] for line in lines if line and line[0] != " "][: len(FIELDS)] == FIELDS
    assert "output (str; must be given)" in lines and "trackers (list[str]; default [])" in lines
    assert "mixed_precision (no | fp16 | bf16 | None; default null)" in lines
    after = lines[lines.index("epochs (int; default 10)") + 1]
    assert after == "    Passes over the training data."


def test_no_meaning_is_cut_short():
    """What is told of a key is what the docstring says of it, to its last word."""
    words = " ".join(TrainingConfig.__doc__.split())
    for name in FIELDS:
        meaning = " ".join(tsbn("config", name).stdout.split("\n", 1)[1].split())
        assert meaning.endswith(".") and f" {name}: {meaning} " in words


@pytest.mark.parametrize("key", ["data_args", "data_args.size"])
def test_one_key(key):
    told = tsbn("config", key).stdout
    assert told == "data_args (dict[str, Any]; default {})\n    Further keywords of the data set, where it is one.\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_printed_of_a_file_is_the_same_run(path, tmp_path):
    told = tsbn("config", path, "--set", "seed=7", "--set", "optimizer_args.betas=[0.9, 1.0e-5]")
    assert told.exit_code == 0, told.output
    (tmp_path / "printed.yaml").write_text(told.stdout, encoding="utf-8")
    overrides = {"seed": 7, "optimizer_args.betas": [0.9, 1e-5]}
    assert TrainingConfig.read(tmp_path / "printed.yaml") == TrainingConfig.read(path, **overrides)
    again = tsbn("config", tmp_path / "printed.yaml").stdout
    assert again.splitlines()[1:] == told.stdout.splitlines()[1:]  # the first line names the file


def test_what_is_not_the_default(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("{model: vit, data: [Scenes], output: 'ä: # b', method: hps, lr: 1.0e-3, epochs: 3}")
    chosen, _, kept = tsbn("config", path).stdout.partition("# The default:")
    assert "model: vit\ndata:\n- Scenes\noutput: 'ä: # b'\nnorm: shared\nmethod: hps\nepochs: 3\n" in chosen
    assert "\nlr: 0.001\n" in kept and "checkpoint: null\n" in kept and "\nepochs" not in kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["epoch"], "There is no key 'epoch', and no file. Did you mean 'epochs'? `tsbn config` lists all keys."),
        (["runs/none.yaml"], "There is no file runs/none.yaml."),
        (["--set", "lr=1"], "--set goes with a file: tsbn config FILE --set KEY=VALUE."),
        (["examples/configs/avatars.yaml", "--set", "lr=1e-3"], "lr='1e-3' is no float. YAML reads 1e-3 as text"),
    ],
)
def test_what_is_wrong(arguments, message):
    told = tsbn("config", *arguments)
    assert told.exit_code == 1 and told.stderr.startswith(f"tsbn: {message}") and not told.stdout
