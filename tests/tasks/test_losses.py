"""Losses by name against torch, torchvision, timm, scikit-learn and formulas, with missing targets."""

import math
from functools import partial

import numpy
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.utils.class_weight import compute_class_weight
from timm.loss import AsymmetricLossMultiLabel
from torchmetrics.functional.segmentation import dice_score
from torchvision.ops import sigmoid_focal_loss

from tsbn_hub.files.registry import UnknownNameError
from tsbn_hub.tasks import Task, make_kind
from tsbn_hub.training.step.gradients import label_counts

WEIGHTS = [0.5, 2.0, 1.5]


def of(kind, loss=None, **options):
    sizes = {"classification": 3, "segmentation": 3, "attributes": 3}
    return make_kind(Task("t", kind, num_classes=sizes.get(kind), kind_args={"loss": loss, **options}))


def data(kind, samples=6, seed=0):
    """A head's outputs, and targets of which a third are missing."""
    generator = torch.Generator().manual_seed(seed)
    shape = {"classification": (), "attributes": (3,), "regression": (2,)}.get(kind, (4, 5))
    maps = {"segmentation": (3, 4, 5), "normals": (3, 4, 5), **dict.fromkeys(("depth", "edges", "saliency"), (1, 4, 5))}
    channels = {"classification": (3,), **maps}.get(kind, shape)
    output = torch.randn(samples, *channels, generator=generator) * 2
    if kind in ("regression", "depth"):
        target = torch.rand(samples, *shape, generator=generator) * 3 + 0.1
    elif kind == "normals":
        target = F.normalize(torch.randn(samples, 3, *shape, generator=generator), dim=1)
    else:
        words = 2 if kind in ("attributes", "edges", "saliency") else 3
        target = torch.randint(0, words, (samples, *shape), generator=generator)
    missing = torch.rand(samples, *shape, generator=generator) < 1 / 3
    missing[1] = True
    if kind in ("edges", "saliency"):
        target[2] = 0  # an image without a yes
    missing = missing[:, None] if kind == "normals" else missing
    return output, target.masked_fill(missing, {"regression": math.nan, "depth": 0, "normals": 0}.get(kind, -100))


def flat(output, target):
    """The logits and classes of the valid labels, as rows."""
    valid = target != -100
    return output.movedim(1, -1)[valid], target[valid]


def cross_entropy(output, target, **options):
    logits, classes = flat(output, target)
    weights = torch.tensor(options.pop("weight", [1.0, 1.0, 1.0]))
    return F.cross_entropy(logits, classes, weights, reduction="sum", **options) / len(classes)


def focal(output, target, gamma, weight=(1.0, 1.0, 1.0)):
    logits, classes = flat(output, target)
    p = logits.softmax(dim=1)[torch.arange(len(classes)), classes]
    return (torch.tensor(weight)[classes] * -((1 - p) ** gamma) * p.log()).mean()


def dice(output, target):
    """Image by image and class by class."""
    total, labels = 0.0, 0
    for logits, classes in zip(output, target, strict=True):
        valid = classes != -100
        p, truth = logits.softmax(dim=0)[:, valid], classes[valid]
        scores = [2 * p[c][truth == c].sum() / (p[c].sum() + (truth == c).sum()) for c in truth.unique().tolist()]
        if scores:
            total += (1 - sum(scores) / len(scores)) * len(truth)
        labels += len(truth)
    return total / labels


def attributes(output, target, loss):
    known = target != -100
    return loss(output, target.clamp(min=0).float())[known].mean()


def asymmetric(output, target, **options):
    known = target != -100
    return AsymmetricLossMultiLabel(**options)(output[known][None], target[known][None]) / known.sum()


def pixels(output, target, loss):
    known = target != -100
    return loss(output[:, 0], (target == 1).float())[known].mean()


def weighted(output, target, share=None):
    """Image by image; without a share, that of no in the image."""
    total = 0.0
    for logits, truth in zip(output[:, 0], target, strict=True):
        known = truth != -100
        p, y = logits[known].sigmoid(), truth[known].float()
        w = (1 - y).mean() if share is None else share
        total -= (w * y * p.log() + (1 - w) * (1 - y) * (1 - p).log()).sum() if len(y) else 0
    return total / (target != -100).sum()


def binary_dice(output, target, smooth=1.0):
    total = 0.0
    for logits, truth in zip(output[:, 0], target, strict=True):
        known = truth != -100
        p, y = logits[known].sigmoid(), truth[known].float()
        total += (1 - (2 * (p * y).sum() + smooth) / (p.sum() + y.sum() + smooth)) * len(y)
    return total / (target != -100).sum()


def directions(output, target, loss):
    valid = target.any(dim=1)
    return loss(*(F.normalize(each, dim=1).movedim(1, -1)[valid] for each in (output, target)))


def cosine(output, target):
    return F.cosine_embedding_loss(output, target, torch.ones(len(output)))


def errors(output, target, loss):
    output = output[:, 0] if output.ndim == 4 else output
    valid = target > 0
    return loss(output[valid], target[valid])


binary = partial(F.binary_cross_entropy_with_logits, reduction="none")
by_pos_weight = partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(WEIGHTS), reduction="none")
CASES = [
    ("classification", None, cross_entropy),
    ("classification", {"class_weights": WEIGHTS}, partial(cross_entropy, weight=WEIGHTS)),
    (
        "classification",
        {"name": "cross_entropy", "label_smoothing": 0.1, "class_weights": WEIGHTS},
        partial(cross_entropy, label_smoothing=0.1, weight=WEIGHTS),
    ),
    ("classification", "focal", partial(focal, gamma=2)),
    ("segmentation", None, cross_entropy),
    ("segmentation", {"label_smoothing": 0.2}, partial(cross_entropy, label_smoothing=0.2)),
    (
        "segmentation",
        {"name": "focal", "gamma": 0.5, "class_weights": WEIGHTS},
        partial(focal, gamma=0.5, weight=WEIGHTS),
    ),
    ("segmentation", "dice", dice),
    (
        "segmentation",
        {"name": "cross_entropy_dice", "dice_weight": 3, "class_weights": WEIGHTS},
        lambda output, target: cross_entropy(output, target, weight=WEIGHTS) + 3 * dice(output, target),
    ),
    ("attributes", None, partial(attributes, loss=partial(F.binary_cross_entropy_with_logits, reduction="none"))),
    ("attributes", {"pos_weight": WEIGHTS}, partial(attributes, loss=by_pos_weight)),
    ("attributes", "focal", partial(attributes, loss=partial(sigmoid_focal_loss, alpha=-1, gamma=2))),
    (
        "attributes",
        {"name": "focal", "gamma": 1.5, "alpha": 0.25},
        partial(attributes, loss=partial(sigmoid_focal_loss, alpha=0.25, gamma=1.5)),
    ),
    ("attributes", "asymmetric", partial(asymmetric, gamma_neg=4, gamma_pos=1, clip=0.05)),
    (
        "attributes",
        {"name": "asymmetric", "gamma_neg": 2, "gamma_pos": 0, "clip": 0},
        partial(asymmetric, gamma_neg=2, gamma_pos=0, clip=0),
    ),
    ("edges", None, partial(weighted, share=0.95)),
    ("edges", {"positive_weight": 0.8}, partial(weighted, share=0.8)),
    *(
        case
        for kind in ("edges", "saliency")
        for case in (
            (kind, "binary_cross_entropy", partial(pixels, loss=binary)),
            (
                kind,
                {"name": "binary_cross_entropy", "pos_weight": 3},
                partial(pixels, loss=partial(binary, pos_weight=torch.tensor(3.0))),
            ),
            (kind, "class_balanced_cross_entropy", weighted),
            (
                kind,
                {"name": "focal", "gamma": 1.5, "alpha": 0.75},
                partial(pixels, loss=partial(sigmoid_focal_loss, gamma=1.5, alpha=0.75)),
            ),
            (kind, "dice", binary_dice),
            (
                kind,
                {"name": "cross_entropy_dice", "dice_weight": 2, "pos_weight": 3, "smooth": 0.5},
                lambda output, target: (
                    pixels(output, target, partial(binary, pos_weight=torch.tensor(3.0)))
                    + 2 * binary_dice(output, target, 0.5)
                ),
            ),
        )
    ),
    ("saliency", None, partial(pixels, loss=binary)),
    ("normals", None, partial(directions, loss=cosine)),
    ("normals", "l1", partial(directions, loss=F.l1_loss)),
    ("normals", "mse", partial(directions, loss=F.mse_loss)),
    *((kind, "l1", partial(errors, loss=F.l1_loss)) for kind in ("regression", "depth")),
    *((kind, "mse", partial(errors, loss=F.mse_loss)) for kind in ("regression", "depth")),
    *(
        (kind, {"name": "huber", "delta": 0.4}, partial(errors, loss=partial(F.huber_loss, delta=0.4)))
        for kind in ("regression", "depth", "disparity")
    ),
]
every_loss = pytest.mark.parametrize(
    ("kind", "loss", "reference"), CASES, ids=[f"{kind}-{loss}"[:60] for kind, loss, _ in CASES]
)


@every_loss
def test_value_and_gradient_with_missing_targets(kind, loss, reference):
    output, target = data("depth" if kind == "disparity" else kind)
    task, expected_of = of(kind, loss), output.clone().requires_grad_()
    expected = reference(expected_of, target)
    expected.backward()
    # Where there is no target, the network may say anything.
    valid = task.valid(target)
    shown = valid[:, None] if output.ndim > valid.ndim else valid
    given = torch.where(shown, output, math.inf).requires_grad_()
    value = task.loss(given, target)
    value.backward()
    torch.testing.assert_close(value, expected.float())
    torch.testing.assert_close(given.grad, expected_of.grad)


@every_loss
def test_nothing_labelled_is_0_with_a_gradient_of_0(kind, loss, reference):
    output, target = data("depth" if kind == "disparity" else kind)
    task, output = of(kind, loss), output.requires_grad_()
    value = task.loss(output, torch.full_like(target, task.missing))
    value.backward()
    assert value == 0 and not output.grad.any()


@every_loss
def test_accumulated_batches_are_the_whole_batch(kind, loss, reference):
    output, target = data("depth" if kind == "disparity" else kind)
    task = of(kind, loss)
    scale = torch.linspace(0.5, 1.5, output.shape[-1])
    whole = scale.clone().requires_grad_()
    task.loss(output * whole, target).backward()
    parts = [
        {"image": output[rows], "targets": {"t": target[rows]}} for rows in (slice(0, 1), slice(1, 3), slice(3, 6))
    ]
    counts = label_counts(parts, {"t": task}, Accelerator(cpu=True)).T.tolist()[0]
    assert sum(counts) == int(task.count(target))
    split = scale.clone().requires_grad_()
    total = sum(
        task.loss(part["image"] * split, part["targets"]["t"]) * (count / sum(counts))
        for part, count in zip(parts, counts, strict=True)
    )
    total.backward()
    torch.testing.assert_close(split.grad, whole.grad)


def test_dice_of_hard_predictions_by_torchmetrics():
    generator = torch.Generator().manual_seed(1)
    target, predicted = (torch.randint(0, 3, (4, 8, 8), generator=generator) for _ in range(2))
    scores = dice_score(predicted, target, num_classes=3, input_format="index", average="macro")
    logits = F.one_hot(predicted, 3).movedim(-1, 1) * 1e4
    torch.testing.assert_close(of("segmentation", "dice").loss(logits, target), 1 - scores.mean())


def test_balanced_weights_by_scikit_learn():
    classes = torch.tensor([0, 0, 1, 2, 2, 2, 2, -100])
    kind = of("classification", {"class_weights": "balanced"})
    assert "loss" in kind.taken_from_targets
    taken = kind.options_from(list(classes))
    expected = compute_class_weight("balanced", classes=numpy.arange(3), y=classes[:-1].numpy())
    assert taken["loss"]["class_weights"] == pytest.approx(expected.tolist())
    resolved = of("classification", taken["loss"])
    assert resolved.taken_from_targets == () and resolved.options_from(list(classes)) == {}
    with pytest.raises(ValueError, match="taken from the training data"):
        kind.loss(torch.zeros(8, 3), classes)
    maps = [torch.tensor([[1, 0, 0], [0, -100, 0]]), torch.tensor([[1, 0]]), torch.tensor([[-100]])]
    for loss in ("binary_cross_entropy", "cross_entropy_dice"):
        taken = of("edges", {"name": loss, "pos_weight": "balanced"}).options_from(maps)
        assert taken["loss"] == {"name": loss, "pos_weight": 5 / 2}
    assert of("saliency", {"pos_weight": "balanced"}).options_from(maps[2:])["loss"]["pos_weight"] == 1
    known = torch.tensor([[1, 0, 0], [0, 0, -100], [1, 0, 1], [1, 1, 0]])
    taken = of("attributes", {"pos_weight": "balanced"}).options_from(list(known))
    assert taken["loss"]["pos_weight"] == pytest.approx([1 / 3, 3, 2])


@pytest.mark.parametrize(
    ("kind", "option"),
    [("classification", "class_weights"), ("segmentation", "class_weights"), ("attributes", "pos_weight")],
)
def test_weights_by_label(kind, option):
    output, target = data(kind)
    named, numbered = (
        make_kind(Task("t", kind, labels=labels, num_classes=3, kind_args={"loss": {option: weights}}))
        for labels, weights in (
            (["cat", "dog", "3"], {3: 1.5, "dog": 2, "cat": 0.5}),
            (None, {"2": 1.5, 0: 0.5, 1: 2.0}),
        )
    )
    expected = of(kind, {option: WEIGHTS}).loss(output, target)
    assert named.loss(output, target) == numbered.loss(output, target) == expected != of(kind).loss(output, target)


@pytest.mark.parametrize(
    ("kind", "loss", "message"),
    [
        (
            "classification",
            {"class_weights": {"cat": 1, "dgo": 3, "cow": 1}},
            "class_weights has no label 'dgo'. Did you mean 'dog'\\? The labels are cat, dog, cow",
        ),
        ("classification", {"class_weights": {"cat": 1, "dog": 3}}, "class_weights lacks 'cow': give a value for each"),
        ("segmentation", {"name": "focal", "class_weights": {"cat": 1, "dog": 3, "cow": 0}}, "above 0"),
        ("segmentation", {"class_weights": {"cat": 1, "dog": 3, "cow": "1"}}, "must be a number"),
        ("attributes", {"pos_weight": {"cat": 1, "dog": 3, True: 1}}, "no label 'True'. YAML reads yes .* write 'yes'"),
        ("attributes", {"pos_weight": {}}, "pos_weight lacks 'cat', 'dog', 'cow'"),
        ("segmentation", {"label_smoothing": {"cat": 1}}, "cannot take .'label_smoothing'"),
    ],
)
def test_weights_of_other_labels(kind, loss, message):
    with pytest.raises(ValueError, match=message):
        make_kind(Task("t", kind, labels=["cat", "dog", "cow"], kind_args={"loss": loss}))


@pytest.mark.parametrize(
    ("kind", "loss", "message"),
    [
        (
            "segmentation",
            "dise",
            "'t': loss='dise' is no loss of segmentation. Did you mean 'dice'.*cross_entropy_dice",
        ),
        ("depth", "dice", "loss='dice' is no loss of depth.*Known: huber, l1, mse"),
        ("regression", {"name": "huber", "dela": 2}, "'dela'. Did you mean 'delta'.*It takes: delta"),
        ("regression", {"name": "huber", "delta": 0}, "delta=0 must be above 0"),
        ("classification", {"class_weights": [1.0, 2.0]}, "class_weights=.* each of 3, or 'balanced'"),
        ("classification", {"class_weights": "balance"}, "class_weights='balance' must be"),
        ("classification", {"label_smoothing": 1}, "must lie in"),
        ("attributes", {"pos_weight": [1.0, 2.0, 0]}, "above 0"),
        ("attributes", 3, "loss=3 is no loss"),
        ("edges", {"name": "dice", "smooth": 0}, "smooth=0 must be above 0"),
        ("edges", {"positive_weight": 1}, "positive_weight=1 must lie between 0 and 1"),
        ("saliency", {"pos_weight": [1.0]}, r"pos_weight=\[1.0\] must be a number above 0, or 'balanced'"),
        ("saliency", {"pos_weight": "balance"}, "'balance' must be a number above 0"),
        ("saliency", {"name": "cross_entropy_dice", "dice_weight": 0}, "dice_weight=0 must be above 0"),
        ("saliency", "dise", "is no loss of saliency. Did you mean 'dice'.*class_balanced_cross_entropy"),
        ("normals", "cross_entropy", "is no loss of normals.*Known: cosine, l1, mse"),
    ],
)
def test_what_is_refused(kind, loss, message):
    with pytest.raises((ValueError, UnknownNameError), match=message):
        of(kind, loss)
