"""A config that is wrong is refused before anything happens, and the message says what and why."""

import dataclasses
import datetime
import math
import re
import typing

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tsbn_hub.training import TrainingConfig

NEEDED = {"model": "test_resnet_tsbn", "data": "MultiDigits", "output": "runs/x"}
FROM_CHECKPOINT = {"checkpoint": "runs/trained", "data": "MultiDigits", "output": "runs/x"}
FIELDS = [field.name for field in dataclasses.fields(TrainingConfig)]

TEXTS = ["model", "checkpoint", "output", "method", "optimizer", "balancing"]
TEXT_LISTS = ["tasks", "trackers", "imports"]
MAPPINGS, SWITCHES = (
    [
        "method_args",
        "model_args",
        "data_args",
        "augmentation",
        "optimizer_args",
        "balancing_args",
        "chosen_by",
        "heads",
        "kind_args",
    ],
    ["pretrained", "freeze_trunk", "sync_batch_norm", "channels_last", "deterministic"],
)
CHOICES = {
    "norm": ["sigmoid", "affine", "statistics", "shared"],
    "schedule": ["cosine", "step", "constant"],
    "execution": ["auto", "batched", "sequential"],
    "backward": ["all", "task"],
    "mixed_precision": ["no", "fp16", "bf16"],
}
# Numbers: the least one that is allowed, and whether that one is.
WHOLE = {
    "epochs": (0, False), "batch_size": (0, False), "eval_batch_size": (0, False),
    "gradient_accumulation_steps": (0, False), "tasks_per_step": (0, False), "workers": (0, True),
    "checkpoint_steps": (0, False), "early_stopping": (0, False), "seed": (0, True),
}  # fmt: skip
REAL = {
    "lr": (0, False), "weight_decay": (0, True), "gate_lr_scale": (0, True), "gate_weight_decay": (0, True),
    "gate_noise": (0, True), "layer_decay": (0, False),
    "warmup_epochs": (0, True), "decay_epochs": (0, False), "decay_rate": (0, False), "max_grad_norm": (0, False),
    "ema_decay": (0, False), "validation": (0, False),
}  # fmt: skip
BELOW_ONE, UP_TO_ONE = ["ema_decay", "validation"], ["layer_decay", "decay_rate"]
OR_NONE = [
    "model", "checkpoint", "norm", "method", "tasks", "gate_lr_scale", "layer_decay", "max_grad_norm", "tasks_per_step",
    "ema_decay", "mixed_precision", "eval_batch_size", "early_stopping",
]  # fmt: skip


def test_no_field_is_left_out():
    known = {*TEXTS, *TEXT_LISTS, *MAPPINGS, *SWITCHES, *CHOICES, *WHOLE, *REAL, "data"}
    assert known == set(FIELDS)
    hints = typing.get_type_hints(TrainingConfig)
    assert {name for name in FIELDS if type(None) in typing.get_args(hints[name])} == set(OR_NONE)


def refused(name, value):
    with pytest.raises(ValueError) as error:
        TrainingConfig(**NEEDED | {name: value})
    message = str(error.value)
    assert message.startswith(f"{name}=") and (str(value) in message or repr(value) in message), message
    return message


text, number = st.text(), st.integers() | st.floats()
mapping, several = st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.lists(st.integers(), min_size=1)
switch, odd = st.booleans(), st.sampled_from([datetime.date(2020, 1, 1), b"bytes", {1}, (1, 2), 1j, object()])


@given(data=st.data())
def test_a_wrong_type(data):
    name = data.draw(st.sampled_from([name for name in FIELDS if name != "data"]))
    if name in TEXTS:
        wrong = number | mapping | several | switch
    elif name in TEXT_LISTS:
        wrong = text | number | mapping | several | switch
    elif name in MAPPINGS:
        wrong = text | number | several | switch | st.none()
    elif name in SWITCHES:
        wrong = text | number | mapping | several | st.none()
    elif name in CHOICES:
        wrong = text.filter(lambda each: each not in CHOICES[name]) | number | mapping | several | switch
    else:
        wrong = text | mapping | several | switch
        wrong |= st.floats() if name in WHOLE else st.nothing()
    if name not in OR_NONE:
        wrong |= st.none()
    message = refused(name, data.draw(wrong | odd))
    assert re.search(r" is no | is unknown\. Known: ", message), message


@given(data=st.data())
def test_a_wrong_number(data):
    name = data.draw(st.sampled_from([*WHOLE, *REAL]))
    least, included = (WHOLE | REAL)[name]
    if name in WHOLE:
        wrong = st.integers(max_value=least - included)
    else:
        wrong = st.floats(max_value=least, exclude_max=included, allow_nan=False).filter(
            lambda each: each or not included
        )
        wrong |= st.sampled_from([math.nan, math.inf, -math.inf])
    if name in BELOW_ONE + UP_TO_ONE:
        wrong |= st.floats(min_value=1, exclude_min=name in UP_TO_ONE)
    assert re.search("must be positive|is negative|must lie in|is not finite", refused(name, data.draw(wrong)))


@given(data=st.data())
def test_a_right_number(data):
    name = data.draw(st.sampled_from([*WHOLE, *REAL]))
    least, included = (WHOLE | REAL)[name]
    most = 1 if name in BELOW_ONE + UP_TO_ONE else 2**31 - 1
    if name in WHOLE:
        right = st.integers(least + (not included), most)
    else:
        right = st.floats(least, most, exclude_min=not included, exclude_max=name in BELOW_ONE)
    value = data.draw(right)
    assert getattr(TrainingConfig(**NEEDED | {name: value}), name) == value


@pytest.mark.parametrize("name", FIELDS)
def test_defaults_and_none(name):
    for needed in (NEEDED, FROM_CHECKPOINT):
        config = TrainingConfig(**needed)
        assert TrainingConfig(**dataclasses.asdict(config)) == config
    if name in OR_NONE:
        needed = FROM_CHECKPOINT if name in ("model", "norm") else NEEDED
        assert getattr(TrainingConfig(**needed | {name: None}), name) is None
    for value in CHOICES.get(name, []):
        assert getattr(TrainingConfig(**NEEDED | {name: value}), name) == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lr: 1e-3", "lr='1e-3' is no float. YAML reads 1e-3 as text: write 1.0e-3."),
        ("lr: '0.1'", "lr='0.1' is no float."),
        ("lr: .inf", "lr=inf is not finite."),
        ("mixed_precision: no", "mixed_precision=False is unknown. Known: no, fp16, bf16. YAML reads no as False: "),
        ("norm: off", "norm=False is unknown. Known: sigmoid, affine, statistics, shared."),
        ("pretrained: 'yes'", "pretrained='yes' is no bool."),
        ("epochs: ten", "epochs='ten' is no int."),
        ("epochs: 10.0", "epochs=10.0 is no int."),
        ("epochs: yes", "epochs=True is no int."),
        ("epochs:", "epochs=None is no int."),
        ("tasks: left", "tasks='left' is no list[str] | None."),
        ("tasks: [yes, no]", "tasks=[True, False] is no list[str] | None."),
        ("tasks: []", "tasks=[]: name one or more, each once"),
        ("tasks: [left, left]", "tasks=['left', 'left']: name one or more, each once"),
        ("data_args: {since: 2020-01-01}", "data_args={'since': datetime.date(2020, 1, 1)}: a run cannot keep it"),
        ("data_args: {on: 3}", "data_args={True: 3} is no dict[str, Any]."),
        ("data: 3", "data=3 is no str | list[Any]."),
        ("data: []", "data=[]: name one or more"),
        ("seed: -1", "seed=-1 must lie in [0, 2**31)."),
        (
            "1: 2\nepoch: 3",
            "has unknown keys [1, 'epoch']. Did you mean 'epochs'? `tsbn config` lists all keys.",
        ),
        ("yes: 2", "has unknown keys [True]."),
        ("lr: [", "is no YAML: "),
        ("lr: \x00", "is no YAML: "),
    ],
)
def test_yaml(line, message, tmp_path):
    path = tmp_path / "config.yaml"
    key = line.partition(":")[0]
    path.write_text(yaml.safe_dump({name: value for name, value in NEEDED.items() if name != key}) + line)
    with pytest.raises(ValueError) as error:
        TrainingConfig.read(path)
    told = str(error.value)
    assert (told if message.startswith(key) else told.removeprefix(f"{path} ")).startswith(message), told
    assert ("YAML reads 1e-3" in told) == ("1e-3" in line)


def test_files(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00photo")
    with pytest.raises(ValueError, match=r"config\.yaml is no YAML"):
        TrainingConfig.read(path)
    with pytest.raises(FileNotFoundError, match=r"There is no file .*conf\.yaml\. There are \['.*config\.yaml'\]"):
        TrainingConfig.read(tmp_path / "conf.yaml")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        TrainingConfig.read(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*\. There are \['.*config\.yaml'\]"):
        TrainingConfig.read(tmp_path)
    path.write_text("")
    with pytest.raises(ValueError, match="must map names to values"):
        TrainingConfig.read(path)


def test_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**NEEDED, "max_grad_norm": 1.0, "lr": 0.1}))
    config = TrainingConfig.read(path, max_grad_norm=None, lr=0.2)
    assert config.max_grad_norm is None and config.lr == 0.2
    with pytest.raises(ValueError, match=r"What is set beside .*config\.yaml has unknown keys \['path'\]"):
        TrainingConfig.read(path, path="x")


def test_a_checkpoint_brings_its_norm(tmp_path):
    assert TrainingConfig(**NEEDED).norm == "sigmoid" and TrainingConfig(**FROM_CHECKPOINT).norm is None
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(FROM_CHECKPOINT | {"freeze_trunk": True}))
    assert TrainingConfig.read(path) == TrainingConfig(**FROM_CHECKPOINT, freeze_trunk=True)
    path.write_text(yaml.safe_dump({"data": "MultiDigits", "output": "runs/x"}))
    with pytest.raises(ValueError, match=r"lacks \['model'\]"):
        TrainingConfig.read(path)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"norm": "sigmoid", "model_args": {"drop_rate": 0.1}}, "model_args.drop_rate"),
        ({"model_args": {"gated": "layer4*"}}, "model_args.gated"),
        ({"method": "mtan"}, "method"),
        ({"method": "stl"}, "method"),
        ({"norm": "affine", "gate_noise": 1.0}, "gate_noise"),
        ({"pretrained": True}, "pretrained"),
    ],
)
def test_what_a_checkpoint_has_of_its_own(given, name):
    with pytest.raises(ValueError, match=rf"checkpoint='runs/trained' has \['{name}'\] of its own: leave them out"):
        TrainingConfig(**FROM_CHECKPOINT | given)
    with pytest.raises(ValueError, match=r"has \['model'\] of its own"):
        TrainingConfig(**NEEDED, checkpoint="runs/trained")
    with pytest.raises(ValueError, match="is the output, too"):
        TrainingConfig(**FROM_CHECKPOINT | {"checkpoint": "runs/../runs/x"})


def test_differences():
    config = TrainingConfig(**NEEDED)
    known = dataclasses.asdict(config)
    assert config.differences(known | {"output": "elsewhere", "workers": 3}) == []
    assert config.differences(known | {"lr": 0.5}) == ["lr: 0.5, here 0.001"]
    earlier = {name: value for name, value in known.items() if name not in ("checkpoint", "freeze_trunk")}
    assert config.differences(earlier) == []
    frozen = TrainingConfig(**NEEDED, freeze_trunk=True)
    assert frozen.differences(earlier) == ["freeze_trunk: False, here True"]


def test_several_data_sets():
    config = TrainingConfig(**NEEDED | {"data": ["MultiDigits", {"name": "my.py:Own", "args": {"root": "here"}}]})
    assert [(each.name, each.args, each.rate) for each in config.sources()] == [
        ("MultiDigits", {}, None),
        ("my.py:Own", {"root": "here"}, None),
    ]
    rated = TrainingConfig(**NEEDED | {"data": [{"name": "a", "rate": 3}, {"name": "b", "rate": 0.5}]})
    assert [each.rate for each in rated.sources()] == [3, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": [{"name": "a", "rate": 1}, "b"]}, "give a rate to all of them or to none"),
        ({"data": [3]}, "data has 3: each data set is a name, or a mapping"),
        ({"data": [{"rate": 1}]}, r"data has \{'rate': 1\}"),
        ({"data": [{"name": "a", "path": 1}]}, r"data has \{'name': 'a', 'path': 1\}.* args and rate\.$"),
        ({"data": [{"name": "a", "rates": 1}]}, r"data has \{'name': 'a', 'rates': 1\}.* Did you mean 'rate'\?$"),
        ({"data": [{"nam": "a"}]}, r"data has \{'nam': 'a'\}.* Did you mean 'name'\?$"),
        ({"data": [{"name": 5}]}, r"data has \{'name': 5\}"),
        ({"data": [{"name": "a", "args": [1]}]}, r"data has \{'name': 'a', 'args': \[1\]\}"),
        ({"data": [{"name": "a", "args": {1: 2}}]}, r"data has \{'name': 'a', 'args': \{1: 2\}\}"),
        ({"data": [{"name": "a", "rate": "fast"}]}, "data has .*'rate': 'fast'"),
        ({"data": [{"name": "a", "rate": True}]}, "data has .*'rate': True"),
        ({"data": [{"name": "a", "rate": 0}]}, "data has .*'rate': 0"),
        ({"data": [{"name": "a", "rate": math.nan}]}, "data has .*'rate': nan"),
        ({"data": [{"name": "a", "rate": math.inf}]}, "data has .*'rate': inf"),
        ({"data": ["a"], "data_args": {"root": "x"}}, "data_args go with a single data set"),
    ],
)
def test_several_data_sets_that_are_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**NEEDED | changes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.py:Own", "class Other: pass", "has no Own"),
        ("own.py:Own", "def Own(split): return [1]", r"must say its tasks.*num_classes = \{task: number\}"),
        ("own.txt:Own", "class Own: pass", r"own\.txt is no Python file"),
        ("own.py:", "", "has no "),
        ("none.py:Own", "", "there is no file .*none.py"),
        ("own.py:Own", "class Own:\n    def __init__(self, split): pass", r"Own.*unexpected keyword argument 'root'"),
        ("own.py:Own", "class Own:\n    def __init__(self, root): pass", r"Own.*unexpected keyword argument 'split'"),
    ],
)
def test_a_file_of_ones_own(name, content, message, tmp_path):
    if not name.startswith("none"):
        (tmp_path / name.partition(":")[0]).write_text(content)
    config = TrainingConfig(
        **NEEDED | {"data": f"{tmp_path}/{name}", "data_args": {"root": "x"} if "__init__" in content else {}}
    )
    (source,) = config.sources()
    with pytest.raises(ValueError, match=message):
        source.dataset("train")


def test_an_error_in_a_file_of_ones_own_stays_as_it_is(tmp_path):
    (tmp_path / "own.py").write_text("import nothing_that_is_installed")
    (source,) = TrainingConfig(**NEEDED | {"data": f"{tmp_path}/own.py:Own"}).sources()
    with pytest.raises(ModuleNotFoundError, match="nothing_that_is_installed"):
        source.dataset("train")
