"""The command line as a whole: version, help, near-misses, completion."""

import re
from pathlib import Path

import pytest
import typer

from tsbn_hub import __version__
from tsbn_hub.cli.main import app

from .commands import tsbn

ROOT = Path(__file__).parents[2]
COMMANDS = list(typer.main.get_command(app).commands)


def test_version():
    told = tsbn("--version")
    assert told.exit_code == 0 and told.stdout == f"tsbn_hub {__version__}\n"


def test_no_arguments():
    told = tsbn()
    assert told.exit_code == 2 and "Usage: tsbn" in told.output
    assert all(command in told.output for command in COMMANDS)


@pytest.mark.parametrize("command", [[], *([each] for each in COMMANDS)], ids=["tsbn", *COMMANDS])
def test_help(command):
    told = tsbn(*command, "--help", columns=80)
    assert told.exit_code == 0 and max(map(len, told.output.splitlines())) <= 80
    assert not command or f"Example: tsbn {command[0]} " in told.output


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_is_one(command):
    (example,) = re.findall(r"Example: tsbn (.+)", tsbn(command, "--help", columns=80).output)
    for path in re.findall(r"examples/\S+", example):
        assert (ROOT / path).is_file()
    told = tsbn(*example.split(), "--no-such-option")
    assert told.exit_code == 2 and "No such option" in told.stderr  # what precedes it is complete, on one line


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("evalute", "evaluate"), ("cards", "card")])
def test_near_misses(typed, meant):
    told = tsbn(typed, "x")
    assert told.exit_code == 2 and f"No such command '{typed}'. Did you mean '{meant}'?" in told.stderr


@pytest.mark.parametrize("command", ["info", "evaluate", "card", "predict", "export", "push", "push --all"])
@pytest.mark.parametrize("path", ["runs/multi_digts", "./runs/multi_digts"])
def test_a_typo_in_a_folder(command, path, picture, monkeypatch):
    monkeypatch.chdir(picture.parent)
    Path("runs", "multi_digits").mkdir(parents=True)
    further = {
        "predict": [picture, "--out", "out"],
        "export": ["--out", "out"],
        "push": ["ada/net"],
        "push --all": ["ada"],
    }.get(command, [])
    told = tsbn(*command.split(), path, *further)
    assert told.exit_code == 1 and "Did you mean runs/multi_digits?" in told.stderr and told.stderr.count("\n") == 1
    may_be_repo = command in ("info", "predict", "export") and not path.startswith(".")
    assert ("As a repo of the Hub: " in told.stderr) == may_be_repo


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tsbn ", COMMANDS),
        ("tsbn p", ["predict", "push"]),
        ("tsbn train --norm ", ["sigmoid", "affine", "statistics", "shared"]),
    ],
)
def test_completion_in_bash(line, offered):
    words = line.split(" ")
    asked = {"_TSBN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    assert tsbn(env=asked).stdout.split() == offered


def test_the_script_of_the_completion():
    script = tsbn(env={"_TSBN_COMPLETE": "source_bash"}).stdout
    assert "_TSBN_COMPLETE=complete_bash" in script and script.rstrip().endswith("_tsbn_completion tsbn")
    assert "--install-completion" in tsbn("--help").stdout


def test_a_line_of_huggingface_hub_is_printed_once(python):
    code = (
        "import logging, sys; from tsbn_hub.cli.main import app; sys.argv = ['tsbn', 'info', 'nothing']\n"
        "try: app()\nexcept SystemExit: pass\n"
        "for name in ('huggingface_hub.utils', 'timm'): logging.getLogger(name).warning('a line of %s', name)"
    )
    lines = python(code).stderr.splitlines()
    assert [line for line in lines if "a line of" in line] == [
        "a line of huggingface_hub.utils", "WARNING timm: a line of timm"
    ]  # fmt: skip
