"""An exported file, held against the network that it was made of."""

from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST_ERROR = 1e-3
"""Of an output's largest value; of classes, the share of those that differ. Rounding makes some 1e-6 of it."""


def errors_of(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> dict[str, float]:
    """By how much outputs differ from those of torch, by name.

    Args:
        found: By name.
        expected: By name.
        what: Has given them, for the error.

    Returns:
        Of floating-point numbers the largest difference, as a part of the largest value; of whole numbers, such as
        classes, the share that differs.

    Raises:
        ValueError: if one differs in shape or type, or by more than `LARGEST_ERROR`.
    """
    errors: dict[str, float] = {}
    for name, reference in expected.items():
        output = found[name]
        if output.shape != reference.shape or output.dtype != reference.dtype:
            said, right = (f"{each.dtype} {tuple(each.shape)}" for each in (output, reference))
            raise ValueError(f"{what} gives {said} for {name!r}, and torch {right}.")
        errors[name] = error_of(output, reference)
        if not errors[name] <= LARGEST_ERROR:  # NaN is none
            raise ValueError(
                f"{what} gives {name!r} with an error of {errors[name]:.2g} against torch; {LARGEST_ERROR:.0e} is "
                "allowed."
            )
    return errors


def error_of(output: Tensor, reference: Tensor) -> float:
    """By how much an output differs: see `errors_of`.

    Example:
        >>> import torch
        >>> from tsbn_hub.deploy.export.checking import error_of
        >>> error_of(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 4.0]))
        0.25
        >>> error_of(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 3]))
        0.25
    """
    if not reference.is_floating_point():
        return (output != reference).double().mean().item()
    largest = reference.double().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return ((output.double() - reference.double()).abs().max() / largest).item()
