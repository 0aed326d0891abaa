"""Groups of tasks that are alike."""

from typing import TYPE_CHECKING

from .cosines import TaskCosines

if TYPE_CHECKING:
    from numpy import ndarray


def cluster_tasks(cosines: TaskCosines) -> "ndarray":
    """Hierarchical clusters of tasks, by average linkage of the distance 1 - cosine, from 0 (alike) to 2 (opposed).

    Args:
        cosines: Of two tasks or more.

    Returns:
        The linkage (T - 1, 4), as scipy.cluster.hierarchy has it, whose leaves are ordered such that neighbours are as
        alike as can be.

    Raises:
        ImportError: if scipy is not installed.
        ValueError: if a cosine is not defined.

    Example:
        >>> import torch
        >>> from tsbn_hub.analysis import TaskCosines, cluster_tasks
        >>> matrix = torch.tensor([[1.0, 0.0, 0.8], [0.0, 1.0, 0.2], [0.8, 0.2, 1.0]])
        >>> cluster_tasks(TaskCosines(["cat", "car", "dog"], matrix, {}))[:, 2].round(2)  # how high tasks join
        array([0.2, 0.9])
    """
    try:
        from scipy.cluster.hierarchy import linkage
    except ImportError as error:
        raise ImportError("Clusters need scipy: pip install 'tsbn_hub[analysis]'.") from error
    undefined = [task for task, row in zip(cosines.tasks, cosines.matrix, strict=True) if row.isnan().all()]
    if undefined:
        raise ValueError(f"{', '.join(undefined)} cannot be compared: nothing is there to take a cosine of.")
    distances = [1 - cosines.matrix[pair].item() for pair in cosines.pairs()]
    return linkage(distances, "average", optimal_ordering=True)
