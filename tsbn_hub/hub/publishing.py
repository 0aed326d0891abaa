"""Checkpoints to the Hub, each in one commit."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from torch import nn

from ..models import CheckpointError, HubError, from_pretrained, save_pretrained
from ..models.checkpoint_files import CONFIG, WEIGHTS, WEIGHTS_INDEX, read_json, read_shapes, weight_files
from ..models.repositories import hub_errors
from .adapter_card import write_adapter_card
from .adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_adapter
from .card import write_card

CARD = "README.md"
_WEIGHTS = (WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors", ADAPTER_WEIGHTS)
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_PUBLISHED = (
    CARD, "LICENSE*", CONFIG, "preprocessor_config.json", ADAPTER_CONFIG, *_WEIGHTS, "training.yaml", "results.json",
    "*.png",
)  # fmt: skip


@dataclass(frozen=True)
class Publication:
    """What went to the Hub in one commit, or would go.

    Args:
        repo: Its name, "org/name".
        files: The files and their sizes in bytes.
        removed: Files of the repo that are older weights, and are removed.
        url: Of the commit, or of the pull request; None where nothing was sent.
    """

    repo: str
    files: dict[str, int]
    removed: list[str]
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
    by `tsbn_hub.from_pretrained`. A card that the repo has is kept: `push_folder` replaces it.

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
    _check_target(repo, revision, create_pr)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, max_shard_size=max_shard_size)
        write_card(folder, model, name=repo)
        message = commit_message or f"Upload {type(model).__name__}"
        return _push(Path(folder), repo, private, revision, create_pr, message, token, dry_run, keep=(CARD,))


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
    A card as `tsbn card` writes it goes with the repo's name in its code, one that was edited as it is. Where neither
    the folder nor the repo has a card, one is written. The folder stays as it is.

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
            as the Hub has them.
    """
    _check_target(repo, revision, create_pr)
    folder = Path(folder)
    _check(folder)
    keep = () if (folder / CARD).is_file() else (CARD,)
    message = commit_message or f"Upload {folder.resolve().name}"
    with _with_card(folder, repo) as complete:
        return _push(complete, repo, private, revision, create_pr, message, token, dry_run, keep)


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


def _check_target(repo: str, revision: str | None, create_pr: bool) -> None:
    if create_pr and revision is not None:
        raise ValueError(f"A pull request is for the main branch: leave out create_pr, or revision={revision!r}.")
    if repo.count("/") != 1:
        raise ValueError(f"{repo!r} is no repo's name: write org/name.")


@contextmanager
def _with_card(folder: Path, repo: str) -> Iterator[Path]:
    """A folder with the same files and a card, whose code loads the repo unless somebody has edited the card."""
    with tempfile.TemporaryDirectory() as name:
        complete = Path(name, folder.resolve().name)
        complete.mkdir()
        for path in folder.iterdir():
            if path.name != CARD:
                (complete / path.name).symlink_to(path.resolve())
        card = (folder / CARD).read_bytes() if (folder / CARD).is_file() else None
        if card is not None:
            (complete / CARD).write_bytes(card)
        if (folder / CONFIG).is_file():
            _address_card(complete, card, repo)
        elif card is None:
            write_adapter_card(complete, repo)
        yield complete


def _address_card(folder: Path, card: bytes | None, repo: str) -> None:
    """Write the card of a folder for a repo, unless the one that it has is another than the folder's files give."""
    model = from_pretrained(folder)
    if card is None or _generated_card(folder, model) == card:
        write_card(folder, model, name=repo)
    else:
        (folder / CARD).write_bytes(card)


def _generated_card(folder: Path, model: nn.Module) -> bytes | None:
    try:
        write_card(folder, model)
    except ValueError:  # its files are not those of `tsbn train`
        return None
    return (folder / CARD).read_bytes()


def _push(
    folder: Path,
    repo: str,
    private: bool,
    revision: str | None,
    create_pr: bool,
    message: str,
    token: str | None,
    dry_run: bool,
    keep: Iterable[str] = (),
) -> Publication:
    files = _matching([path.name for path in folder.iterdir() if path.is_file()], _PUBLISHED)
    if dry_run:
        return Publication(repo, {name: (folder / name).stat().st_size for name in files}, [])
    api = HfApi(token=token, library_name="tsbn_hub")
    with hub_errors(repo, revision):
        _prepare_repo(api, repo, private, revision)
        parent = api.repo_info(repo, revision=revision).sha
        there = api.list_repo_files(repo, revision=parent)
        _check_same_kind(repo, files, there)
        files = [name for name in files if not (name in there and name in keep)]
        removed = [name for name in _matching(there, (*_WEIGHTS, *_PICKLES)) if name not in files]
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(name, folder / name) for name in files] + [*map(CommitOperationDelete, removed)],
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent,  # what somebody else commits meanwhile is not overwritten
        )
    url = commit.pr_url or commit.commit_url  # where nothing has changed the Hub opens no pull request
    return Publication(repo, {name: (folder / name).stat().st_size for name in files}, removed, url)


def _check(folder: Path) -> None:
    """Find out before anything is sent whether the folder could be loaded."""
    if (folder / ADAPTER_CONFIG).is_file():
        if (folder / CONFIG).is_file():
            raise CheckpointError(
                f"{folder} holds a model ({CONFIG}) and a task adapter ({ADAPTER_CONFIG}). Each needs a folder, and a "
                "repo, of its own."
            )
        read_adapter(folder)
        return
    read_json(folder / CONFIG)
    for path in weight_files(folder):
        read_shapes(path)


def _check_same_kind(repo: str, files: Iterable[str], there: Iterable[str]) -> None:
    """Refuse to put an adapter over a model, or a model over an adapter."""
    pushed, found = ("a model", "a task adapter") if CONFIG in files else ("a task adapter", "a model")
    if (ADAPTER_CONFIG if CONFIG in files else CONFIG) in there:
        raise HubError(f"{repo} holds {found}: nothing was sent. Publish {pushed} as a repo of its own.")


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _prepare_repo(api: HfApi, repo: str, private: bool, revision: str | None) -> None:
    if not api.repo_exists(repo):
        api.create_repo(repo, private=private, exist_ok=True)
    elif private and not api.repo_info(repo).private:
        raise HubError(
            f"{repo} is there already, and public: nothing was sent. Make it private on its page, or publish it "
            "without asking for a private repo."
        )
    if revision is None or revision.startswith("refs/pr/"):
        return
    if revision not in [branch.name for branch in api.list_repo_refs(repo).branches]:
        if api.revision_exists(repo, revision):
            raise HubError(f"{revision!r} of {repo} is a tag or a commit: only a branch can be pushed to.")
        api.create_branch(repo, branch=revision, exist_ok=True)
