"""Images that are no files, as pictures."""

import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from ..data.images import as_image, check_image
from ..models.preprocessing import check_channels


def as_picture(image: object) -> Image.Image:
    """An image that is no file, as a picture of 8 bits a channel.

    Args:
        image: A picture already, which stays as it is; or a tensor or array (C, H, W), grey or RGB, as data sets have
            them: uint8, or floating-point numbers from 0 to 1.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(image, Image.Image):
        return image
    check_image(image)
    values = as_image(image)
    check_channels(len(values))
    if values.dtype != torch.uint8:
        low, high = (value.item() for value in values.aminmax())
        if low < 0 or high > 1:
            raise ValueError(
                f"The values of the image go from {low:.3g} to {high:.3g}; expected are values from 0 to 1, which the "
                "model's own preprocessing normalises."
            )
        values = (values * 255).round().byte()
    picture: Image.Image = to_pil_image(values.cpu())
    return picture
