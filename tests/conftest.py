"""Settings of all tests."""

import os

import torch

# Two test processes share two cores.
torch.set_num_threads(1)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
