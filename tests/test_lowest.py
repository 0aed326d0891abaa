"""What `make lowest` runs is there."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_chosen_tests_are_there():
    chosen = (ROOT / "tests/lowest.txt").read_text().splitlines()
    assert chosen
    for line in chosen:
        file, _, name = line.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(), line
