"""Gains by a setting: which rows make a curve, the table and the picture."""

import math

import pytest
from matplotlib import image

from tsbn_hub.compare import draw_setting, gains_by_setting, setting, setting_table
from tsbn_hub.compare.table import comparison_of

from .comparisons import row_of


def comparison(*labels):
    """Rows of one task, each 10% of hard sharing's 0.5 better than the one before."""
    rows = [row_of("hps", {"a": 0.5}, {"a": 0.5})]
    for number, label in enumerate(labels, 1):
        rows.append(row_of(label, {"a": 0.5 + 0.05 * number}, {"a": 0.5 + 0.05 * number}))
    return comparison_of(rows, "hps")


def means(curves):
    return {label: {value: round(delta.mean, 6) for value, delta in deltas.items()} for label, deltas in curves.items()}


def test_a_curve_for_what_else_was_alike():
    found = comparison(
        "tssigma, gate_lr_scale=100, gate_noise=0",
        "tssigma, gate_lr_scale=1, gate_noise=0",
        "tssigma, gate_lr_scale=1, gate_noise=0.5",
        "tsbn + gls, gate_lr_scale=1e-05",
    )
    assert means(gains_by_setting(found, "gate_lr_scale")) == {
        "tssigma, gate_noise=0": {1.0: 20, 100.0: 10},
        "tssigma, gate_noise=0.5": {1.0: 30},
        "tsbn + gls": {1e-5: 40},
    }
    assert means(gains_by_setting(found, "gate_noise")) == {
        "tssigma, gate_lr_scale=100": {0.0: 10},
        "tssigma, gate_lr_scale=1": {0.0: 20, 0.5: 30},
    }


@pytest.mark.parametrize(
    "label", ["tssigma, other_lr=1", "tssigma, lr=fast", "tssigma, lr=1x", "lr=", "tssigma, lr=10 epochs"]
)
def test_what_only_looks_like_it(label):
    assert not gains_by_setting(comparison(label), "lr")


def test_a_row_is_named_by_nothing_else():
    assert means(gains_by_setting(comparison("lr=0.1, seed 3"), "lr")) == {"seed 3": {0.1: 10}}


def test_the_table_has_gaps_where_nothing_was_tried():
    found = comparison("a|b, s=-1", "a|b, s=2", "c, s=2")
    assert setting_table(found, "s").splitlines() == [
        "| Δm over hps, % by s | -1 | 2 |",
        "| --- | --- | --- |",
        "| a\\|b | 10.0 ± 0.0 | 20.0 ± 0.0 |",
        "| c | – | 30.0 ± 0.0 |",
    ]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The axes of a setting's picture."""

    def draw(found, key):
        saved, figure_of = [], setting._figure
        monkeypatch.setattr(setting, "_figure", lambda *args: (saved.append(figure_of(*args)), saved[-1])[1])
        assert draw_setting(found, key, tmp_path / "setting.png")
        assert image.imread(tmp_path / "setting.png").shape[1] > 700
        return saved[-1].axes[0], [text.get_text() for text in saved[-1].legends[0].texts]

    return draw


def test_the_picture(drawn):
    labels = [f"tssigma, gate_lr_scale={scale}, gate_noise={noise}" for scale in (1, 10, 300) for noise in (0, 1)]
    axes, names = drawn(comparison(*labels), "gate_lr_scale")
    assert names == ["tssigma, gate_noise=0", "tssigma, gate_noise=1"]
    assert axes.get_xscale() == "log" and [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "300"]
    one, other = (line.lines[0].get_xydata() for line in axes.containers)
    assert one[:, 1].round(6).tolist() == [10, 30, 50] and other[:, 1].round(6).tolist() == [20, 40, 60]
    assert all(math.isclose(x, value, rel_tol=0.1) for x, value in zip(one[:, 0], (1, 10, 300), strict=True))
    assert (one[:, 0] < other[:, 0]).all()  # bars lie side by side


def test_a_setting_that_may_be_0_has_a_plain_axis(drawn):
    axes, _ = drawn(comparison("tssigma, gate_noise=0", "tssigma, gate_noise=2"), "gate_noise")
    assert axes.get_xscale() == "linear"


def test_one_value_is_no_curve(tmp_path):
    assert not draw_setting(comparison("tssigma, lr=1"), "lr", tmp_path / "setting.png") and not list(
        tmp_path.iterdir()
    )
