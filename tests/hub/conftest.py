"""A Hub of a test's own, and its clients."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from tests.forks import WITHOUT_HUB, Forks

from .loopback import LoopbackHub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub with Ada, who is in the organisation "lab", Bob, and Eve, whose token is for reading alone."""
    with LoopbackHub(tmp_path / "hub") as hub:
        hub.add_user("ada", token="hf_ada", organisations=["lab"])
        hub.add_user("bob", token="hf_bob")
        hub.add_user("eve", token="hf_eve", role="read")
        yield hub
    assert not hub.errors, "\n".join(hub.errors)


@dataclass(frozen=True)
class Ran:
    """How a script went. `output` is the last line that it printed, read as JSON where it is that."""

    output: object
    printed: str
    stderr: str
    returncode: int


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks(*WITHOUT_HUB) as forks:
        yield forks


@pytest.fixture
def run_client(hub: LoopbackHub, forks: Forks, tmp_path: Path) -> Callable[..., Ran]:
    """Runs Python source in a process of its own, as a client of the Hub, in the folder `home`.

    Each `home` has files and a cache of its own, kept from one call to the next. Environment variables are given by
    keyword. With `check` a script that fails fails the test.
    """

    def run(code: str, token: str | None = None, home: str = "home", check: bool = True, **variables: str) -> Ran:
        folder = tmp_path / "homes" / home
        folder.mkdir(parents=True, exist_ok=True)
        environment = hub.environment(folder / "huggingface", token, **variables)
        process = forks.run("-c", dedent(code), cwd=folder, env=environment)
        assert not (check and process.returncode), process.stderr
        lines = process.stdout.splitlines()
        return Ran(_read(lines[-1]) if lines else None, process.stdout, process.stderr, process.returncode)

    return run


def _read(line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return line
