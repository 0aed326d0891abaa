"""A Hub of a test's own, and its clients: a plugin, for more than one folder uses it."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent

import pytest

from tests.forks import BESIDE_HUB, WITH_HUB, Forks

from .loopback import LoopbackHub


@pytest.fixture(scope="session")
def hub_port() -> Iterator[int]:
    """The port of all Hubs, one after another. Held, and refused where none listens."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def hub(hub_port: int, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub with Ada, who is in the organisation "lab", Bob, and Eve, whose token is for reading alone."""
    with LoopbackHub(tmp_path / "hub", hub_port) as hub:
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


class Clients:
    """Processes of clients. They have imported huggingface_hub, which then reads which Hub it speaks with and where its
    cache is: so that is one port for all Hubs, and one link to the folders of all clients.
    """

    def __init__(self, forks: Forks, link: Path) -> None:
        self._forks = forks
        self._link = link

    def run(self, *arguments: str, cwd: Path, env: dict[str, str]) -> CompletedProcess[str]:
        """Run `python *arguments`, one at a time, in the environment of a client of the session's port."""
        home = Path(env["HF_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(home)
        return self._forks.run(*arguments, cwd=cwd, env=env | {"HF_HOME": str(self._link)})


@pytest.fixture(scope="session")
def clients(hub_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    link = tmp_path_factory.mktemp("client") / "huggingface"
    environment = LoopbackHub(link.parent, hub_port).environment(link)
    with Forks(*BESIDE_HUB, *WITH_HUB, env=environment) as forks:
        yield Clients(forks, link)


@pytest.fixture(scope="session")
def other_clients() -> Iterator[Forks]:
    with Forks(*BESIDE_HUB) as forks:
        yield forks


@pytest.fixture
def run_client(hub: LoopbackHub, clients: Clients, other_clients: Forks, tmp_path: Path) -> Callable[..., Ran]:
    """Runs Python source in a process of its own, as a client of the Hub, in the folder `home`.

    Each `home` has files and a cache of its own, kept from one call to the next. Environment variables are given by
    keyword. With `check` a script that fails fails the test.
    """

    def run(code: str, token: str | None = None, home: str = "home", check: bool = True, **variables: str) -> Ran:
        folder = tmp_path / "homes" / home
        folder.mkdir(parents=True, exist_ok=True)
        environment = hub.environment(folder / "huggingface", token, **variables)
        forks = other_clients if variables else clients  # huggingface_hub reads most variables when it is imported
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
