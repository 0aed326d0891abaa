"""Δm against numbers worked out by hand."""

import math

import pytest

from tsbn_hub.results.delta_m import delta_m

HIGHER = {"seg": True, "depth": False, "normals": False}
SINGLE = {"seg": 40.0, "depth": 0.5, "normals": 20.0}


def test_no_gain_over_oneself():
    assert delta_m(SINGLE, SINGLE, HIGHER) == 0


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"seg": 44.0, "depth": 0.5, "normals": 20.0}, 10 / 3),
        ({"seg": 36.0, "depth": 0.5, "normals": 20.0}, -10 / 3),
        ({"seg": 40.0, "depth": 0.25, "normals": 20.0}, 50 / 3),  # half the error
        ({"seg": 40.0, "depth": 1.0, "normals": 20.0}, -100 / 3),
        ({"seg": 50.0, "depth": 0.4, "normals": 22.0}, (25 + 20 - 10) / 3),
    ],
)
def test_the_mean_of_the_relative_gains(scores, expected):
    assert delta_m(scores, SINGLE, HIGHER) == pytest.approx(expected)
    assert delta_m(dict(reversed(scores.items())), SINGLE, HIGHER | {"another": True}) == pytest.approx(expected)


def test_it_does_not_depend_on_units():
    scores = {"seg": 50.0, "depth": 0.4, "normals": 22.0}
    centimetres = delta_m(scores | {"depth": 40.0}, SINGLE | {"depth": 50.0}, HIGHER)
    assert centimetres == pytest.approx(delta_m(scores, SINGLE, HIGHER))


@pytest.mark.parametrize("which", ["scores", "single_task"])
def test_a_task_without_a_score_is_left_out(which):
    given = {"scores": {"seg": 44.0, "depth": 0.4, "normals": 22.0}, "single_task": dict(SINGLE)}
    given[which]["normals"] = math.nan
    assert delta_m(**given, higher_is_better=HIGHER) == pytest.approx((10 + 20) / 2)
    given["scores"] = dict.fromkeys(SINGLE, math.nan)
    with pytest.raises(ValueError, match=r"None of the tasks \['seg', 'depth', 'normals'\]"):
        delta_m(**given, higher_is_better=HIGHER)


def test_what_has_no_answer():
    for reference in (0.0, -0.5, math.inf):
        with pytest.raises(ValueError, match=f"score of 'depth' is {reference}"):
            delta_m(SINGLE, SINGLE | {"depth": reference}, HIGHER)
    with pytest.raises(ValueError, match=r"scores are of \['seg'\].*'normals'"):
        delta_m({"seg": 40.0}, SINGLE, HIGHER)
    with pytest.raises(ValueError, match="same tasks in both"):
        delta_m(SINGLE, {"seg": 40.0}, HIGHER)
    with pytest.raises(ValueError, match=r"lacks the tasks \['normals'\]"):
        delta_m(SINGLE, SINGLE, {"seg": True, "depth": False})
    with pytest.raises(ValueError, match="None of the tasks"):
        delta_m({}, {}, {})
