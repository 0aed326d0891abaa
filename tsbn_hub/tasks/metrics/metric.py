"""Metrics over all valid pixels of a data set.

Each is exact over the data set, not a mean of the batches' metrics: its states are sums, over batches and processes,
and what they are summed up to does not depend on how the data set is split into them. Without any valid pixel a metric
is NaN. Counts are int64; sums of values are kept in two float32, as float32 alone loses digits over many batches and
not every device has float64.
"""

from torchmetrics import Metric


class DataSetMetric(Metric):
    """A metric that is NaN, without a warning, for a data set without targets."""

    full_state_update = False

    @property
    def update_called(self) -> bool:
        """True: a data set without a single batch has an answer, too."""
        return True
