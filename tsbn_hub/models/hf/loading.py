"""What a checkpoint must have, and must not have, to be loaded by transformers into a model with task norms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TimmWrapperModel

from ...files.checkpoints import check_tasks_of_weights, read_json, weight_files
from ...files.names import CONFIG, WEIGHTS, WEIGHTS_INDEX
from ...norms import TaskModule, TaskNorm
from ...norms.task_names import check_noted_tasks, check_same_tasks
from .trunk import Trunk


def check_loaded(model: TaskModule, source: Any, info: Mapping[str, Any], ignore_mismatched_sizes: bool) -> None:
    """Refuse a checkpoint that was not whole, or of other tasks. transformers alone would make up what it lacks.

    Args:
        model: With the checkpoint loaded into it.
        source: Where the checkpoint is from.
        info: What `from_pretrained` says of the loading.
        ignore_mismatched_sizes: Whether weights of another shape may be replaced by fresh ones. Those of the tasks'
            norms may not.

    Raises:
        ValueError: if something is missing that cannot be made anew, gates are superfluous, or shapes differ.
    """
    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, TaskNorm)]
    stacked = {f"{name}.{entry}" for name, norm in norms for entry in norm.stacked_names()}
    mismatched = {key: (tuple(saved), tuple(own)) for key, saved, own in info["mismatched_keys"]}
    for key, (saved, own) in mismatched.items():
        if key in stacked and len(saved) == len(own) and saved[0] != own[0]:
            raise ValueError(
                f"{source} has {saved[0]} tasks ({key} is {saved}), this model has {own[0]}: {model.tasks}. Load it "
                "with its own tasks, then use add_task and remove_task."
            )
        if key in stacked or not ignore_mismatched_sizes:
            raise ValueError(
                f"{source} has {key} in the shape {saved}, this model in {own}. They differ in their config."
            )
    # transformers does not know how timm initialises its models.
    timm_trunks = [name + "." for name, module in model.named_modules() if isinstance(module, TimmWrapperModel)]
    rivals = [
        name + "." for name, module in model.named_modules() if isinstance(module, Trunk) and not module.changes_tasks
    ]
    missing = [key for key in info["missing_keys"] if key in stacked or key.startswith((*timm_trunks, *rivals))]
    _refuse(missing, f"{source} lacks", model)
    superfluous = [key for key in info["unexpected_keys"] if key.endswith(".gate_logits")]
    _refuse(superfluous, f"{source} has gates that this model has no place for:", model)
    names = {name for name, _ in norms}
    dropped = [key for key in info["unexpected_keys"] if key.rpartition(".")[0] in names]
    if dropped:
        raise ValueError(
            f"{source} has {dropped[0]}, and the norms of this model have no place for it: they were saved with "
            "another keep_affine. Load the checkpoint with its own."
        )


def check_order_of_tasks(tasks: list[str], folder: Path | None, state_dict: Mapping[str, Any] | None) -> None:
    """Refuse a config that names the tasks of a checkpoint in another order than it has them.

    Args:
        tasks: Those of the model, in order.
        folder: Of the checkpoint, with its own config.json; None: it has none.
        state_dict: What is loaded in place of its weights, if anything.

    Raises:
        ValueError: if those of the checkpoint's config, or of its weights, are others.
        RuntimeError: if those of the state dict are.
    """
    if state_dict is not None:
        check_noted_tasks(state_dict, "", state_dict, getattr(state_dict, "_metadata", {}).get("", {}), tasks)
        return
    if folder is None:
        return
    if isinstance(saved := read_json(folder / CONFIG).get("tasks"), list):
        check_same_tasks(tasks, [task["name"] if isinstance(task, dict) else task for task in saved])
    if any((folder / name).is_file() for name in (WEIGHTS, WEIGHTS_INDEX)):
        for path in weight_files(folder):
            check_tasks_of_weights(path, tasks)


def _refuse(keys: list[str], what: str, model: TaskModule) -> None:
    if keys:
        some = ", ".join(sorted(keys)[:3]) + (f", … ({len(keys)} in all)" if len(keys) > 3 else "")
        raise ValueError(
            f"{what} {some}. Of a plain checkpoint make a multi-task model by {type(model).__name__}.from_backbone."
        )
