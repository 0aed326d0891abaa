"""Repos of the Hub, as folders of the cache."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import is_offline_mode, list_repo_files, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .checkpoints import CheckpointError, without_config, without_weights
from .names import CONFIG, IMAGE_PROCESSOR, WEIGHTS, WEIGHTS_INDEX
from .paths import is_path, no_folder, no_folder_of_repo

CHECKPOINT_FILES = (CONFIG, IMAGE_PROCESSOR, WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors")

_SHA256 = re.compile("[0-9a-f]{64}")


class HubError(OSError):
    """The Hub did not do what was asked. The message says why, and what to do."""


def split_revision(repo: str) -> tuple[str, str | None]:
    """The parts of "org/name@revision".

    Example:
        >>> from tsbn_hub.files.repositories import split_revision
        >>> split_revision("org/name@v1"), split_revision("org/name")
        (('org/name', 'v1'), ('org/name', None))
    """
    name, _, revision = repo.partition("@")
    return name, revision or None


def with_revision(repo: str, revision: str | None) -> str:
    """The inverse of `split_revision`.

    Example:
        >>> from tsbn_hub.files.repositories import with_revision
        >>> with_revision("org/name", "v1"), with_revision("org/name", None)
        ('org/name@v1', 'org/name')
    """
    return f"{repo}@{revision}" if revision else repo


def is_repo(name: str | Path) -> bool:
    """Whether this can be a repo, "org/name" or "org/name@revision": nothing lies there, and it is no path elsewhere.

    Example:
        >>> from tsbn_hub.files.repositories import is_repo
        >>> is_repo("org/name@try/this"), is_repo("/org/name"), is_repo("./name"), is_repo("name")
        (True, False, False, False)
    """
    repo = split_revision(str(name))[0]
    return not (isinstance(name, Path) or Path(name).exists() or is_path(repo)) and len(Path(repo).parts) == 2


def local_folder(
    folder_or_repo: str | Path,
    files: Sequence[str] = CHECKPOINT_FILES,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The folder itself, or that of a repo of the Hub, downloaded to the cache, where its weights are checked.

    Args:
        folder_or_repo: A folder that exists; else "org/name" or "org/name@revision".
        files: Patterns of the files to download; the first one is that of the config, which a repo must have.
        revision: A branch, tag or commit.
        cache_dir: Another cache than that of huggingface_hub.
        token: Another token than the stored one.
        local_files_only: Take a repo from the cache, and ask the Hub nothing.
        force_download: Download a repo's files, even if the cache has them.

    Raises:
        FileNotFoundError: if it is neither a folder nor a repo's name, or the repo has no config.
        HubError: if the Hub cannot be reached and the cache has no copy, or there is no such repo, or no access to it,
            or the cache cannot be written.
        CheckpointError: if the repo has no weights in safetensors, or a file in the cache is damaged.
        ValueError: if two revisions are given.
    """
    if Path(folder_or_repo).is_dir():
        return Path(folder_or_repo)
    if not is_repo(folder_or_repo):
        raise FileNotFoundError(no_folder(folder_or_repo))
    repo, revision = one_revision(str(folder_or_repo), revision)
    with hub_errors(repo, revision, or_folder=True):
        folder = _downloaded(
            repo,
            files,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        weights = [path for name in files for path in folder.glob(name) if path.suffix == ".safetensors"]
        if not weights or not (folder / files[0]).is_file():
            found = (
                [path.name for path in folder.iterdir()]
                if local_files_only
                else list_repo_files(repo, revision=revision, token=token)
            )
            if files[0] not in found:
                raise FileNotFoundError(without_config(str(folder_or_repo), files[0], found))
            wanted = next((name for name in files if name.endswith(".safetensors") and "*" not in name), WEIGHTS)
            saved_by = "save_pretrained" if wanted == WEIGHTS else "save_task"
            raise CheckpointError(without_weights(str(folder_or_repo), found, wanted, f"tsbn_hub.{saved_by}"))
    for path in weights:
        check_download(path)
    return folder


def one_revision(repo: str, revision: str | None) -> tuple[str, str | None]:
    """The parts of "org/name@revision", of which the revision may be given beside the name instead.

    Raises:
        ValueError: if two are given.
    """
    name, of_name = split_revision(repo)
    if None not in (revision, of_name) and revision != of_name:
        raise ValueError(f"{repo} names the revision {of_name!r}, and revision={revision!r} is given: leave one out.")
    return name, of_name or revision


def check_reachable(source: str, files: Sequence[str], cache_dir: str | Path | None = None, **options: Any) -> None:
    """Ask the Hub once for a repo that another library is to download, unless the cache has one of the files.

    Where the Hub cannot be reached, the other library would ask it ten times, and not say for what.

    Args:
        source: "org/name" or "org/name@revision"; what is a folder, or no repo's name, is asked of nobody.
        files: The names that the other library takes.
        cache_dir: Another cache than that of huggingface_hub.
        **options: revision, token, local_files_only, as `local_folder` has them.

    Raises:
        HubError: if the Hub cannot be reached, or there is no such repo, or no access to it.
        ValueError: if two revisions are given.
    """
    if not is_repo(source):
        return
    repo, revision = one_revision(source, options.pop("revision", None))
    cached = (try_to_load_from_cache(repo, name, cache_dir=cache_dir, revision=revision) for name in files)
    if not any(isinstance(each, str) for each in cached):
        with hub_errors(repo, revision, or_folder=True):
            _downloaded(repo, [CONFIG], cache_dir, revision=revision, **options)


def _downloaded(repo: str, files: Sequence[str], cache_dir: str | Path | None, **options: Any) -> Path:
    # huggingface_hub warns where nothing matches, as for a model that is taken for an adapter. Every repo has the last.
    patterns = [*files, ".gitattributes"]
    try:
        return Path(
            snapshot_download(
                repo,
                allow_patterns=patterns,
                ignore_patterns="*/*",  # what is in folders: the patterns would reach into them
                cache_dir=cache_dir,
                **options,
            )
        )
    except OSError as error:
        if options.get("local_files_only") and isinstance(error, LocalEntryNotFoundError):
            raise HubError(
                f"{no_folder_of_repo(repo)}{repo}: local_files_only is set, and the cache has no copy. Leave it out to "
                "ask the Hub."
            ) from error
        if error.errno is None or isinstance(error, ConnectionError):  # of the Hub
            raise
        way_out = "set HF_HOME to a folder that can be written" if cache_dir is None else "give another cache_dir"
        raise HubError(f"{repo}: the cache cannot be written ({error}): {way_out}.") from error


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


def check_inside(folder: Path, path: Path) -> None:
    """Refuse a link in a folder that leads elsewhere, as to a key that a stranger's folder would have published.

    In a folder of the Hub's cache, links lead to the files of all commits of the repo.

    Raises:
        CheckpointError: if it leads out of the folder.
    """
    file, own = path.resolve(), folder.resolve()
    blobs = own.parents[1] / "blobs" if repo_commit(own) else own
    if not file.is_relative_to(own) and not file.is_relative_to(blobs):
        raise CheckpointError(f"{path} is a link to {file}, outside of its folder. Copy the file there, or remove it.")


@contextmanager
def hub_errors(repo: str, revision: str | None = None, *, or_folder: bool = False) -> Iterator[None]:
    """Within the block, what huggingface_hub raises becomes a `HubError` that says what to do.

    Args:
        repo: The repo that the block is about.
        revision: Its branch, tag or commit; None: the main branch.
        or_folder: Whether the name may have been meant as that of a folder: then an error of a repo that is not found
            says so.
    """
    try:
        yield
    except (HfHubHTTPError, HTTPError, OSError, HFValidationError, RuntimeError) as error:
        if isinstance(error, HubError) or not _is_of_the_hub(error):
            raise
        # huggingface_hub wraps what goes wrong with a large file; hf_xet raises RuntimeErrors of its own.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        is_there = isinstance(cause, GatedRepoError | RevisionNotFoundError)
        folder = no_folder_of_repo(repo) if or_folder and not is_there else ""
        raise HubError(f"{folder}{with_revision(repo, revision)}: {_reason(cause, revision)}") from error


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
    unreached, way_out = _UNREACHED[is_offline_mode()]
    if isinstance(error, OfflineModeIsEnabled):
        return f"{unreached}. {way_out}"
    if isinstance(error, IncompleteSnapshotError):
        return f"{unreached}, and the cache has a part of the repo alone. {error}"
    if isinstance(error, LocalEntryNotFoundError):
        return f"{unreached}, and the cache has no copy. {way_out}"
    if isinstance(error, HfHubHTTPError):
        reason = _BY_STATUS.get(error.response.status_code, "the Hub refused.")
        if error.response.status_code == 403 and _would_change(error):
            reason += f" {_PULL_REQUEST}"
        return f"{reason} It says: {error.server_message or f'HTTP status {error.response.status_code}'}"
    return f"the connection to the Hub failed ({type(error).__name__}: {error}). Try again."


def _lacked_token(error: BaseException) -> bool:
    """Whether the Hub asked for a token to change something, and got none."""
    if not isinstance(error, HfHubHTTPError) or error.response.status_code != 401:
        return False
    return _would_change(error) and "authorization" not in error.response.request.headers


def _would_change(error: HfHubHTTPError) -> bool:
    return error.response.request.method not in ("GET", "HEAD")


_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with access to it."
_PULL_REQUEST = "To a repo of somebody else send a pull request: create_pr=True, or tsbn push --create-pr."
# By whether huggingface_hub is in its offline mode.
_UNREACHED = {
    True: ("HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set", "Unset it to ask the Hub."),
    False: ("the Hub cannot be reached", "Try again with a connection to it."),
}
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
