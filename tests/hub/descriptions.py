"""Repositories as the Hub describes them in JSON: files, trees, commits, a model's page, a card's faults."""

import re
from collections.abc import Iterator

import yaml

from .repositories import Blob, Commit, Repository


def file(path: str, blob: Blob) -> dict:
    """An entry of a tree."""
    entry = {"type": "file", "path": path, "oid": blob.oid, "size": blob.size}
    if blob.sha256:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return entry


def tree(files: dict[str, Blob], folder: str = "", recursive: bool = False) -> Iterator[dict]:
    """What is in a folder: files, folders, and with `recursive` all that is in these."""
    prefix = f"{folder}/" if folder else ""
    seen = set()
    for path, blob in files.items():
        if not path.startswith(prefix):
            continue
        parents = path.removeprefix(prefix).split("/")[:-1]
        for depth in range(1, (len(parents) if recursive else min(1, len(parents))) + 1):
            name = prefix + "/".join(parents[:depth])
            if name not in seen:
                seen.add(name)
                yield {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        if recursive or not parents:
            yield file(path, blob)


def commit(commit: Commit) -> dict:
    """An entry of a history; also, less some of it, a file's last commit."""
    authors = [{"user": commit.author}]
    return {"id": commit.id, "title": commit.title, "message": commit.message, "date": commit.date, "authors": authors}


def last_commit(history: list[Commit], path: str) -> dict:
    """The last commit that changed a file, or anything in a folder."""
    return commit(next(c for c in history if any(f"{changed}/".startswith(f"{path}/") for changed in c.paths)))


def model(repository: Repository, commit: Commit, with_sizes: bool) -> dict:
    """A model's page."""
    readme = commit.files.get("README.md")
    text = repository.read(readme).decode() if readme else ""
    card = metadata(text) or {}
    return {
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.split("/")[0],
        "sha": commit.id,
        "lastModified": commit.date,
        "createdAt": repository.created,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": list(_tags(card, text)),
        "siblings": [_sibling(path, blob, with_sizes) for path, blob in commit.files.items()],
        **({"cardData": card} if card else {}),
        **{key: card[key] for key in ("library_name", "pipeline_tag", "model-index") if key in card},
    }


def metadata(readme: str) -> dict | None:
    """The YAML at a card's head; None if it has none."""
    head = re.match(r"\s*---\r?\n(.*?)\r?\n---\s*(\n|$)", readme, re.DOTALL)
    return yaml.safe_load(head[1]) if head else None


def faults_of_card(readme: str) -> tuple[list[str], list[str]]:
    """The errors and the warnings of the Hub's check, of which this is the core."""
    try:
        card = metadata(readme)
    except yaml.YAMLError as error:
        return [f"bad YAML: {error}"], []
    if card is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(card, dict):
        return ["the metadata must be an object"], []
    errors = [f'"{key}" must be an array of strings' for key in ("tags", "metrics") if not _strings(card.get(key, []))]
    errors += [
        f'"model-index[{index}].{key}" is required'
        for index, entry in enumerate(card.get("model-index", []))
        for key in ("name", "results")
        if key not in entry
    ]
    return errors, []


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _sibling(path: str, blob: Blob, with_sizes: bool) -> dict:
    sibling = {"rfilename": path}
    if with_sizes:
        sibling |= {"size": blob.size, "blobId": blob.oid}
        if blob.sha256:
            sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return sibling


def _tags(card: dict, text: str) -> Iterator[str]:
    for key, prefix in {"library_name": "", "tags": "", "license": "license:", "datasets": "dataset:"}.items():
        values = card.get(key, [])
        yield from (f"{prefix}{value}" for value in ([values] if isinstance(values, str) else values))
    yield from (f"arxiv:{number}" for number in re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", text))
