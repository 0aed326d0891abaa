"""Batched passes on every name of ours that is small enough: `python -m tests.conformance.execution [PATTERN]`.

With random weights and gates, in evaluation, the outputs of "auto" must be those of one task after another; and it says
which names cannot be batched.
"""

import gc
import sys

import timm
import torch
from rich.progress import track

import tsbn_hub  # noqa: F401
from tsbn_hub.norms import TaskNorm
from tsbn_hub.norms.execution import choice

TASKS = ["b", "a"]
MOST_PARAMETERS, LARGEST_IMAGE = 40_000_000, 256


def is_small(name: str) -> bool:
    """Whether a name is tried: by its parameters, and the size of its images."""
    with torch.device("meta"):
        model = timm.create_model(name.removesuffix("_tsbn"))
    size = model.pretrained_cfg.get("input_size", (3, 224, 224))[-1]
    return sum(each.numel() for each in model.parameters()) <= MOST_PARAMETERS and size <= LARGEST_IMAGE


@torch.no_grad()
def outcome(name: str) -> str:
    """Why a name cannot be batched; empty: it can.

    Raises:
        AssertionError: if "auto" gives other outputs than one task after another.
    """
    torch.manual_seed(0)
    wide = timm.create_model(name, tasks=TASKS, num_classes=7)
    norms = [part for part, norm in wide.named_modules() if isinstance(norm, TaskNorm)]
    model = timm.create_model(name, tasks=TASKS, num_classes=7, gated=norms[len(norms) // 2 :]).eval()
    for norm in model.modules():
        if isinstance(norm, TaskNorm):
            norm.gate_logits.normal_()
    x = torch.randn(2, *model.pretrained_cfg.get("input_size", (3, 224, 224)))
    model.execution = "sequential"
    expected = model(x)
    model.execution = "auto"
    outputs = model(x)
    for task in TASKS:
        largest = expected[task].abs().max()
        assert (outputs[task] - expected[task]).abs().max() <= 1e-4 * largest, "other outputs"
    return next(iter(model.task_selector.differences.values()), "too little is before the fork")


def main() -> int:
    """Try all names; the number of those that fail is the exit code."""
    choice.SHARE_FOR_BATCHED = 0.0  # whatever pays
    failed, refused = 0, 0
    names = [name for name in timm.list_models(sys.argv[1:] or "*_tsbn") if is_small(name)]
    for name in track(names, description=f"{len(names)} names"):
        try:
            reason = outcome(name)
        except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            failed += 1
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        else:
            refused += bool(reason)
            if reason:
                print(f"{name} runs one task after another: {reason}", flush=True)
        gc.collect()
    print(f"{len(names) - failed} passed, {refused} of them cannot be batched, {failed} failed")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
