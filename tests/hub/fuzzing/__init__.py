"""A fuzzer of checkpoints: structure-aware mutations of valid ones, and what may come of loading them."""
