"""What a task may be called, and whether two lists of tasks are the same."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

_OF_MODULE, _OF_TENSOR = "tasks", "tsbn_tasks"


def check_task_name(name: object) -> None:
    """Refuse what cannot be the name of a task.

    Raises:
        ValueError: if it is not text, is empty, has a dot, or half of a character that UTF-8 cannot write.

    Example:
        >>> from tsbn_hub.norms.task_names import check_task_name
        >>> check_task_name("left.eye")
        Traceback (most recent call last):
        ValueError: 'left.eye' cannot be a task's name: a name is text, is not empty and has no dot.
    """
    if not isinstance(name, str) or not name or "." in name:
        raise ValueError(f"{name!r} cannot be a task's name: a name is text, is not empty and has no dot.")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"{name!r} cannot be a task's name: it has half of a character, which no file can hold.")


def check_task_names(tasks: Sequence[str]) -> list[str]:
    """The task names as a list.

    Raises:
        ValueError: if there is no task, or a name is empty, repeated or has a dot.
        TypeError: if a name is not a string, or the names have no order.
    """
    if isinstance(tasks, str):
        raise TypeError(f"tasks must be a list of names, not the string {tasks!r}. Did you mean [{tasks!r}]?")
    if isinstance(tasks, AbstractSet):  # another order in each process
        raise TypeError(
            f"tasks must be a list of names, not the set {set(tasks)!r}, which has no order: sorted(…) gives one."
        )
    names = list(tasks)
    if not names:
        raise ValueError("tasks is empty: a model needs at least one task.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"A task's name must be a string, not {name!r} ({type(name).__name__}).")
        try:
            check_task_name(name)
        except ValueError as error:
            raise ValueError(f"{error} Given: {names}.") from None
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise ValueError(f"Task names must differ, but {repeated} are repeated in {names}.")
    return names


def check_same_tasks(given: Sequence[str] | None, own: list[str]) -> None:
    """Refuse other tasks than a checkpoint's: rows of gates go by their order, and a task would get another's.

    Raises:
        ValueError: if names or their order differ.
    """
    if given != own and (isinstance(given, str) or list(given or ()) != own):
        raise ValueError(
            f"tasks={given}: those of the checkpoint are {own}. Load it with its own tasks, in their order, then use "
            "add_task and remove_task."
        )


def note_tasks(state_dict: dict[str, Any], prefix: str, names: Iterable[str], tasks: Sequence[str]) -> None:
    """Note in a state dict whose rows its stacked entries hold: in its metadata, and on the tensors themselves.

    timm's checkpoints, and whoever takes "module." off the keys, copy the entries into another dict, which has no
    metadata. torch.save keeps both. Entries that are the parameters themselves get no note.

    Args:
        state_dict: As `_save_to_state_dict` fills it.
        prefix: Of the module's entries.
        names: Of its stacked entries.
        tasks: In the order of the rows.
    """
    metadata = getattr(state_dict, "_metadata", {})
    if prefix[:-1] in metadata:
        metadata[prefix[:-1]][_OF_MODULE] = list(tasks)
    for name in names:
        entry = state_dict.get(prefix + name)
        if entry is not None and not entry.requires_grad:
            setattr(entry, _OF_TENSOR, list(tasks))


def has_note(entry: object) -> bool:
    """Whether an entry of a state dict says whose rows it holds: it is of a model with tasks, not of a plain one."""
    return hasattr(entry, _OF_TENSOR)


def check_noted_tasks(
    state_dict: Mapping[str, Any], prefix: str, names: Iterable[str], metadata: Mapping[str, Any], tasks: Sequence[str]
) -> None:
    """Refuse a state dict with the rows of other tasks, or of the same ones in another order. Without a note: silent.

    Args:
        state_dict: That is to be loaded.
        prefix: Of the module's entries.
        names: Of its stacked entries.
        metadata: What the state dict's metadata have of the module.
        tasks: The module's own, in the order of its rows.

    Raises:
        RuntimeError: if they differ, as `load_state_dict` does.
    """
    noted = [getattr(state_dict.get(prefix + name), _OF_TENSOR, None) for name in names]
    for given in (metadata.get(_OF_MODULE), *noted):
        if given is not None and list(given) != list(tasks):
            raise RuntimeError(
                f"The checkpoint has {len(given)} tasks, {list(given)}, in this order, this model has {len(tasks)}: "
                f"{list(tasks)}. Each would get another one's rows: build the model with the checkpoint's tasks, in "
                "their order, then use add_task and remove_task."
            )
