"""Δm: how much better many tasks in one network do than each in a network of its own."""

import math
from collections.abc import Mapping


def delta_m(
    scores: Mapping[str, float], single_task: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> float:
    r"""The mean over tasks of the relative gain over single-task training, in percent; above 0 is better.

    .. math:: \Delta_m = \frac{100}{T} \sum_t (-1)^{l_t} \frac{M_t - S_t}{S_t}

    with the scores :math:`M_t`, those of single-task training :math:`S_t`, and :math:`l_t = 1` where lower is better.
    A task whose score is NaN in either, for want of targets, is left out.

    Args:
        scores: The primary metric of every task.
        single_task: The same metrics, of a network a task.
        higher_is_better: Whether they are better when higher, a task each. Further tasks do not matter.

    Returns:
        Percent, negative where the tasks lose on average.

    Raises:
        ValueError: if the tasks of the scores differ, a task is missing from `higher_is_better`, a single-task score
            is 0, negative or infinite, or no task has both scores.

    Example:
        >>> from tsbn_hub.results.delta_m import delta_m
        >>> better = {"seg": True, "depth": False}
        >>> round(delta_m({"seg": 0.55, "depth": 0.6}, {"seg": 0.5, "depth": 0.5}, better), 6)  # (10% - 20%) / 2
        -5.0

    Source: Maninis, Radosavovic, Kokkinos, "Attentive Single-Tasking of Multiple Tasks", arXiv 1904.08918, where Δm
    is the drop with the same sign: negative is worse.
    """
    if scores.keys() != single_task.keys():
        raise ValueError(
            f"Δm needs the same tasks in both: the scores are of {list(scores)}, the single-task scores of "
            f"{list(single_task)}."
        )
    undirected = [task for task in scores if task not in higher_is_better]
    if undirected:
        raise ValueError(f"higher_is_better lacks the tasks {undirected}. It has {list(higher_is_better)}.")
    gains = []
    for task, score in scores.items():
        reference = single_task[task]
        if math.isnan(score) or math.isnan(reference):
            continue
        if not 0 < reference < math.inf:
            raise ValueError(
                f"The single-task score of {task!r} is {reference}: a relative gain needs a positive one. Leave the "
                "task out of both."
            )
        gain = (score - reference) / reference
        gains.append(gain if higher_is_better[task] else -gain)
    if not gains:
        raise ValueError(f"None of the tasks {list(scores)} has a score in both: there is no mean gain.")
    return 100 * sum(gains) / len(gains)
