"""Models of timm with task norms, under names of their own in timm's registry."""
