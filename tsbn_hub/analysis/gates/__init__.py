"""The gates: which filters a task lets through, and how that comes about."""
