"""The valid checkpoints that are mutated: one of each surface, as files in memory, and how each is loaded."""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from transformers import ResNetConfig, ViTConfig, ViTModel

import tsbn_hub
from tsbn_hub import Task, TsbnBackbone, TsbnConfig, TsbnForMultiTask
from tsbn_hub.files.checkpoints import read_shapes

PICKLE = "pytorch_model.bin"

Files = dict[str, bytes]

_VIT = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
_RESNET = dict(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
_TIMM_RESNET = dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))
_TASKS = [
    Task("z", "segmentation", labels=["floor", "wall"], head="small", head_args={"channels": 4}),
    Task("a", labels=["wool", "silk", "jute"]),
]


@dataclass(frozen=True)
class Seed:
    """A valid checkpoint.

    Args:
        files: By their names; a name with a "/" is in a folder of the checkpoint's.
        load: Loads it from a folder.
    """

    files: Files
    load: Callable[[Path], nn.Module]


def make_seeds() -> dict[str, Seed]:
    """The checkpoints by name. Each has a pickle beside its weights, which nothing may read."""
    torch.manual_seed(0)
    timm_resnet = timm.create_model("resnet18_tsbn", num_classes={"z": 3, "a": 5}, gated="layer*", **_TIMM_RESNET)
    timm_vit = timm.create_model(
        "test_vit_tsbn", tasks=["z"], img_size=32, embed_dim=16, depth=1, num_heads=2, keep_affine=True
    )
    plain_resnet = timm.create_model("resnet18", num_classes=4, **_TIMM_RESNET)
    plain_vit = ViTModel(ViTConfig(patch_size=8, **_VIT))
    hf_vit = TsbnForMultiTask.from_backbone(plain_vit, _TASKS)
    hf_timm = TsbnForMultiTask.from_backbone(timm.create_model("resnet18", **_TIMM_RESNET), _TASKS, gated="*bn1")
    hf_resnet = TsbnBackbone(TsbnConfig(ResNetConfig(**_RESNET), ["z", "a"], norm="affine", out_features=["stage1"]))
    models: dict[str, Any] = {
        "timm resnet": timm_resnet,
        "timm vit": timm_vit,
        "plain timm": plain_resnet,
        "multi-task vit": hf_vit,
        "multi-task timm": hf_timm,
        "folded vit": hf_vit.fold("a"),
    }
    on_plain_timm = timm.create_model("resnet18_tsbn", num_classes={"a": 3}, keep_affine=True, **_TIMM_RESNET)
    on_plain_timm.load_state_dict({k: v for k, v in plain_resnet.state_dict().items() if "fc" not in k}, strict=False)
    other_vit = deepcopy(hf_vit)
    other_vit.add_task(Task("new", "depth", head_args={"channels": 4}))
    timm_task, hf_task = _task_files(timm_resnet, "a"), _task_files(hf_vit, "z")
    return {
        **{name: Seed(_model_files(model), _load_whole) for name, model in models.items()},
        "backbone in shards": Seed(_model_files(hf_resnet, max_shard_size="4KB"), tsbn_hub.from_pretrained),
        "task of timm": Seed(timm_task, _Adding(timm_resnet)),
        "task of transformers": Seed(hf_task, _Adding(hf_vit)),
        "task on plain timm": Seed(_on_base(plain_resnet, _task_files(on_plain_timm, "a")), _load_both),
        "task on multi-task vit": Seed(_on_base(hf_vit, _task_files(other_vit, "new")), _load_both),
        "task on plain vit": Seed(_on_base(plain_vit, _task_files(hf_vit, "a")), _load_both),
    }


class _Adding:
    """Adds a task to a model; where that is refused, the model must be as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.untouched, self.model = model, deepcopy(model)

    def __call__(self, folder: Path) -> nn.Module:
        model = self.model
        try:
            loaded = tsbn_hub.load_task(model, folder, name="a name that no model has")
        except ValueError:
            before, after = self.untouched.state_dict(), model.state_dict()
            assert before.keys() == after.keys() and model.tasks == self.untouched.tasks
            assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
            raise
        self.model = deepcopy(self.untouched)
        return loaded


def _load_whole(folder: Path) -> nn.Module:
    """A model; one of timm has all its weights from the file.

    (Its embeddings may be resized, a plain norm's statistics are those of all tasks, and timm takes a "module." away.)
    """
    model = tsbn_hub.from_pretrained(folder)
    on_disk = read_shapes(folder / "model.safetensors")
    if hasattr(model, "pretrained_cfg") and any(name.endswith(".gate_logits") for name in on_disk):
        stored = {name.removeprefix("module."): shape for name, shape in on_disk.items()}
        for name, tensor in model.state_dict().items():
            is_stored = stored.get(name) in (tensor.shape, tensor.shape[1:]) or (name in stored and "embed" in name)
            assert is_stored or name.endswith("num_batches_tracked"), f"{name} was made up."
    return model


def _load_both(folder: Path) -> nn.Module:
    return tsbn_hub.load_task(folder / "base", folder / "task", name="a name that no base has")


def _model_files(model: Any, **options: Any) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        tsbn_hub.save_pretrained(model, folder, **options)
        torch.save(model.state_dict(), Path(folder, PICKLE))
        return _read(folder)


def _task_files(model: nn.Module, task: str) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        tsbn_hub.save_task(model, task, folder)
        torch.save({}, Path(folder, PICKLE))
        return _read(folder)


def _on_base(base: nn.Module, task: Files) -> Files:
    files = {f"base/{name}": content for name, content in _model_files(base).items()}
    return files | {f"task/{name}": content for name, content in task.items()}


def _read(folder: str) -> Files:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
