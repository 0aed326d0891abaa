"""Models that clients of the loopback Hub publish and load, and the start of their scripts."""

import hashlib
import runpy
import shlex
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]

# What a script has: `models` is this module, `outcome` says how a call ends.
START = f"""
import sys
sys.path.append({str(ROOT)!r})
import json
from tests.hub import models
from tests.hub.models import fingerprint, outcome, values
"""

WITH_US = START + "import timm, tsbn_hub\nfrom tsbn_hub import Task, TsbnForMultiTask, TsbnModel\n"

# `import tsbn_hub` fails in a script that starts with this.
WITHOUT_US = START + "sys.modules['tsbn_hub'] = None\nimport timm, transformers\n"

# Not in the order of the alphabet.
CLASSES = {"zebra": 2, "age": 8, "mask": 3}


def commands(*lines: str) -> str:
    """A script that runs `python -m tsbn_hub.cli LINE` for each line, and prints how each ends (see `run_command`)."""
    return f"{START}print(json.dumps([models.run_command(line) for line in {lines!r}]))"


def run_command(line: str) -> list[Any]:
    """Exit status, standard output and standard error of `tsbn LINE`, in this process."""
    out, err, status = StringIO(), StringIO(), 0
    sys.argv = ["tsbn", *shlex.split(line)]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_module("tsbn_hub.cli", run_name="__main__")
        except SystemExit as end:
            status = end.code
        except Exception:  # noqa: BLE001 — as Python ends
            traceback.print_exc()
            status = 1
    return [status, out.getvalue(), err.getvalue()]


def timm_model(seed: int = 0) -> Any:
    """A small model of timm with three tasks."""
    import timm

    import tsbn_hub  # noqa: F401 — registers the names

    torch.manual_seed(seed)
    return randomized(timm.create_model("test_resnet_tsbn", num_classes=CLASSES), seed)


def vit(seed: int = 0, pooler: bool = False) -> Any:
    """A tiny backbone of transformers."""
    from transformers import ViTConfig, ViTModel

    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(seed)
    config = ViTConfig(**size, image_size=32, patch_size=8)
    return randomized(ViTModel(config, add_pooling_layer=pooler), seed)


def multi_task_model(backbone: Any = None, seed: int = 0) -> Any:
    """A small model of transformers with three tasks of three kinds, on a backbone of transformers by default."""
    from transformers import ViTImageProcessor

    from tsbn_hub import Task, TsbnForMultiTask

    tasks = [
        Task("seg", "segmentation", labels=["floor", "wall"], head_args={"channels": 8}),
        Task("animal", "classification", labels=["zebra", "ape", "cat"]),
        Task("depth", "depth", head_args={"channels": 8}),
    ]
    torch.manual_seed(seed)
    model = TsbnForMultiTask.from_backbone(vit() if backbone is None else backbone, tasks, pretrained=False)
    model.image_processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.3])
    return randomized(model, seed)


@torch.no_grad()
def randomized(model: Any, seed: int) -> Any:
    """The model in evaluation mode, no two of its tasks alike."""
    torch.manual_seed(seed)
    for name, tensor in model.named_parameters():
        tensor += torch.randn_like(tensor) * (1 if name.endswith("gate_logits") else 0.05)
    for name, tensor in model.named_buffers():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return model.eval()


@torch.no_grad()
def randomized_tasks(model: Any) -> Any:
    """The model in evaluation mode, its trunk as it was, the gates of its tasks at random."""
    torch.manual_seed(2)
    for name, tensor in model.named_parameters():
        if name.endswith("gate_logits"):
            tensor.normal_()
    return model.eval()


@torch.no_grad()
def fingerprint(model: Any, **options: Any) -> list[list[str]]:
    """The tasks of a model, in its order, and for each a hash of what it says of an image."""
    torch.manual_seed(1)
    # A copy lies in memory as torch aligns it; weights that lie as in their file can round otherwise.
    output = deepcopy(model).eval()(torch.rand(1, 3, 32, 32), **options)
    by_task = output if isinstance(output, dict) and "logits" not in output else getattr(output, "logits", output)
    if isinstance(by_task, Tensor) or "last_hidden_state" in by_task:
        by_task = {"": by_task}
    return [[name, _hash(getattr(each, "last_hidden_state", each))] for name, each in by_task.items()]


def outcome(call: Any, *arguments: Any, **options: Any) -> Any:
    """What a call returns (True: something that JSON does not know), or its error's class and message."""
    try:
        value = call(*arguments, **options)
    except Exception as error:  # noqa: BLE001 — whatever it is
        return f"{type(error).__name__}: {error}"
    return value if isinstance(value, str | int | list | dict | None) else True


def values(model: Any) -> str:
    """A hash of all that a model holds, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _hash(tensor: Tensor) -> str:
    assert tensor.isfinite().all() and tensor.std() > 0, "all outputs would have this hash"
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]
