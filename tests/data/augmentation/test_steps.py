"""What each step makes of images is what torchvision makes of them, and targets are what a formula says."""

import math

import pytest
import torch
import torch.nn.functional as functional
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional._utils import _KERNEL_REGISTRY

from tsbn_hub import Task
from tsbn_hub.data import Draw, SeededSamples
from tsbn_hub.data.augmentation import Augmentation, Step, register_augmentation
from tsbn_hub.data.augmentation.step import augmentations
from tsbn_hub.data.augmentation.target import Target
from tsbn_hub.tasks import Kind, Regression, make_kind, register_kind
from tsbn_hub.tasks.kind import kind_classes

from .steps import in_window

SIZE = (6, 8)
MAPS = {
    name: make_kind(Task(name, kind=name, num_classes=48 if name == "segmentation" else None))
    for name in ("segmentation", "depth", "disparity", "normals", "edges", "saliency")
}
NUMBERS = {
    "class": make_kind(Task("class", num_classes=3)),
    "attributes": make_kind(Task("attributes", kind="attributes", num_classes=3)),
    "price": make_kind(Task("price", kind="regression")),
}
ALL = MAPS | NUMBERS


def sample_of(dtype=torch.float32, size=SIZE):
    """A sample in which each pixel has values of its own."""
    numbers = torch.arange(math.prod(size)).view(size)
    image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {
        "image": image if dtype == torch.uint8 else image.to(dtype) / 255,
        "targets": {
            "segmentation": numbers % 48,
            "depth": numbers + 1.0,
            "disparity": numbers + 1.0,
            "normals": functional.normalize(torch.stack([numbers + 1.0, numbers * 0 + 5.0, 40.0 - numbers]), dim=0),
            "edges": numbers % 2,
            "saliency": numbers % 3 % 2,
            "class": torch.tensor(2),
            "attributes": torch.tensor([1, 0, -100]),
            "price": torch.tensor([4.5]),
        },
    }


def augmented(steps, sample, kinds=ALL, seed=0):
    torch.manual_seed(seed)
    return Augmentation(steps, kinds)(sample)


def same_numbers(targets):
    given = sample_of()["targets"]
    return all(torch.equal(targets[name], given[name]) and type(targets[name]) is torch.Tensor for name in NUMBERS)


PLACES = [{"flip": True}, {"crop": {"scale": [0.3, 0.9]}}, {"scale": [0.6, 1.6]}, {"shift": 0.3}]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("steps", [*PLACES, {"color": 0.3}, {"blur": 1.0}], ids=str)
def test_what_stays(steps, dtype):
    """Sizes, dtypes, and that a target is one of its kind; and the sample that was given."""
    sample, untouched = sample_of(dtype), sample_of(dtype)
    for seed in range(8):
        out = augmented(steps, sample, seed=seed)
        assert out["image"].shape == (3, *SIZE) and out["image"].dtype == dtype and same_numbers(out["targets"])
        for name, target in out["targets"].items():
            assert type(target) is torch.Tensor and target.dtype == sample["targets"][name].dtype
            ALL[name].check(target[None], SIZE)
    assert torch.equal(sample["image"], untouched["image"])
    assert all(torch.equal(target, untouched["targets"][name]) for name, target in sample["targets"].items())


def test_flip():
    sample = sample_of()
    out = augmented({"flip": 1.0}, sample)
    assert torch.equal(out["image"], sample["image"].flip(-1)) and same_numbers(out["targets"])
    for name in MAPS:
        x_negated = torch.tensor([-1.0, 1, 1]).view(3, 1, 1) if name == "normals" else 1
        assert torch.equal(out["targets"][name], sample["targets"][name].flip(-1) * x_negated), name
    assert torch.equal(augmented({"flip": 0.0001}, sample)["image"], sample["image"])
    both = {torch.equal(augmented({"flip": True}, sample, seed=seed)["image"], sample["image"]) for seed in range(9)}
    assert both == {True, False}


def test_a_quarter_twice_as_large():
    sample = sample_of(size=(8, 8))
    out = in_window(sample, ALL, 2, 3, 4, 4)
    image = v2.functional.resized_crop(sample["image"], 2, 3, 4, 4, [8, 8])
    assert torch.equal(out["image"], image) and same_numbers(out["targets"])
    for name in MAPS:
        part = sample["targets"][name][..., 2:6, 3:7].repeat_interleave(2, -1).repeat_interleave(2, -2)
        factor = {"depth": 0.5, "disparity": 2.0}.get(name, 1)
        assert torch.equal(out["targets"][name], part * factor), name


def test_half_as_large():
    """In the middle; the border of the image goes on, and has no target."""
    sample = sample_of(size=(8, 8))
    out = in_window(sample, ALL, -4, -4, 16, 16)
    wider = functional.pad(sample["image"][None], (4,) * 4, mode="replicate")[0]
    assert torch.allclose(out["image"], v2.functional.resize(wider, [8, 8]), atol=1e-6)
    for name, kind in MAPS.items():
        expected = torch.full_like(sample["targets"][name], kind.missing)
        factor = {"depth": 2.0, "disparity": 0.5}.get(name, 1)
        expected[..., 2:6, 2:6] = sample["targets"][name][..., 1::2, 1::2] * factor
        assert torch.equal(out["targets"][name], expected), name


@pytest.mark.parametrize(("top", "left"), [(2, -3), (-1, 0), (0, 5)])
def test_a_shift(top, left):
    sample = sample_of()
    out = in_window(sample, ALL, top, left, *SIZE)
    rows, columns = torch.arange(SIZE[0]) + top, torch.arange(SIZE[1]) + left
    inside = ((rows >= 0) & (rows < SIZE[0]))[:, None] & ((columns >= 0) & (columns < SIZE[1]))
    rows, columns = rows.clamp(0, SIZE[0] - 1)[:, None], columns.clamp(0, SIZE[1] - 1)
    assert torch.equal(out["image"], sample["image"][:, rows, columns])
    for name, kind in MAPS.items():
        moved = sample["targets"][name][..., rows, columns]
        assert torch.equal(out["targets"][name], moved.where(inside, kind.missing)), name


@pytest.mark.parametrize("size", [(5, 7), (40, 30)])
@pytest.mark.parametrize("window", [(1, 2, 3, 4), (0, 0, 5, 7), (2, 0, 1, 7)])
def test_the_nearest_pixel_is_that_of_torch(size, window):
    top, left, height, width = window
    target = torch.arange(math.prod(size)).view(size)
    (kept,) = in_window({"image": torch.rand(3, *size), "targets": {"segmentation": target}}, MAPS, *window)[
        "targets"
    ].values()
    part = target[None, None, top : top + height, left : left + width].double()
    assert torch.equal(kept, functional.interpolate(part, size, mode="nearest-exact")[0, 0].long())


def zooms_of(steps, seeds=60, size=(60, 80)):
    """How much larger things were made, by the depth."""
    sample = {"image": torch.rand(3, *size), "targets": {"depth": torch.ones(size)}}
    outs = [augmented(steps, sample, {"depth": MAPS["depth"]}, seed) for seed in range(seeds)]
    return [1 / out["targets"]["depth"].max().item() for out in outs]


def test_zooms_are_those_that_were_asked_for():
    areas = [zoom**-2 for zoom in zooms_of({"crop": [0.25, 0.64]})]
    assert 0.24 < min(areas) < 0.3 and 0.58 < max(areas) < 0.66
    factors = zooms_of({"scale": [0.5, 2.0]})
    assert 0.49 < min(factors) < 0.6 and 1.8 < max(factors) < 2.05
    assert {round(factor, 3) for factor in zooms_of({"scale": {"choices": [1.0, 1.25, 2]}})} == {1, 1.25, 2}
    assert set(zooms_of({"shift": 0.2})) == {1}


def test_windows_are_anywhere():
    """Within the image where they are smaller, around it where they are larger; shifts to all sides."""
    kinds = {"segmentation": MAPS["segmentation"]}
    sample = {"image": torch.rand(1, 8, 8), "targets": {"segmentation": torch.arange(64).view(8, 8) % 48}}

    def drawn(steps):
        return [augmented(steps, sample, kinds, seed)["targets"]["segmentation"] for seed in range(200)]

    corners = {classes[0, 0].item() for classes in drawn({"crop": [0.25, 0.25]})}
    assert corners == {(row * 8 + column) % 48 for row in range(5) for column in range(5)}
    everywhere = {(row, column) for row in range(5) for column in range(5)}
    smaller = [(classes >= 0).nonzero() for classes in drawn({"scale": [0.5, 0.5]})]
    assert {len(places) for places in smaller} == {16} and {
        tuple(places[0].tolist()) for places in smaller
    } == everywhere
    places = {tuple((classes == 27).nonzero()[0].tolist()) for classes in drawn({"shift": 0.25})}
    assert places == {(row + 1, column + 1) for row, column in everywhere}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    ("steps", "transform"),
    [
        ({"color": 0.4}, v2.ColorJitter(0.4, 0.4, 0.4)),
        ({"color": {"strength": 0.2, "hue": 0.1}}, v2.ColorJitter(0.2, 0.2, 0.2, 0.1)),
        ({"blur": {"p": 1.0, "sigma": [0.5, 1.0]}}, v2.RandomApply([v2.GaussianBlur(5, (0.5, 1.0))], 1.0)),
        ({"blur": {"p": 0.5, "sigma": [0.5, 1.0]}}, v2.RandomApply([v2.GaussianBlur(5, (0.5, 1.0))], 0.5)),
        ({"rand_augment": True}, v2.RandAugment()),
        ({"rand_augment": {"num_ops": 3, "magnitude": 14}}, v2.RandAugment(3, 14)),
        ({"trivial_augment": True}, v2.TrivialAugmentWide()),
        ({"flip": 0.5}, v2.RandomHorizontalFlip()),
    ],
    ids=str,
)
def test_images_are_those_of_torchvision(steps, transform, dtype):
    """By the same draws of torch's generator."""
    sample = sample_of(dtype, size=(16, 24))
    sample["targets"] = {name: sample["targets"][name] for name in NUMBERS}
    for seed in range(20):
        out = augmented(steps, sample, NUMBERS, seed)
        torch.manual_seed(seed)
        assert torch.equal(out["image"], transform(sample["image"])), seed
        assert same_numbers(out["targets"])


def test_colours_leave_maps():
    sample = sample_of(size=(16, 16))
    out = augmented({"color": 0.5, "blur": 1.0}, sample)
    assert not torch.equal(out["image"], sample["image"])
    assert all(torch.equal(target, sample["targets"][name]) for name, target in out["targets"].items())


def test_what_is_missing_stays_missing():
    sample = sample_of()
    for name in ("depth", "class"):
        del sample["targets"][name]
    for name in ("segmentation", "disparity", "normals", "saliency"):
        sample["targets"][name] = torch.full_like(sample["targets"][name], MAPS[name].missing)
    sample["targets"]["price"] = torch.tensor([math.nan])
    for steps in PLACES:
        targets = augmented(steps, sample)["targets"]
        assert set(targets) == set(ALL) - {"depth", "class"} and targets["price"].isnan()
        for name in ("segmentation", "disparity", "normals", "saliency"):
            assert torch.equal(targets[name], sample["targets"][name])


def test_steps_have_an_order_whatever_the_mapping_has():
    names = ["color", "shift", "rand_augment", "flip", "blur", "crop"]
    for given in (names, names[::-1]):
        steps = Augmentation(dict.fromkeys(given, True), NUMBERS).steps
        assert [step.name for step in steps] == ["crop", "flip", "shift", "rand_augment", "blur", "color"]
    assert Augmentation({"flip": False, "crop": None, "color": 0}, NUMBERS).steps == []
    sample = sample_of()
    assert Augmentation({}, ALL)(sample) is sample


def test_targets_that_are_no_tensors_and_of_other_tasks():
    sample = {"image": torch.rand(3, 4, 4), "targets": {"class": 2, "other": torch.rand(4, 4)}}
    targets = augmented({"flip": True}, sample, {"class": NUMBERS["class"]})["targets"]
    assert set(targets) == {"class"} and targets["class"].item() == 2


def test_a_seeded_sample_is_one_whatever_else_draws():
    data = [sample_of(size=(16, 16)) for _ in range(4)]
    samples = SeededSamples(data, augment=Augmentation({"crop": [0.2, 1], "color": 0.5}, ALL))
    draws = [Draw(at, 7 + at // 2) for at in range(4)]
    together = [sample["image"] for sample in samples.__getitems__(draws)]
    torch.manual_seed(5)
    alone = [samples[draw]["image"] for draw in reversed(draws)][::-1]
    assert all(map(torch.equal, together, alone))
    assert torch.equal(together[0], together[1]) and not torch.equal(together[1], together[2])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"flipp": True}, r"There is no augmentation 'flipp'. Did you mean 'flip'\? Known: blur, color, crop, flip, "),
        ({"flip": 2}, r"augmentation.flip=2: p=2 must be a number in \[0, 1\]."),
        ({"flip": "yes"}, r"augmentation.flip='yes': p='yes' must be a number in \[0, 1\]."),
        ({"flip": {"q": 1}}, "augmentation.flip={'q': 1}: .*'q'.* It takes: p"),
        ({"crop": 0.8}, r"augmentation.crop=0.8: scale=0.8 must be two numbers, \[low, high\]."),
        ({"crop": [0, 1]}, r"scale=0 must be a number in \[0.01, 1\]"),
        ({"crop": [1, 0.5]}, r"scale=\[1, 0.5\] must have the low one first"),
        ({"scale": {"choices": []}}, r"choices=\[\] must be one or more factors"),
        ({"scale": {"choices": [0]}}, r"choices=0 must be a number in \[0.1, 10\]"),
        ({"shift": 0.7}, r"most=0.7 must be a number in \[0, 0.5\]"),
        ({"color": -1}, r"strength=-1 must be a number in \[0, 10\]"),
        ({"blur": [0.1, 2]}, r"p=\[0.1, 2\] must be a number"),
        ({"rand_augment": {"magnitude": 31}}, "magnitude=31 must be at most 30"),
        ({"rand_augment": {"num_ops": 0}}, "num_ops=0 must be at least 1"),
        ({"trivial_augment": 2}, "augmentation.trivial_augment=2: it has no options: true takes it"),
    ],
    ids=str,
)
def test_what_is_wrong(steps, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(steps, NUMBERS)


@pytest.mark.parametrize("name", ["rand_augment", "trivial_augment"])
def test_maps_cannot_follow_everything(name):
    with pytest.raises(ValueError) as error:
        Augmentation({name: True}, ALL)
    assert str(error.value) == (
        f"augmentation: the targets of task 'segmentation', of kind 'segmentation', cannot follow '{name}', which is "
        "for tasks of whole images alone. Take blur, color, crop, flip, scale, shift."
    )


@pytest.fixture
def own_kind():
    """A kind of the user's own: how far things are moved; it says nothing of how its targets follow."""

    class Flow(Kind):
        name, dense, missing = "flow", True, 0.0
        outputs = check = loss = predict = picture = describe = None

    yield register_kind("flow")(Flow)
    del kind_classes._entries["flow", None]


def test_a_kind_of_ones_own_says_how_it_follows(own_kind):
    kinds = {"flow": own_kind()}
    for step in ("flip", "crop", "scale", "shift", "rand_augment"):
        with pytest.raises(
            ValueError, match=rf"of task 'flow', of kind 'flow', cannot follow '{step}': the kind does n"
        ):
            Augmentation({step: True}, kinds)
    assert Augmentation({"color": True, "blur": True}, kinds).steps

    def follow(self, target, *, mirrored=False, zoom=1.0):
        return target * zoom * torch.tensor([-1.0 if mirrored else 1.0, 1.0])[:, None, None]

    own_kind.follow = follow
    sample = {"image": torch.rand(3, 2, 2), "targets": {"flow": torch.tensor([[[1.0, 2], [3, 4]]] * 2)}}
    assert augmented({"flip": 1.0}, sample, kinds)["targets"]["flow"].tolist() == [
        [[-2, -1], [-4, -3]],
        [[2, 1], [4, 3]],
    ]
    assert in_window(sample, kinds, 0, 0, 1, 1)["targets"]["flow"].unique().tolist() == [2]


def test_a_kind_that_is_a_subclass_follows_as_its_parent_does():
    class Weight(Regression):
        name = "weight"

    assert augmented({"flip": 1.0}, {"image": torch.rand(3, 2, 2), "targets": {"w": torch.tensor([3.0])}},
                     {"w": Weight()})["targets"]["w"].item() == 3  # fmt: skip


def test_no_function_of_torchvision_leaves_a_target_behind():
    """All that move pixels are either followed or refused; a transform would pass by a target that has neither."""
    move = {functional for functional, kernels in _KERNEL_REGISTRY.items() if tv_tensors.Mask in kernels}
    move = {each for each in move if each.__name__ not in ("get_size", "to_dtype")}
    assert len(move) > 10 and all(Target in _KERNEL_REGISTRY[functional] for functional in move)
    target = Target.of(torch.ones(64, 64), MAPS["depth"])
    for transform in (v2.RandomRotation(30), v2.RandomAffine(10), v2.RandomVerticalFlip(1.0), v2.Resize(4),
                      v2.ElasticTransform(), v2.RandomPerspective(p=1.0), v2.RandomCrop(4), v2.CenterCrop(4),
                      v2.FiveCrop(4), v2.TenCrop(4)):  # fmt: skip
        with pytest.raises(ValueError, match="The targets of kind 'depth' do not follow torchvision's"):
            transform(torch.rand(3, 64, 64), target)


def test_a_step_of_ones_own():
    @register_augmentation("dim")
    class Dim(Step):
        changes = "colours"

        def __init__(self, by=2):
            super().__init__()
            self.by = by

        def transform(self, inpt, params):
            return inpt if isinstance(inpt, Target) else inpt / self.by

    try:
        sample = sample_of()
        assert torch.equal(augmented({"dim": 4}, sample)["image"], sample["image"] / 4)
    finally:
        del augmentations._entries["dim", None]
    with pytest.raises(ValueError, match=r"Odd\.changes='shape' is unknown. Known: places, anything, colours"):

        @register_augmentation("odd")
        class Odd(Step):
            changes = "shape"


def test_images_that_are_no_photos():
    for image, message in (
        (torch.rand(4, 8, 8), "'color' is for images of 1 or 3 channels; one has 4"),
        (torch.rand(3, 8, 8) * 4 - 2, r"'color' is for images with values from 0 to 1; those of one go from -1\.9"),
    ):
        sample = {"image": image, "targets": {}}
        with pytest.raises(ValueError, match=message):
            augmented({"color": True}, sample, {})
        assert augmented({"flip": 1.0, "shift": True, "scale": True}, sample, {})["image"].shape == image.shape
    with pytest.raises(ValueError, match="'blur' takes 4 pixels to all sides; an image has 4x8"):
        augmented({"blur": True}, {"image": torch.rand(3, 4, 8), "targets": {}}, {})
    grey = augmented({"color": {"strength": 0.3, "hue": 0.2}}, {"image": torch.rand(1, 8, 8), "targets": {}}, {})
    assert grey["image"].shape == (1, 8, 8)
