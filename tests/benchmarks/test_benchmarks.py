"""Every benchmark runs and prints its table. How fast anything is, no test says."""

import re

import pytest

from tests.scripts import ROOT, run_script

RATIO = r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)"
BENCHMARKS = {
    "scenes": (
        ["--height", "16", "--width", "24", "--samples", "2", "--repeats", "2"],
        r"16x24: \d+ samples a processor second",
    ),
    "speed": (
        ["--model", "test_resnet", "--tasks", "2", "--batch", "2", "--size", "32", "--repeats", "2", "--device", "cpu"],
        r"test_resnet, 2 tasks, batch 2, cpu.*" + 3 * r"\d+\.\d{3} to \d+\.\d{3}.*",
    ),
    "training_step": (
        ["--model", "test_resnet_tsbn", "--batch", "2", "--repeats", "3"],
        rf"test_resnet_tsbn, batch 2, \w+: {RATIO}",
    ),
}


def test_none_is_left_out():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_runs(name, capsys, monkeypatch, tmp_path):
    arguments, printed = BENCHMARKS[name]
    monkeypatch.chdir(tmp_path)
    run_script(f"benchmarks/{name}.py", *arguments)
    assert re.search(printed, capsys.readouterr().out, re.DOTALL)
    assert not list(tmp_path.iterdir())
