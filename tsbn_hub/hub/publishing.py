"""Checkpoints to the Hub, each in one commit."""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from torch import nn

from ..models import CheckpointError, HubError, save_pretrained
from ..models.checkpoint_files import (
    ADAPTER_CONFIG,
    CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    read_json,
    read_shapes,
    weight_files,
)
from ..models.repositories import hub_errors, split_revision
from .adapter_card import write_adapter_card
from .adapter_files import ADAPTER_WEIGHTS, check_base, read_adapter
from .card import CARD, write_card
from .card_mark import is_edited
from .card_text import GATES
from .recording import RECIPE, recipe_without_folders, results_of
from .results import RESULTS

_PULL_REQUEST = "refs/pr/"
_WEIGHTS = (WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors", ADAPTER_WEIGHTS)
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_BESIDE_WEIGHTS = ("preprocessor_config.json", RECIPE, RESULTS, GATES)
_PUBLISHED = (CARD, "LICENSE*", CONFIG, ADAPTER_CONFIG, *_WEIGHTS, *_BESIDE_WEIGHTS)


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


def push_to_hub(
    model: nn.Module,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    max_shard_size: int | str = "5GB",
    dry_run: bool = False,
) -> Publication:
    """Publish a model of timm or transformers, with task norms or folded, with a card, in one commit.

    It can be loaded by `timm.create_model("hf-hub:org/name", pretrained=True)` or `….from_pretrained("org/name")`, and
    by `tsbn_hub.from_pretrained`. What the repo has of older weights is removed in the same commit: their results,
    recipe and pictures, too. A card that somebody has edited is kept: `push_folder` replaces it.

    Args:
        model: As `tsbn_hub.save_pretrained` takes it.
        repo: "org/name". It is made where it is missing.
        private: Make a private repo.
        revision: The branch, made where it is missing; None: "main".
        create_pr: Open a pull request instead of changing the main branch.
        commit_message: Of the commit.
        token: Another token than the stored one.
        max_shard_size: The size of a file of weights, as a number of bytes or as "5GB". A model of timm is always in
            one file, for timm reads no other.
        dry_run: Send nothing, and ask the Hub for nothing.

    Returns:
        What went, or would go.

    Raises:
        HubError: if the Hub refuses, or cannot be reached. The files of the repo are as they were.
        ValueError: if it is no repo's name, or a revision is given for a pull request.

    Example:
        >>> import timm, tsbn_hub
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> sorted(tsbn_hub.push_to_hub(model, "org/name", dry_run=True).files)
        ['README.md', 'config.json', 'model.safetensors']
    """
    check_target(repo, revision, create_pr)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, max_shard_size=max_shard_size)
        write_card(folder, model, name=repo, revision=branch_of(revision))
        return publish(
            folder,
            repo,
            private=private,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message or f"Upload {type(model).__name__}",
            token=token,
            dry_run=dry_run,
            keep_edited_card=True,
        )


def push_folder(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
) -> Publication:
    """Publish a checkpoint, of a model or of a task, as it lies in a folder, in one commit.

    What goes are config, weights, image processor, card, recipe, results and pictures; the state of a run does not.
    A card as `tsbn card` writes it is written anew, with the repo's name in its code; one that was edited goes as it
    is. Where the folder has none, one is written, and one that somebody has edited in the repo is kept. What the repo
    has of older weights is removed in the same commit. The folder stays as it is.

    Args:
        folder: Of `save_pretrained`, of `save_task`, or of a run of `tsbn train`.
        repo: "org/name". It is made where it is missing.
        private: Make a private repo.
        revision: The branch, made where it is missing; None: "main".
        create_pr: Open a pull request instead of changing the main branch.
        commit_message: Of the commit.
        token: Another token than the stored one.
        dry_run: Send nothing, and ask the Hub for nothing.

    Returns:
        What went, or would go.

    Raises:
        FileNotFoundError: if the folder has no config.
        CheckpointError: if it has no weights in safetensors, or what it has is damaged.
        HubError: if the Hub refuses, or cannot be reached. The files of the repo are as they were.
        ValueError: if it is no repo's name, or a revision is given for a pull request, or the card's metadata are not
            as the Hub has them, or the recorded results are of other weights.
    """
    check_target(repo, revision, create_pr)
    folder = Path(folder)
    _check(folder)
    with _with_card(folder, repo, branch_of(revision)) as complete:
        return publish(
            complete,
            repo,
            private=private,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message or f"Upload {folder.resolve().name}",
            token=token,
            dry_run=dry_run,
            keep_edited_card=not (folder / CARD).is_file(),
        )


def checkpoints_in(folder: str | Path) -> list[Path]:
    """The folders in a folder that hold a checkpoint, of a model or of a task, in the order of their names.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = sorted({path.parent for name in (CONFIG, ADAPTER_CONFIG) for path in Path(folder).glob(f"*/{name}")})
    if not found:
        raise FileNotFoundError(
            f"{folder} has no folder with a {CONFIG} or {ADAPTER_CONFIG}: nothing can be published."
        )
    return found


def check_target(repo: str, revision: str | None, create_pr: bool) -> None:
    """Raise ValueError unless this can be pushed to."""
    if create_pr and revision is not None:
        raise ValueError(f"A pull request is for the main branch: leave out create_pr, or revision={revision!r}.")
    if "@" in repo:
        name, of_name = split_revision(repo)
        raise ValueError(f"{repo!r} is no repo's name: write {name}, with the branch {of_name!r} as the revision.")
    if repo.count("/") != 1:
        raise ValueError(f"{repo!r} is no repo's name: write org/name.")


def branch_of(revision: str | None) -> str | None:
    """The branch that a card's code names: what comes by a pull request will be on the main one."""
    return None if revision is None or revision.startswith(_PULL_REQUEST) else revision


@contextmanager
def _with_card(folder: Path, repo: str, revision: str | None) -> Iterator[Path]:
    """A folder with the same files and a card, whose code loads the repo unless somebody has edited the card."""
    with tempfile.TemporaryDirectory() as name:
        complete = Path(name, folder.resolve().name)
        complete.mkdir()
        for path in folder.iterdir():
            if path.name == CARD:
                shutil.copy(path, complete)
            elif path.name == RECIPE:
                (complete / RECIPE).write_text(recipe_without_folders(path), encoding="utf-8")
            else:
                _link(complete / path.name, path.resolve())
        if not is_edited(folder / CARD):
            if (folder / CONFIG).is_file():
                write_card(complete, name=repo, revision=revision)
            else:
                write_adapter_card(complete, repo, revision=revision)
        yield complete


def _link(link: Path, path: Path) -> None:
    try:
        link.symlink_to(path)
    except OSError:  # which Windows does not allow everybody
        if path.is_file():
            shutil.copy(path, link)


def publish(
    folder: str | Path,
    repo: str,
    *,
    private: bool,
    revision: str | None,
    create_pr: bool,
    commit_message: str,
    token: str | None,
    dry_run: bool,
    keep_edited_card: bool,
) -> Publication:
    """Send a folder that is complete, as `push_folder` says; `keep_edited_card`: if the repo has one."""
    folder = Path(folder)
    files = _matching([path.name for path in folder.iterdir() if path.is_file()], [*_PUBLISHED, *_shown(folder / CARD)])
    if dry_run:
        return Publication(repo, {name: (folder / name).stat().st_size for name in files}, [])
    api = HfApi(token=token, library_name="tsbn_hub")
    with hub_errors(repo, revision):
        _prepare_repo(api, repo, private, revision, create_pr, files)
        parent = api.repo_info(repo, revision=revision).sha
        there = api.list_repo_files(repo, revision=parent)
        _check_same_kind(repo, files, there)
        keeps_card = (
            keep_edited_card and CARD in there and is_edited(Path(api.hf_hub_download(repo, CARD, revision=parent)))
        )
        files = [name for name in files if not (keeps_card and name == CARD)]
        removed = [name for name in _matching(there, (*_WEIGHTS, *_PICKLES, *_BESIDE_WEIGHTS)) if name not in files]
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(name, folder / name) for name in files] + [*map(CommitOperationDelete, removed)],
            commit_message=commit_message,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent,  # what somebody else commits meanwhile is not overwritten
        )
    if commit.oid == parent:  # nothing has changed: the Hub makes no commit, and opens no pull request
        files = []
    url = commit.pr_url or commit.commit_url
    return Publication(repo, {name: (folder / name).stat().st_size for name in files}, removed, keeps_card, url)


def _check(folder: Path) -> None:
    """Find out before anything is sent whether the folder could be loaded."""
    if (folder / ADAPTER_CONFIG).is_file():
        if (folder / CONFIG).is_file():
            raise CheckpointError(
                f"{folder} holds a model ({CONFIG}) and a task adapter ({ADAPTER_CONFIG}). Each needs a folder, and a "
                "repo, of its own."
            )
        config, _, _ = read_adapter(folder)
        check_base(config.base_model_name_or_path)
        return
    read_json(folder / CONFIG)
    for path in weight_files(folder):
        read_shapes(path)
    results_of(folder)  # raises


def _check_same_kind(repo: str, files: Iterable[str], there: Iterable[str]) -> None:
    """Refuse to put an adapter over a model, or a model over an adapter."""
    pushed, found = ("a model", "a task adapter") if CONFIG in files else ("a task adapter", "a model")
    if (ADAPTER_CONFIG if CONFIG in files else CONFIG) in there:
        raise HubError(f"{repo} holds {found}: nothing was sent. Publish {pushed} as a repo of its own.")


def _shown(card: Path) -> list[str]:
    """The pictures that a card shows."""
    return re.findall(r"!\[[^\]]*\]\(([\w.-]+\.png)\)", card.read_text(encoding="utf-8"))


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _prepare_repo(
    api: HfApi, repo: str, private: bool, revision: str | None, create_pr: bool, files: Sequence[str]
) -> None:
    if not create_pr and not api.repo_exists(repo):
        api.create_repo(repo, private=private, exist_ok=True)
    elif not api.repo_info(repo).private and private:  # raises where there is nothing that a request could be for
        raise HubError(
            f"{repo} is there already, and public: nothing was sent. Make it private on its page, or publish it "
            "without asking for a private repo."
        )
    if revision is None or revision.startswith(_PULL_REQUEST):
        return
    if revision not in [branch.name for branch in api.list_repo_refs(repo).branches]:
        if api.revision_exists(repo, revision):
            raise HubError(f"{revision!r} of {repo} is a tag or a commit: only a branch can be pushed to.")
        _check_same_kind(repo, files, api.list_repo_files(repo))  # before there is a branch
        api.create_branch(repo, branch=revision, exist_ok=True)
