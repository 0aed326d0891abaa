"""What a state dict must have to be loaded into a network with task norms."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .task_norm import TaskNorm


def check_task_entries(model: nn.Module, tasks: Sequence[str], state_dict: Mapping[str, Tensor], prefix: str) -> None:
    """Refuse a state dict that has nothing of a model, some of its gates but not all, further gates, or other tasks.

    Raises:
        RuntimeError: as `load_state_dict` does. Nothing is changed.
    """
    own = {prefix + name for name in model.state_dict()}
    given = [key for key in state_dict if key.startswith(prefix)]
    modules = {prefix + name for name, _ in model.named_modules()}
    if given and all(key.rpartition(".")[0] not in modules for key in given):
        raise RuntimeError(
            f"The checkpoint has no entry of this {type(model).__name__}: it has {', '.join(given[:3])}, …; this "
            f"model has {', '.join(sorted(own)[:3])}, …."
        )
    foreign = [key for key in given if key.endswith(".gate_logits") and key not in own]
    if foreign:
        raise RuntimeError(
            f"The checkpoint has gates that this model has no place for: {', '.join(foreign[:3])}"
            f"{', …' if len(foreign) > 3 else ''}. It was saved with another `norm=` or `gated=`."
        )
    norms = [(prefix + name + ".", norm) for name, norm in model.named_modules() if isinstance(norm, TaskNorm)]
    gates = [name + "gate_logits" for name, norm in norms if norm.gate_logits is not None]
    missing = [key for key in gates if key not in state_dict]
    if missing and len(missing) < len(gates):
        raise RuntimeError(
            f"The checkpoint has gates for {len(gates) - len(missing)} of the {len(gates)} task norms of this "
            f"model; missing are {', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}. It was saved with "
            "another `gated=`, or is not whole. (A plain checkpoint, with no gates at all, would be adapted.)"
        )
    for name, norm in norms:
        for key in norm.stacked_names():
            entry, own = state_dict.get(name + key), getattr(norm, key)
            if entry is not None and entry.ndim == own.ndim and len(entry) != len(own):
                raise RuntimeError(
                    f"The checkpoint has {len(entry)} tasks ({name + key} is {tuple(entry.shape)}), this model has "
                    f"{len(own)}: {list(tasks)}. Build the model with the checkpoint's tasks, then use add_task "
                    "and remove_task."
                )
