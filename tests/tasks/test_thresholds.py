"""The thresholds with the highest F1 against all thresholds by scikit-learn."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve

from tests.matrices import NIGHTLY
from tsbn_hub.tasks.thresholds import above, best_thresholds


def found(probabilities, target):
    """The threshold of one attribute; -100 is not known."""
    scores, truth = torch.tensor(probabilities)[:, None], torch.tensor(target)[:, None]
    (threshold,) = best_thresholds(scores, truth == 1, truth != -100)
    return threshold


def f1_at(threshold, probabilities, target):
    """By scikit-learn, of what is known."""
    scores, truth = torch.tensor(probabilities), torch.tensor(target)
    known = truth != -100
    return f1_score(truth[known], above(scores[known, None], [threshold])[:, 0], zero_division=0)


levels = st.sampled_from([0.0, 1e-45, 0.25, 0.4, 0.49999997, 0.5, 0.50000006, 0.75, 0.99999994, 1.0])


@settings(deadline=None, max_examples=200 if NIGHTLY else 50)
@given(st.lists(st.tuples(levels, st.sampled_from([0, 1, -100])), min_size=1, max_size=12))
def test_no_threshold_is_better(rows):
    probabilities, target = ([row[at] for row in rows] for at in range(2))
    threshold = found(probabilities, target)
    assert threshold == float(numpy.float32(threshold)) and 0 <= threshold <= 1
    known = [truth for truth in target if truth != -100]
    if len(set(known)) < 2:
        assert threshold == 0.5
        return
    scores = [f1_at(each, probabilities, target) for each in {0.0, 0.5, *probabilities}]
    assert f1_at(threshold, probabilities, target) == max(scores)
    if f1_at(0.5, probabilities, target) == max(scores):
        assert threshold == 0.5


def test_many_probabilities_by_the_precision_recall_curve():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(500, 3, generator=generator) < torch.tensor([0.02, 0.2, 0.7])
    probabilities = (torch.randn(500, 3, generator=generator) + target - 2).sigmoid()
    known = torch.rand(500, 3, generator=generator) < 0.8
    thresholds = best_thresholds(probabilities, target, known)
    for at, threshold in enumerate(thresholds):
        seen = known[:, at]
        precision, recall, _ = precision_recall_curve(target[seen, at], probabilities[seen, at])
        best = (2 * precision * recall / numpy.maximum(precision + recall, 1e-12)).max()
        said = probabilities[seen, at] > threshold
        assert f1_score(target[seen, at], said) == pytest.approx(best, rel=1e-12)
        assert f1_score(target[seen, at], probabilities[seen, at] > 0.5) < best
    assert thresholds == best_thresholds(probabilities.flip(0), target.flip(0), known.flip(0))


@pytest.mark.parametrize(
    ("probabilities", "target", "threshold"),
    [
        ([0.125, 0.375, 0.875], [0, 1, 1], 0.25),  # the middle of the gap
        ([0.25, 0.625, 0.875], [0, 1, 1], 0.5),  # 0.5 is as good as any
        ([0.125, 0.25, 0.375, 0.4375], [0, 1, 0, 1], 0.1875),  # F1 of 4/5; above 0.40625 it is 2/3
        ([0.125, 0.375, 0.75, 0.75, 0.875], [0, 1, 0, 0, 1], 0.25),  # as good as 0.8125, and nearer to a half
        ([0.25, 0.5, 0.75], [1, 1, 1], 0.5),  # never absent
        ([0.25, 0.5, 0.75], [0, 0, 0], 0.5),
        ([0.25, 0.5, 0.75], [-100, -100, -100], 0.5),
        ([0.0, 0.5, 0.75], [1, 0, 0], 0.5),  # a probability of 0 is never a yes: no threshold finds it
    ],
)
def test_which_one(probabilities, target, threshold):
    assert found(probabilities, target) == threshold


def test_of_two_as_near_to_a_half_the_higher_one():
    probabilities, target = [0.875, 0.625, 0.625, 0.375, 0.125], [1, 0, 0, 1, 0]
    assert [f1_at(each, probabilities, target) for each in (0.25, 0.5, 0.75)] == pytest.approx([2 / 3, 2 / 5, 2 / 3])
    assert found(probabilities, target) == 0.75


def test_nothing_is_seen():
    nothing = torch.zeros(0, 2)
    assert best_thresholds(nothing, nothing.bool(), nothing.bool()) == [0.5, 0.5]
