"""Model repositories on disk: commits, the blobs that they hold, and the branches, tags and pull requests on them."""

import hashlib
import json
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

MAIN = "refs/heads/main"


class UnknownRevision(LookupError):
    """No branch, tag, pull request or commit has this name."""


class AlreadyExists(Exception):
    """A repository, branch or tag of this name is there."""


class StaleParent(Exception):
    """The branch has moved on from the commit that a new one was to follow."""


@dataclass(frozen=True)
class Blob:
    """A file's content: `oid` as git names it; `sha256` too where git holds a pointer to a large file (LFS)."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What its bytes are called: on disk, and as an ETag."""
        return self.sha256 or self.oid

    @property
    def pointer(self) -> bytes:
        """What git holds in a large file's place."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()


Edit = Callable[[dict[str, Blob]], None]  # what a commit does to the files that it follows


@dataclass(frozen=True)
class Commit:
    """A commit. `files` are all that it holds, `paths` what it added, changed or deleted."""

    id: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: dict[str, Blob]
    paths: list[str]


def git_id(content: bytes) -> str:
    """The name that git gives to a blob of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str) -> bool:
    """Whether a file of this name goes to LFS."""
    return path.endswith(".safetensors")


class Repository:
    """A repository in a folder. Nothing is held in memory: two of one folder are the same.

    `revision` is a branch, a tag, a commit's full id or `refs/pr/N`, as everywhere on the Hub.
    """

    def __init__(self, repository_id: str, folder: Path, lock: threading.RLock):
        self.id, self.folder, self._lock = repository_id, folder, lock

    @property
    def private(self) -> bool:
        return self._state()["private"]

    @property
    def gated(self) -> str | bool:
        """False, "auto" or "manual"."""
        return self._state()["gated"]

    @property
    def accepted(self) -> list[str]:
        """The users whom a gated repository lets in, besides its owners."""
        return self._state()["accepted"]

    @property
    def created(self) -> str:
        return self._state()["created"]

    @property
    def branches(self) -> dict[str, str]:
        """Their commits' ids, by name; likewise the tags and pull requests."""
        return self._refs("refs/heads/")

    @property
    def tags(self) -> dict[str, str]:
        return self._refs("refs/tags/")

    @property
    def pull_requests(self) -> dict[str, str]:
        return self._refs("refs/pr/")

    def configure(self, **settings: object) -> None:
        """Set `private`, `gated` or `accepted`."""
        with self._changed() as state:
            state |= settings

    def at(self, revision: str = "main") -> Commit:
        refs = self._state()["refs"]
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in refs:
                return self._commit(refs[name])
        if re.fullmatch("[0-9a-f]{40}", revision) and self._path("commits", revision).exists():
            return self._commit(revision)
        raise UnknownRevision(f"Invalid rev id: {revision}")

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The bytes of every file, by path."""
        return {path: self.read(blob) for path, blob in self.at(revision).files.items()}

    def commits(self, revision: str = "main") -> list[Commit]:
        """Newest first."""
        found = [self.at(revision)]
        while (parent := found[-1].parent) is not None:
            found.append(self._commit(parent))
        return found

    def read(self, blob: Blob) -> bytes:
        return self._path("blobs", blob.name).read_bytes()

    def has(self, name: str) -> bool:
        """Whether a blob of this name (see `Blob.name`) is there."""
        return self._path("blobs", name).exists()

    def store(self, content: bytes, large: bool) -> Blob:
        """Keep these bytes, for commits to point to."""
        blob = Blob(git_id(content), len(content))
        if large:
            blob = self.large_blob(hashlib.sha256(content).hexdigest(), len(content))
        _write(self._path("blobs", blob.name), content)
        return blob

    def large_blob(self, sha256: str, size: int | None = None) -> Blob:
        """The blob of this hash; its size is looked up where it is not given."""
        blob = Blob("", self._path("blobs", sha256).stat().st_size if size is None else size, sha256)
        return replace(blob, oid=git_id(blob.pointer))

    def commit(
        self,
        edit: Edit,
        title: str,
        message: str = "",
        author: str = "",
        branch: str = "main",
        parent: str | None = None,
    ) -> Commit:
        """Put a commit on a branch or pull request; if `parent` is given, only where that is still its head."""
        ref = branch if branch.startswith("refs/pr/") else f"refs/heads/{branch}"
        with self._changed() as state:
            if ref not in state["refs"]:
                raise UnknownRevision(f"Invalid rev id: {branch}")
            head = self._commit(state["refs"][ref])
            if parent is not None and not head.id.startswith(parent):
                raise StaleParent("A commit has happened since. Please refresh and try again.")
            commit = self._follow(head, edit, title, message, author)
            state["refs"][ref] = commit.id
        return commit

    def open_pull_request(
        self,
        edit: Edit,
        title: str,
        message: str = "",
        author: str = "",
        branch: str = "main",
        parent: str | None = None,
    ) -> tuple[int, Commit]:
        """A pull request's number, and the commit that it starts with: on a branch's head, or on `parent`."""
        with self._changed() as state:
            if branch not in self.branches:
                raise UnknownRevision(f"Invalid rev id: {branch}")
            commit = self._follow(self.at(parent or branch), edit, title, message, author)
            number = len(self.pull_requests) + 1
            state["refs"][f"refs/pr/{number}"] = commit.id
        return number, commit

    def add_ref(self, ref: str, revision: str) -> None:
        """Add a branch `refs/heads/…` or a tag `refs/tags/…`."""
        with self._changed() as state:
            if ref in state["refs"]:
                raise AlreadyExists(f"Reference already exists: {ref}")
            state["refs"][ref] = self.at(revision).id

    def remove_ref(self, ref: str) -> None:
        with self._changed() as state:
            if state["refs"].pop(ref, None) is None:
                raise UnknownRevision(f"Reference does not exist: {ref}")

    def start(self, private: bool) -> None:
        """Make the folder, and the first commit as the Hub does."""
        lines = self.store(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", large=False)
        commit = self._follow(None, lambda files: files.update({".gitattributes": lines}), "initial commit", "", "")
        state = {"private": private, "gated": False, "accepted": [], "created": _now(), "refs": {MAIN: commit.id}}
        _write(self._path("repository.json"), json.dumps(state).encode())

    def _follow(self, parent: Commit | None, edit: Edit, title: str, message: str, author: str) -> Commit:
        old = parent.files if parent else {}
        files = dict(old)
        edit(files)
        commit = Commit(
            id=hashlib.sha1(uuid.uuid4().bytes).hexdigest(),
            parent=parent and parent.id,
            title=title,
            message=message,
            author=author,
            date=_now(),
            files=dict(sorted(files.items())),
            paths=sorted(path for path in {*old, *files} if old.get(path) != files.get(path)),
        )
        _write(self._path("commits", commit.id), json.dumps(asdict(commit)).encode())
        return commit

    def _commit(self, commit_id: str) -> Commit:
        stored = json.loads(self._path("commits", commit_id).read_text())
        stored["files"] = {path: Blob(**blob) for path, blob in stored["files"].items()}
        return Commit(**stored)

    def _refs(self, prefix: str) -> dict[str, str]:
        refs = self._state()["refs"]
        return {name.removeprefix(prefix): commit for name, commit in refs.items() if name.startswith(prefix)}

    def _state(self) -> dict:
        return json.loads(self._path("repository.json").read_text())

    @contextmanager
    def _changed(self) -> Iterator[dict]:
        with self._lock:
            state = self._state()
            yield state
            _write(self._path("repository.json"), json.dumps(state).encode())

    def _path(self, *parts: str) -> Path:
        return self.folder.joinpath(*parts)


class Repositories(Mapping[str, Repository]):
    """The repositories in a folder, by id (`owner/name`)."""

    def __init__(self, folder: Path):
        self._folder, self._lock = folder, threading.RLock()

    def __getitem__(self, repository_id: str) -> Repository:
        known = list(iter(self))
        if repository_id not in known:
            raise KeyError(f"No repository {repository_id!r}; there are {known}")
        return self._named(repository_id)

    def __iter__(self) -> Iterator[str]:
        return (str(path.parent.relative_to(self._folder)) for path in sorted(self._folder.glob("*/*/repository.json")))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def create(self, repository_id: str, private: bool = False) -> Repository:
        with self._lock:
            if repository_id in self:
                raise AlreadyExists("You already created this model repo")
            self._named(repository_id).start(private)
        return self[repository_id]

    def delete(self, repository_id: str) -> None:
        with self._lock:
            shutil.rmtree(self[repository_id].folder)

    def _named(self, repository_id: str) -> Repository:
        return Repository(repository_id, self._folder / repository_id, self._lock)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _write(path: Path, content: bytes) -> None:
    """In one piece: another thread reads the old bytes or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    temporary.replace(path)
