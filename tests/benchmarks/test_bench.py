"""The benchmark suite: what it counts is right, whatever is measured, and what was measured is not lost."""

import json
import re
import time
from importlib.util import find_spec

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.suite import results as module
from benchmarks.suite.cases import Case, all_cases, gated_norms
from benchmarks.suite.measuring import alternate, peak_memory, ratio
from benchmarks.suite.networks import Networks
from benchmarks.suite.report import floor, markdown
from benchmarks.suite.results import CaseResult, Results, RunResult, measure
from tests.scripts import ROOT, run_script

ONE_TASK = "--tasks 1 --dtypes float32 --modes eager --devices cpu"
CASE = Case("test_resnet", "last 1", 3, 1, "cpu", "float32", "eager", "forward")


def test_runs_alternate_and_the_ratio_is_that_of_the_minima():
    calls = []
    seconds = alternate({name: lambda name=name: calls.append(name) for name in "abc"}, 4, 0, "cpu")
    assert "".join(calls) == "abccbaabc"  # without time, three rounds
    assert all(len(each) == 3 for each in seconds.values())
    assert ratio([4.0, 2.0, 3.0], [2.0, 1.0, 1.0]) == (2.0, 2.0, 2.5)


def test_time_that_others_have_the_processor_is_not_counted_of_one_thread():
    assert torch.get_num_threads() == 1
    (slept,) = alternate({"slept": lambda: time.sleep(0.2)}, 1, 0, "cpu")["slept"]
    assert slept < 0.1


def test_peak_memory_is_what_is_held_at_once():
    def run():
        first = torch.ones(1000, 1000)  # 4 MB
        second = first + 1
        del first
        return second * second

    assert peak_memory(run, "cpu") == pytest.approx(8e6, rel=0.01)


def test_stages():
    assert gated_norms("resnet18", "all") is None
    assert gated_norms("resnet18", "last 1")[0] == "layer4.0.bn1"
    assert gated_norms("resnet18", "last 2")[0] == "layer3.0.bn1"
    assert gated_norms("vit_small_patch16_224", "last 1")[0] == "blocks.8.norm1"
    assert gated_norms("vit_small_patch16_224", "last 2")[0] == "blocks.4.norm1"
    with pytest.raises(ValueError, match="has 3 stages"):
        gated_norms("vit_small_patch16_224", "last 3")
    for name in ("mobilenetv3_large_100", "swin_tiny_patch4_window7_224"):
        norms = gated_norms(name, "last 1")
        with torch.device("meta"):
            model = timm.create_model(f"{name}_tsbn", tasks=["a", "b"], gated=norms)
        assert {key.removesuffix(".gate_logits") for key in model.state_dict() if "gate_logits" in key} == set(norms)


def test_the_floor_is_what_a_batched_pass_computes():
    networks = Networks(CASE)
    runs = networks.runs()
    runs["batched"].call()  # a trial is before the first one
    flops = {}
    for name in ("plain models", "batched", "sequential"):
        with FlopCounterMode(display=False) as counter:
            runs[name].call()
        flops[name] = counter.get_total_flops()
    assert flops["sequential"] == flops["plain models"]
    assert flops["batched"] / flops["plain models"] == pytest.approx(floor(CASE, networks.shared_part), rel=0.02)


def test_what_is_compared_has_a_base_before_it():
    for case in all_cases(["test_resnet"], ["all"], [1, 2], [1, 2], ["cpu"], ["float32"], ["eager"], ["forward"]):
        seen = [""]
        for name, run in Networks(case).runs().items():
            assert run.base in seen
            seen.append(name)


def result(**runs):
    return CaseResult(CASE, 0.5, 3, runs)


def test_results_are_kept_and_those_of_another_machine_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "bench.json"
    base, one = RunResult(1.0, 10), RunResult(1.02, 11, (1.02, 1.01, 1.05), 1.1)
    Results(path, 1).add(result(base=base, one=one, other=RunResult(failed="no memory.")))
    again = Results(path, 1)
    assert "1.02 (1.01 to 1.05)" in markdown(again) and "failed" in markdown(again)
    assert json.loads(json.dumps(again.cases[CASE].runs["one"].ratio)) == [1.02, 1.01, 1.05]
    with pytest.raises(ValueError, match=r"bench.json was measured with .* 1 used.*--output"):
        Results(path, 2)


def test_what_cannot_run_is_told_and_the_rest_measured(monkeypatch):
    monkeypatch.setattr(module, "_free_memory", lambda device: 0)
    case = Case("test_resnet", "all", 2, 1, "cpu", "float32", "eager", "forward")
    runs = measure(case, 1, 0).runs
    assert runs["one plain model"].seconds > 0 and runs["one plain model"].ratio is None
    assert runs["batched"].failed == "it may need 0 GiB, and there are fewer."


def test_what_cannot_be_asked_for(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_script("benchmarks/bench.py", "--models", "resnet5", "--output", str(tmp_path))
    assert "timm has no resnet5 with norms" in capsys.readouterr().err
    vit = ["--models", "vit_small_patch16_224", "--gated", "last 3", "--batch", "1"]
    run_script("benchmarks/bench.py", *vit, *ONE_TASK.split(), "--output", str(tmp_path))
    told = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert "vit_small_patch16_224 has 3 stages" in told
    assert ("PEFT is not installed" in told) == (find_spec("peft") is None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.md", "bench.png"]


def test_what_was_measured_is_not_measured_again_and_an_interrupt_keeps_it(tmp_path, monkeypatch, capsys):
    asked = []

    def interrupted(runs, rounds, budget, device):
        asked.append(list(runs))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {name: [1.0] for name in runs}

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr("suite.results.alternate", interrupted)
    arguments = ["--models", "test_resnet", "--gated", "all", "--batch", "1", "2", "--what", "forward"]
    arguments += [*ONE_TASK.split(), "--output", str(tmp_path)]
    with pytest.raises(SystemExit) as exit:
        run_script("benchmarks/bench.py", *arguments)
    assert exit.value.code == 130
    assert len(json.loads((tmp_path / "bench.json").read_text())["cases"]) == 1
    run_script("benchmarks/bench.py", *arguments)
    assert len(asked) == 3
    assert len(json.loads((tmp_path / "bench.json").read_text())["cases"]) == 2
