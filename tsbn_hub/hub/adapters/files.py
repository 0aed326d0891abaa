"""The files of a task adapter: what a task is and which base it is for, and its tensors."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ...files.atomic import write_atomically
from ...files.checkpoints import CheckpointError, read_json, read_shapes, without_weights
from ...files.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, OLDER_ADAPTER_CONFIG, OLDER_ADAPTER_WEIGHTS
from ...files.repositories import is_repo, local_folder, with_revision
from ...files.strict_json import read_strictly
from ...tasks import Task
from ...version import __version__

ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
_OLDER_FILES = (OLDER_ADAPTER_CONFIG, OLDER_ADAPTER_WEIGHTS)

_TYPE = "TSBN"


@dataclass(frozen=True)
class AdapterConfig:
    """What task_adapter.json says, in PEFT's manner.

    Args:
        task: The task, as `Task.to_dict` has it.
        library: "timm" or "transformers": the surface of the base.
        architecture: The plain backbone's name there.
        norm: "sigmoid", "affine", "statistics" or "shared".
        keep_affine: Whether the base keeps its weight and bias beside the gates.
        gate_init: A gate's value at the start.
        gated: Which norms are task-specific, as patterns with commas; None: the default.
        trunk_sha256: The fingerprint of what the base's tasks share.
        model_args: Further keywords that the base was built with by timm.
        base_model_name_or_path: The base, a repo or a folder; None: it is not known.
        revision: Its commit.
        peft_type: "TSBN".
        tsbn_version: Of the package that wrote it.
        imports: The files and modules outside this package that the task's kind and head are from.
    """

    task: dict[str, Any]
    library: str
    architecture: str
    norm: str
    keep_affine: bool
    gate_init: float
    gated: str | None
    trunk_sha256: str
    model_args: dict[str, Any] = field(default_factory=dict)
    base_model_name_or_path: str | None = None
    revision: str | None = None
    peft_type: str = _TYPE
    tsbn_version: str = __version__
    imports: list[str] = field(default_factory=list)

    @property
    def base(self) -> str | None:
        """The base with its revision, "org/name@revision"; None: it is not known."""
        name = self.base_model_name_or_path
        return with_revision(name, self.revision) if name else name


def check_base(base: str | None) -> None:
    """Refuse to publish an adapter that nobody could load.

    Raises:
        ValueError: if its base is not known, or is no repo.
    """
    if base is None or not is_repo(base):
        found = "it is not known which network the task is for" if base is None else f"the task is for {base}"
        raise ValueError(
            f"A task adapter needs a base that others have, and {found}. Publish the network, and name its repo: "
            "push_task_to_hub(…, base='org/name'), save_task(…, base='org/name'), or "
            "tsbn push … --task NAME --base org/name."
        )


def write_adapter(folder: str | Path, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter's two files, whole, or none. Those of an older version are removed.

    Raises:
        OSError: if one cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = {key: value for key, value in asdict(config).items() if key != "imports" or value}
    text = json.dumps(values, indent=2) + "\n"
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(
        {
            folder / ADAPTER_CONFIG: lambda path: path.write_text(text, encoding="utf-8"),
            folder / ADAPTER_WEIGHTS: lambda path: save_file(own, path, metadata={"format": "pt"}),
        }
    )
    if (folder / OLDER_ADAPTER_CONFIG).is_file() and read_json(folder / OLDER_ADAPTER_CONFIG).get("peft_type") == _TYPE:
        for name in _OLDER_FILES:
            (folder / name).unlink(missing_ok=True)


def adapter_folder(folder_or_repo: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of an adapter, or that of its repo, as `local_folder` gives it.

    Raises:
        As `local_folder` does.
    """
    try:
        return local_folder(folder_or_repo, ADAPTER_FILES, revision=revision, token=token)
    except FileNotFoundError:
        with suppress(FileNotFoundError):
            return local_folder(folder_or_repo, _OLDER_FILES, revision=revision, token=token)
        raise


def read_adapter(folder: str | Path) -> tuple[AdapterConfig, Task, dict[str, Tensor]]:
    """What `write_adapter` wrote, of this version or an older one.

    Raises:
        FileNotFoundError: if the folder has no task_adapter.json.
        CheckpointError: if a file of it is not what it should be.
    """
    folder = Path(folder)
    is_older = not (folder / ADAPTER_CONFIG).is_file() and (folder / OLDER_ADAPTER_CONFIG).is_file()
    path, weights = (folder / name for name in (_OLDER_FILES if is_older else ADAPTER_FILES))
    values = read_json(path)
    if values.get("peft_type") != _TYPE:
        raise CheckpointError(
            f"{path} has peft_type={values.get('peft_type')!r}: a task adapter of ours has {_TYPE!r}."
        )
    try:
        config = read_strictly(AdapterConfig, json.dumps(values))
        task = Task.from_dict(config.task)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not weights.is_file():
        found = [each.name for each in folder.iterdir()]
        raise CheckpointError(without_weights(str(folder), found, weights.name, "tsbn_hub.save_task"))
    read_shapes(weights)
    return config, task, load_file(weights)
