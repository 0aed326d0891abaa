"""Saving by transformers: a folder holds the model bit for bit; a folded model needs nothing of ours."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from transformers import AutoImageProcessor, AutoModel, BitImageProcessor, ViTConfig, ViTImageProcessor, ViTModel

from tsbn_hub import Task, TsbnBackbone, TsbnConfig, TsbnForMultiTask, TsbnModel
from tsbn_hub.models.hf_sources import image_processor_of
from tsbn_hub.norms import TaskNorm

from .hf_backbones import (
    BACKBONES,
    FEW,
    NAMES,
    TASKS,
    assert_equal,
    assert_states_equal,
    every_backbone,
    few_backbones,
    randomized,
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
    again = type(model).from_pretrained(folder)
    assert (again.tasks, again.training, again.dtype) == (model.tasks, False, model.dtype)
    assert described(again.config) == described(model.config)
    assert_states_equal(again, model)
    assert_equal(again(x), model(x), bound=ROUNDING)
    return again


@every_backbone
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


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@few_backbones
def test_round_trip_of_options(tiny, options, tmp_path):
    assert_round_trip(tiny.multi_task(**options), tmp_path, tiny.images())


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


# --- in another process ---


def run(code: str, *arguments: object) -> str:
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_auto_classes_in_another_process(tmp_path):
    tiny = BACKBONES["swin"]
    model = tiny.multi_task()
    model.save_pretrained(tmp_path)
    torch.save(tiny.images(), tmp_path / "images.pt")
    run(AUTO, tmp_path, tmp_path / "images.pt", tmp_path / "out.pt")
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


def test_folded_models_in_another_process(tmp_path):
    """Which does not have this package."""
    expected = {}
    for name, tiny in BACKBONES.items():
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
    run(PLAIN, *expected)
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


# --- what a checkpoint lacks ---


@pytest.fixture
def nan_memory(monkeypatch):
    """What is not initialised is NaN."""
    empty_like = torch.empty_like

    def empty(*args, **kwargs):
        new = empty_like(*args, **kwargs)
        return new.fill_(torch.nan) if new.is_floating_point() else new.fill_(-12345)

    monkeypatch.setattr(torch, "empty_like", empty)


def without(folder: Path, *fragments: str) -> list[str]:
    """Take the entries with these fragments out of a folder's weights; their names."""
    weights = load_file(folder / WEIGHTS)
    gone = [name for name in weights if any(fragment in name for fragment in fragments)]
    save_file({name: weights[name].clone() for name in weights if name not in gone}, folder / WEIGHTS, {"format": "pt"})
    return gone


@every_backbone
def test_missing_heads_start_fresh(tiny, tmp_path, nan_memory, caplog):
    model = TsbnModel.from_backbone(tiny.plain(), TASKS)
    randomized(model).save_pretrained(tmp_path)
    with propagated():
        again, info = TsbnForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert "heads.z_head" in caplog.text and "newly initialized" in caplog.text.replace("MISSING", "newly initialized")
    assert info["missing_keys"] and all(key.startswith("heads.") for key in info["missing_keys"])
    assert_states_equal(again.tsbn, model)
    for name, tensor in [*again.heads.named_parameters(), *again.heads.named_buffers()]:
        assert torch.isfinite(tensor).all(), name
        if name.endswith("running_var"):
            assert tensor.eq(1).all(), name
        if name.endswith(("running_mean", "num_batches_tracked")):
            assert tensor.eq(0).all(), name
    # As torch initialises them: uniform, within the root of the inputs' number.
    linear = next(module for module in again.head("a").modules() if isinstance(module, torch.nn.Linear))
    bound = linear.in_features**-0.5
    assert bound / 2 < linear.weight.abs().max() <= bound


def propagated():
    """Let caplog see what transformers logs."""
    import contextlib

    from transformers.utils import logging

    @contextlib.contextmanager
    def context():
        logging.enable_propagation()
        try:
            yield
        finally:
            logging.disable_propagation()

    return context()


@pytest.mark.parametrize("name", [name for name in BACKBONES if not name.startswith("timm/")])
def test_missing_weights_of_the_trunk_start_fresh(name, tmp_path, nan_memory):
    model = BACKBONES[name].multi_task()
    model.save_pretrained(tmp_path)
    of_tasks = ("gate_logits", "running_mean", "running_var", "num_batches_tracked")
    weights = load_file(tmp_path / WEIGHTS)
    gone = without(tmp_path, *(key for key in weights if not key.endswith(of_tasks) or key.startswith("heads.")))
    assert len(gone) > 10
    again, info = TsbnForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert len(info["missing_keys"]) == len(gone)
    for name, tensor in [*again.named_parameters(), *again.named_buffers()]:
        assert torch.isfinite(tensor).all() and (tensor != -12345).all(), name
    for name, module in again.named_modules():
        if isinstance(module, TaskNorm):
            assert torch.equal(module.gate_logits, model.get_submodule(name).gate_logits), "what is there is taken"
            # What new gates would make 1.
            assert module.weight.eq(2).all() and (module.bias is None or module.bias.eq(0).all())


@pytest.mark.parametrize("options", [{}, {"norm": "shared"}, {"gated": "encoder.stages.1.*"}], ids=str)
@pytest.mark.parametrize("entry", ["weight", "bias", "running_var"])
def test_one_missing_weight_of_a_norm(entry, options, tmp_path, nan_memory):
    """What the checkpoint has of the norm stays."""
    if entry == "running_var" and not options:
        pytest.skip("a task's own: an error")
    model = BACKBONES["resnet"].multi_task(**options)
    model.save_pretrained(tmp_path)
    (gone,) = without(tmp_path, f"embedder.normalization.{entry}")
    again = TsbnForMultiTask.from_pretrained(tmp_path).state_dict()
    for key, tensor in model.state_dict().items():
        same = key.removeprefix("tsbn.backbone.") != gone.removeprefix("tsbn.backbone.")
        assert torch.isfinite(again[key]).all() and torch.equal(again[key], tensor) == same, key


def test_one_missing_weight_of_a_head(tmp_path, nan_memory):
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    gone = without(tmp_path, "heads.z_head.norm.bias")
    again = TsbnForMultiTask.from_pretrained(tmp_path)
    for key, tensor in model.state_dict().items():
        mine = again.state_dict()[key]
        assert torch.isfinite(mine).all() and (key in gone) != torch.equal(mine, tensor), key


@pytest.mark.parametrize("name", FEW)
def test_missing_gates(name, tmp_path):
    model = BACKBONES[name].multi_task()
    model.save_pretrained(tmp_path)
    gates = [key for key in load_file(tmp_path / WEIGHTS) if key.endswith("gate_logits")]
    whole = load_file(tmp_path / WEIGHTS)
    without(tmp_path, gates[0])
    with pytest.raises(ValueError, match=r"lacks tsbn\.backbone\..*gate_logits\. .*from_backbone"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=rf"gates for {len(gates) - 1} of the {len(gates)} task norms"):
        model.load_state_dict({key: value for key, value in whole.items() if key != gates[0]})
    without(tmp_path, "gate_logits")
    with pytest.raises(ValueError, match=rf"lacks .*, … \({len(gates)} in all\).*from_backbone"):
        TsbnForMultiTask.from_pretrained(tmp_path)


@few_backbones
def test_a_plain_folder_is_no_multi_task_model(tiny, tmp_path):
    tiny.plain().save_pretrained(tmp_path)
    for model_class in (TsbnForMultiTask, TsbnModel, TsbnConfig):
        with pytest.raises(ValueError, match=r"not of one with tasks \('tsbn'\)\. .*from_backbone"):
            model_class.from_pretrained(tmp_path)


@pytest.mark.parametrize("entry", ["weight", "bias", "running_mean", "running_var"])
def test_missing_parts_of_tasks_without_gates(entry, tmp_path):
    BACKBONES["resnet"].multi_task(norm="affine").save_pretrained(tmp_path)
    without(tmp_path, f"embedder.normalization.{entry}")
    with pytest.raises(ValueError, match=rf"lacks .*embedder\.normalization\.{entry}\. "):
        TsbnForMultiTask.from_pretrained(tmp_path)


def test_missing_weights_of_a_timm_trunk(tmp_path, nan_memory):
    """transformers would leave some of them uninitialised."""
    BACKBONES["timm/test_vit"].multi_task().save_pretrained(tmp_path)
    without(tmp_path, "cls_token")
    with pytest.raises(ValueError, match=r"lacks tsbn\.backbone\.timm_model\.cls_token"):
        TsbnForMultiTask.from_pretrained(tmp_path)


def test_superfluous_gates(tmp_path):
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    weights["tsbn.backbone.layernorm.gate_logits"] = torch.zeros(3, 32)
    save_file(weights, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(ValueError, match=r"gates that this model has no place for: .*layernorm\.gate_logits"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"no place for: .*layernorm\.gate_logits"):
        model.load_state_dict(weights)


@pytest.mark.parametrize("name", FEW)
def test_another_number_of_tasks(name, tmp_path):
    model = BACKBONES[name].multi_task()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["tasks"] = config["tasks"][:2]
    (tmp_path / "config.json").write_text(json.dumps(config))
    for ignore in (False, True):
        with pytest.raises((RuntimeError, ValueError), match=r"3 tasks.*\['z', 'a'\]"):
            TsbnForMultiTask.from_pretrained(tmp_path, ignore_mismatched_sizes=ignore)
    two = BACKBONES[name].multi_task(tasks=TASKS[:2])
    with pytest.raises(RuntimeError, match=r"3 tasks.*\['z', 'a'\]"):
        two.load_state_dict(model.state_dict())


def test_another_size_of_a_head(tmp_path, nan_memory):
    """The head may start fresh, if one says so."""
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    config = TsbnConfig.from_pretrained(tmp_path)
    config.tasks[1] = Task("a", num_classes=6)
    with pytest.raises(ValueError, match=r"heads\.a_head\..* in the shape \(4.*this model in \(6"):
        TsbnForMultiTask.from_pretrained(tmp_path, config=config)
    again = TsbnForMultiTask.from_pretrained(tmp_path, config=config, ignore_mismatched_sizes=True)
    assert_states_equal(again.tsbn, model.tsbn)
    logits = again(BACKBONES["vit"].images()).logits
    assert logits["a"].shape == (2, 6) and logits["a"].isfinite().all()


def test_files_that_are_none(tmp_path):
    model = BACKBONES["vit"].multi_task()
    model.save_pretrained(tmp_path)
    data = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(Exception, match=r"(?i)header|incomplete|truncated|safetensors"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"safetensors"):
        TsbnForMultiTask.from_pretrained(tmp_path)
    plain = BACKBONES["vit"].plain()
    plain.config.save_pretrained(tmp_path / "plain")
    torch.save(plain.state_dict(), tmp_path / "plain" / "pytorch_model.bin")
    for options in ({}, {"use_safetensors": False}):
        with pytest.raises(OSError, match=r"safetensors"):
            TsbnForMultiTask.from_backbone(tmp_path / "plain", TASKS, **options)
        with pytest.raises(OSError, match=r"safetensors"):
            TsbnForMultiTask.from_pretrained(tmp_path, **options)


# --- names ---


@every_backbone
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


@every_backbone
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


# --- where a backbone comes from ---


@pytest.mark.parametrize("name", ["vit", "swin", "dinov2", "convnext", "resnet", "segformer"])
def test_from_a_folder_of_transformers(name, tmp_path):
    tiny = BACKBONES[name]
    plain, x = tiny.plain(), tiny.images()
    plain.save_pretrained(tmp_path)
    with torch.no_grad():
        model = TsbnModel.from_backbone(tmp_path, NAMES)
        assert_equal(model(x, task="a"), plain(x), bound=ROUNDING)
        random = TsbnModel.from_backbone(str(tmp_path), NAMES, pretrained=False)
        assert random.config.backbone_config.to_dict() == model.config.backbone_config.to_dict()
        assert random(x, task="a").last_hidden_state.shape == plain(x).last_hidden_state.shape
        assert not torch.equal(random(x, task="a").last_hidden_state, plain(x).last_hidden_state)


def test_from_a_classifier_and_its_folder(tmp_path):
    """Of a whole model of transformers its base is taken."""
    from transformers import ViTForImageClassification

    tiny = BACKBONES["vit"]
    torch.manual_seed(0)
    classifier = ViTForImageClassification(tiny.config).eval()
    classifier.save_pretrained(tmp_path)
    x = tiny.images()
    with torch.no_grad():
        expected = classifier(x, output_hidden_states=True).hidden_states[-1]
        for source in (classifier, tmp_path):
            model = TsbnForMultiTask.from_backbone(source, TASKS)
            assert_equal(model.tsbn(x, task="a", output_hidden_states=True).hidden_states[-1], expected, bound=ROUNDING)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("timm/")])
def test_from_timm(name):
    tiny = BACKBONES[name]
    torch.manual_seed(0)
    plain = randomized(timm.create_model(name.removeprefix("timm/"), num_classes=7)).eval()
    x = tiny.images()
    model = TsbnModel.from_backbone(plain, NAMES)
    with torch.no_grad():
        assert_equal(model(x, task="a").last_hidden_state, plain.forward_features(x))
        pooled = plain.forward_head(plain.forward_features(x), pre_logits=True)
        assert_equal(model.features(x, task="a").pooled, pooled)
        random = TsbnForMultiTask.from_backbone(name, TASKS, pretrained=False)
        assert not torch.equal(random.tsbn(x, task="a").last_hidden_state, plain.forward_features(x))
        assert random(x).logits["a"].shape == (2, 4)


def test_model_arguments_of_timm(tmp_path):
    model = TsbnForMultiTask.from_backbone("timm/test_vit", TASKS, pretrained=False, img_size=64, in_chans=1)
    x = torch.randn(2, 1, 64, 64)
    assert model(x).logits["z"].shape == (2, 3, 64, 64)
    assert_round_trip(randomized(model), tmp_path, x)
    from_module = TsbnForMultiTask.from_backbone(timm.create_model("test_vit", img_size=64, in_chans=1), TASKS)
    assert from_module(x).logits["z"].shape == (2, 3, 64, 64)


def test_random_weights_of_a_model_type():
    model = TsbnForMultiTask.from_backbone("vit", TASKS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    assert model.config.backbone_config.hidden_size == 32 and model.config.keep_affine is False
    again = TsbnForMultiTask.from_backbone(ViTConfig(**model.config.backbone_config.to_dict()), TASKS)
    assert again.state_dict().keys() == model.state_dict().keys()


def test_memory_of_a_plain_model_is_not_shared():
    plain = BACKBONES["vit"].plain()
    model = TsbnForMultiTask.from_backbone(plain, TASKS)
    own = {tensor.data_ptr() for tensor in plain.state_dict().values()}
    assert not own & {tensor.data_ptr() for tensor in model.state_dict().values()}


# --- image processors ---


def picture(width: int = 400, height: int = 320) -> Image.Image:
    pixels = numpy.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def test_image_processor_of_transformers_travels(tmp_path):
    plain = ViTModel(BACKBONES["vit"].config)
    plain.save_pretrained(tmp_path / "plain")
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], do_rescale=True)
    processor.save_pretrained(tmp_path / "plain")
    model = TsbnForMultiTask.from_backbone(tmp_path / "plain", TASKS)
    model.save_pretrained(tmp_path / "ours")
    for again in (
        AutoImageProcessor.from_pretrained(tmp_path / "ours"),
        TsbnForMultiTask.from_pretrained(tmp_path / "ours").image_processor,
    ):
        expected = processor(picture(), return_tensors="pt").pixel_values
        assert torch.equal(again(picture(), return_tensors="pt").pixel_values, expected)
    assert TsbnForMultiTask.from_backbone(plain.config, TASKS).image_processor is None


PREPROCESSING = {
    "crop": "beit_base_patch16_224",
    "bilinear": "mobilenetv3_small_050",
    "no-crop": "test_vit",
    "squash": "coat_lite_medium_384.in1k",
    "squash-oblong": "vit_5b_patch16_sapiens2.fb",
}


@pytest.mark.parametrize("name", PREPROCESSING.values(), ids=PREPROCESSING)
def test_image_processor_of_timm_makes_timms_pixels(name, tmp_path):
    """Those of its transform for evaluation, where the crop can be in the middle."""
    processor = image_processor_of(f"timm/{name}")
    assert isinstance(processor, BitImageProcessor)
    processor.save_pretrained(tmp_path)
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(), verbose=False)
    # Resized, the image is wider than the crop by an even number of pixels.
    image = picture(*(320, 320) if name.startswith("mobilenet") else (400, 320))
    expected = create_transform(**config)(image)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt").pixel_values[0]
    assert pixels.shape == expected.shape
    error = (pixels - expected).abs() * min(config["std"]) * 255
    assert error.max() <= 3 and error.mean() <= 0.3, "in steps of 256"


def test_no_image_processor_pads():
    name = "deepseek_vit_412m.deepseek_v4_1_flash"
    assert timm.get_pretrained_cfg(name).crop_mode == "border"
    assert image_processor_of(f"timm/{name}") is None


def test_image_processor_of_a_timm_model_travels(tmp_path):
    model = TsbnForMultiTask.from_backbone(timm.create_model("test_vit"), TASKS)
    model.save_pretrained(tmp_path)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(picture(), return_tensors="pt").pixel_values
    assert model(pixels).logits["z"].shape[-2:] == pixels.shape[-2:] == (160, 160)


def test_auto_model_is_the_backbone(tmp_path):
    BACKBONES["vit"].multi_task().save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is TsbnModel
