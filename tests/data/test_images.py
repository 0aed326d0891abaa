"""Images: what a sample may hold, what is refused in words, and what a model gets."""

import pytest
import torch
from PIL import Image

from tsbn_hub.data import Collate, EvaluationBatches, Mixture, SeededSamples
from tsbn_hub.data.images import as_input, check_image, scaled
from tsbn_hub.data.sample import check_sample
from tsbn_hub.tasks import Classification
from tsbn_hub.training import evaluate
from tsbn_hub.training.loaders import check_of_tasks, check_scale

IMAGE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
BYTES = (IMAGE * 255).to(torch.uint8)


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        BYTES,
        IMAGE.double(),
        IMAGE.half(),
        IMAGE.bfloat16(),
        IMAGE.numpy(),
        BYTES.numpy(),
        IMAGE[:1],
        IMAGE * 5 - 2,
    ],
    ids=["float", "uint8", "double", "half", "bfloat16", "array", "array of bytes", "grey", "standardised"],
)
def test_what_an_image_may_be(image):
    check_image(image)
    batch = Collate({})([{"image": image, "targets": {}}] * 2)["image"]
    given = torch.as_tensor(image)
    expected = given.double() if given.dtype == torch.float64 else given.float()
    expected = expected / 255 if given.dtype == torch.uint8 else expected
    assert batch.dtype == expected.dtype and torch.equal(batch, torch.stack([expected] * 2))
    assert as_input(batch, torch.nn.Linear(1, 1)).dtype == torch.float32


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            IMAGE.permute(1, 2, 0),
            r"\(8, 8, 3\), which is \(H, W, C\); expected is \(C, H, W\): image.permute\(2, 0, 1\)",
        ),
        (BYTES.permute(1, 2, 0).numpy(), r"\(8, 8, 3\), which is \(H, W, C\)"),
        (IMAGE[0], r"\(8, 8\); expected is \(C, H, W\): image\[None\]"),
        (IMAGE[None], r"\(1, 3, 8, 8\); expected is \(C, H, W\)\."),
        (IMAGE[:, :0], r"\(3, 0, 8\), and no pixel"),
        (IMAGE * 255, r"go from [\d.]+ to 25\d.*; expected are bytes .*image / 255"),
        (-IMAGE * 1000, r"go from -99\d"),
        (BYTES.long(), r"torch.int64; expected are bytes \(torch.uint8\) from 0 to 255, or floating-point"),
        (BYTES > 9, "torch.bool; expected"),
        (IMAGE.where(IMAGE > 0.1, torch.nan), "NaN or infinite"),
        (IMAGE.where(IMAGE > 0.1, torch.inf), "NaN or infinite"),
        (Image.new("RGB", (8, 8)), r"class PIL.Image.Image; expected is a tensor .*pil_to_tensor"),
        (None, "class builtins.NoneType; expected is a tensor"),
    ],
    ids=["HWC", "HWC bytes", "HW", "BCHW", "empty", "0-255", "negative", "int64", "bool", "nan", "inf", "PIL", "None"],
)
def test_what_is_no_image(image, message):
    with pytest.raises(ValueError, match=message):
        check_image(image)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (None, "A sample is a NoneType; expected is {'image': "),
        ((IMAGE, 1), "A sample is a tuple"),
        ({"image": IMAGE, "label": 1}, r"has the keys \['image', 'label'\]"),
        ({"image": IMAGE, "targets": 1}, "targets of a sample are a int, no dict by task"),
    ],
)
def test_what_is_no_sample(sample, message):
    with pytest.raises(ValueError, match=message):
        check_sample(sample)


@pytest.mark.parametrize("target", ["cat", None])
def test_what_is_no_target(target):
    with pytest.raises(ValueError, match=rf"The target of task 'a': {target!r} is no number .* leave its name out"):
        check_of_tasks({"a": Classification(3)}, {"image": IMAGE, "targets": {"a": target}})


def test_another_number_of_channels():
    with pytest.raises(ValueError, match="An image has 3 channels; the model takes 1"):
        check_of_tasks({}, {"image": IMAGE, "targets": {}}, channels=1)


class Sizes(torch.utils.data.Dataset):
    num_classes = {"a": 2}

    def __len__(self):
        return 4

    def __getitem__(self, at):
        return {"image": torch.rand(3, 8, 9 if at == 2 else 8), "targets": {"a": at % 2}}


def test_a_batch_of_several_sizes_names_the_sample():
    samples = SeededSamples(Mixture([Sizes()]), check_sample)
    first, second = EvaluationBatches([4], 2)
    samples.__getitems__(first)
    with pytest.raises(
        ValueError, match=r"images of a batch have the shapes \(3, 8, 9\) and \(3, 8, 8\).*batch_size=1"
    ) as e:
        samples.__getitems__(second)
    assert e.value.__notes__ == ["This was sample 3 of Sizes."]
    with pytest.raises(ValueError, match="images of a batch have the shapes"):
        Collate({})([Sizes()[at] for at in (1, 2)])
    with pytest.raises(
        ValueError, match=r"images of a batch are torch.uint8 and torch.float32: give all the same dtype"
    ):
        Collate({})([{"image": image, "targets": {}} for image in (BYTES, IMAGE)])
    with pytest.raises(ValueError, match="targets of 'a' of a batch have the shapes"):
        Collate({"a": 0})([{"image": IMAGE, "targets": {"a": torch.zeros(size)}} for size in (2, 3)])


def test_bytes_in_an_evaluation_are_scaled():
    class Mean(torch.nn.Module):
        tasks = ["a"]

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, images):
            assert images.dtype == self.weight.dtype
            brightness = images.mean(dim=(1, 2, 3)) * self.weight
            return torch.stack([1 - brightness, brightness], dim=1)

    images = torch.tensor([0, 100, 200, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    targets = {"a": torch.tensor([0, 0, 1, 1])}
    for given, model in ((images, Mean()), (scaled(images), Mean()), (scaled(images), Mean().half())):
        scores = evaluate(model, [{"image": given, "targets": targets}], {"a": Classification(2)})
        assert scores == {"a": {"accuracy": 1.0}}
    with pytest.raises(ValueError, match=r"images are torch.int64; expected"):
        evaluate(Mean(), [{"image": images.long(), "targets": targets}], {"a": Classification(2)})


def test_what_would_be_normalised_twice():
    check_scale(BYTES, torch.nn.Flatten())
    with pytest.raises(ValueError, match=r"go from -2 to 1.99; .*normalise none before"):
        check_scale(IMAGE * 4 - 2, torch.nn.Flatten())
    with pytest.warns(UserWarning, match="first image go from .*; expected are values from 0 to 1"):
        check_scale(IMAGE * 4 - 2, torch.nn.Identity())
