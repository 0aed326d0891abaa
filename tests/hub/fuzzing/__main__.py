"""Load mutated checkpoints: `python -m tests.hub.fuzzing --examples 10000 [--seed 1]`. Prints a table, or a finding."""

import argparse
import logging
import os
import resource
import sys
import textwrap
import time
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import of huggingface_hub

import torch
from hypothesis import HealthCheck, Phase, example, given, seed, settings

from .edits import Case
from .known import KNOWN
from .mutations import cases
from .seeds import make_seeds
from .trials import MEMORY, SECONDS, Tally, Trials


def fuzz(trials: Trials, examples: int, start: int = 0) -> None:
    """Run the known trials and so many others, and where one finds something, look for the smallest that does.

    Args:
        trials: Where.
        examples: How many.
        start: Another number, other mutations.

    Raises:
        Finding: of the smallest case; hypothesis shows it.
    """
    known = time.monotonic()

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(cases(trials.seeds))
    def run(case: Case) -> None:
        nonlocal known
        trials.run(case)
        if time.monotonic() - known > 30:
            known = time.monotonic()
            print(f"{trials.tally.trials} of {examples}", file=sys.stderr, flush=True)

    for case in KNOWN:
        run = example(case)(run)
    run()


def table(trials: Trials) -> str:
    """What came of all trials."""
    tally: Tally = trials.tally
    rows = [
        f"{tally.trials} mutated checkpoints: {tally.loaded} loaded, {tally.refused} refused",
        f"{tally.parsed / tally.trials:.1%} past the parsing of JSON and headers",
        f"{tally.slowest[0]:.1f} s for the slowest (at most {SECONDS:.0f}), "
        f"{textwrap.shorten(str(tally.slowest[1]), 300)}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB at the peak "
        f"(at most {MEMORY / 2**20:.0f} more address space for one)",
        f"{len(tally.validators)} of {len(trials.known)} validators hit",
        "",
        *(f"{count:8}  {name}" for name, count in sorted(tally.by_seed.items())),
        "",
    ]
    rows += [f"{tally.validators[each]:8}  {each}" for each in trials.known]
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with Trials(make_seeds()) as trials:
        try:
            fuzz(trials, arguments.examples, arguments.seed)
        finally:
            if trials.tally.trials:
                print(table(trials))
