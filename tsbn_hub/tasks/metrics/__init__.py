"""The metrics of the kinds, exact over a data set however it is split into batches."""
