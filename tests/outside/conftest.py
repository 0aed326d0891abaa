"""No test process imports the stranger's package, not even to look for doctests: processes of their own do."""

collect_ignore = ["stranger"]
