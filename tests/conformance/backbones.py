"""Try every vision architecture of transformers, and hold docs/backbones.md against what comes of it.

`python -m tests.conformance.backbones`; with `--write`, the tables of the page are written anew.
"""

import argparse
import re
import sys
import warnings

import transformers
from rich.progress import track

from tests.models.vision_architectures import PAGE, Outcome, documented, try_out, vision_types


def tried(types: list[str]) -> tuple[dict[str, Outcome], int]:
    """What becomes of the types, and how many of them failed otherwise than by a refusal."""
    outcomes, failed = {}, 0
    for model_type in track(types, description=f"{len(types)} architectures"):
        try:
            outcomes[model_type] = try_out(model_type)
        except Exception as error:  # noqa: BLE001  anything that is not a refusal in a line
            failed += 1
            print(f"{model_type}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    return outcomes, failed


def tables(outcomes: dict[str, Outcome]) -> dict[bool, str]:
    """The rows of those that work, and of those that do not."""
    return {
        works: "".join(
            f"| `{kind}` | {f'`{each.note}`' if works else each.note} |\n"
            for kind, each in sorted(outcomes.items())
            if each.works == works
        )
        for works in (True, False)
    }


def main() -> int:
    """Try all; the number of those that are not as the page says is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    outcomes, failed = tried(vision_types())
    if write:
        rows = iter(tables(outcomes).values())
        page = re.sub(r"(?<=\n\| --- \| --- \|\n)(\| `.*\n)*", lambda _: next(rows), PAGE.read_text())
        PAGE.write_text(re.sub(r"transformers \d[\w.]+", f"transformers {transformers.__version__}", page))
    known = documented()
    for model_type, outcome in outcomes.items():
        if outcome != known.get(model_type):
            failed += 1
            print(f"{model_type}: {outcome}, and docs/backbones.md has {known.get(model_type)}")
    works = sum(outcome.works for outcome in outcomes.values())
    print(f"{works} work, {len(outcomes) - works} are refused, {failed} failed or are not as in docs/backbones.md")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
