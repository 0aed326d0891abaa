"""Every benchmark runs and prints its table. How fast anything is, no test says."""

import json
import re

import pytest

from tests.matrices import cases_of
from tests.scripts import ROOT, run_script
from tsbn_hub.baselines import methods
from tsbn_hub.training.balancing.balancing import balancings

RATIO = r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)"
ONE_CASE = "--models test_resnet --tasks 2 --batch 1 --devices cpu --dtypes float32 --modes eager --rounds 1"
BENCHMARKS = {
    "bench": (
        ["--gated", "last 1", *ONE_CASE.split()],
        rf"test_resnet \| last 1 \| 2 \| 1 \| 0\.97 \| 0\.51 \| {RATIO} \|.*cpu, float32, eager, step.*{RATIO}",
    ),
    "learning": (
        ["--output", "learning.json", "--samples", "24", "--epochs", "1", "--only", "hps"],
        r"epoch +1 .*segmentation",  # of the training; the scores are on standard error
    ),
    "pages": (["--check"], r"^$"),
    "scenes": (
        ["--height", "16", "--width", "24", "--samples", "2", "--repeats", "2"],
        r"16x24: \d+ samples a processor second",
    ),
    "training_step": (
        ["--model", "test_resnet_tsbn", "--batch", "2", "--repeats", "3"],
        rf"test_resnet_tsbn, batch 2, \w+, over a plain loop: {RATIO}.*, channels_last: {RATIO}",
    ),
}
WRITTEN = {
    "bench": {f"build/bench/bench.{end}" for end in ("json", "md", "png")},
    "learning": {"learning.json"},
}


def test_none_is_left_out():
    trunk = {"random_fork"}  # it is imported, and has a test of its own
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(BENCHMARKS) | trunk


@pytest.mark.parametrize("name", cases_of(BENCHMARKS, [name for name in BENCHMARKS if name != "bench"]))
def test_it_runs(name, capsys, monkeypatch, tmp_path):
    arguments, printed = BENCHMARKS[name]
    monkeypatch.chdir(tmp_path)
    run_script(f"benchmarks/{name}.py", *arguments)
    assert re.search(printed, capsys.readouterr().out, re.DOTALL)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == WRITTEN.get(name, set())


def test_every_method_and_every_balancing_has_learned():
    """Each beats its untrained self on rendered rooms: what benchmarks/learning.py has written."""
    results = json.loads((ROOT / "benchmarks" / "results" / "learning.json").read_text("utf-8"))
    ours = [name for name in balancings if balancings[name].__module__.startswith("tsbn_hub.")]
    assert set(results) == {*methods, *ours}
    for name, scores in results.items():
        assert scores["trained"] > 1.1 * scores["untrained"], name
