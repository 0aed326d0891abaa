"""What a task may be called, and whether two lists of tasks are the same."""

from collections import Counter
from collections.abc import Sequence


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
        TypeError: if a name is not a string.
    """
    if isinstance(tasks, str):
        raise TypeError(f"tasks must be a list of names, not the string {tasks!r}. Did you mean [{tasks!r}]?")
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
