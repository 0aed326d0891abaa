"""Which tasks use the same filters, as their gates say."""

from ..gates.importance import Importance
from .cosines import TaskCosines

_LEAST_TASKS = 3


def gate_similarity(importance: Importance) -> TaskCosines:
    r"""How alike the tasks are in the filters that they let through.

    From the gates of each filter their mean over tasks is taken: what is left says which filters a task uses more, or
    less, than the others do. The similarity of two tasks is the cosine of what is left,

    .. math:: \cos(d_s, d_t), \quad d_t = \sigma(a_t) - \frac{1}{T} \sum_u \sigma(a_u)

    It is near 1 for tasks that use the same filters, and near -1 where one uses what the other leaves out. The d of all
    tasks sum to 0, and so T tasks that have nothing in common are at -1/(T - 1), not at 0.

    Without the mean, all cosines are near 1, since gates are positive and mostly move together. Logits in place of
    gates, without their mean, still put tasks that have nothing in common near those that are alike; with it they give
    the same as gates, which are taken here since a logit that goes on growing changes nothing any more.
    docs/analysis.md has the figures, on tasks that were built to be alike, unrelated and opposed.

    Args:
        importance: What `importance_matrix` returns, of three tasks or more: of two, d_1 = -d_2 whatever they are.

    Raises:
        ValueError: if there are fewer tasks, or a task's gates are the mean of all, as before the training.

    Example:
        >>> import torch
        >>> from tsbn_hub.analysis import Importance, gate_similarity
        >>> gates = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]])
        >>> similarity = gate_similarity(Importance(gates, ["cat", "dog", "car"], {"norm": slice(0, 4)}))
        >>> similarity.matrix.round(decimals=2)[0].tolist()
        [1.0, 1.0, -1.0]
    """
    tasks = importance.tasks
    if len(tasks) < _LEAST_TASKS:
        raise ValueError(
            f"The gates of {len(tasks)} tasks, {', '.join(tasks)}, say nothing of their similarity: it takes three or "
            "more, for what one of two has more than their mean, the other has less."
        )
    gates = importance.matrix.double()
    apart = gates - gates.mean(0)
    products = {name: apart[:, columns] @ apart[:, columns].T for name, columns in importance.layers.items()}
    similarity = TaskCosines.of_products(tasks, products, unrelated=-1 / (len(tasks) - 1))
    if similarity.matrix.isnan().any():
        raise ValueError("The gates of a task are the mean of all tasks', as before the training: nothing to compare.")
    return similarity
