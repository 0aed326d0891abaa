"""Where a run stands, on the disk and when it is stopped."""
