"""Segmentation against torchmetrics, scikit-learn and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from tsbn_hub.tasks.kinds.segmentation import Segmentation


def scores(kind, prediction, target):
    metrics = kind.new_metrics()
    metrics.update(prediction, target)
    return {name: value.item() for name, value in metrics.compute().items()}


def labelled(num_classes, size=(4, 8, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], num_classes, *size[1:], generator=generator)
    target = torch.randint(num_classes, size, generator=generator)
    target[torch.rand(size, generator=generator) < 0.3] = -100
    return logits, target


def test_the_loss_is_the_cross_entropy_of_valid_pixels():
    logits, target = labelled(5)
    exact, terms = logits.double().numpy(), []
    for image, row, column in np.argwhere(target.numpy() != -100):
        of_pixel = exact[image, :, row, column]
        terms.append(np.log(np.exp(of_pixel).sum()) - of_pixel[target[image, row, column]])
    assert Segmentation(5).loss(logits, target).item() == pytest.approx(np.mean(terms))


def test_the_loss_of_one_who_knows_nothing():
    target = torch.tensor([[[0, 3, -100]]])
    assert Segmentation(4).loss(torch.zeros(1, 4, 1, 3), target).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("num_classes", [1, 2, 13, 40])
def test_metrics_agree_with_other_libraries(num_classes):
    logits, target = labelled(num_classes)
    kind = Segmentation(num_classes)
    prediction, valid = kind.predict(logits), target != -100
    found = scores(kind, prediction, target)
    answers = prediction[valid].numpy(), target[valid].numpy()
    present = np.union1d(*answers)
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(*answers))
    assert found["miou"] == pytest.approx(jaccard_score(*answers, labels=present, average="macro"))
    if num_classes > 1:
        theirs = MulticlassJaccardIndex(num_classes, ignore_index=-100)
        assert found["miou"] == pytest.approx(theirs(prediction, target).item())


def test_a_class_that_is_nowhere_is_left_out():
    prediction, target = torch.tensor([[[0, 0, 1, 3]]]), torch.tensor([[[0, 1, 1, -100]]])
    expected = (1 / 2 + 1 / 2) / 2  # of classes 0 and 1; 3 is predicted only where there is no target
    assert scores(Segmentation(4), prediction, target)["miou"] == pytest.approx(expected)
    prediction[0, 0, 0] = 2  # a class that is but predicted counts, as 0
    assert scores(Segmentation(4), prediction, target)["miou"] == pytest.approx((0 + 1 / 2 + 0) / 3)


def test_images_of_one_class():
    target = torch.full((2, 3, 3), 2)
    assert scores(Segmentation(7), target, target) == {"miou": 1, "pixel_accuracy": 1}
    assert scores(Segmentation(7), target - 1, target) == {"miou": 0, "pixel_accuracy": 0}


def test_it_is_not_a_mean_over_images():
    """Class 1 has 1 of 1 pixels right in the first image, 0 of 3 in the second."""
    prediction, target = torch.tensor([[[1, 0, 0]], [[0, 0, 0]]]), torch.tensor([[[1, 0, 0]], [[1, 1, 1]]])
    found = scores(Segmentation(2), prediction, target)
    assert found["miou"] == pytest.approx((1 / 4 + 2 / 5) / 2)
    assert found["pixel_accuracy"] == pytest.approx(3 / 6)


def test_both_metrics_come_from_one_confusion_matrix():
    metrics = Segmentation(3).new_metrics()
    metrics.update(*torch.zeros(2, 1, 4, 4, dtype=torch.int64))
    assert metrics["miou"].counts.sum() == 16
    assert metrics.compute_groups == {0: ["miou", "pixel_accuracy"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [([0, 3, 255], "values 3, 255; expected are 0 to 2"), ([-1, 0, -100], "values -1;"), (range(20), r"3, 4.*12, …;")],
)
def test_values_that_are_no_classes(values, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(3).check(torch.tensor([[list(values)]]), (1, len(values)))


def test_the_picture_shows_classes_over_the_image():
    image = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1).expand(3, 1, 4)
    picture = Segmentation(3).picture(torch.tensor([[-100, 0, 1, 2]]), image)
    # Okabe and Ito's blue, orange and green, two parts of them to one of the image's grey, and no target as it is.
    assert picture[:, 0].T.tolist() == [[255, 128, 0], [42, 118, 161], [196, 148, 42], [42, 148, 119]]


def test_the_legend_has_the_colours_of_the_picture():
    kind, value = Segmentation(3, labels=["floor", "wall", "chair"]), torch.tensor([[2, 2, -100, 0, 0, 0]])
    legend = kind.legend(value)
    assert legend.names == ["floor", "chair"]
    drawn = kind.picture(value, torch.full((3, 1, 6), 0.5))[:, 0].T
    for name, column in (("floor", 3), ("chair", 0)):
        assert torch.equal((legend.colors[legend.names.index(name)] * 255).round().byte(), drawn[column])


def test_up_to_256_classes_have_colours_of_their_own():
    picture = Segmentation(256).picture(torch.arange(256).view(16, 16), torch.zeros(3, 16, 16))
    assert len(set(map(tuple, picture.flatten(1).T.tolist()))) == 256


def test_the_description_has_the_classes_that_are_there():
    kind = Segmentation(3, labels=["floor", "wall", "chair"])
    assert kind.describe(torch.tensor([[0, 2], [2, 2]])) == {"floor": 0.25, "chair": 0.75}
    assert Segmentation(3).describe(torch.tensor([[1]])) == {"1": 1.0}


def test_labels_must_be_as_many_as_the_classes():
    with pytest.raises(ValueError, match="3"):
        Segmentation(3, labels=["floor", "wall"])
    with pytest.raises(ValueError, match="0"):
        Segmentation(0)
