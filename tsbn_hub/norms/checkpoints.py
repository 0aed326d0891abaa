"""What a state dict must have to be loaded into a network with task norms."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .task_norm import TaskNorm
from .task_parameters import StateDict, device_of


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
    norms = _task_norms(model, prefix)
    gates = [name + "gate_logits" for name, norm in norms if norm.gate_logits is not None]
    missing = [key for key in gates if key not in state_dict]
    if missing and len(missing) < len(gates):
        raise RuntimeError(
            f"The checkpoint has gates for {len(gates) - len(missing)} of the {len(gates)} task norms of this "
            f"model; missing are {', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}. It was saved with "
            "another `gated=`, or is not whole. (A plain checkpoint, with no gates at all, would be adapted.)"
        )
    gated = {name for name, _ in norms if name + "gate_logits" in state_dict}
    dropped = [key for key in given if key not in own and key.removesuffix(key.rpartition(".")[2]) in gated]
    if dropped:
        raise RuntimeError(
            f"The checkpoint has {dropped[0]} beside the gates, and this model has no place for it: it was saved with "
            "keep_affine=True. Build the model with that."
        )
    for name, norm in norms:
        for key in norm.stacked_names():
            entry, stacked = state_dict.get(name + key), getattr(norm, key)
            if entry is not None and entry.ndim == stacked.ndim and len(entry) != len(stacked):
                raise RuntimeError(
                    f"The checkpoint has {len(entry)} tasks ({name + key} is {tuple(entry.shape)}), this model has "
                    f"{len(stacked)}: {list(tasks)}. Build the model with the checkpoint's tasks, then use add_task "
                    "and remove_task."
                )


def check_part(model: nn.Module, state_dict: Mapping[str, Tensor], prefix: str) -> None:
    """Refuse a state dict, not said to be whole, of which only the user knows whether trained gates are to be reset.

    Raises:
        RuntimeError: if it has a norm's weight, which a plain network has, too, and no gates. Nothing is changed.
    """
    for name, norm in _task_norms(model, prefix):
        of_either = norm.keeps_affine and norm.is_plain(state_dict, name) and name + "running_mean" not in state_dict
        if of_either and name + "gate_logits" not in state_dict and norm.has_learned():
            raise RuntimeError(
                f"The state dict has {name}weight and no gates. A plain network's would reset the gates, which are "
                "trained, and a part of this one's would leave them. Load the whole of a plain network's into the "
                "model itself, with strict=True; to a part of this one's add the gates: "
                "{**model.state_dict(), **part}."
            )


def complete_plain(model: nn.Module, state_dict: StateDict, prefix: str) -> None:
    """Give the whole state dict of a plain network, in place, the entries of norms that are without any there."""
    norms = _task_norms(model, prefix)
    stacked = [(name + key, getattr(norm, key).ndim) for name, norm in norms for key in norm.stacked_names()]
    if any(key in state_dict and state_dict[key].ndim == ndim for key, ndim in stacked):
        return  # it is of a network with task norms
    device = device_of(state_dict)
    for name, norm in norms:
        if not norm.had_tensors and not any(key.startswith(name) for key in state_dict):
            state_dict.update({name + key: value for key, value in norm.at_start(device).items()})


def _task_norms(model: nn.Module, prefix: str) -> list[tuple[str, TaskNorm]]:
    """The task norms, by the beginnings of their keys."""
    return [(prefix + name + ".", norm) for name, norm in model.named_modules() if isinstance(norm, TaskNorm)]
