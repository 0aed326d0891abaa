"""Build every name of ours on the meta device, and check its structure: `python -m tests.conformance.names`."""

import sys

import timm
import torch
from rich.progress import track
from torch import nn

import tsbn_hub  # noqa: F401
from tsbn_hub.models.timm.classifiers import TaskClassifier, named_classifiers
from tsbn_hub.norms import TaskNorm


def check(name: str) -> None:
    """One task has the plain model's keys and more; several have gates, no BatchNorm is forgotten, and it folds."""
    with torch.device("meta"):
        plain = timm.create_model(name.removesuffix("_tsbn"))
        model = timm.create_model(name, tasks=["b", "a"], keep_affine=True)
    assert isinstance(model, type(plain))
    modules = list(model.modules())
    norms = [module for module in modules if isinstance(module, TaskNorm)]
    assert norms, "no norm is gated"
    batch_norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(norm, TaskNorm) for norm in batch_norms), "a BatchNorm is plain, or not gated"
    assert all(norm.gate_logits.shape == (2, norm.gates.shape[1]) for norm in norms)
    assert all(isinstance(model.get_submodule(part), TaskClassifier) for part in named_classifiers(plain))
    assert set(plain.state_dict()) <= set(model.state_dict())
    folded = model.fold("a").state_dict()
    assert {key: value.shape for key, value in folded.items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }


def main() -> int:
    """Check all names; the number of those that fail is the exit code."""
    failed = 0
    names = timm.list_models("*_tsbn")
    for name in track(names, description=f"{len(names)} names"):
        try:
            check(name)
        except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            failed += 1
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
