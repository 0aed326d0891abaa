"""Kinds and metrics that are registered from outside the package."""

from typing import ClassVar

import pytest
import torch

from tsbn_hub.files.registry import UnknownNameError
from tsbn_hub.tasks import Depth, Kind, Normals, Saliency, Segmentation, Task, kind, make_kind, register_kind
from tsbn_hub.tasks.metrics import DataSetMetric, MeanIoU, PixelMean, metric, register_metric


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test registers is gone after it."""
    for registry in (kind.kind_classes, metric._makers):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture
def counting():
    """A kind of an outsider: how many things there are in each image, at most `most`."""

    @register_kind("counting")
    class Counting(Kind):
        dense = False
        head = "linear"
        missing = float("nan")
        metrics: ClassVar = {"exact": True, "near": True}
        chosen_by = "exact"
        outputs = 1

        def __init__(self, most=10):
            self.most = most

        def check(self, target, image_size):
            assert target.ndim == 2

        def loss(self, output, target):
            return (output - target).where(self.valid(target), 0).abs().sum() / self.count(target).clamp(min=1)

        def predict(self, output):
            return output.clamp(0, self.most)

        def picture(self, value, image):
            return (image * 255).byte()

        def describe(self, prediction):
            return {"count": prediction.item()}

    return Counting


@pytest.fixture
def counted(counting):
    """A metric of an outsider, under two names."""

    @register_metric("exact", "counting")
    @register_metric("near", "counting", within=1.5)
    class Counted(DataSetMetric):
        higher_is_better = True

        def __init__(self, most, within=0.5):
            super().__init__()
            self.most, self.within = most, within
            self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
            self.add_state("known", torch.tensor(0), dist_reduce_fx="sum")

        @classmethod
        def of_kind(cls, kind, **options):
            return cls(kind.most, **options)

        def update(self, prediction, target):
            self.right += ((prediction - target).abs() < self.within).sum()
            self.known += (~target.isnan()).sum()

        def compute(self):
            return self.right / self.known

    return Counted


def test_an_outsiders_kind_with_an_outsiders_metrics(counting, counted):
    made = make_kind(Task("people", kind="counting", kind_args={"most": 20}))
    assert type(made) is counting and made.name == counting.name == "counting"
    metrics = made.new_metrics()
    assert {name: (metric.most, metric.within) for name, metric in metrics.items()} == {
        "exact": (20, 0.5),
        "near": (20, 1.5),
    }
    target = torch.tensor([[3.0], [7.0], [30.0], [float("nan")]])
    metrics.update(made.predict(torch.tensor([[3.2], [8.0], [25.0], [1.0]])), target)
    assert {name: value.item() for name, value in metrics.compute().items()} == pytest.approx(
        {"exact": 1 / 3, "near": 2 / 3}
    )
    assert made.count(target) == 3, "NaN is missing here"


def test_it_is_a_kind_without_names_of_the_hub(counting):
    assert counting.hub_task is None and counting.hub_metrics == {}
    assert not counting.metrics_share_state


@pytest.mark.parametrize("state_is_shared", [False, True])
def test_metrics_share_their_state_where_the_kind_says_so(counting, counted, state_is_shared):
    counting.metrics_share_state = state_is_shared
    metrics = counting().new_metrics()
    metrics.update(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    metrics.update(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert metrics.compute_groups == ({0: ["exact", "near"]} if state_is_shared else {})
    # They are no metrics of one state: one of them would be wrong.
    assert metrics["near"].compute() == (0.5 if state_is_shared else 1)


def test_a_subclass_of_a_kind_has_its_metrics_and_may_have_others():
    @register_kind("parts")
    class Parts(Segmentation):
        metrics: ClassVar = {"miou": True, "own": True}

    @register_metric("own", "parts")
    class MeanIoUOfParts(MeanIoU):
        pass

    parts = make_kind(Task("parts", kind="parts", num_classes=3))
    assert {name: type(metric) for name, metric in parts.new_metrics().items()} == {
        "miou": MeanIoU,
        "own": MeanIoUOfParts,
    }
    assert (parts.name, parts.hub_task, Segmentation.name) == ("parts", "image-segmentation", "segmentation")
    with pytest.raises(ValueError, match="target of parts has the values 3"):
        parts.check(torch.tensor([[[3]]]), (1, 1))

    register_metric("miou", "parts")(MeanIoUOfParts)
    assert type(parts.new_metrics()["miou"]) is MeanIoUOfParts
    assert type(Segmentation(3).new_metrics()["miou"]) is MeanIoU


def test_metrics_of_one_name_are_of_their_kinds():
    assert type(Segmentation(3).new_metrics()["miou"]) is not type(Saliency().new_metrics()["miou"])


def test_the_options_of_a_metric_that_is_registered_several_times():
    metrics = Normals().new_metrics()
    assert [metrics[name].degrees for name in ("within_11_25", "within_22_5", "within_30")] == [11.25, 22.5, 30]


def test_an_unknown_kind():
    with pytest.raises(UnknownNameError, match=r"^Task 'z' has kind='colour'\. Known: attributes, classification, "):
        make_kind(Task("z", kind="colour"))
    with pytest.raises(ValueError, match=r"has kind='segmentaton'\. Did you mean 'segmentation'\? Known: "):
        make_kind(Task("z", kind="segmentaton"))


def test_a_metric_that_is_not_registered(counting):
    with pytest.raises(
        UnknownNameError, match=r"Counting lists the metric 'exact'.* \['counting'\]\. Known: none\. .*"
    ):
        counting().new_metrics()

    class Misspelt(Depth):
        metrics: ClassVar = {"abs_error": False}

    with pytest.raises(ValueError, match=r"'abs_error'.*Did you mean 'abs_err'\? Known: abs_err, .*register_metric"):
        Misspelt().new_metrics()


def test_two_kinds_of_one_name():
    with pytest.raises(ValueError, match=r"The kind 'depth' is registered already, as tsbn_hub\..*depth\.Depth\."):

        @register_kind("depth")
        class OtherDepth(Depth):
            pass

    assert type(make_kind(Task("z", kind="depth"))) is Depth and Depth.name == "depth"


def test_two_metrics_of_one_name():
    with pytest.raises(ValueError, match=r"The metric 'miou' is registered already, as tsbn_hub\..*\.MeanIoU\."):

        @register_metric("miou", "segmentation")
        class OtherMetric(PixelMean):
            pass

    assert type(Segmentation(2).new_metrics()["miou"]) is MeanIoU


def test_a_class_that_is_defined_anew_replaces_itself():
    """As in a notebook, whose cells are run again with other options."""
    classes = []
    for ratio in (1.1, 1.2):

        @register_kind("again")
        class Again(Depth):
            metrics: ClassVar = {"within": True}

        @register_metric("within", "again", ratio=ratio)
        class Within(DataSetMetric):
            def __init__(self, ratio):
                super().__init__()
                self.ratio = ratio

            def update(self, prediction, target):
                pass

            def compute(self):
                pass

        classes.append((Again, Within))
    made = make_kind(Task("z", kind="again"))
    assert (type(made), type(made.new_metrics()["within"])) == classes[-1]
    assert made.new_metrics()["within"].ratio == 1.2


def test_a_kind_may_be_registered_and_described_without_torchmetrics(python):
    code = (
        "import sys, torch\n"
        "from tsbn_hub.tasks import Depth, Task, make_kind, register_kind\n"
        "@register_kind('height')\n"
        "class Height(Depth): pass\n"
        "kind = make_kind(Task('z', kind='height'))\n"
        "kind.describe(torch.ones(2, 2))\n"
        "before = 'torchmetrics' in sys.modules\n"
        "names = list(kind.new_metrics())\n"
        "print(before, 'torchmetrics' in sys.modules, names == sorted(Depth.metrics))"
    )
    done = python(code)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_the_rule_of_a_tasks_name():
    for name in ("", "a.b", 3, None):
        with pytest.raises(ValueError, match=r"cannot be a task's name: a name is text, is not empty and has no dot\."):
            Task(name)


def test_keywords_that_a_kind_does_not_take():
    with pytest.raises(ValueError, match=r"unexpected keyword argument 'num_classes'\. It takes: loss\.$"):
        make_kind(Task("z", kind="depth", num_classes=3))
    with pytest.raises(ValueError, match=r"'means'\. Did you mean 'mean'\? It takes: size, mean, scale, loss\.$"):
        make_kind(Task("z", kind="regression", kind_args={"means": 3.0}))
