"""From data sets to batches: mixed, in a seeded order, stacked."""
