"""Settings of all tests."""

import os

import pytest
import torch
from accelerate.state import AcceleratorState

# Two test processes share two cores.
torch.set_num_threads(1)
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """Accelerate keeps its state for a process: a test must not find an earlier one's."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
