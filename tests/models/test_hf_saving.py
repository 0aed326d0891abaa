"""Saving by transformers: a folder holds the model bit for bit; a folded model needs nothing of ours."""

import json
from itertools import product

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, BitImageProcessor, ViTConfig

from tests.matrices import cases_of, diagonal
from tsbn_hub import Task, TsbnBackbone, TsbnConfig, TsbnForMultiTask, TsbnModel

from .hf_backbones import (
    BACKBONES,
    FEW,
    FEWEST,
    NAMES,
    SOME,
    TASKS,
    assert_equal,
    assert_states_equal,
    few_backbones,
    randomized,
    some_backbones,
)

WEIGHTS = "model.safetensors"
ROUNDING = 1e-6  # the same weights at another alignment in memory, or in another process, may take another kernel


def described(config):
    """A configuration, but for where it is from, and the dtype, which is written down on saving."""
    values = json.loads(config.to_json_string(use_diff=False))
    del values["_name_or_path"], values["backbone_config"]["dtype"]
    return values


@torch.no_grad()
def assert_round_trip(model, folder, x, **options):
    model.save_pretrained(folder, **options)
    again = type(model).from_pretrained(folder, execution=model.execution)
    assert (again.tasks, again.training, again.dtype) == (model.tasks, False, model.dtype)
    assert described(again.config) == described(model.config)
    assert_states_equal(again, model)
    assert_equal(again(x), model(x), bound=ROUNDING)
    return again


@some_backbones
def test_round_trip(tiny, tmp_path):
    assert_round_trip(tiny.multi_task(), tmp_path / "multi", tiny.images())
    assert {path.name for path in (tmp_path / "multi").iterdir()} - {"preprocessor_config.json"} == {
        "config.json",
        WEIGHTS,
    }
    assert_round_trip(tiny.backbone(), tmp_path / "backbone", tiny.images())


OPTIONS = {
    "affine": {"norm": "affine"},
    "shared": {"norm": "shared"},
    "dropped": {"keep_affine": False, "gate_init": 0.7},
    "one-task": {"tasks": TASKS[:1]},
}


@pytest.mark.parametrize(("name", "options"), cases_of(product(FEW, OPTIONS), diagonal(FEWEST, OPTIONS)))
def test_round_trip_of_options(name, options, tmp_path):
    tiny = BACKBONES[name]
    assert_round_trip(tiny.multi_task(**OPTIONS[options]), tmp_path, tiny.images())


def test_round_trip_of_gated(tmp_path):
    tiny = BACKBONES["resnet"]
    again = assert_round_trip(tiny.multi_task(gated="encoder.stages.1.*,encoder.stages.2.*"), tmp_path, tiny.images())
    assert again.config.gated == "encoder.stages.1.*,encoder.stages.2.*"
    vit = BACKBONES["vit"]
    assert assert_round_trip(vit.multi_task(gated=["*"]), tmp_path, vit.images()).config.gated == ["*"]


@few_backbones
def test_round_trip_of_a_backbone_for_other_models(tiny, tmp_path):
    config = TsbnConfig(tiny.config, NAMES, out_features=["stage1", "stage2"])
    model = randomized(TsbnBackbone(config)).eval()
    assert assert_round_trip(model, tmp_path, tiny.images()).out_features == ["stage1", "stage2"]


@few_backbones
def test_round_trip_in_shards(tiny, tmp_path):
    assert_round_trip(tiny.multi_task(), tmp_path, tiny.images(), max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1


@few_backbones
def test_round_trip_in_half_precision(tiny, tmp_path):
    model = tiny.multi_task().to(torch.bfloat16)
    assert_round_trip(model, tmp_path, tiny.images().bfloat16())
    wide = TsbnForMultiTask.from_pretrained(tmp_path, dtype=torch.float32)
    for (name, mine), half in zip(wide.named_parameters(), model.parameters(), strict=True):
        assert mine.dtype == torch.float32 and torch.equal(mine, half.float()), name


def test_a_backbone_in_half_precision_stays_in_it():
    plain = BACKBONES["vit"].plain().bfloat16()
    model = TsbnForMultiTask.from_backbone(plain, TASKS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    x = BACKBONES["vit"].images().bfloat16()
    with torch.no_grad():
        assert_equal(model.tsbn(x, task="a"), plain(x))
        assert {each.dtype for each in model(x).logits.values()} == {torch.bfloat16}


def test_tasks_stay_in_their_order(tmp_path):
    """JSON is written with its keys sorted; rows of gates must not go to other tasks."""
    names = ["z", "type", "b a", "ü", "0", "a"]
    tasks = [Task(name, num_classes=2 + at) for at, name in enumerate(names)]
    again = assert_round_trip(BACKBONES["vit"].multi_task(tasks), tmp_path, BACKBONES["vit"].images())
    assert again.tasks == names and list(again(BACKBONES["vit"].images()).logits) == names


def test_config_is_readable(tmp_path):
    BACKBONES["vit"].multi_task().save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    config = json.loads(text)
    assert list(config) == sorted(config)
    assert config["model_type"] == "tsbn" and config["backbone_config"]["model_type"] == "vit"
    assert config["architectures"] == ["TsbnForMultiTask"]
    assert [task["name"] for task in config["tasks"]] == NAMES
    assert config["tasks"][0]["id2label"] == {"0": "floor", "1": "wall", "2": "chair"}
    assert "auto_map" not in text
    again = TsbnConfig.from_pretrained(tmp_path)
    assert again.tasks == TASKS
    # More than ten labels: "10" sorts before "2".
    many = Task("many", labels=[f"label{number}" for number in range(12)])
    assert TsbnConfig.from_dict(json.loads(TsbnConfig(ViTConfig(), [many]).to_json_string())).tasks == [many]


def test_arguments_by_position(tmp_path):
    """Not the main process: nothing is written."""
    model = BACKBONES["vit"].multi_task()
    model.image_processor = BitImageProcessor()
    model.save_pretrained(tmp_path / "other", False)
    assert not list((tmp_path / "other").iterdir())
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "main", True, state)
    again = TsbnForMultiTask.from_pretrained(tmp_path / "main")
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert type(again.image_processor) is BitImageProcessor


# --- in another process ---


AUTO = """
import sys, torch
from tsbn_hub import TsbnConfig
from transformers import AutoBackbone, AutoConfig, AutoModel
torch.set_num_threads(1)
folder, images, out = sys.argv[1:]
config, x = AutoConfig.from_pretrained(folder), torch.load(images)
assert type(config) is TsbnConfig
model = AutoModel.from_pretrained(folder)
with torch.no_grad():
    state = model(x, task="a").last_hidden_state
    backbone = AutoBackbone.from_config(config).eval()
    backbone.load_state_dict(model.state_dict())
    torch.save([state, backbone(x, task="a").feature_maps[-1]], out)
"""


def test_auto_classes_in_another_process(tmp_path, python):
    tiny = BACKBONES["swin"]
    model = tiny.multi_task()
    model.save_pretrained(tmp_path)
    torch.save(tiny.images(), tmp_path / "images.pt")
    done = python(AUTO, tmp_path, tmp_path / "images.pt", tmp_path / "out.pt")
    assert done.returncode == 0, done.stderr
    state, feature_map = torch.load(tmp_path / "out.pt")
    with torch.no_grad():
        assert_equal(state, model.tsbn(tiny.images(), task="a").last_hidden_state, bound=ROUNDING)
        assert_equal(feature_map, model.tsbn.features(tiny.images(), task="a").maps[-1], bound=ROUNDING)


PLAIN = """
import sys
sys.modules["tsbn_hub"] = None
import torch, transformers
torch.set_num_threads(1)
for folder in sys.argv[1:]:
    config = transformers.AutoConfig.from_pretrained(folder)
    model_class = getattr(transformers, config.architectures[0])
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    with torch.no_grad():
        outputs = model(torch.load(folder + "/images.pt"))
    torch.save(outputs.logits if "logits" in outputs else outputs.last_hidden_state, folder + "/out.pt")
"""


def test_folded_models_in_another_process(tmp_path, python):
    """Which does not have this package."""
    expected = {}
    for name in SOME:
        tiny = BACKBONES[name]
        model = tiny.multi_task()
        with torch.no_grad():
            for task in ("z", "a") if name in FEW else ("a",):
                folder = tmp_path / f"{name.replace('/', '-')}-{task}"
                folded = model.fold(task)
                folded.save_pretrained(folder)
                torch.save(tiny.images(), folder / "images.pt")
                is_classifier = type(folded).__name__.endswith("Classification")
                assert is_classifier == (task == "a" and not name.startswith("dinov3"))
                if is_classifier:
                    expected[folder] = model(tiny.images(), task=task).logits[task]
                else:
                    expected[folder] = model.tsbn(tiny.images(), task=task).last_hidden_state
                assert "tsbn" not in (folder / "config.json").read_text()
    done = python(PLAIN, *expected)
    assert done.returncode == 0, done.stderr
    for folder, output in expected.items():
        assert_equal(torch.load(folder / "out.pt"), output, folder.name, bound=1e-5)


def test_errors_of_folding_by_precision():
    """Exact in arithmetic; stored in half precision, the folded weights are rounded."""
    tiny = BACKBONES["convnext"]
    for dtype, bound in ((torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 0.03)):
        model = tiny.multi_task().double()
        x = tiny.images().double()
        with torch.no_grad():
            expected = model(x).logits["a"]
            folded = model.to(dtype).fold("a")
            assert folded.dtype == dtype
            assert_equal(folded(x.to(dtype)).logits.double(), expected, dtype, bound=bound)


# --- names ---


@some_backbones
def test_names_on_the_disk(tiny, tmp_path):
    """Those that the native architecture has there; load_state_dict takes them, and its own."""
    model, plain = tiny.multi_task(), tiny.plain()
    model.save_pretrained(tmp_path / "ours")
    plain.save_pretrained(tmp_path / "plain")
    on_disk = load_file(tmp_path / "ours" / WEIGHTS)
    trunk = {key.removeprefix("tsbn.backbone.") for key in on_disk if key.startswith("tsbn.")}
    assert trunk >= load_file(tmp_path / "plain" / WEIGHTS).keys()
    for state in (on_disk, model.state_dict()):
        fresh = TsbnForMultiTask(TsbnConfig.from_pretrained(tmp_path / "ours"))
        fresh.load_state_dict(state)
        assert_states_equal(fresh, model)
    if tiny.config.model_type in ("vit", "swin"):
        assert on_disk.keys() != model.state_dict().keys(), "else this test shows nothing"
    with pytest.raises(RuntimeError, match="nonsense"):
        model.load_state_dict({**on_disk, "nonsense": torch.zeros(1)})


@some_backbones
def test_backbone_of_a_multi_task_folder_and_the_reverse(tiny, tmp_path):
    multi_task, backbone = tiny.multi_task(), TsbnModel.from_backbone(tiny.plain(), TASKS)
    multi_task.save_pretrained(tmp_path / "multi")
    again, info = TsbnModel.from_pretrained(tmp_path / "multi", output_loading_info=True)
    assert not info["missing_keys"] and all(key.startswith("heads.") for key in info["unexpected_keys"])
    assert_states_equal(again, multi_task.tsbn)
    randomized(backbone).save_pretrained(tmp_path / "backbone")
    again, info = TsbnForMultiTask.from_pretrained(tmp_path / "backbone", output_loading_info=True)
    assert all(key.startswith("heads.") for key in info["missing_keys"]) and not info["unexpected_keys"]
    assert_states_equal(again.tsbn, backbone)


def test_auto_model_is_the_backbone(tmp_path):
    BACKBONES["vit"].multi_task().save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is TsbnModel
