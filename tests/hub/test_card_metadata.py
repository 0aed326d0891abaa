"""What the head of a card says of kinds of task: what the kinds say themselves, and nothing of others."""

from typing import ClassVar

import pytest

from tsbn_hub.hub.cards.metadata import evaluations_of, known_metrics, pipeline_tag
from tsbn_hub.results.results import DataMeasured, Metric, Results, TaskMeasured
from tsbn_hub.tasks import Depth, register_kind
from tsbn_hub.tasks.kind import kind_classes

# By kind: the Hub's name of it, the kind's first metric, the Hub's name of that.
OF_THE_HUB = {
    "classification": ("image-classification", "accuracy", "accuracy"),
    "attributes": ("image-classification", "accuracy", "accuracy"),
    "regression": (None, "mae", "mae"),
    "segmentation": ("image-segmentation", "miou", "mean_iou"),
    "depth": ("depth-estimation", "abs_err", None),
    "normals": (None, "mean_angle", None),
    "edges": (None, "ods_f", None),
    "disparity": ("depth-estimation", "abs_err", None),
    "saliency": ("image-segmentation", "max_f", None),
}


def results_of(kind, metric):
    task = TaskMeasured("z", kind, None, [Metric(metric, 0.5, True)])
    return Results("0" * 64, [DataMeasured("Faces", 100, ["z"])], "test", "chance", [task])


@pytest.mark.parametrize("kind", OF_THE_HUB)
def test_the_hubs_names_of_kinds_and_metrics(kind):
    task, metric, metric_of_hub = OF_THE_HUB[kind]
    (entry,) = evaluations_of(results_of(kind, metric))
    assert next(iter(kind_classes[kind].metrics)) == metric
    assert pipeline_tag([kind]) == entry.task_type == (task or "image-feature-extraction")
    assert entry.metric_type == (metric_of_hub or metric)
    assert known_metrics(results_of(kind, metric)) == (metric_of_hub and [metric_of_hub])


def test_the_first_kind_with_a_name_of_the_hub_is_shown():
    assert pipeline_tag(["normals", "no kind of ours", "depth", "classification"]) == "depth-estimation"


def test_a_kind_that_is_not_registered_here_breaks_no_card():
    results = results_of("no kind of ours", "accuracy")
    (entry,) = evaluations_of(results)
    assert (entry.task_type, entry.metric_type) == ("image-feature-extraction", "accuracy")
    assert pipeline_tag(["no kind of ours"]) == "image-feature-extraction" and known_metrics(results) is None


def test_a_kind_from_outside_says_its_own_names(monkeypatch):
    monkeypatch.setattr(kind_classes, "_entries", dict(kind_classes._entries))

    @register_kind("masks")
    class Masks(Depth):
        hub_task = "mask-generation"
        hub_metrics: ClassVar = {"abs_err": "mae"}

    (entry,) = evaluations_of(results_of("masks", "abs_err"))
    assert (entry.task_type, entry.metric_type, entry.metric_name) == ("mask-generation", "mae", "z: abs_err")
    assert known_metrics(results_of("masks", "abs_err")) == ["mae"]
