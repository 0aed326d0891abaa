"""Steps that take images for photos."""

from typing import Any

from torch import Tensor

from .step import Step

_CHANNELS = (1, 3)


class PhotoStep(Step):
    """A step for images of 1 or 3 channels, of bytes or values from 0 to 1: it asks what is bright, grey or red."""

    def forward(self, image: Tensor, *targets: Any) -> Any:
        """The step, for v2.

        Raises:
            ValueError: if the image is none of these.
        """
        if image.shape[0] not in _CHANNELS:
            raise ValueError(f"augmentation: {self.name!r} is for images of 1 or 3 channels; one has {image.shape[0]}.")
        if image.is_floating_point():
            low, high = (value.item() for value in image.aminmax())
            if low < -0.5 or high > 1.5:
                raise ValueError(
                    f"augmentation: {self.name!r} is for images with values from 0 to 1; those of one go from "
                    f"{low:.3g} to {high:.3g}. Let the data set yield images that are not normalised."
                )
        return super().forward(image, *targets)
