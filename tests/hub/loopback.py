"""A Hugging Face Hub on this machine, for tests: the real clients talk to it over HTTP, in processes of their own."""

import os
import socket
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from .access import User
from .api import Api
from .faults import Faults
from .messages import Answer, Refusal, Request
from .repositories import Blob, Commit, Repositories, is_large


class Asked(NamedTuple):
    """A request that came, and the status it was answered with (None: it was cut before that)."""

    method: str
    path: str
    status: int | None


class LoopbackHub(Faults):
    """A Hub whose repositories lie in a folder: another one on the same folder has the same.

    `requests` are all that came so far, `errors` the tracebacks of what broke in the Hub itself: a test that meets one
    is no test of the client.

    Example:
        with LoopbackHub(folder) as hub:
            hub.add_user("ada", token="hf_ada")
            hub.fail("GET", "config.json", status=503)  # and see how a client takes it
            subprocess.run([sys.executable, script], env=hub.environment(home, token="hf_ada"))
            hub.repositories["ada/model"].files("main")  # {path: bytes}
    """

    def __init__(self, folder: Path, port: int = 0):
        """At a port, or at any that is free; later at the same again."""
        super().__init__()
        self.repositories = Repositories(folder)
        self.requests: list[Asked] = []
        self.errors: list[str] = []
        self._users: list[User] = []
        self._server: _Server | None = None
        self._port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Come up, again at the port of the first time."""
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def stop(self) -> None:
        """Go down: open connections end, new ones are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None

    def __enter__(self) -> "LoopbackHub":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add_user(self, name: str, token: str, role: str = "write", organisations: Sequence[str] = ()) -> None:
        """Let somebody in; a token of the role "read" changes nothing, not even what is theirs."""
        self._users.append(User(name, token, role, tuple(organisations)))

    def environment(self, home: Path, token: str | None = None, **variables: str) -> dict[str, str]:
        """The environment of a client of this Hub that keeps its cache in `home`; no setting of this process's own."""
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(foreign) and not name.lower().endswith("_proxy")
        }
        told = {"HF_TOKEN": token} if token else {}
        # Without the second a file for LFS would go to Xet, which nothing but the Hub speaks.
        return {
            **kept, "HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", **told, **variables,
        }  # fmt: skip

    def commit(
        self, repository_id: str, files: Mapping[str, bytes | None], title: str = "A commit", branch: str = "main"
    ) -> Commit:
        """Put somebody else's commit on a branch, without a request; None deletes a file.

        The repository is made if there is none.
        """
        if repository_id not in self.repositories:
            self.repositories.create(repository_id)
        repository = self.repositories[repository_id]

        def edit(old: dict[str, Blob]) -> None:
            for path, content in files.items():
                if content is None:
                    del old[path]
                else:
                    old[path] = repository.store(content, large=is_large(path))

        return repository.commit(edit, title, author="somebody", branch=branch)

    def answer(self, request: Request) -> Answer:
        """Answer as the faults that were asked for and the interface say."""
        if action := self.take("before", request.method, request.target):
            action()
        if failure := self.take("fail", request.method, request.target):
            return Refusal(failure.status, failure.message, headers=failure.headers).answer
        return Api(self.repositories, self._users, self.url).answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LoopbackHub, port: int):
        super().__init__(("127.0.0.1", port), _Connection)
        self.hub = hub
        self.connections: set[socket.socket] = set()

    def end_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that has gone is no error
            self.hub.errors.append(traceback.format_exc())


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        hub, asked = self.server.hub, (self.command, self.path)
        expected = int(self.headers.get("Content-Length", 0))
        cut = hub.take("cut_upload", *asked)
        body = self.rfile.read(expected if cut is None else min(cut, expected))
        if cut is not None or len(body) < expected:
            hub.requests.append(Asked(*asked, None))
            self.close_connection = True
            return
        answer = hub.answer(Request(*asked, self.headers, body))
        # Noted first: whoever has seen the answer finds the request.
        hub.requests.append(Asked(*asked, answer.status))
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        hub, body = self.server.hub, answer.body
        if self.command == "GET" and answer.status in (200, 206) and (change := hub.take("corrupt", "GET", self.path)):
            body = change(body)[: len(body)]
        if (cut := hub.take("cut", self.command, self.path)) is not None:
            body = body[:cut]
            self.close_connection = True
        if len(body) < len(answer.body):
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests read `requests`."""
