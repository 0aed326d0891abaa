"""Every figure of docs/results.md is one of a stored result."""

import json
import re
import statistics

import pytest

from benchmarks import pages
from tests.scripts import ROOT, run_script
from tsbn_hub.compare import gains_by_setting, read_comparison
from tsbn_hub.compare.formats import as_json
from tsbn_hub.compare.table import comparison_of

PAGE, SETTINGS, README = (
    " ".join(path.read_text("utf-8").split())
    for path in (pages.PAGE, ROOT / "docs" / "choosing-settings.md", ROOT / "README.md")
)
COMPARISONS = sorted(
    path.stem for path in pages.RESULTS.glob("*.json") if "rows" in json.loads(path.read_text("utf-8"))
)


def stored(name):
    return read_comparison(pages.RESULTS / f"{name}.json")


def delta_over(name, reference, label="tssigma"):
    """Δm of a row over another one than the table's reference."""
    comparison = comparison_of(stored(name).rows, reference)
    return comparison.delta(next(row for row in comparison.rows if row.label == label))


def accuracies(comparison, label):
    """By seed the mean over tasks, in percent."""
    row = next(row for row in comparison.rows if row.label == label)
    return [100 * statistics.fmean(value for value, _ in row.primary(seed).values()) for seed in row.results]


def mean_accuracies(comparison):
    """By label the mean over tasks and seeds, in percent."""
    return {row.label: statistics.fmean(accuracies(comparison, row.label)) for row in comparison.rows}


def test_the_page_is_made_of_the_stored_results(capsys):
    run_script("benchmarks/pages.py", "--check")
    assert not capsys.readouterr().err


def test_a_figure_that_was_touched_is_found(monkeypatch, tmp_path, capsys):
    page = tmp_path / "results.md"
    text = pages.PAGE.read_text("utf-8")
    assert "| mtan | 21.00 |" in text
    page.write_text(text.replace("| mtan | 21.00 |", "| mtan | 21.01 |"), "utf-8")
    monkeypatch.setattr(pages, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["pages.py", "--check"])
    with pytest.raises(SystemExit, match="1"):
        pages.main()
    assert "run python benchmarks/pages.py" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMPARISONS)
def test_each_stored_comparison_is_on_the_page(name):
    text = pages.PAGE.read_text("utf-8")
    assert re.search(rf"<!-- table: {name}( by \w+)? -->", text)
    assert as_json(stored(name)) == (pages.RESULTS / f"{name}.json").read_text("utf-8")


def test_every_table_of_the_page_is_stored():
    """A table that stands elsewhere would be nobody's."""
    text = pages.with_tables(pages.PAGE.read_text("utf-8"))
    outside = pages.TABLE.sub("", text)
    assert not [line for line in outside.splitlines() if line.startswith("|")]


def test_the_last_stage_against_equal_compute():
    comparison, delta = stored("avatars_last_stage"), delta_over("avatars_last_stage", "hps, 1.21x epochs")
    assert f"a Δm of {delta.mean:.1f} ± {delta.half_width:.1f}%" in PAGE
    ours, theirs = accuracies(comparison, "tssigma"), accuracies(comparison, "hps, 1.21x epochs")
    leads = [own - other for own, other in zip(ours, theirs, strict=True)]
    assert f"in each of the three seeds, by {min(leads):.1f} to {max(leads):.1f} points of mean accuracy" in PAGE
    assert f"where hard sharing has {accuracies(comparison, 'hps')[0]:.1f}% and TSσBN {ours[0]:.1f}%" in PAGE


@pytest.mark.parametrize(
    ("name", "reference"),
    [("avatars_ten_attributes", "hps, 1.38x epochs"), ("scenes_last_stage", "hps, 1.03x epochs")],
)
def test_the_last_stage_on_other_tasks(name, reference):
    delta = delta_over(name, reference)
    assert (
        f"against the hard sharing of equal compute TSσBN has a Δm of {delta.mean:.1f} ± {delta.half_width:.1f}%"
        in PAGE
    )


def test_the_first_page_says_where_it_pays_and_where_not():
    for name, reference in (
        ("avatars_last_stage", "hps, 1.21x epochs"),
        ("avatars_ten_attributes", "hps, 1.38x epochs"),
        ("scenes_last_stage", "hps, 1.03x epochs"),
    ):
        delta = delta_over(name, reference)
        assert f"| {delta.mean:+.1f} ± {delta.half_width:.1f} |" in README


def test_the_last_stage_trained_longer():
    short, long = stored("avatars_last_stage"), stored("avatars_last_stage_long")
    of_each = [
        f"from {statistics.fmean(accuracies(short, label)):.1f} to {statistics.fmean(accuracies(long, label)):.1f}%"
        for label in ("hps, 1.21x epochs", "tssigma")
    ]
    assert f"brings hard sharing {of_each[0]} mean accuracy and TSσBN {of_each[1]}" in PAGE


def test_the_control_of_the_last_stage():
    results = json.loads((pages.RESULTS / "avatars_last_stage_control.json").read_text("utf-8"))
    values = [task["metrics"][0]["value"] for task in results["tasks"]]
    assert f"seed 0 scores {100 * statistics.fmean(values):.1f}%" in PAGE


def test_where_gates_start_and_how_fast_they_learn():
    curves = gains_by_setting(stored("avatars_starts"), "gate_lr_scale")
    alike, scattered = (
        [f"{curves[f'tssigma, gate_noise={noise}'][rate].mean:.1f}" for rate in (1, 10, 100, 300)] for noise in (0, 1)
    )
    said = "{}% at the trunk's rate, {}% at 10 times, {}% at 100 times and {}% at 300 times".format(*alike)
    also = "A start at N(0, 1) makes these {}, {}, {} and {}%".format(*scattered)
    for text in (PAGE, SETTINGS):
        assert said in text and also.removeprefix("A ") in text


def test_statistics_affines_and_gates():
    comparison = stored("avatars_gated_norms")
    mean = {
        row.label.replace("gated=layer4*", "last").removesuffix(", gate_weight_decay=0.0"): (
            f"{comparison.delta(row).mean:.1f}%"
        )
        for row in comparison.rows
    }
    for said in (
        f"statistics alone {mean['stats, last']}, TSBN {mean['tsbn, last']}, TSσBN {mean['tssigma, last']}",
        f"with the affine kept beside the gates {mean['tssigma, last, keep_affine=True']}",
        f"With the last two stages gated, at 1.74 passes, it is {mean['tssigma, gated=layer3*,layer4*']}",
        f"gain {mean['tssigma, last, gate_weight_decay=0.01']} at 0.01 and "
        f"{mean['tssigma, last, gate_weight_decay=0.1']} at 0.1",
        f"(`checkpoint:`), gain {mean['tssigma of the last 9 epochs, last']}",
    ):
        assert said in PAGE


def times_of_a_step(comparison):
    """By label, how many times as long as of hard sharing."""
    seconds = {row.label: row.cost.seconds for row in comparison.rows}
    return {label: f"{each / seconds['hps']:.2f} times" for label, each in seconds.items()}


def test_balancing():
    comparison = stored("avatars_balancing")
    delta = {row.label: comparison.delta(row) for row in comparison.rows}
    step = times_of_a_step(comparison)
    gain = {label: f"{each.mean:.1f} ± {each.half_width or 0:.1f}%" for label, each in delta.items()}
    for said in (
        f"gains the most, {gain['tssigma']} over hard sharing at {step['tssigma']}",
        f"MTAN gains {delta['mtan'].mean:.1f}% (one seed) at {step['mtan']}",
        f"CAGrad {gain['hps + cagrad']} at {step['hps + cagrad']}",
        f"(GLS) loses {gain['hps + gls'].removeprefix('-')}",
    ):
        assert said in PAGE


def test_against_single_task_networks():
    comparison = stored("avatars_single_task")
    delta = {row.label: comparison.delta(row) for row in comparison.rows}
    gain = {label: f"{each.mean:.1f} ± {each.half_width:.1f}%" for label, each in delta.items()}
    step = times_of_a_step(comparison)
    made_up = 1 - delta["tssigma"].mean / delta["hps"].mean
    for said in (
        f"Δm is {gain['hps']} for hard sharing, {gain['hps, 1.21x epochs']} with 1.21 times the epochs",
        f"{gain['tssigma']} for the last stage gated, at {step['tssigma']} the time of its step",
        f"where six networks take {step['stl']}",
        f"gain {gain['cross-stitch']} over single-task learning at {step['cross-stitch']}",
        f"the last stage gated makes up for {made_up:.0%} of what hard sharing loses",
    ):
        assert said in PAGE


def test_all_norms_gated():
    comparison = stored("avatars_all_gated")
    longer = "hps, 5.87x epochs"
    mean = {label: f"{accuracies(comparison, label)[0]:.1f}%" for label in (longer, "tssigma", "tsbn")}
    assert f"{mean[longer]} for hard sharing, {mean['tssigma']} for TSσBN and {mean['tsbn']} for TSBN" in PAGE
    sigma, affine = (f"{delta_over('avatars_all_gated', longer, label).mean:.1f}%" for label in ("tssigma", "tsbn"))
    assert f"a Δm of {sigma} and {affine} over that hard sharing" in PAGE
    assert f"beat hard sharing of as many by {sigma}" in SETTINGS
    assert f"have {accuracies(stored('avatars_single_task'), 'stl')[0]:.1f}% with this seed" in PAGE


def test_other_learning_rates():
    comparison = stored("avatars_learning_rates")
    mean = mean_accuracies(comparison)
    gates = [label for label in mean if "tssigma" in label]
    longer = [label for label in mean if "1.21x epochs" in label]
    ours, theirs = max(gates, key=mean.get), max(longer, key=mean.get)
    assert (ours, theirs) == ("tssigma, lr=0.016", "hps, lr=0.016, 1.21x epochs")
    assert f"has {mean[theirs]:.1f}% mean accuracy, TSσBN {mean[ours]:.1f}%" in PAGE
    leads = [
        delta_over("avatars_learning_rates", reference, label) for reference, label in zip(longer, gates, strict=True)
    ]
    leads.append(delta_over("avatars_single_task", "hps, 1.21x epochs"))
    at_4, at_8, at_16, at_2 = (f"{lead.mean:.1f} ± {lead.half_width:.1f}" for lead in leads)
    assert f"a Δm of {at_16}%. At 0.004 TSσBN is ahead by {at_4}%, at 0.008 by {at_8}%, and at 0.002" in PAGE
    assert f"in as many epochs, by {at_2}%" in PAGE and leads[2].mean > leads[3].mean / 2
    assert f"at the learning rate that suits each | +{at_16} |" in README
    before = mean_accuracies(stored("avatars_last_stage"))
    assert f"{mean[theirs]:.1f}% mean accuracy and the last stage gated {mean[ours]:.1f}%" in SETTINGS
    assert f"that give them {before['hps, 1.21x epochs']:.1f} and {before['tssigma']:.1f}% at that rate" in SETTINGS


def test_another_recipe():
    mean = mean_accuracies(stored("avatars_sgd"))
    theirs, ours, longest = mean["hps, 1.21x epochs"], mean["tssigma, gated=layer4*"], mean["hps, 5.87x epochs"]
    delta = delta_over("avatars_sgd", "hps, 1.21x epochs", "tssigma, gated=layer4*")
    said = f"{delta.mean:.1f} ± {delta.half_width:.1f}"
    rows = {row.label: row for row in stored("avatars_sgd").rows}
    gated, plain = rows["tssigma, gated=layer4*"], rows["hps, 1.21x epochs"]
    top, mouth = (
        100 * statistics.fmean(gated.primary(seed)[task][0] - plain.primary(seed)[task][0] for seed in gated.results)
        for task in ("top", "mouth")
    )
    assert abs(delta.mean) < delta.half_width, "the page says that both end alike"
    assert f"{theirs:.1f}% for hard sharing and {ours:.1f}% for the last stage gated, a Δm of {said}%" in PAGE
    assert f"(`top`), by {top:.1f} points, and behind in mouths, by {-mouth:.1f}." in PAGE
    assert f"end alike at equal compute on Avatars (Δm {said}%)" in PAGE and f"(Δm {said}%)" in SETTINGS
    assert (
        f"six networks take has {longest:.1f}%, six networks {mean['stl']:.1f}%, all norms gated {mean['tssigma']:.1f}%"
        in PAGE
    )
    assert f"cross-stitch networks {mean['cross-stitch']:.1f}% and MTAN" in PAGE
    assert f"which takes 2.69 passes, {mean['mtan']:.1f}% (one seed each)" in PAGE
    assert f"the weights and biases of TSBN, {mean['tsbn']:.1f}%" in PAGE and mean["tssigma"] > mean["tsbn"]
    assert f"GLS loses {-delta_over('avatars_sgd', 'hps', 'hps + gls').mean:.1f}% over hard sharing" in PAGE
    assert longest > mean["stl"] > mean["tssigma"]
    assert f"the weight decay that suits them | {delta.mean:+.1f} ± {delta.half_width:.1f} |" in README
    assert f"to {theirs:.1f}% mean accuracy and gates to {ours:.1f}%, where AdamW at its best" in README
    assert f"has {longest:.1f}%, six networks {mean['stl']:.1f}%, and all norms gated {mean['tssigma']:.1f}%" in README
    adamw = mean_accuracies(stored("avatars_learning_rates"))
    best = f"brings {adamw['hps, lr=0.016, 1.21x epochs']:.1f} and {adamw['tssigma, lr=0.016']:.1f}%"
    assert f"AdamW at its best rate {best}" in README


def test_another_recipe_trained_longer():
    mean = mean_accuracies(stored("avatars_sgd_long"))
    gain = delta_over("avatars_sgd_long", "hps, 1.21x epochs").mean
    said = f"{mean['hps, 1.21x epochs']:.1f}% for hard sharing and {mean['tssigma']:.1f}% for the last stage gated"
    assert f"goes to {said}, a Δm of {gain:.1f}%" in PAGE


def test_weight_decay():
    mean = mean_accuracies(stored("avatars_weight_decay"))
    for label in mean:
        assert not label.startswith("tssigma") or mean[label] > mean[label.replace("tssigma", "hps")]
    shown = {label: f"{each:.1f}" for label, each in mean.items()}
    by_sgd, by_adamw = "optimizer=sgd, lr=0.05, weight_decay=", "optimizer=adamw, lr=0.008, weight_decay="
    little, much = shown[f"hps, {by_sgd}0.0005"], shown[f"hps, {by_sgd}0.01"]
    gates_little, gates_much = shown[f"tssigma, {by_sgd}0.0005"], shown[f"tssigma, {by_sgd}0.01"]
    assert f"hard sharing by SGD has {little}% mean accuracy" in PAGE and f"with 0.01 it has {much}%" in PAGE
    said = f"{little}% mean accuracy with 0.0005 and {much}% with 0.01, gates {gates_little} and {gates_much}%"
    assert said in SETTINGS
    low, high = shown[f"hps, {by_adamw}0.01"], shown[f"hps, {by_adamw}0.5"]
    gates_low, gates_high = shown[f"tssigma, {by_adamw}0.01"], shown[f"tssigma, {by_adamw}0.5"]
    assert f"too: {low}% at 0.01 and {high}% at 0.5, where gates have {gates_low} and" in PAGE
    assert f"and {gates_high}%. In as many epochs gates are ahead in every column" in PAGE
    longer = shown[f"hps, {by_adamw}0.5, 1.21x epochs"]
    assert f"compute hard sharing has {longer}% by AdamW with 0.5" in PAGE


def test_four_times_the_images():
    comparison = stored("avatars_more_images")
    delta = delta_over("avatars_more_images", "hps, 1.21x epochs")
    gain = f"{delta.mean:.1f} ± {delta.half_width:.1f}"
    assert f"a Δm of {gain}%, where it was" in PAGE
    theirs, ours = (statistics.fmean(accuracies(comparison, label)) for label in ("hps, 1.21x epochs", "tssigma"))
    assert f"mean accuracy is {theirs:.1f}% for hard sharing and {ours:.1f}% for TSσBN" in PAGE
    assert f"with four times the images | +{gain} |" in README


def test_scenes():
    comparison = stored("scenes_methods")
    delta = {row.label: comparison.delta(row) for row in comparison.rows}
    gain = {label: f"{each.mean:.1f} ± {each.half_width:.1f}%" for label, each in delta.items()}
    longer = "hps, 1.84x epochs"
    for said in (
        f"GLS gains {gain['hps + gls']}, and CAGrad {gain['hps + cagrad']}",
        f"gains {gain[longer]}, where TSσBN has {gain['tssigma']}, TSBN {gain['tsbn']} and MTAN {gain['mtan']}",
    ):
        assert said in PAGE
    lost = delta_over("scenes_methods", longer)
    assert f"TSσBN has a Δm of {lost.mean:.1f} ± {lost.half_width:.1f}%" in PAGE
    for text in (README, SETTINGS):
        assert f"by {-lost.mean:.1f} ± {lost.half_width:.1f}%" in text


def test_a_small_vision_transformer():
    comparison, longer = stored("avatars_vit"), "hps, 2.59x epochs"
    mean = {label: f"{accuracies(comparison, label)[0]:.1f}%" for label in ("hps", longer, "tssigma")}
    said = (
        f"is {mean['hps']} for hard sharing, {mean['tssigma']} for TSσBN, and {mean[longer]} for hard sharing of 2.59"
    )
    assert said in PAGE


def test_imagenet_weights():
    comparison, longer = stored("avatars_pretrained"), "hps, 1.5x epochs"
    mean = {label: f"{each:.1f}%" for label, each in mean_accuracies(comparison).items()}
    delta = delta_over("avatars_pretrained", longer)
    said = f"a Δm of {delta.mean:.1f}%: {mean['tssigma']} mean accuracy, where hard sharing has {mean[longer]}"
    assert said in PAGE
    assert f"{mean['tssigma, frozen trunk']}, where heads alone have {mean['hps, frozen trunk']}" in PAGE
    times = times_of_a_step(comparison)
    assert f"in {times['tssigma, frozen trunk']} the time of a step" in PAGE
    small = accuracies(stored("avatars_gated_norms"), "hps")
    assert min(small) > 53 > max(mean_accuracies(comparison).values())


def test_weights_of_dinov2():
    comparison, longer = stored("avatars_dinov2"), "hps, 1.41x epochs"
    mean = {label: f"{each:.1f}%" for label, each in mean_accuracies(comparison).items()}
    lost = f"{delta_over('avatars_dinov2', longer).mean:.1f}%"
    assert f"a Δm of {lost}, {mean['tssigma']} mean accuracy where hard sharing has {mean[longer]}" in PAGE


def test_imagenet_weights_on_scenes():
    comparison = stored("scenes_pretrained")
    delta = {row.label: comparison.delta(row) for row in comparison.rows}
    lost = delta_over("scenes_pretrained", "hps, 1.29x epochs")
    assert f"at equal compute TSσBN has a Δm of {lost.mean:.1f} ± {lost.half_width:.1f}%" in PAGE
    hps, gates = (delta[f"{label}, frozen trunk"] for label in ("hps", "tssigma"))
    heads, both = (f"{each.mean:.1f} ± {each.half_width:.1f}%" for each in (hps, gates))
    assert f"With a frozen trunk Δm is {heads} for heads alone and {both} with gates" in PAGE
    times = times_of_a_step(comparison)
    assert f"in {times['hps, frozen trunk'].split()[0]} and {times['tssigma, frozen trunk']} the time of a step" in PAGE


def test_tasks_that_are_alike():
    comparison = stored("multi_fashion")
    delta = {row.label: comparison.delta(row) for row in comparison.rows}
    gain = {label: f"{each.mean:.1f} ± {each.half_width:.1f}%" for label, each in delta.items()}
    said = f"Δm is {gain['hps']} for hard sharing, {gain['tsbn']} for TSBN and {gain['tssigma']} for TSσBN"
    assert said in PAGE


def test_choosing_settings_says_the_same():
    delta = delta_over("avatars_last_stage", "hps, 1.21x epochs")
    assert f"{delta.mean:.1f} ± {delta.half_width:.1f}% in Δm" in SETTINGS
