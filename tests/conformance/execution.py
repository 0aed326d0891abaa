"""Batched passes on every name of ours that is small enough: `python -m tests.conformance.execution [PATTERN …]`.

With random weights and gates, in evaluation, the outputs of "auto" must be those of one task after another; and it says
of each name whether it was batched, as soon as that is known. All names take some twenty minutes: `--part 3/8` is every
eighth of them, from the third on.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator

import timm
import torch

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


def part_of(text: str) -> slice:
    """Which of all names a part such as "3/8" is.

    Raises:
        ValueError: if it is none.
    """
    part, parts = (int(number) for number in text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError(text)
    return slice(part - 1, None, parts)


def results(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """Of each small name: it, "passed", "refused" or "failed", and why."""
    for name in names:
        try:
            if not is_small(name):
                continue
            reason = outcome(name)
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            yield name, "failed", f"{type(error).__name__}: {str(error)[:300]}"
        else:
            yield name, "refused" if reason else "passed", reason
        gc.collect()


def main() -> int:
    """Try the names that are asked for; the number of those that fail is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*_tsbn"], help="of names")
    parser.add_argument("--part", type=part_of, default=slice(None), help="as 3/8: every eighth name from the third on")
    arguments = parser.parse_args()
    choice.SHARE_FOR_BATCHED = 0.0  # whatever pays
    counts = dict.fromkeys(("passed", "refused", "failed"), 0)
    start = time.perf_counter()
    for name, result, reason in results(timm.list_models(arguments.patterns)[arguments.part]):
        counts[result] += 1
        print(f"{time.perf_counter() - start:6.0f} s  {name}: {result}{reason and ', '}{reason}", flush=True)
    print(", ".join(f"{number} {result}" for result, number in counts.items()))
    return min(counts["failed"], 100)


if __name__ == "__main__":
    sys.exit(main())
