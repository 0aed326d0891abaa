"""How sure a mean over a few runs is."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A mean, and how far from it the true one lies with 95% confidence.

    Args:
        mean: Of the runs.
        half_width: Of the interval; None for one run, which says nothing of others.
        runs: Their number.
    """

    mean: float
    half_width: float | None
    runs: int


def interval_of(values: Sequence[float]) -> Interval:
    """The mean of some runs and its 95% interval, by Student's t: mean ± t(0.975, n - 1) s / sqrt(n).

    The runs are taken for independent draws of a normal distribution. The same runs measured by differences to paired
    ones, such as Δm to the single-task runs of the same seed, give the paired interval.

    Args:
        values: One for each run.

    Raises:
        ImportError: if there are several and scipy is not installed.
        ValueError: if there is none.

    Example:
        >>> from tsbn_hub.compare import interval_of
        >>> interval_of([1.0])
        Interval(mean=1.0, half_width=None, runs=1)
        >>> round(interval_of([1.0, 2.0, 3.0]).half_width, 3)  # 4.303 / sqrt(3)
        2.484
    """
    if not values:
        raise ValueError("An interval needs the value of a run.")
    runs, mean = len(values), statistics.fmean(values)
    if runs == 1:
        return Interval(mean, None, 1)
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise ImportError("Intervals need scipy: pip install 'tsbn_hub[compare]'.") from error
    return Interval(mean, float(stdtrit(runs - 1, 0.975)) * statistics.stdev(values) / runs**0.5, runs)
