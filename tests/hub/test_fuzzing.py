"""Mutated checkpoints give a model or a clear refusal, in bounded time and memory, and touch nothing beside them."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save

import tsbn_hub
from tests.hub.fuzzing import tensors, trials
from tests.hub.fuzzing.edits import (
    OUTSIDE,
    Divided,
    Document,
    Edit,
    Missing,
    Put,
    Remove,
    Rename,
    Tensor,
    Tensors,
    Twice,
)
from tests.hub.fuzzing.mutations import Case
from tests.hub.fuzzing.seeds import PICKLE, Seed, make_seeds
from tests.hub.fuzzing.trials import Finding, Trials
from tests.hub.fuzzing.validators import hit_by, validators
from tsbn_hub import CheckpointError, TsbnForMultiTask

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Limits and watches are those of Linux.")

CONFIG, WEIGHTS = "config.json", "model.safetensors"
AN_EXAMPLE_PICKLE = f"{OUTSIDE}/{PICKLE}"


def test_a_sample():
    """`python -m tests.hub.fuzzing` runs 10,000."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hub.fuzzing", "--examples", "250"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("250 mutated checkpoints: ")
    assert float(re.search(r"([\d.]+)% past the parsing", done.stdout)[1]) >= 80
    assert int(re.search(r"(\d+) of \d+ validators hit", done.stdout)[1]) >= 20


@pytest.fixture(scope="module")
def seeds() -> dict[str, Seed]:
    return make_seeds()


@pytest.fixture(scope="module")
def workshop(seeds):
    with Trials(seeds) as workshop:
        yield workshop


def test_what_is_not_mutated_loads(workshop):
    for name in workshop.seeds:
        assert workshop.run(Case(name, ())) is None, name


# What was found once, and what else could be. By the checkpoint: edits, and what the refusal says.
ELSEWHERE = "a checkpoint may ask for nothing beside it"
REFUSED: dict[str, tuple[str, list[Edit], str]] = {
    # another file than the checkpoint's
    "pickle-by-shards": ("plain timm", [Divided(WEIGHTS)], "timm reads no other safetensors"),
    "pickle-by-shards-of-ours": ("timm resnet", [Divided(WEIGHTS)], "timm reads no other safetensors"),
    "pickle-without-weights": ("timm vit", [Missing(WEIGHTS)], "Pickled weights .* are not read"),
    "pickle-of-transformers": ("folded vit", [Missing(WEIGHTS)], "Pickled weights .* are not read"),
    "pickle-of-a-task": ("task of timm", [Missing("adapter_model.safetensors")], "Pickled weights .* are not read"),
    "pickle-for-timm-in-transformers": (
        "multi-task timm",
        [Put(CONFIG, ("backbone_config", "model_args", "checkpoint_path"), AN_EXAMPLE_PICKLE)],
        r"backbone_config\.model_args\.checkpoint_path=.*" + ELSEWHERE,
    ),
    "pickle-for-a-wrapped-model": (
        "folded vit",
        [
            Put(CONFIG, ("architectures",), ["TimmWrapperModel"]),
            Put(CONFIG, ("model_type",), "timm_wrapper"),
            Put(CONFIG, ("architecture",), "resnet18"),
            Put(CONFIG, ("model_args",), {"checkpoint_path": AN_EXAMPLE_PICKLE}),
        ],
        ELSEWHERE,
    ),
    "pickle-by-a-task": (
        "task on plain timm",
        [Put("task/adapter_config.json", ("model_args", "checkpoint_path"), AN_EXAMPLE_PICKLE)],
        ELSEWHERE,
    ),
    "file-of-an-overlay": (
        "timm resnet",
        [Put(CONFIG, ("model_args", "pretrained_cfg_overlay"), {"file": f"{OUTSIDE}/{WEIGHTS}"})],
        ELSEWHERE,
    ),
    "file-of-an-index": (
        "backbone in shards",
        [Put(f"{WEIGHTS}.index.json", ("weight_map",), {"x": f"../outside/{WEIGHTS}"})],
        "names the files",
    ),
    # a repo, or code
    "repo-as-architecture": (
        "multi-task timm",
        [Put(CONFIG, ("backbone_config", "architecture"), "hf-hub:org/name")],
        ELSEWHERE,
    ),
    "repo-as-backbone": (
        "folded vit",
        [
            Put(CONFIG, ("architectures",), ["UperNetForSemanticSegmentation"]),
            Put(CONFIG, ("model_type",), "upernet"),
            Put(CONFIG, ("backbone",), "org/name"),
        ],
        ELSEWHERE,
    ),
    "repo-of-a-kernel": (
        "multi-task vit",
        [Put(CONFIG, ("backbone_config", "attn_implementation"), "kernels-community/flash-attn")],
        ELSEWHERE,
    ),
    "code-of-a-base": (
        "task on plain vit",
        [
            Put("base/config.json", ("model_type",), "its-own"),
            Put("base/config.json", ("auto_map",), {"AutoConfig": "code.Config", "AutoModel": "code.Model"}),
        ],
        "trust_remote_code",
    ),
    # weights that are made up
    "other-classes": (
        "timm resnet",
        [Put(CONFIG, ("model_args", "task_classes"), [3, 9])],
        "num_classes=5, .* make a model of 9",
    ),
    "classes-of-the-config": ("timm resnet", [Put(CONFIG, ("num_classes",), 3)], "num_classes=3, .* make a model of 5"),
    "classes-of-a-plain-model": (
        "plain timm",
        [Put(CONFIG, ("model_args", "num_classes"), 9)],
        "num_classes=4, .* make a model of 9",
    ),
    "loading-in-part": (
        "timm resnet",
        [Put(CONFIG, ("model_args", "pretrained_strict"), False), Tensor(WEIGHTS, "conv1.weight", removed=True)],
        ELSEWHERE,
    ),
    # memory and time
    "names-for-classes": (
        "multi-task timm",
        [Put(CONFIG, ("backbone_config", "num_classes"), 10**6)],
        "no size of a network",
    ),
    "nested": ("task of timm", [Put("adapter_config.json", ("task",), json.loads("[" * 90 + "]" * 90))], "nested"),
    "vast-head-of-a-task": (
        "task of transformers",
        [
            Put("adapter_config.json", ("task", "head"), "deeplabv3"),
            Put("adapter_config.json", ("task", "head_args"), {"atrous_rates": [1] * 10**4}),
        ],
        "many more layers",
    ),
    "vast-plain-base": (
        "task on plain vit",
        [Put("base/config.json", ("hidden_size",), 20_000), Put("base/config.json", ("num_attention_heads",), 1)],
        "describes a model of",
    ),
    # errors that were not ours
    "base-of-two-kinds": (
        "task on plain vit",
        [Put("base/config.json", ("architecture",), "resnet18_tsbn"), Remove("task/adapter_config.json", ("norm",))],
        r"lacks \['norm'\]",
    ),
    "base-without-heads": (
        "task on multi-task vit",
        [Put("base/config.json", ("architectures",), ["TsbnModel"])],
        "has a TsbnModel, without heads",
    ),
    "other-task-for-the-tensors": (
        "task of transformers",
        [Put("adapter_config.json", ("task", "kind"), ["depth"])],
        "unhashable",
    ),
    # by the way, all others
    "no-config": ("timm resnet", [Missing(CONFIG)], "has no config.json"),
    "no-object": ("timm resnet", [Document(CONFIG, [])], "holds no object, but a list"),
    "other-count-of-tasks": ("timm resnet", [Tensors(WEIGHTS, ".gate_logits", rows=3)], "The checkpoint has 3 tasks"),
    "foreign-weights": ("timm resnet", [Tensors(WEIGHTS, "", prefix="x")], "no entry of this TsbnResNet"),
    "twice": (
        "timm resnet",
        [Rename(CONFIG, ("architecture",), "x"), Twice(CONFIG, "architecture", 3)],
        "the architecture 3, which timm does not know",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("seed", "edits", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(seed, edits, message, workshop):
    error = workshop.run(Case(seed, tuple(edits)))
    assert error is not None and re.search(message, str(error), re.DOTALL), error


def test_transformers_own_loading_is_as_careful(seeds, tmp_path):
    """Of the backbone's config, which our class builds."""
    files = dict(seeds["multi-task timm"].files)
    Put(CONFIG, ("backbone_config", "model_args", "checkpoint_path"), str(tmp_path / PICKLE))(files)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"backbone_config has model_args\.checkpoint_path=.*" + ELSEWHERE):
        TsbnForMultiTask.from_pretrained(tmp_path)


# What is odd, and no reason to refuse.
ODD: dict[str, tuple[str, list[Edit]]] = {
    "base-of-two-kinds": ("task on plain vit", [Put("base/config.json", ("architecture",), "resnet18_tsbn")]),
    "file-in-the-pretrained-config": (
        "plain timm",
        [Put(CONFIG, ("pretrained_cfg", "file"), AN_EXAMPLE_PICKLE), Put(CONFIG, ("pretrained_cfg", "source"), "timm")],
    ),
    "attention": ("multi-task vit", [Put(CONFIG, ("backbone_config", "attn_implementation"), "eager")]),
}


@pytest.mark.parametrize(("seed", "edits"), ODD.values(), ids=ODD)
def test_what_loads_nevertheless(seed, edits, workshop):
    assert workshop.run(Case(seed, tuple(edits))) is None


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
            with pytest.raises(Finding, match=message):
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
    assert [each.function for each in hit_by(caught.value, known)] == ["_from_timm"]


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
