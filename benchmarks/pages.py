"""Make the tables and pictures of docs/results.md anew, from what is stored in benchmarks/results.

python benchmarks/pages.py

A table stands between <!-- table: NAME --> and <!-- end -->, where NAME is a stored file without its suffix; of several
names the seeds are put together. <!-- picture: NAME --> before an image of the page says what it is drawn from. With
"NAME by KEY" they show gains by the values of a setting. With --check nothing is written, and the exit status is 1
where a table is not that of its file.
"""

import argparse
import json
import re
from pathlib import Path

from rich.console import Console

from tsbn_hub.compare import Comparison, draw_comparison, draw_setting, read_comparison, setting_table
from tsbn_hub.compare.formats import markdown
from tsbn_hub.files.atomic import write_atomically

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
RESULTS = ROOT / "benchmarks" / "results"

# The table of a page with the comments around it: its names are the second group.
TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_PICTURE = re.compile(r"<!-- picture: (.+?) -->\n!\[.*?\]\((.+?)\)")


def main() -> None:
    """Write the page and its pictures, or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    page = PAGE.read_text("utf-8")
    made = with_tables(page)
    if arguments.check:
        if made != page:
            console.print(f"{PAGE.name} is not what benchmarks/results says: run python benchmarks/pages.py.")
            raise SystemExit(1)
        return
    write_atomically({PAGE: lambda path: path.write_text(made, encoding="utf-8")})
    for shown, picture in _PICTURE.findall(made):
        comparison, key = _comparison_by(shown)
        if key:
            draw_setting(comparison, key, PAGE.parent / picture)
        else:
            draw_comparison(comparison, PAGE.parent / picture)
    console.print(f"{PAGE.relative_to(ROOT)}: {len(TABLE.findall(made))} tables", soft_wrap=True)


def with_tables(page: str) -> str:
    """A page whose tables are those of the stored results."""
    return TABLE.sub(lambda found: f"{found[1]}{_table(found[2])}{found[3]}", page)


def _table(shown: str) -> str:
    if shown == "learning":
        return learning_table(json.loads((RESULTS / "learning.json").read_text("utf-8")))
    comparison, key = _comparison_by(shown)
    return setting_table(comparison, key) if key else markdown(comparison)


def _comparison_by(shown: str) -> tuple[Comparison, str]:
    """What "NAME …" or "NAME … by KEY" stands for; without a key that is empty."""
    names, _, key = shown.partition(" by ")
    return read_comparison(*(RESULTS / f"{name}.json" for name in names.split())), key


def learning_table(scores: dict[str, dict[str, float]]) -> str:
    """What each method scores before and after training, in Markdown."""
    rows = [f"| {name} | {each['untrained']:.3f} | {each['trained']:.3f} |\n" for name, each in scores.items()]
    return "".join(["| | untrained | trained |\n", "| --- | --- | --- |\n", *rows])


if __name__ == "__main__":
    main()
