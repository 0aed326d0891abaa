"""What the image of a sample must be, and what a model is given of it."""

import math

import torch
from torch import Tensor, nn

_FARTHEST = 16  # Standardised values lie within. Beyond are bytes as floating-point numbers, or other units.
_CHANNELS_AT_MOST = 4  # of an image that may be (H, W, C)
_EXPECTED = "expected are bytes (torch.uint8) from 0 to 255, or floating-point numbers from 0 to 1"


def check_image(image: object, finite: bool = True) -> None:
    """Raise ValueError unless this is an image (C, H, W): uint8, or floating-point numbers from 0 to 1.

    Numbers that are a little beyond, as of augmentation, or standardised are let through.

    Args:
        image: Of a sample: a tensor or an array.
        finite: Refuse values that are NaN or infinite.

    Example:
        >>> import torch
        >>> from tsbn_hub.data.images import check_image
        >>> check_image(torch.rand(3, 32, 32))
        >>> check_image(torch.rand(32, 32, 3))
        Traceback (most recent call last):
        ValueError: An image has the shape (32, 32, 3), which is (H, W, C); expected is (C, H, W): ...
    """
    image = as_image(image)
    shape = tuple(image.shape)
    if len(shape) != 3:
        way_out = ": image[None]" if len(shape) == 2 else ""
        raise ValueError(f"An image has the shape {shape}; expected is (C, H, W){way_out}.")
    if 0 in shape:
        raise ValueError(f"An image has the shape {shape}, and no pixel.")
    if shape[2] <= _CHANNELS_AT_MOST < min(shape[:2]):
        raise ValueError(
            f"An image has the shape {shape}, which is (H, W, C); expected is (C, H, W): image.permute(2, 0, 1)."
        )
    if image.dtype == torch.uint8:
        return
    if not image.is_floating_point():
        raise ValueError(f"An image is {image.dtype}; {_EXPECTED}.")
    low, high = (value.item() for value in image.aminmax())
    if not math.isfinite(low) or not math.isfinite(high):
        if finite:
            raise ValueError("An image has values that are NaN or infinite.")
    elif low < -_FARTHEST or high > _FARTHEST:
        raise ValueError(
            f"The values of an image go from {low:.4g} to {high:.4g}; {_EXPECTED}: divide by the "
            "greatest that there can be, as in image / 255."
        )


def as_image(image: object) -> Tensor:
    """The image of a sample as a tensor; floating-point numbers in half precision become float32.

    Raises:
        ValueError: if it is no tensor, and no array.
    """
    try:
        tensor = torch.as_tensor(image).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        of = type(image)
        way_out = ": torchvision.transforms.functional.pil_to_tensor(image)" if of.__module__.startswith("PIL.") else ""
        raise ValueError(
            f"An image is of class {of.__module__}.{of.__qualname__}; expected is a tensor (C, H, W){way_out}."
        ) from error
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.get_default_dtype()))


def scaled(images: Tensor) -> Tensor:
    """Images as floating-point numbers: bytes, from 0 to 255, become numbers from 0 to 1, of torch's default dtype.

    Raises:
        ValueError: if they are neither.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.get_default_dtype()) / 255
    if not images.is_floating_point():
        raise ValueError(f"The images are {images.dtype}; {_EXPECTED}.")
    return images


def as_input(images: Tensor, model: nn.Module) -> Tensor:
    """Images as a model takes them: `scaled`, in the dtype of its parameters.

    Raises:
        ValueError: if they are neither bytes nor floating-point numbers.
    """
    images = scaled(images)
    dtypes = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return images.to(next(dtypes, images.dtype))
