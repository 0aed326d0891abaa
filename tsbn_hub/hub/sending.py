"""A folder to the Hub, in one commit."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import tqdm

from ..files.names import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CARD,
    CONFIG,
    GATES,
    IMAGE_PROCESSOR,
    OLDER_ADAPTER_CONFIG,
    OLDER_ADAPTER_WEIGHTS,
    RECIPE,
    RESULTS,
    SAMPLES,
    WEIGHTS,
    WEIGHTS_INDEX,
)
from ..files.repositories import hub_errors, split_revision
from ..models import HubError
from .cards.mark import is_edited

_PULL_REQUEST = "refs/pr/"
_WEIGHTS = (WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors", ADAPTER_WEIGHTS)
_OLDER_ADAPTER = (OLDER_ADAPTER_CONFIG, OLDER_ADAPTER_WEIGHTS)
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_BESIDE_WEIGHTS = (IMAGE_PROCESSOR, RECIPE, RESULTS, GATES, SAMPLES)
_PUBLISHED = (CARD, "LICENSE*", CONFIG, ADAPTER_CONFIG, *_OLDER_ADAPTER, *_WEIGHTS, *_BESIDE_WEIGHTS)


@dataclass(frozen=True)
class Publication:
    """What went to the Hub in one commit, or would go.

    Args:
        repo: Its name, "org/name".
        files: The files and their sizes in bytes; none where the repo has all of them already.
        removed: Files of the repo that are older weights, or belong to those, and are removed.
        keeps_card: Whether the repo has a card that somebody has edited, and it is kept.
        url: Of the commit, or of the pull request; None in a dry run.
    """

    repo: str
    files: dict[str, int]
    removed: list[str]
    keeps_card: bool = False
    url: str | None = None


@dataclass(frozen=True)
class Target:
    """Where a folder goes, and how.

    Args:
        repo: "org/name".
        private: Make a private repo.
        revision: The branch, made where it is missing; None: the main one.
        create_pr: Open a pull request instead of changing the main branch.
        token: Another token than the stored one.
        dry_run: Send nothing, and ask the Hub for nothing.

    Raises:
        ValueError: if it is no repo's name, or a revision is given for a pull request.
    """

    repo: str
    private: bool
    revision: str | None
    create_pr: bool
    token: str | None
    dry_run: bool

    def __post_init__(self) -> None:
        if self.create_pr and self.revision is not None:
            raise ValueError(
                f"A pull request is for the main branch: leave out create_pr, or revision={self.revision!r}."
            )
        if "@" in self.repo:
            name, of_name = split_revision(self.repo)
            raise ValueError(
                f"{self.repo!r} is no repo's name: write {name}, with the branch {of_name!r} as the revision."
            )
        if self.repo.count("/") != 1:
            raise ValueError(f"{self.repo!r} is no repo's name: write org/name.")

    @property
    def branch(self) -> str | None:
        """The branch that a card's code names: what comes by a pull request will be on the main one."""
        return None if self.revision is None or self.revision.startswith(_PULL_REQUEST) else self.revision


def publish(folder: Path, target: Target, message: str, *, keep_edited_card: bool) -> Publication:
    """Send a folder that is complete, in one commit.

    Args:
        folder: With the card.
        target: Where to.
        message: Of the commit.
        keep_edited_card: Leave out the card if the repo has one that somebody has edited.

    Raises:
        HubError: if the Hub refuses, or cannot be reached. The files of the repo are as they were.
    """
    repo, revision = target.repo, target.revision
    names = [path.name for path in folder.iterdir() if path.is_file()]
    files = _matching(names, [*_PUBLISHED, *_shown(folder / CARD)])
    if target.dry_run:
        return Publication(repo, {name: (folder / name).stat().st_size for name in files}, [])
    api = HfApi(token=target.token, library_name="tsbn_hub")
    with hub_errors(repo, revision), _bars_ended():
        _prepare_repo(api, target, files)
        parent = api.repo_info(repo, revision=revision).sha
        there = api.list_repo_files(repo, revision=parent)
        _check_same_kind(repo, files, there)
        keeps_card = (
            keep_edited_card and CARD in there and is_edited(Path(api.hf_hub_download(repo, CARD, revision=parent)))
        )
        files = [name for name in files if not (keeps_card and name == CARD)]
        older = _matching(there, (*_WEIGHTS, *_OLDER_ADAPTER, *_PICKLES, *_BESIDE_WEIGHTS))
        removed = [name for name in older if name not in files]
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(name, folder / name) for name in files] + [*map(CommitOperationDelete, removed)],
            commit_message=message,
            revision=revision,
            create_pr=target.create_pr,
            parent_commit=parent,  # what somebody else commits meanwhile is not overwritten
        )
    if commit.oid == parent:  # nothing has changed: the Hub makes no commit, and opens no pull request
        files = []
    url = commit.pr_url or commit.commit_url
    return Publication(repo, {name: (folder / name).stat().st_size for name in files}, removed, keeps_card, url)


@contextmanager
def _bars_ended() -> Iterator[None]:
    """End, behind the block, the progress bars of an upload that broke: what is printed next begins a line."""
    open_before = set(tqdm._instances)
    try:
        yield
    finally:
        for bar in set(tqdm._instances) - open_before:
            bar.close()


def _check_same_kind(repo: str, files: Iterable[str], there: Iterable[str]) -> None:
    """Refuse to put an adapter over a model, or a model over an adapter."""
    pushed, found = ("a model", "a task adapter") if CONFIG in files else ("a task adapter", "a model")
    others = {ADAPTER_CONFIG, OLDER_ADAPTER_CONFIG} if CONFIG in files else {CONFIG}
    if not others.isdisjoint(there):
        raise HubError(f"{repo} holds {found}: nothing was sent. Publish {pushed} as a repo of its own.")


def _shown(card: Path) -> list[str]:
    """The pictures that a card shows."""
    return re.findall(r"!\[[^\]]*\]\(([\w.-]+\.png)\)", card.read_text(encoding="utf-8"))


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _prepare_repo(api: HfApi, target: Target, files: Sequence[str]) -> None:
    repo, revision = target.repo, target.revision
    if not target.create_pr and not api.repo_exists(repo):
        api.create_repo(repo, private=target.private, exist_ok=True)
    elif not api.repo_info(repo).private and target.private:  # raises where there is nothing to ask a change of
        raise HubError(
            f"{repo} is there already, and public: nothing was sent. Make it private on its page, or publish it "
            "without asking for a private repo."
        )
    if target.branch is None:
        return
    if revision not in [branch.name for branch in api.list_repo_refs(repo).branches]:
        if api.revision_exists(repo, target.branch):
            raise HubError(f"{revision!r} of {repo} is a tag or a commit: only a branch can be pushed to.")
        _check_same_kind(repo, files, api.list_repo_files(repo))  # before there is a branch
        api.create_branch(repo, branch=target.branch, exist_ok=True)
