"""A network's graph by torch.export, with as many dimensions left open as it allows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from .signature import Open, Signature

BATCH: Open = {0: "batch"}
SIZE: Open = {2: "height", 3: "width"}


@dataclass(frozen=True)
class Traced:
    """A network's graph.

    Args:
        program: Gives a dict of outputs by name.
        dynamic: Which dimensions of the images are open.
        test: Inputs to hold it against torch with: other ones than it was traced with, and of other lengths where these
            are open.
        expected: What torch gives for these.
    """

    program: ExportedProgram
    dynamic: Open
    test: Mapping[str, Tensor]
    expected: Mapping[str, Tensor]


def ways_to_trace(signature: Signature) -> list[Open]:
    """The dimensions to leave open, the best way first: the size, where a task is dense, and the batch."""
    dense = any(kind.dense for kind in signature.kinds.values())
    return [*([{**BATCH, **SIZE}] if dense else []), BATCH, {}]


@torch.no_grad()
def traced(network: nn.Module, signature: Signature, dynamic: Open) -> Traced:
    """The graph of a network in evaluation mode.

    Raises:
        Exception: of any class, if the network takes no other sizes, or torch.export not the network.
    """
    _, *size = signature.image_shape
    # First, for it takes little time, and some networks take one size alone.
    test, expected = _tested(network, signature, dynamic)
    example = signature.example(2 if 0 in dynamic else 1, (size[0], size[1]), seed=0)
    shapes = (dict.fromkeys(dynamic, Dim.DYNAMIC), {})[: len(example)]
    with sdpa_kernel(SDPBackend.MATH):
        program = torch.export.export(network, tuple(example.values()), dynamic_shapes=shapes, strict=False)
    return Traced(program, dynamic, test, expected)


def _tested(
    network: nn.Module, signature: Signature, dynamic: Open
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Inputs to hold a graph against torch with, and what torch gives.

    Where the size is open it is an odd one, if the network takes that: a graph may be for multiples of some number.
    """
    _, height, width = signature.image_shape
    batch = 3 if 0 in dynamic else 1
    if 2 in dynamic:
        odd = signature.example(batch, (2 * height + 1, 2 * width - 1), seed=1)
        with suppress(Exception):  # a network may refuse a size by any class
            return odd, network(*odd.values())
        height, width = 2 * height, 2 * width
    test = signature.example(batch, (height, width), seed=1)
    return test, network(*test.values())
