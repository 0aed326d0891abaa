"""Steps that are not random, for tests."""

from torchvision import tv_tensors

from tsbn_hub.data.augmentation import Flip, RandomWindow, Window
from tsbn_hub.data.augmentation.target import Target


def changed(sample, kinds, step):
    """A sample after a step of v2."""
    targets = {name: Target.of(target, kinds[name]) for name, target in sample["targets"].items()}
    image, targets = step(tv_tensors.Image(sample["image"]), targets)
    return {"image": image, "targets": {name: target + 0 for name, target in targets.items()}}


def flipped(sample, kinds):
    """A sample with left and right exchanged."""
    return changed(sample, kinds, Flip(1.0))


def in_window(sample, kinds, *window):
    """What is in a window of a sample: top, left, height, width."""

    class At(RandomWindow):
        def window(self, height, width):
            return Window(*window)

    return changed(sample, kinds, At())
