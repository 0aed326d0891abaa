"""What is wrong is refused, with the name of what was given and of what is known; nothing changes then."""

import copy
import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import tsbn_hub
from tsbn_hub.files import repositories
from tsbn_hub.models import CheckpointError

TASKS = ["second", "first"]
KNOWN = r"\['second', 'first'\]"
NAME = "test_resnet_tsbn"


@pytest.fixture
def model() -> nn.Module:
    return timm.create_model(NAME, tasks=TASKS, num_classes=4).eval()


@pytest.fixture
def folder(tmp_path, model) -> Path:
    tsbn_hub.save_pretrained(model, tmp_path / "model")
    return tmp_path / "model"


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 32, 32)


def both_ways(folder: Path) -> list:
    """Loading a folder by timm and by us."""
    return [
        lambda: timm.create_model(f"local-dir:{folder}", pretrained=True),
        lambda: tsbn_hub.from_pretrained(folder),
    ]


def snapshot(model: nn.Module) -> tuple:
    return (
        {name: type(module) for name, module in model.named_modules()},
        copy.deepcopy(model.state_dict()),
        {name: id(parameter) for name, parameter in model.named_parameters()},
        (model.tasks, model.task_classes, model.num_classes, model.task, copy.deepcopy(model._model_args)),
    )


def assert_unchanged(model: nn.Module, before: tuple) -> None:
    after = snapshot(model)
    assert after[0] == before[0] and after[2:] == before[2:]
    assert after[1].keys() == before[1].keys()
    assert [key for key in before[1] if not torch.equal(before[1][key], after[1][key])] == []


def unregister(name: str) -> None:
    timm.models._registry._clear_model_entries(name)
    timm.models._registry._model_entrypoints.pop(name, None)


# --- tasks ---


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model(images(), task="third"),
        lambda model: model(images(), task=["first", "third"]),
        lambda model: model.set_task("third"),
        lambda model: model.using_task("third").__enter__(),
        lambda model: model.fold("third"),
        lambda model: model.add_task("fourth", like="third"),
        lambda model: model.remove_task("third"),
        lambda model: model.reset_classifier({"third": 3}),
    ],
    ids=["call", "one-a-sample", "set_task", "using_task", "fold", "like", "remove_task", "reset_classifier"],
)
def test_unknown_task(use, model):
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"'third'.*{KNOWN}"):
        use(model)
    assert_unchanged(model, before)


@pytest.mark.parametrize("task", [1, 1.5, object()], ids=["int", "float", "object"])
def test_a_task_that_is_no_name(task, model):
    with pytest.raises((TypeError, ValueError), match=r"task.*'second'|'second'.*task"):
        model(images(), task=task)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("task", [["first", "second"], torch.tensor([0, 1])], ids=["names", "rows"])
def test_wrong_number_of_tasks_for_the_batch(task, batch, model):
    with pytest.raises(ValueError, match=f"2 tasks for a batch of {batch}"):
        model(images(batch), task=task)


@pytest.mark.parametrize("rows", [[0, 2], [-1, 0]])
def test_rows_of_no_task(rows, model):
    with pytest.raises(ValueError, match=rf"{max(rows, key=abs)}.*2 tasks {KNOWN}"):
        model(images(), task=torch.tensor(rows))


def test_parts_without_a_task(model):
    for call in (model.forward_features, model.forward_head, model.forward_intermediates):
        with pytest.raises(RuntimeError, match=rf"{KNOWN}.*using_task"):
            call(images())
    with pytest.raises(RuntimeError, match=rf"get_classifier.*{KNOWN}.*using_task"):
        model.get_classifier()
    with pytest.raises(RuntimeError, match=rf"{KNOWN}.*fold\('second'\)"):
        model.fold()


NAMES = [
    ([], ValueError, "tasks is empty"),
    ([""], ValueError, "''"),
    (["a", ""], ValueError, r"''.*\['a', ''\]"),
    (["a", "b", "a"], ValueError, r"\['a'\] are repeated in \['a', 'b', 'a'\]"),
    (["a.b"], ValueError, r"'a\.b'.*no dot"),
    (["."], ValueError, r"'\.'.*no dot"),
    ("age", TypeError, r"'age'.*\['age'\]"),
    ([1, 2], TypeError, r"string, not 1 \(int\)"),
    ([None], TypeError, "string, not None"),
]


@pytest.mark.parametrize(("tasks", "error", "message"), NAMES, ids=[repr(case[0]) for case in NAMES])
def test_task_names(tasks, error, message):
    with pytest.raises(error, match=message):
        timm.create_model(NAME, tasks=tasks)
    with pytest.raises(error, match=message):
        tsbn_hub.convert(nn.Sequential(nn.BatchNorm2d(3)), tasks=tasks)


@pytest.mark.parametrize("sizes", [{}, {"": 3}, {"a.b": 3}])
def test_task_names_of_num_classes(sizes):
    with pytest.raises(ValueError, match=r"empty|no dot"):
        timm.create_model(NAME, num_classes=sizes)


@pytest.mark.parametrize("task", ["", "a.b", "first", 3])
@pytest.mark.parametrize("tasks", [["first"], TASKS], ids=["one", "two"])
def test_add_task_that_is_refused_changes_nothing(tasks, task):
    model = timm.create_model(NAME, tasks=tasks, num_classes=4)
    before = snapshot(model)
    with pytest.raises((ValueError, TypeError), match=repr(task)):
        model.add_task(task)
    assert_unchanged(model, before)
    model.add_task("third", like="first", num_classes=3)
    assert model.tasks == [*tasks, "third"] and model.task_classes == [*[4] * len(tasks), 3]
    assert model(images())["third"].shape == (2, 3)


def test_remove_the_only_task():
    model = timm.create_model(NAME, tasks=["first"])
    before = snapshot(model)
    with pytest.raises(ValueError, match="'first' is the model's only task"):
        model.remove_task("first")
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(tasks=TASKS, num_classes={"second": 3}), rf"{KNOWN}.*missing are \['first'\]"),
        (dict(tasks=TASKS, num_classes={"second": 3, "first": 2, "x": 1}), rf"{KNOWN}.*unknown are \['x'\]"),
        (dict(tasks=TASKS, num_classes={"x": 1}), r"unknown are \['x'\]; missing are \['first', 'second'\]"),
        (dict(tasks=TASKS, task_classes=[1, 2, 3]), rf"3 task_classes, \[1, 2, 3\], for the 2 tasks {KNOWN}"),
    ],
    ids=["missing", "unknown", "both", "task_classes"],
)
def test_num_classes(kwargs, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model(NAME, **kwargs)


# --- options ---


@pytest.mark.parametrize(
    ("gated", "wrong"),
    [
        ("nope*", "nope*"),
        ("layer1.*, nope*", "nope*"),
        (["layer1.*", "nope*"], "nope*"),
        (["conv1"], "conv1"),  # a convolution
        ("", ""),
    ],
)
def test_gated_pattern_that_matches_nothing(gated, wrong):
    message = f"gated={gated!r}: the pattern {wrong!r} matches the name of no norm. There are 15 norms, such as conv1.1"
    for make in (
        lambda: timm.create_model(NAME, gated=gated),
        lambda: tsbn_hub.convert(timm.create_model("test_resnet"), TASKS, gated=gated),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            make()


@pytest.mark.parametrize("gate_init", [0, 1, 2, -0.5, float("nan"), 0.0, 1.0, 1e-40, 1e-4, 1 - 1e-16, True, "0.5"])
def test_gate_init(gate_init):
    for make in (
        lambda: timm.create_model(NAME, gate_init=gate_init),
        lambda: tsbn_hub.convert(nn.Sequential(nn.BatchNorm2d(3)), TASKS, gate_init=gate_init),
    ):
        with pytest.raises(ValueError, match=rf"gate_init={gate_init!r}.*\(0, 1\)"):
            make()


@torch.no_grad()
@pytest.mark.parametrize("gate_init", [0.001, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_ends_of_gate_init(gate_init, dtype):
    plain = nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8)).to(dtype)
    plain[0].weight.fill_(60)
    x = torch.randn(4, 8, dtype=dtype)
    expected = plain(x)
    output = tsbn_hub.convert(plain, TASKS, gated="*", gate_init=gate_init)(x)[TASKS[0]]
    torch.testing.assert_close(output, expected, rtol=10 * torch.finfo(dtype).eps, atol=10 * torch.finfo(dtype).eps)


def test_norm():
    with pytest.raises(ValueError, match=r"norm='foo'.*sigmoid.*affine.*shared"):
        timm.create_model(NAME, norm="foo")
    with pytest.raises(ValueError, match=r"norm='foo'.*sigmoid.*affine.*shared"):
        tsbn_hub.convert(nn.Sequential(nn.BatchNorm2d(3)), TASKS, norm="foo")


# --- architectures ---


def test_an_architecture_without_norms():
    with pytest.raises(RuntimeError, match=r"Unknown model .*nfnet_l0_tsbn"):
        timm.create_model("nfnet_l0_tsbn")
    tsbn_hub.register("vgg11")
    try:
        with pytest.raises(ValueError, match="VGG has no norm layer"):
            timm.create_model("vgg11_tsbn", tasks=TASKS)
    finally:
        unregister("vgg11_tsbn")
    with pytest.raises(ValueError, match="Sequential has no norm layer"):
        tsbn_hub.convert(nn.Sequential(nn.Linear(2, 2)), TASKS)


def test_register_an_unknown_name():
    with pytest.raises(ValueError, match=r"'resnet5000'.*register_model"):
        tsbn_hub.register("resnet5000")
    assert not timm.is_model("resnet5000_tsbn")


def test_converting_twice(model):
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"{KNOWN}.*add_task"):
        tsbn_hub.convert(model, ["third"])
    assert_unchanged(model, before)
    net = tsbn_hub.convert(nn.Sequential(nn.BatchNorm2d(3)), TASKS)
    with pytest.raises(ValueError, match=rf"{KNOWN}.*add_task"):
        tsbn_hub.convert(net, ["third"])


def test_registering_a_name_of_ours_again():
    """A second conversion of every model it makes."""
    try:
        with pytest.raises(ValueError, match=NAME):
            tsbn_hub.register(NAME)
        assert not timm.is_model(f"{NAME}_tsbn")
    finally:
        unregister(f"{NAME}_tsbn")


def test_converting_a_network_that_holds_a_converted_one(model):
    """Its norms answer to tasks of their own: a second set of tasks around them would be ambiguous."""
    with pytest.raises(ValueError, match=f"{KNOWN}|already"):
        tsbn_hub.convert(nn.Sequential(model, nn.BatchNorm1d(4)), ["third", "fourth"])


def test_converting_a_bare_norm():
    with pytest.raises(ValueError, match="Sequential"):
        tsbn_hub.convert(nn.BatchNorm2d(3), TASKS)


# --- files ---


def test_a_truncated_file(folder):
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    for size in (len(content) - 100, 100, 4, 0):
        weights.write_bytes(content[:size])
        for load in both_ways(folder):
            with pytest.raises(ValueError, match=rf"{weights} is truncated.*{size} bytes"):
                load()
        with pytest.raises(ValueError, match=rf"{weights} is truncated.*{size} bytes"):
            timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=str(weights)))


def test_a_missing_file(tmp_path):
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(FileNotFoundError, match=str(missing)):
        timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=str(missing)))


@pytest.mark.parametrize("num_classes", [1000, 4])
def test_a_foreign_file(num_classes, folder):
    """With another number of classes than the config's, timm loads with strict=False: then, too, it must raise."""
    save_file({"encoder.weight": torch.zeros(3)}, folder / "model.safetensors")
    for load in both_ways(folder):
        with pytest.raises((RuntimeError, CheckpointError), match=r"encoder\.weight"):
            load()
    overlay = dict(file=str(folder / "model.safetensors"))
    with pytest.raises(RuntimeError, match=r"encoder\.weight"):
        timm.create_model(NAME, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay)


def test_a_partial_set_of_gates(folder):
    weights = folder / "model.safetensors"
    state = load_file(weights)
    gates = [key for key in state if key.endswith("gate_logits")]
    del state[gates[3]]
    save_file(state, weights)
    for load in both_ways(folder):
        with pytest.raises((RuntimeError, CheckpointError), match=rf"{len(gates) - 1} of the {len(gates)}.*{gates[3]}"):
            load()


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    for load in both_ways(folder):
        with pytest.raises((ValueError, FileNotFoundError), match=r"model\.safetensors"):
            load()


def test_a_folder_without_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{folder} has no config\.json.*\['model\.safetensors'\]"):
        tsbn_hub.from_pretrained(folder)


@pytest.mark.parametrize("where", ["no/such/folder", "nothing"])
def test_no_folder_and_no_repo(where):
    with pytest.raises(FileNotFoundError, match=f"{where} is neither a folder nor a Hub repo"):
        tsbn_hub.from_pretrained(where)


def test_a_path_is_no_repo():
    with pytest.raises(FileNotFoundError, match=r"There is no folder org/name\."):
        tsbn_hub.from_pretrained(Path("org/name"))
    with pytest.raises(FileNotFoundError, match=r"There is no folder /no/such\."):
        tsbn_hub.from_pretrained("/no/such")


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b"\xff\xfe\x00", b"[1, 2]", b'"text"', b"3"], ids=str)
def test_a_config_that_is_no_json_object(content, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{folder / 'config.json'}"):
        tsbn_hub.from_pretrained(folder)


@pytest.mark.parametrize("architecture", ["resnet5000_tsbn", "resnet5000", "", None, 3, "nfnet_l0_tsbn"])
def test_a_config_of_an_unknown_architecture(architecture, folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architecture": architecture}))
    with pytest.raises(ValueError, match=rf"{path} names the architecture {architecture!r}") as raised:
        tsbn_hub.from_pretrained(folder)
    assert ("tsbn_hub.register('nfnet_l0')" in str(raised.value)) == (architecture == "nfnet_l0_tsbn")


def test_a_config_with_fewer_tasks_than_the_weights(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["model_args"].update(tasks=["first"], task_classes=[4])
    path.write_text(json.dumps(config))
    for load in both_ways(folder):
        with pytest.raises((RuntimeError, CheckpointError), match=r"2 tasks.*1: \['first'\]"):
            load()


@pytest.mark.parametrize("model", [nn.Linear(2, 2), tsbn_hub.convert(nn.Sequential(nn.BatchNorm2d(3)), TASKS)])
def test_saving_what_is_not_timms(model, tmp_path):
    with pytest.raises(TypeError, match=r"Linear|Sequential"):
        tsbn_hub.save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


# --- pickles ---


class Canary:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def canary(tmp_path) -> Path:
    return tmp_path / "executed"


def write_pickles(canary: Path, folder: Path) -> None:
    torch.save({"state_dict": {"conv1.0.weight": Canary(canary)}}, folder / "torch.bin")
    (folder / "plain.bin").write_bytes(pickle.dumps({"conv1.0.weight": Canary(canary)}))
    for path in (folder / "torch.bin", folder / "plain.bin"):
        torch.load(path, weights_only=False) if path.name == "torch.bin" else pickle.loads(path.read_bytes())
        assert canary.exists(), "the canary must sing when it is unpickled, or these tests show nothing"
        canary.unlink()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.pth", "model.pth", "weights.pt", "weights.ckpt"])
@pytest.mark.parametrize("kind", ["torch.bin", "plain.bin"])
def test_a_pickle_in_a_folder(kind, name, folder, canary, tmp_path):
    write_pickles(canary, tmp_path)
    (folder / "model.safetensors").unlink()
    shutil.copy(tmp_path / kind, folder / name)
    for load in both_ways(folder):
        with pytest.raises((ValueError, FileNotFoundError), match=r"model\.safetensors"):
            load()
    with pytest.raises(ValueError, match=rf"{name}.*tsbn_hub\.save_pretrained"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["torch.bin", "plain.bin"])
def test_a_pickle_beside_safetensors_is_not_read(kind, folder, canary, tmp_path, model):
    write_pickles(canary, tmp_path)
    for name in ("pytorch_model.bin", "model.pth", "a.safetensors"):
        shutil.copy(tmp_path / kind, folder / name)
    for load in both_ways(folder):
        assert torch.equal(load().conv1[0].weight, model.conv1[0].weight)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["torch.bin", "plain.bin"])
def test_a_pickle_named_safetensors(kind, folder, canary, tmp_path):
    write_pickles(canary, tmp_path)
    shutil.copy(tmp_path / kind, folder / "model.safetensors")
    for load in both_ways(folder):
        with pytest.raises(ValueError, match=rf"{folder / 'model.safetensors'} is truncated, or no safetensors"):
            load()
    assert not canary.exists()


@pytest.mark.parametrize("name", ["weights.bin", "weights.pth.tar", "weights"])
@pytest.mark.parametrize("harmless", [True, False])
@pytest.mark.parametrize("given", ["overlay", "pretrained_cfg", "PretrainedCfg"])
def test_a_pickle_as_file(given, harmless, name, canary, tmp_path):
    """A harmless one is refused, too: a pickle is never read, with weights_only=True neither."""
    write_pickles(canary, tmp_path)
    path = tmp_path / name
    if harmless:
        torch.save(timm.create_model("test_resnet").state_dict(), path)
    else:
        shutil.copy(tmp_path / "torch.bin", path)
    config = timm.models.get_pretrained_cfg("test_resnet").to_dict()
    how = {
        "overlay": dict(pretrained_cfg_overlay=dict(file=str(path))),
        "pretrained_cfg": dict(pretrained_cfg={**config, "file": str(path)}),
        "PretrainedCfg": dict(pretrained_cfg=timm.models.PretrainedCfg(**{**config, "file": str(path)})),
    }[given]
    with pytest.raises(ValueError, match=rf"{path} is no \.safetensors file.*save_file"):
        timm.create_model(NAME, pretrained=True, **how)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["torch.bin", "plain.bin"])
def test_a_pickle_as_checkpoint_path(kind, canary, tmp_path):
    """timm reads it after our entry point has returned, with weights_only=True."""
    write_pickles(canary, tmp_path)
    with pytest.raises((RuntimeError, ValueError)):
        timm.create_model(NAME, checkpoint_path=str(tmp_path / kind))
    assert not canary.exists()


@pytest.mark.parametrize("given", ["hf-hub", "from_pretrained", "overlay"])
def test_a_pickle_on_the_hub_is_not_asked_for(given, folder, monkeypatch, tmp_path):
    from timm.models import _hub

    (folder / "model.safetensors").unlink()
    asked = []

    def download(repo, allow_patterns, **kwargs):
        asked.extend(allow_patterns)
        return str(folder)

    monkeypatch.setattr(_hub, "hf_hub_download", lambda repo_id, filename, **kwargs: str(folder / filename))
    monkeypatch.setattr(repositories, "snapshot_download", download)
    monkeypatch.setattr(repositories, "list_repo_files", lambda *_, **__: ["config.json", "pytorch_model.bin"])
    monkeypatch.chdir(tmp_path)
    load = {
        "hf-hub": lambda: timm.create_model("hf-hub:org/name", pretrained=True),
        "from_pretrained": lambda: tsbn_hub.from_pretrained("org/name"),
        "overlay": lambda: timm.create_model(
            NAME,
            pretrained=True,
            tasks=TASKS,
            num_classes=4,
            pretrained_cfg_overlay=dict(hf_hub_id="org/name", num_classes=4),
        ),
    }[given]
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors .*pytorch_model\.bin.* can run code"):
        load()
    assert asked and not [name for name in asked if name.endswith((".bin", ".pth", "*"))]
