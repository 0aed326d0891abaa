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

from .checkpoint_files import CONFIG, WEIGHTS, WEIGHTS_INDEX, CheckpointError, without_weights

CHECKPOINT_FILES = (CONFIG, "preprocessor_config.json", WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors")

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


def is_repo(name: str | Path) -> bool:
    """Whether this can be a repo, "org/name" or "org/name@revision": it is no folder, and no path elsewhere.

    Example:
        >>> from tsbn_hub.models.repositories import is_repo
        >>> is_repo("org/name@try/this"), is_repo("/org/name"), is_repo("name")
        (True, False, False)
    """
    repo = Path(split_revision(str(name))[0])
    return not (isinstance(name, Path) or Path(name).is_dir() or repo.is_absolute()) and len(repo.parts) == 2


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
        files: Patterns of the files to download; the first one is that of the config, which a repo must have.
        revision: A branch, tag or commit.
        cache_dir: Another cache than that of huggingface_hub.
        token: Another token than the stored one.

    Raises:
        FileNotFoundError: if it is neither a folder nor a repo's name, or the repo has no config.
        HubError: if the Hub cannot be reached and the cache has no copy, or there is no such repo, or no access to it.
        CheckpointError: if the repo has no weights in safetensors, or a file in the cache is damaged.
    """
    if Path(folder_or_repo).is_dir():
        return Path(folder_or_repo)
    if not is_repo(folder_or_repo):
        raise FileNotFoundError(f"{folder_or_repo} is neither a folder nor a Hub repo's name (org/name).")
    repo, of_name = split_revision(str(folder_or_repo))
    with hub_errors(repo, revision or of_name):
        folder = Path(
            snapshot_download(
                repo,
                revision=revision or of_name,
                allow_patterns=list(files),
                ignore_patterns="*/*",  # of a folder in the repo: the patterns would reach into it
                cache_dir=cache_dir,
                token=token,
            )
        )
        weights = [path for name in files for path in folder.glob(name) if path.suffix == ".safetensors"]
        if not weights or not (folder / files[0]).is_file():
            found = list_repo_files(repo, revision=revision or of_name, token=token)
            if files[0] not in found:
                raise FileNotFoundError(f"{folder_or_repo} has no {files[0]} ({sorted(found)}).")
            wanted = next((name for name in files if name.endswith(".safetensors") and "*" not in name), WEIGHTS)
            saved_by = "save_pretrained" if wanted == WEIGHTS else "save_task"
            raise CheckpointError(without_weights(str(folder_or_repo), found, wanted, f"tsbn_hub.{saved_by}"))
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
    except (HfHubHTTPError, HTTPError, OSError, HFValidationError, RuntimeError) as error:
        if isinstance(error, HubError) or not _is_of_the_hub(error):
            raise
        # huggingface_hub wraps what goes wrong with a large file; hf_xet raises RuntimeErrors of its own.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        raise HubError(f"{repo}{f'@{revision}' if revision else ''}: {_reason(cause, revision)}") from error


def _is_of_the_hub(error: Exception) -> bool:
    kinds = (HTTPError, HFValidationError, LocalTokenNotFoundError, LocalEntryNotFoundError, ConnectionError)
    return isinstance(error, (*kinds, RuntimeError))  # the last is for large files


def _reason(error: BaseException, revision: str | None) -> str:
    if isinstance(error, HFValidationError):
        return f"this cannot be the name of a repo. {error}"
    if isinstance(error, LocalTokenNotFoundError) or _lacked_token(error):
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
        reason = _BY_STATUS.get(error.response.status_code, "the Hub refused.")
        return f"{reason} It says: {error.server_message or f'HTTP status {error.response.status_code}'}"
    return f"the connection to the Hub failed ({type(error).__name__}: {error}). Try again."


def _lacked_token(error: BaseException) -> bool:
    """Whether the Hub asked for a token to change something, and got none."""
    if not isinstance(error, HfHubHTTPError) or error.response.status_code != 401:
        return False
    request = error.response.request
    return request.method not in ("GET", "HEAD") and "authorization" not in request.headers


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
