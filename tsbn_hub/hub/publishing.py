"""Checkpoints to the Hub."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from ..files.checkpoints import read_json, read_shapes, weight_files
from ..files.names import ADAPTER_CONFIG, CARD, CONFIG, OLDER_ADAPTER_CONFIG, RECIPE, SAMPLES
from ..files.paths import no_folder
from ..files.repositories import check_inside
from ..models import CheckpointError, save_pretrained, surface_of
from ..results.recording import recipe_without_folders, results_of
from .adapters.card import write_adapter_card
from .adapters.files import check_base, read_adapter
from .cards.card import shows_samples, write_card
from .cards.mark import is_edited
from .sending import Publication, Target, publish

_ADAPTERS = (ADAPTER_CONFIG, OLDER_ADAPTER_CONFIG)


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
    target = Target(repo, private, revision, create_pr, token, dry_run)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, max_shard_size=max_shard_size)
        write_card(folder, model, name=repo, revision=target.branch)
        message = commit_message or f"Upload {type(surface_of(model).model).__name__}"
        return publish(Path(folder), target, message, keep_edited_card=True)


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
    trust: bool = False,
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
        trust: Import the files and modules that the folder names, whoever has written them. Those of your own runs are
            imported anyway.

    Returns:
        What went, or would go.

    Raises:
        FileNotFoundError: if the folder has no config.
        CheckpointError: if it has no weights in safetensors, or what it has is damaged.
        HubError: if the Hub refuses, or cannot be reached. The files of the repo are as they were.
        ValueError: if it is no repo's name, or a revision is given for a pull request, or the card's metadata are not
            as the Hub has them, or the recorded results are of other weights.
    """
    target = Target(repo, private, revision, create_pr, token, dry_run)
    folder = Path(folder)
    _check(folder)
    has_card = (folder / CARD).is_file()
    with _with_card(folder, target, trust) as complete:
        return publish(
            complete, target, commit_message or f"Upload {folder.resolve().name}", keep_edited_card=not has_card
        )


def checkpoints_in(folder: str | Path) -> list[Path]:
    """The folders in a folder that hold a checkpoint, of a model or of a task, in the order of their names.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(no_folder(Path(folder)))
    found = sorted({path.parent for name in (CONFIG, *_ADAPTERS) for path in Path(folder).glob(f"*/{name}")})
    if not found:
        raise FileNotFoundError(
            f"{folder} has no folder with a {CONFIG} or {ADAPTER_CONFIG}: nothing can be published."
        )
    return found


@contextmanager
def _with_card(folder: Path, target: Target, trust: bool) -> Iterator[Path]:
    """A folder with the same files and a card, whose code loads the repo unless somebody has edited the card."""
    with tempfile.TemporaryDirectory() as name:
        complete = Path(name, folder.resolve().name)
        complete.mkdir()
        for path in folder.iterdir():
            if path.name == CARD:
                shutil.copy(path, complete)
            elif path.name == RECIPE:
                (complete / RECIPE).write_text(recipe_without_folders(path), encoding="utf-8")
            elif path.name == SAMPLES and not shows_samples(folder):
                continue  # of other weights
            elif not path.is_dir():  # folders are not published
                _link(complete / path.name, path.resolve())
        is_model = (folder / CONFIG).is_file()
        if is_edited(folder / CARD):
            if is_model:
                results_of(folder)  # raises, as it does where a card is written
        elif is_model:
            write_card(complete, name=target.repo, revision=target.branch, trust=trust)
        else:
            write_adapter_card(complete, target.repo, revision=target.branch)
        yield complete


def _link(link: Path, path: Path) -> None:
    try:
        link.symlink_to(path)
    except OSError:  # which Windows does not allow everybody
        if path.is_file():
            shutil.copy(path, link)


def _check(folder: Path) -> None:
    """Find out before anything is sent whether the folder could be loaded, and all of it is the folder's."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file():  # folders are not published
            check_inside(folder, path)
    if adapter := next((name for name in _ADAPTERS if (folder / name).is_file()), None):
        if (folder / CONFIG).is_file():
            raise CheckpointError(
                f"{folder} holds a model ({CONFIG}) and a task adapter ({adapter}). Each needs a folder, and a "
                "repo, of its own."
            )
        config, _, _ = read_adapter(folder)
        check_base(config.base_model_name_or_path)
        return
    read_json(folder / CONFIG)
    for path in weight_files(folder):
        read_shapes(path)
