"""Mutated checkpoints give a model or a clear refusal, in bounded time and memory, and touch nothing beside them."""

import contextlib
import re
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load, load_file, save
from transformers import AutoConfig, AutoModel

import tsbn_hub
from tests.hub.fuzzing import tensors, trials
from tests.hub.fuzzing.__main__ import fuzz, table
from tests.hub.fuzzing.edits import Case, Put, Tensor, Tensors
from tests.hub.fuzzing.known import CONFIG, ELSEWHERE, LOADED, REFUSED, WEIGHTS
from tests.hub.fuzzing.seeds import PICKLE, Seed, make_seeds
from tests.hub.fuzzing.trials import Finding, Trials
from tests.hub.fuzzing.validators import hit_by, validators
from tests.matrices import NIGHTLY
from tsbn_hub import CheckpointError, TsbnConfig, TsbnForMultiTask, TsbnModel

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Limits and watches are those of Linux.")


@pytest.fixture(scope="module")
def seeds() -> dict[str, Seed]:
    return make_seeds()


@pytest.fixture(scope="module")
def workshop(seeds):
    with Trials(seeds) as workshop:
        yield workshop


SAMPLE = 120 if NIGHTLY else 20  # besides the known ones


def test_a_sample(seeds):
    """`python -m tests.hub.fuzzing` runs 10,000."""
    with Trials(seeds) as sampled:
        fuzz(sampled, SAMPLE)
        printed = table(sampled)
    assert int(re.match(r"(\d+) mutated checkpoints: ", printed)[1]) >= SAMPLE
    assert float(re.search(r"([\d.]+)% past the parsing", printed)[1]) >= 80
    assert int(re.search(r"(\d+) of \d+ validators hit", printed)[1]) >= 40


def test_what_is_not_mutated_loads(workshop):
    for name in workshop.seeds:
        assert workshop.run(Case(name, ())) is None, name


@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(case, message, workshop):
    error = workshop.run(case)
    assert error is not None and re.search(message, str(error), re.DOTALL), error


@pytest.mark.parametrize(
    "path",
    [
        ("backbone_config", "model_args", "checkpoint_path"),
        ("attn_implementation",),
        ("_attn_implementation",),
    ],
    ids=".".join,
)
def test_transformers_own_loading_is_as_careful(path, seeds, tmp_path):
    files = dict(seeds["multi-task timm"].files)
    Put(CONFIG, path, f"org/{PICKLE}")(files)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for door in (TsbnForMultiTask, TsbnModel, TsbnConfig, AutoModel, AutoConfig):
        with pytest.raises(
            CheckpointError, match=rf"(The configuration|config\.json) has {re.escape('.'.join(path))}=.*{ELSEWHERE}"
        ):
            door.from_pretrained(tmp_path)


@pytest.mark.parametrize("case", LOADED.values(), ids=LOADED)
def test_what_loads_nevertheless(case, workshop):
    assert workshop.run(case) is None


# --- the fuzzer finds what it is to find ---


def read_outside(folder):
    (folder.parent / "outside" / CONFIG).read_text()


def read_weights_outside(folder):
    load_file(folder.parent / "outside" / WEIGHTS)  # not by Python


def read_pickle(folder):
    torch.load(folder / PICKLE)


def connect(folder):
    socket.create_connection(("127.0.0.1", 9))


def run_program(folder):
    subprocess.run(["true"])


def ask(folder):
    input("May I?")


def leave_gradients_off(folder):
    torch.set_grad_enabled(False)


def raise_other(folder):
    raise KeyError("tasks")


def raise_ours_elsewhere(folder):
    raise CheckpointError("This is not raised in tsbn_hub.")


def take_memory(folder):
    return torch.nn.Buffer(torch.zeros(2**31, dtype=torch.uint8))


def take_memory_and_hide_it(folder):
    try:
        take_memory(folder)
    except RuntimeError as error:
        raise CheckpointError("It is too large.") from error


def take_time(folder):
    while True:
        with contextlib.suppress(Exception):  # which the end of the time is not
            sum(range(10**6))


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (read_outside, "opened a pickle, or a file outside"),
        (read_weights_outside, "opened a pickle, or a file outside"),
        (read_pickle, "opened a pickle, or a file outside|called .*pickle"),
        (connect, r"called \[.socket\."),
        (run_program, r"called \[.subprocess\.Popen"),
        (ask, r"called \[.builtins\.input"),
        (leave_gradients_off, "left gradients"),
        (raise_other, "raised KeyError"),
        (raise_ours_elsewhere, "raised CheckpointError"),
        (take_memory, "bytes of memory"),
        (take_memory_and_hide_it, "bytes of memory"),
        (take_time, "took more than 0.2 s"),
    ],
)
def test_findings(load, message, seeds, monkeypatch):
    monkeypatch.setattr(trials, "SECONDS", 0.2)
    with Trials({"timm resnet": Seed(seeds["timm resnet"].files, load)}) as workshop:
        for _ in range(2):
            with torch.enable_grad(), pytest.raises(Finding, match=message):
                workshop.run(Case("timm resnet", ()))


def test_a_refused_task_that_changed_the_model_is_a_finding(seeds, monkeypatch):
    def load_and_refuse(model, folder, name):
        model.add_task(name)
        raise CheckpointError("Too late.")

    monkeypatch.setattr(tsbn_hub, "load_task", load_and_refuse)
    some = {name: seeds[name] for name in ("timm resnet", "task of timm")}
    with Trials(some) as workshop, pytest.raises(Finding, match="AssertionError"):
        workshop.run(Case("task of timm", ()))


def test_validators_are_known_and_told_apart(tmp_path):
    known = validators()
    assert len(known) > 50
    (tmp_path / CONFIG).write_text('{"architecture": "nothing", "x": {"y": 1e3}}')
    (tmp_path / WEIGHTS).write_bytes(save({"x": torch.zeros(1)}))
    with pytest.raises(CheckpointError) as caught:
        tsbn_hub.from_pretrained(tmp_path)
    assert [each.function for each in hit_by(caught.value, known)] == ["TimmSurface.load"]


def test_files_of_edited_tensors_are_whole(seeds):
    files = dict(seeds["timm resnet"].files)
    original = load(files[WEIGHTS])
    files[WEIGHTS] = tensors.write(tensors.read(files[WEIGHTS]))
    again = load(files[WEIGHTS])
    assert again.keys() == original.keys() and all(torch.equal(again[name], original[name]) for name in original)
    for edit in (
        Tensor(WEIGHTS, "conv1.weight", renamed="x", dtype="F16"),
        Tensor(WEIGHTS, "fc.bias", shape=(2, 3)),
        Tensor(WEIGHTS, "fc.weight", removed=True),
        Tensors(WEIGHTS, ".gate_logits", rows=5),
    ):
        edit(files)
    changed = load(files[WEIGHTS])
    assert changed["x"].dtype == torch.float16 and changed["x"].shape == original["conv1.weight"].shape
    assert changed["fc.bias"].shape == (2, 3) and changed.keys() == original.keys() - {"conv1.weight", "fc.weight"} | {
        "x"
    }
    assert changed["layer1.0.bn1.gate_logits"].shape == (5, 8)
