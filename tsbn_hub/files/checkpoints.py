"""The files of a checkpoint, read with care: they may come from anybody."""

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .names import ADAPTER_CONFIG, CONFIG, OLDER_ADAPTER_CONFIG, WEIGHTS, WEIGHTS_INDEX
from .paths import near_hint

_LFS_POINTER = b"version https://git-lfs"
PICKLES = (".bin", ".pth", ".pt", ".pkl", ".ckpt")

Shapes = dict[str, tuple[int, ...]]

_REAL = re.compile(r"(^|\.)(gate_logits|weight|bias|running_mean|running_var)$")
_FLOATING = re.compile("B?F[0-9]")  # safetensors' names: F32, BF16, F8_E4M3, …

# No size in the config of a network is larger, and none is nested deeper. (An integer can ask for any amount of memory
# and time.)
_LARGEST_INTEGER, _DEEPEST = 10**6, 30
_LARGEST_BY_KEY = {
    re.compile("num_(classes|labels)$"): 10**5,  # transformers makes a name for each class, and copies them many times
    re.compile(r"window_sizes?(\.\d+)*$"): 64,  # timm's loops over windows take time with the fourth power of it
}

# The keys by which timm and transformers would look for something beside the checkpoint (a file, a repo, code, a
# device), and what JSON is allowed there. A number at `backbone` is of a label of that name, such as its class weight.
_ELSEWHERE = {
    re.compile(r"(^|\.)model_args\.(checkpoint_path|device|pretrained(?!_window_size))"): re.compile("null"),
    re.compile(r"(^|\.)architecture$"): re.compile("[^:]*"),
    re.compile(r"(^|\.)backbone$"): re.compile(r"null|-?\d.*"),
    re.compile(r"(^|\.)_?attn_implementation"): re.compile('null|"(eager|sdpa|flex_attention)"'),
}


class CheckpointError(ValueError):
    """The files of a checkpoint cannot be loaded. The message names the file, and what is wrong with it."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileNotFoundError: if there is no such file; it says what else its folder has.
        CheckpointError: if it is no JSON, no object, or `check_values` refuses it.
    """
    values = _object_in(path)
    check_values(values, path)
    return values


def _object_in(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(_without_file(path))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the former is for JSON and for the encoding
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no object, but a {type(values).__name__}.")
    return values


def check_values(values: object, where: object) -> None:
    """Refuse what no config of a network says.

    Raises:
        CheckpointError: if it is nested very deeply, there is an integer that no network has a use for, or what would
            make timm or transformers look for something elsewhere: a file, a repo, code, a device.
    """
    for path, value in _within(values):
        key = ".".join(path)
        if len(path) > _DEEPEST:
            raise CheckpointError(f"{where} has {key[:30]}…, nested deeper than any config.")
        if isinstance(value, int) and abs(value) > _largest(key):
            raise CheckpointError(f"{where} has {key}={str(value)[:30]}, which is no size of a network.")
        if not isinstance(value, dict | list) and _asks_elsewhere(key, json.dumps(value, default=str)):
            raise CheckpointError(f"{where} has {key}={str(value)[:100]!r}: a checkpoint may not ask for that.")


def _largest(key: str) -> int:
    return next((largest for keys, largest in _LARGEST_BY_KEY.items() if keys.search(key)), _LARGEST_INTEGER)


def _asks_elsewhere(key: str, value: str) -> bool:
    return any(asks.search(key) and not allowed.fullmatch(value) for asks, allowed in _ELSEWHERE.items())


def _within(values: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """A value, and all that is in it, each with the keys that lead there."""
    left: list[tuple[tuple[str, ...], object]] = [((), values)]
    while left:
        path, value = left.pop()
        yield path, value
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            left += [((*path, str(name)), inner) for name, inner in items]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one, or those of its index.

    Raises:
        CheckpointError: if there are none, or the index names files that are missing or not in the folder.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / WEIGHTS_INDEX).is_file():
        raise CheckpointError(without_weights(str(folder), [path.name for path in folder.iterdir()]))
    weight_map = _object_in(folder / WEIGHTS_INDEX).get("weight_map")  # beside it stand sizes in bytes
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{folder / WEIGHTS_INDEX} has no weight_map from names of weights to names of files.")
    names = sorted(set(weight_map.values()))
    there = {path.name for path in folder.glob("*.safetensors")}
    wrong = [name for name in names if name not in there]
    if wrong or not names:
        raise CheckpointError(
            f"{folder / WEIGHTS_INDEX} names the files {wrong or names}, which {folder} does not have as safetensors."
        )
    return [folder / name for name in names]


def weights_digest(folder: str | Path) -> str:
    """The SHA-256 of a folder's weights, in hexadecimal: of one file, or of several, one after the other.

    Raises:
        CheckpointError: if it has none.
    """
    digest = hashlib.sha256()
    for path in weight_files(Path(folder)):
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def remove_older_weights(folder: Path, written: Collection[str]) -> None:
    """Remove the weights of an earlier checkpoint from a folder.

    Args:
        folder: The folder.
        written: The names of the files of the new one.
    """
    for older in [folder / WEIGHTS, folder / WEIGHTS_INDEX, *folder.glob("model-*-of-*.safetensors")]:
        if older.name not in written:
            older.unlink(missing_ok=True)


def without_config(where: str, config: str, files: Collection[str]) -> str:
    """What to say of a folder or repo without its config: a model and a task adapter are taken for each other."""
    text = f"{where} has no {config} ({sorted(files)})."
    if config == CONFIG and (ADAPTER_CONFIG in files or OLDER_ADAPTER_CONFIG in files):
        return f'{text} It is a task adapter: tsbn_hub.load_task(base, "{where}") adds it to a model.'
    if config == ADAPTER_CONFIG and CONFIG in files:
        return f'{text} It is a model: tsbn_hub.from_pretrained("{where}") loads it.'
    return text


def _without_file(path: Path) -> str:
    folder = path.parent
    if folder.is_dir():
        return without_config(str(folder), path.name, [each.name for each in folder.iterdir()])
    if folder.is_file():
        return f"{folder} has no {path.name} (it is a file)."
    return f"{folder} has no {path.name} (no such folder).{near_hint(folder)}"


def without_weights(
    where: str, files: list[str], weights: str = WEIGHTS, way_out: str = "tsbn_hub.save_pretrained"
) -> str:
    """What to say of a checkpoint without weights in safetensors."""
    text = f"{where} has no {weights} (it has {sorted(files)})."
    if any(name.endswith(PICKLES) for name in files):
        text += " Pickled weights (.bin, .pth) can run code when they are loaded, and are not read."
    return f"{text} Save it with {way_out}."


def note_tasks_of_weights(path: Path, tasks: Sequence[str]) -> None:
    """Note in the metadata of a safetensors file whose rows its stacked tensors have. Of none: leave it as it is.

    The metadata are sorted by name. (safetensors writes them in another order each time.)

    Raises:
        OSError: if it cannot be written.
    """
    if not tasks:
        return
    noted = path.with_name(f"{path.name}.noted")
    try:
        with path.open("rb") as file, noted.open("wb") as new:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            metadata = header.get("__metadata__", {}) | {"tasks": json.dumps(list(tasks))}
            text = json.dumps(header | {"__metadata__": dict(sorted(metadata.items()))}, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)  # tensors are aligned
            new.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(file, new, 2**20)
        noted.replace(path)
    finally:
        noted.unlink(missing_ok=True)


def check_tasks_of_weights(path: Path, tasks: Sequence[str]) -> None:
    """Refuse weights whose metadata name other tasks than a model has, or in another order. Without any: silent.

    Raises:
        CheckpointError: if they differ.
    """
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("tasks")
    if text in (None, json.dumps(list(tasks))):
        return
    try:
        noted = list(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} has the metadata tasks={text[:100]!r}: it must be a list of names.") from error
    raise CheckpointError(
        f"{path} has rows of {len(noted)} tasks, {noted}, in this order, the model has {len(tasks)}: {list(tasks)}. "
        "Each would get another one's: build it with the tasks of the weights, in their order."
    )


def read_shapes(path: Path) -> Shapes:
    """The shapes of the tensors in a safetensors file, from its header.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is truncated, or no safetensors file; if gates, weights or statistics are integers or
            complex numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 — no mapping
            dtypes = {name: header.get_dtype() for name, header in headers.items()}
            shapes = {name: tuple(header.get_shape()) for name, header in headers.items()}
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            is_pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
        if is_pointer:
            raise CheckpointError(
                f"{path} is what git puts in the place of a large file. Get the file itself: git lfs install, then "
                "git lfs pull, in that folder."
            ) from error
        raise CheckpointError(
            f"{path} is truncated, or no safetensors file ({path.stat().st_size} bytes): {error}"
        ) from error
    # Torch would cast them to a parameter's dtype without a word.
    cast = {name: dtype for name, dtype in dtypes.items() if _REAL.search(name) and not _FLOATING.match(dtype)}
    if cast:
        raise CheckpointError(f"{path} has tensors that must be floating-point numbers and are not: {cast}.")
    return shapes
