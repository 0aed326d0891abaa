"""YAML and JSON of anybody's."""

import json
import time

import pytest
import yaml

from tsbn_hub.files.parsing import parse_json, parse_yaml
from tsbn_hub.training import TrainingConfig

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "its aliases make it hold 4[0-9,]+ values"),
        ("a: &a [*a]", "holds itself"),
        ("a: &a {b: {<<: *a}}", "holds itself"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: [", "expected the node content"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
    ids=["aliases", "itself", "merges itself", "deep", "no yaml", "a tag", "two documents"],
)
def test_yaml_that_is_refused(text, message, tmp_path):
    started = time.process_time()
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)
    (tmp_path / "training.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"training\.yaml is no YAML: (?s:.*){message}"):
        TrainingConfig.read(tmp_path / "training.yaml")
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "text", ["", "a", "a: 1e-3", "- 1\n- [2, {b: null}]", "base: &base {lr: 0.1}\nother: {<<: *base, wd: 0}", "a: .inf"]
)
def test_yaml_that_is_read(text):
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["[" * 10**5, "NaN", "[-Infinity]", "[1e999]", "[-1e999]", "{", "9" * 5000])
def test_json_that_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_that_is_read():
    value = {"a": [1, 2.5, 1e308, None, True, "é"], "b": {"c": []}}
    assert parse_json(json.dumps(value)) == value
