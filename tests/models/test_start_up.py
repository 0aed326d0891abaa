"""Building and loading do no work twice. Counted, and not timed: other work on a machine takes time, too."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import safetensors
import timm
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import tsbn_hub
from tsbn_hub.models import TimmTaskModel
from tsbn_hub.norms.folding import block_what_loses_gates

from .hf_backbones import BACKBONES

TASKS = ["a", "b", "c"]
CLASSES = 1000


class Made(TorchDispatchMode):
    """Counts the operations that make tensors of a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {each.untyped_storage().data_ptr() for each in args if isinstance(each, Tensor)}
        if isinstance(made, Tensor) and tuple(made.shape) == self.shape:
            self.count += made.untyped_storage().data_ptr() not in given
        return made


def test_the_classifiers_of_all_tasks_are_written_once():
    """They are the largest tensors of a small network."""
    features = timm.create_model("test_resnet").num_features
    with Made((len(TASKS) * CLASSES, features)) as made:
        timm.create_model("test_resnet_tsbn", tasks=TASKS, num_classes=CLASSES)
    assert made.count == 1


def test_parts_that_lose_gates_are_found_in_one_walk(monkeypatch):
    """And not in a walk for each of them."""
    model, visits = timm.create_model("test_efficientnet_tsbn", tasks=TASKS), 0
    walk, modules = nn.Module.named_modules, len(list(model.modules()))

    def counted(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal visits
        visits += 1
        return walk(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "named_modules", counted)
    block_what_loses_gates(model)
    assert visits == modules


@pytest.mark.parametrize("name", ["tsbn_hub", "tsbn_hub.analysis.importance_matrix", "tsbn_hub.deploy.predict"])
def test_what_does_not_train_imports_nothing_of_it(name, python):
    package, _, attribute = name.rpartition(".")
    code = f"import {package or name}\n" + (f"{name}\n" if package else "")
    done = python(f"import sys\n{code}sys.exit(str([each for each in ('accelerate', 'scipy') if each in sys.modules]))")
    assert done.stderr.strip() == "[]", attribute


class Opened:
    """A safetensors file, which counts how often each of its tensors is read."""

    reads: Counter[str] = Counter()
    real = safetensors.safe_open

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.file = self.real(*args, **kwargs)

    def __enter__(self) -> "Opened":
        self.file.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self.file.__exit__(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def get_tensors(self) -> dict[str, Tensor]:
        self.reads.update(self.file.keys())
        return self.file.get_tensors()

    def get_tensor(self, name: str) -> Tensor:
        self.reads[name] += 1
        return self.file.get_tensor(name)

    def get_slice(self, name: str) -> "Slice":
        return Slice(self, name)


class Slice:
    """A tensor in a file, which is read when it is indexed."""

    def __init__(self, opened: Opened, name: str) -> None:
        self.opened, self.name, self.slice = opened, name, opened.file.get_slice(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.slice, name)

    def __getitem__(self, index: Any) -> Tensor:
        self.opened.reads[self.name] += 1
        return self.slice[index]


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_loading_reads_each_tensor_once(library, tmp_path: Path, monkeypatch):
    if library == "timm":
        model = timm.create_model("test_resnet_tsbn", tasks=TASKS, num_classes=4)
    else:
        model = BACKBONES["resnet"].multi_task()
    tsbn_hub.save_pretrained(model, tmp_path)
    monkeypatch.setattr(Opened, "reads", Counter())
    for module in list(sys.modules.values()):
        if vars(module).get("safe_open") is Opened.real:
            monkeypatch.setattr(module, "safe_open", Opened)
    loaded = tsbn_hub.from_pretrained(tmp_path)
    assert isinstance(loaded, TimmTaskModel) == (library == "timm")
    assert Opened.reads == dict.fromkeys(model.state_dict(), 1)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
