"""Repos of the Hub, as folders of the cache."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import list_repo_files, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .checkpoint_files import CONFIG, WEIGHTS_INDEX, CheckpointError, without_weights

CHECKPOINT_FILES = (CONFIG, "preprocessor_config.json", "*.safetensors", WEIGHTS_INDEX)

_SHA256 = re.compile("[0-9a-f]{64}")


class HubError(OSError):
    """The Hub did not do what was asked. The message says why, and what to do."""


def split_revision(repo: str) -> tuple[str, str | None]:
    """The parts of "org/name@revision".

    Example:
        >>> from tsbn_hub.models.repositories import split_revision
        >>> split_revision("org/name@v1"), split_revision("org/name")
        (('org/name', 'v1'), ('org/name', None))
    """
    name, _, revision = repo.partition("@")
    return name, revision or None


def local_folder(
    folder_or_repo: str | Path,
    files: Sequence[str] = CHECKPOINT_FILES,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
) -> Path:
    """The folder itself, or that of a repo of the Hub, downloaded to the cache, where its weights are checked.

    Args:
        folder_or_repo: A folder that exists; else "org/name" or "org/name@revision".
        files: Patterns of the files to download.
        revision: A branch, tag or commit.
        cache_dir: Another cache than that of huggingface_hub.
        token: Another token than the stored one.

    Raises:
        FileNotFoundError: if it is neither a folder nor a repo's name.
        HubError: if the Hub cannot be reached and the cache has no copy, or there is no such repo, or no access to it.
        CheckpointError: if the repo has no weights in safetensors, or a file in the cache is damaged.
    """
    if Path(folder_or_repo).is_dir():
        return Path(folder_or_repo)
    if len(Path(folder_or_repo).parts) != 2 or isinstance(folder_or_repo, Path) or Path(folder_or_repo).is_absolute():
        raise FileNotFoundError(f"{folder_or_repo} is neither a folder nor a Hub repo's name (org/name).")
    repo, of_name = split_revision(folder_or_repo)
    with hub_errors(repo, revision or of_name):
        folder = Path(
            snapshot_download(
                repo, revision=revision or of_name, allow_patterns=list(files), cache_dir=cache_dir, token=token
            )
        )
        weights = list(folder.glob("*.safetensors"))
        if not weights:
            found = list_repo_files(repo, revision=revision or of_name, token=token)
            raise CheckpointError(without_weights(str(folder_or_repo), found))
    for path in weights:
        check_download(path)
    return folder


def check_download(path: Path) -> None:
    """Refuse a file of the cache that is not what the Hub has. The cache names large files by their SHA-256.

    Raises:
        CheckpointError: if it is damaged.
    """
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    with blob.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != blob.name:
        raise CheckpointError(
            f"{path} is damaged ({blob.stat().st_size} bytes): its SHA-256 is {actual}, that of the Hub's file is "
            f"{blob.name}. Delete {blob} and load again."
        )


def repo_commit(folder: Path) -> str | None:
    """The commit that a folder of the cache holds, 40 hexadecimal digits; None for another folder."""
    is_snapshot = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if is_snapshot else None


@contextmanager
def hub_errors(repo: str, revision: str | None = None) -> Iterator[None]:
    """Within the block, what huggingface_hub raises becomes a `HubError` that says what to do.

    Args:
        repo: The repo that the block is about.
        revision: Its branch, tag or commit; None: the main branch.
    """
    try:
        yield
    except (HfHubHTTPError, HTTPError, OSError, HFValidationError) as error:
        if isinstance(error, HubError) or not _is_of_the_hub(error):
            raise
        raise HubError(f"{repo}{f'@{revision}' if revision else ''}: {_reason(error, repo, revision)}") from error


def _is_of_the_hub(error: Exception) -> bool:
    kinds = (HTTPError, HFValidationError, LocalTokenNotFoundError, LocalEntryNotFoundError, ConnectionError)
    return isinstance(error, kinds)


def _reason(error: Exception, repo: str, revision: str | None) -> str:
    if isinstance(error, HFValidationError):
        return f"this cannot be the name of a repo. {error}"
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token. {_LOG_IN}"
    if isinstance(error, GatedRepoError):
        return f"the repo is gated: ask for access on its page, then {_LOG_IN[0].lower()}{_LOG_IN[1:]}"
    if isinstance(error, RevisionNotFoundError):
        return f"the repo has no branch, tag or commit {revision!r}."
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no folder and no repo of this name, or it is private. {_LOG_IN}"
    if isinstance(error, IncompleteSnapshotError):
        return f"the Hub cannot be reached, and the cache has a part of the repo alone. {error}"
    if isinstance(error, LocalEntryNotFoundError):
        return "the Hub cannot be reached, and the cache has no copy. Try again with a connection to it."
    if isinstance(error, HfHubHTTPError):
        return _BY_STATUS.get(error.response.status_code, "the Hub refused.") + f" It says: {error}"
    return f"the connection to the Hub failed ({type(error).__name__}: {error}). Try again."


_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with access to it."
_BY_STATUS = {
    401: f"the token is not valid. {_LOG_IN}",
    403: f"this token may not do that. {_LOG_IN}",
    412: "somebody else has committed meanwhile, and nothing was changed. Look at what is new, and do it again.",
    429: "the Hub asks for patience: too many requests. Try again later.",
    500: "the Hub has an error of its own. Try again later.",
    502: "the Hub is not available. Try again later.",
    503: "the Hub is not available. Try again later.",
    504: "the Hub is not available. Try again later.",
}
