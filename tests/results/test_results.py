"""What was measured: read as it was written, or refused; and what of single-task runs is a fair measure."""

import dataclasses
import hashlib
import json
import math
import shutil

import pytest
import yaml

from tests.training.small_runs import write_config
from tsbn_hub.hub import Results
from tsbn_hub.results.recording import (
    record_run,
    results_of_run,
    weights_digest,
    with_other_seeds,
    with_single_task,
)
from tsbn_hub.results.results import DataMeasured, Metric, OtherSeed, SingleTask, TaskMeasured
from tsbn_hub.training import TrainingConfig

RESULTS = Results(
    weights="00ff",
    data=[DataMeasured("Höhlen", 7, ["z", "a"], None, "mit")],
    split="test",
    epoch_chosen_by="chance",
    tasks=[
        TaskMeasured("z", "depth", None, [Metric("abs_err", 1 / 3, False), Metric("delta1", None, True)]),
        TaskMeasured("a", "classification", 4, [Metric("accuracy", 0.5, True)]),
    ],
    single_task={"a": SingleTask(0.25, "a_alone", ["lr"])},
    other_seeds=[OtherSeed(3, "run_3", {"z": {"abs_err": 2 / 3, "delta1": None}, "a": {"accuracy": 0.75}})],
)


def test_read_as_written(tmp_path):
    RESULTS.write(tmp_path)
    assert Results.read(tmp_path) == RESULTS
    values = json.loads((tmp_path / "results.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert [task["name"] for task in values["tasks"]] == ["z", "a"]
    assert values["tasks"][0]["metrics"][1]["value"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_defaults_may_be_left_out(tmp_path):
    values = dataclasses.asdict(RESULTS)
    del values["single_task"], values["other_seeds"], values["data"][0]["url"]
    values["tasks"][1]["metrics"][0]["value"] = 1
    (tmp_path / "results.json").write_text(json.dumps(values))
    read = Results.read(tmp_path)
    assert (
        read.single_task == {}
        and read.other_seeds == []
        and read.data == RESULTS.data
        and isinstance(read.tasks[1].metrics[0].value, float)
    )


BROKEN = {
    "tasks.1.metrics.0.value": ("half", r"tasks\[1\].metrics\[0\].value is 'half', but must be a number or null"),
    "tasks.1.metrics.0.higher_is_better": (
        1,
        r"tasks\[1\].metrics\[0\].higher_is_better is 1, but must be true or false",
    ),
    "tasks.1.classes": (True, r"tasks\[1\].classes is True, but must be a whole number or null"),
    "tasks.1.name": (None, r"tasks\[1\].name is None, but must be text"),
    "tasks.1": ("a", r"tasks\[1\] is 'a', but must be an object"),
    "tasks.0.name": ("a", r"tasks has \['a', 'a'\]: one or more, each once"),
    "tasks.0.metrics": ([], r"tasks: 'z' has no metrics"),
    "tasks": ({}, r"tasks is \{\}, but must be a list"),
    "data": ([], r"data has no data set with the tasks \['z', 'a'\]"),
    "data.0.samples": (7.5, r"data\[0\].samples is 7.5, but must be a whole number"),
    "data.0.licence": ("mit", r"data\[0\] has the unknown keys \['licence'\]. Known: \['name', 'samples', "),
    "data.0.tasks": (["b"], r"unknown tasks \['b'\]. Known: \['z', 'a'\]"),
    "single_task": ({"b": {"value": 1, "source": "b"}}, r"unknown tasks \['b'\]"),
    "other_seeds": (
        [{"seed": 1, "source": "b", "values": {"b": {}}}],
        r"other_seeds name the unknown tasks \['b'\]",
    ),
    "other_seeds.0.seed": (0.5, r"other_seeds\[0\].seed is 0.5, but must be a whole number"),
    "single_task.a": ({"value": 1}, r"single_task\['a'\] lacks \['source'\]"),
    "single_task.a.differs_in": ("lr", r"single_task\['a'\].differs_in is 'lr', but must be a list"),
    "version": (2, r"it has the unknown keys \['version'\]"),
}


@pytest.mark.parametrize("path", BROKEN)
def test_what_does_not_fit_is_named(path, tmp_path):
    values = dataclasses.asdict(RESULTS)
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place = values
    for key in keys:
        place = place[key]
    place[last], message = BROKEN[path]
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"results.json holds no results: .*{message}"):
        Results.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weights": NaN}', '{"weights": Infinity}', "\xff"])
def test_what_is_no_json(text, tmp_path):
    (tmp_path / "results.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=r"results.json holds no results: "):
        Results.read(tmp_path)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number(constant, tmp_path):
    RESULTS.write(tmp_path)
    path = tmp_path / "results.json"
    path.write_text(path.read_text("utf-8").replace('"value": 0.5', f'"value": {constant}'), "utf-8")
    with pytest.raises(ValueError, match=f"results.json holds no results: {constant} is no number of JSON"):
        Results.read(tmp_path)


def test_no_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no results.json: nothing measured was recorded"):
        Results.read(tmp_path)


def test_delta_m_has_the_direction_of_each_task():
    single = {"z": SingleTask(0.5, "z"), "a": SingleTask(0.4, "a")}
    results = dataclasses.replace(RESULTS, single_task=single)
    assert math.isclose(results.delta_m(), 100 * ((0.5 - 1 / 3) / 0.5 + (0.5 - 0.4) / 0.4) / 2)
    assert RESULTS.delta_m() is None


# What runs have measured.


def run_of(tmp_path, name, weights=b"weights", **changes):
    config = TrainingConfig.read(write_config(tmp_path, name, **changes))
    folder = tmp_path / name
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "training.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    return config


def recorded(tmp_path, name, scores, **changes):
    config = run_of(tmp_path, name, **changes)
    record_run(config, {task: {"accuracy": value} for task, value in scores.items()})
    return tmp_path / name


def test_what_a_run_has_measured(tmp_path):
    config = run_of(tmp_path, "run", data_args={"size": 20})
    results = results_of_run(config, {"keys": {"accuracy": 0.5}, "corner": {"accuracy": math.nan}})
    assert results == Results(
        weights=hashlib.sha256(b"weights").hexdigest(),
        data=[DataMeasured("Noisy", 20, ["keys", "corner"])],
        split="test",
        epoch_chosen_by="the mean over tasks of accuracy on 25% of the training data, which were held out",
        tasks=[
            TaskMeasured("keys", "classification", 2, [Metric("accuracy", 0.5, True)]),
            TaskMeasured("corner", "classification", 4, [Metric("accuracy", None, True)]),
        ],
    )


def test_several_data_sets_and_their_licences(tmp_path):
    noisy = f"{tmp_path}/noisy.py"
    write_config(tmp_path, "first")
    text = (tmp_path / "noisy.py").read_text().replace("num_classes = {\"side\": 3}", "num_classes = {\"side\": 3}\n    url, license, creator, title = 'https://a.org', 'mit', 'Ada', 'Sides (2)'")  # fmt: skip  # noqa: E501
    config = run_of(tmp_path, "run", data=[f"{noisy}:Noisy", {"name": f"{noisy}:Sides", "args": {"size": 9}}])
    (tmp_path / "noisy.py").write_text(text)
    scores = {task: {"accuracy": 0.5} for task in ("keys", "corner", "side")}
    assert results_of_run(config, scores).data == [
        DataMeasured("Noisy", 48, ["keys", "corner"]),
        DataMeasured("Sides (2)", 9, ["side"], "https://a.org", "mit", "Ada")
    ]  # fmt: skip
    one = dataclasses.replace(config, tasks=["corner"])
    assert results_of_run(one, scores).data == [DataMeasured("Noisy", 48, ["corner"])]


def test_the_digest_is_that_of_all_weights(tmp_path):
    parts = {"model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two"}
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    index = {"weight_map": dict(zip("ab", parts, strict=True))}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_digest(tmp_path) == hashlib.sha256(b"onetwo").hexdigest()


def test_single_task_runs_are_recorded(tmp_path):
    run = recorded(tmp_path, "run", {"keys": 0.6, "corner": 0.5})
    alone = recorded(tmp_path, "keys_alone", {"keys": 0.5}, tasks=["keys"])
    other = recorded(tmp_path, "corner_alone", {"corner": 0.4}, tasks=["corner"], epochs=9, lr=0.5, workers=2)
    results = with_single_task(Results.read(run), run, [alone, other])
    assert results.single_task == {
        "keys": SingleTask(0.5, "keys_alone"), "corner": SingleTask(0.4, "corner_alone", ["epochs", "lr"])
    }  # fmt: skip
    assert math.isclose(results.delta_m(), (20 + 25) / 2)
    better = recorded(tmp_path, "keys_again", {"keys": 0.75}, tasks=["keys"])
    assert with_single_task(results, run, [better]).single_task["keys"] == SingleTask(0.75, "keys_again")

    results.write(run)
    record_run(TrainingConfig.read(run / "training.yaml"), {"keys": {"accuracy": 0.6}, "corner": {"accuracy": 0.5}})
    assert Results.read(run) == results, "the same results again"
    record_run(TrainingConfig.read(run / "training.yaml"), {"keys": {"accuracy": 0.7}, "corner": {"accuracy": 0.5}})
    assert Results.read(run).single_task == {}, "those of other weights"


def test_the_method_of_a_single_task_run_is_no_other_recipe(tmp_path):
    run = recorded(tmp_path, "run", {"keys": 0.6, "corner": 0.5}, method="mtan", method_args={"reduction": 2})
    alone = recorded(tmp_path, "keys_alone", {"keys": 0.5}, method="stl", tasks=["keys"], lr=0.5)
    results = with_single_task(Results.read(run), run, [alone])
    assert results.single_task == {"keys": SingleTask(0.5, "keys_alone", ["lr"])}


def test_what_is_no_single_task_run(tmp_path):
    run = recorded(tmp_path, "run", {"keys": 0.6, "corner": 0.5})
    unfair = {
        r"run was trained on \['keys', 'corner'\]: a single-task run has one of": run,
        r"was trained on \['side'\]": recorded(tmp_path, "side", {"side": 0.5}, data=f"{tmp_path}/noisy.py:Sides"),
        r"no measure for 'keys': its data is \[\('Noisy', 20\)\], here \[\('Noisy', 48\)\]": recorded(
            tmp_path, "small", {"keys": 0.5}, tasks=["keys"], data_args={"size": 20}
        ),
    }
    for message, folder in unfair.items():
        with pytest.raises(ValueError, match=message):
            with_single_task(Results.read(run), run, [folder])
    with pytest.raises(FileNotFoundError, match=r"none has no results.json"):
        with_single_task(Results.read(run), run, [tmp_path / "none"])
    (run / "training.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"training.yaml"):
        with_single_task(Results.read(run), run, [])


# Runs of other seeds.


def test_other_seeds_are_recorded(tmp_path):
    run = recorded(tmp_path, "run", {"keys": 0.6, "corner": 0.5})
    second = recorded(tmp_path, "second", {"keys": 0.8, "corner": math.nan}, seed=2, workers=2)
    first = recorded(tmp_path, "first", {"keys": 0.7, "corner": 0.5}, seed=1)
    results = with_other_seeds(Results.read(run), run, [second, first])
    assert results.other_seeds == [
        OtherSeed(1, "first", {"keys": {"accuracy": 0.7}, "corner": {"accuracy": 0.5}}),
        OtherSeed(2, "second", {"keys": {"accuracy": 0.8}, "corner": {"accuracy": None}}),
    ]
    keys, corner = results.tasks
    interval = results.over_seeds(keys, keys.metrics[0])
    assert (interval.mean, interval.runs) == (pytest.approx(0.7), 3)
    assert interval.half_width == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)  # t(0.975, 2) s / sqrt(n)
    assert results.over_seeds(corner, corner.metrics[0]) is None, "a run lacks it"
    assert Results.read(run).over_seeds(keys, keys.metrics[0]) is None, "one seed"

    results.write(run)
    record_run(TrainingConfig.read(run / "training.yaml"), {"keys": {"accuracy": 0.6}, "corner": {"accuracy": 0.5}})
    assert Results.read(run) == results, "the same results again"
    record_run(TrainingConfig.read(run / "training.yaml"), {"keys": {"accuracy": 0.7}, "corner": {"accuracy": 0.5}})
    assert Results.read(run).other_seeds == [], "those of other weights"


def test_a_seed_that_is_measured_again_replaces_its_first_run(tmp_path):
    run = recorded(tmp_path, "run", {"keys": 0.6, "corner": 0.5})
    runs = [recorded(tmp_path, f"first{at}", {"keys": at / 10, "corner": 0.5}, seed=1) for at in (7, 8)]
    results = with_other_seeds(with_other_seeds(Results.read(run), run, runs[:1]), run, runs[1:])
    assert [other.source for other in results.other_seeds] == ["first8"]


def test_what_is_no_run_of_another_seed(tmp_path):
    run = recorded(tmp_path, "run", {"keys": 0.6, "corner": 0.5})
    scores = {"keys": 0.5, "corner": 0.5}
    unfair = {
        "run has the seed 0, as .*run has: a run of another seed is needed": run,
        "faster is of another recipe: lr: 0.5, here 0.01": recorded(tmp_path, "faster", scores, seed=1, lr=0.5),
    }
    for message, folder in unfair.items():
        with pytest.raises(ValueError, match=message):
            with_other_seeds(Results.read(run), run, [folder])
    other = recorded(tmp_path, "other", scores, seed=1)
    dataclasses.replace(Results.read(other), split="validation").write(other)
    with pytest.raises(ValueError, match="other is no measure for 'keys': its split is validation, here test"):
        with_other_seeds(Results.read(run), run, [other])
    results = Results.read(run)
    with pytest.raises(ValueError, match=r"side is no measure for 'keys': its data is \[\]"):
        with_other_seeds(results, run, [lacking(other, results, tmp_path / "side")])


def lacking(run, results, folder):
    """A run of the same recipe whose data had one of the tasks only."""
    shutil.copytree(run, folder)
    data = [dataclasses.replace(each, tasks=["corner"]) for each in results.data]
    dataclasses.replace(results, tasks=results.tasks[1:], data=data).write(folder)
    return folder
