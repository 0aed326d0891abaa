"""How alike tasks are by their gates: against scikit-learn, and on tasks of which it is known."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics.pairwise import cosine_similarity

import tsbn_hub
from tests.analysis.gratings import GRATINGS, trained_on_gratings
from tests.analysis.test_pictures import LONG, importance_of
from tests.matrices import NIGHTLY, cases_of
from tsbn_hub.analysis import TaskCosines, cluster_tasks, draw_cosines, gate_similarity
from tsbn_hub.analysis.figures import cut
from tsbn_hub.analysis.similarity.picture import _figure


@pytest.mark.parametrize("seed", range(4 if NIGHTLY else 1))
def test_tasks_that_are_alike_unrelated_and_opposed(seed):
    model, accuracy = trained_on_gratings(GRATINGS, seed, **({"steps": 200} if NIGHTLY else {"steps": 60, "batch": 32}))
    assert min(accuracy.values()) > 0.9
    similarity = gate_similarity(tsbn_hub.importance_matrix(model))
    base = dict(zip(similarity.tasks, similarity.matrix[0].tolist(), strict=True))
    assert base["alike"] > 0 > max(base["unrelated"], base["other"])
    assert min(base["unrelated"], base["other"]) > base["opposed"] + 0.1 and base["opposed"] < -0.5
    first, second = cluster_tasks(similarity)[0, :2]
    assert {similarity.tasks[int(first)], similarity.tasks[int(second)]} == {"base", "alike"}


def test_as_scikit_learn_has_it():
    importance = importance_of([f"task {at}" for at in range(9)], 5)
    similarity = gate_similarity(importance)
    gates = importance.matrix.double().numpy()
    np.testing.assert_allclose(similarity.matrix, cosine_similarity(gates - gates.mean(0)), atol=1e-12)
    for name, columns in importance.layers.items():
        part = gates[:, columns]
        np.testing.assert_allclose(similarity.layers[name], cosine_similarity(part - part.mean(0)), atol=1e-12)
    assert similarity.unrelated == -1 / 8
    known = AgglomerativeClustering(1, metric="precomputed", linkage="average", compute_distances=True)
    known.fit(1 - similarity.matrix.numpy())
    tree = cluster_tasks(similarity)
    np.testing.assert_allclose(tree[:, 2], known.distances_)
    assert list(map(set, tree[:, :2].astype(int).tolist())) == list(map(set, known.children_.tolist()))


def test_unrelated_tasks_are_where_it_is_said():
    """Of gates that are drawn independently."""
    gates = torch.rand(5, 100_000, generator=torch.Generator().manual_seed(0))
    similarity = gate_similarity(tsbn_hub.analysis.Importance(gates, list("abcde"), {"norm": slice(0, 100_000)}))
    apart = similarity.matrix[~torch.eye(5, dtype=torch.bool)]
    assert (apart - similarity.unrelated).abs().max() < 0.02


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="The gates of 2 tasks, a, b, say nothing of their similarity"):
        gate_similarity(importance_of(["a", "b"], 3))
    importance = importance_of(["a", "b", "c"], 3)
    importance.matrix.fill_(0.5)
    with pytest.raises(ValueError, match="as before the training"):
        gate_similarity(importance)
    undefined = TaskCosines.of_products(["a", "b"], {"layer": torch.diag(torch.tensor([1.0, 0.0]).double())})
    assert undefined.matrix.isnan().sum() == 3
    with pytest.raises(ValueError, match=r"^b cannot be compared"):
        cluster_tasks(undefined)


@pytest.mark.parametrize(
    ("tasks", "layers", "name"),
    cases_of(
        ((tasks, *rest) for tasks in (2, 3, 5, 12, 40, 70) for rest in ((1, "task"), (53, LONG))),
        [(2, 53, LONG), (3, 1, "task"), (5, 53, LONG), (12, 1, "task"), (40, 53, LONG), (70, 1, "task")],
    ),
)
def test_the_picture(tasks, layers, name):
    importance = importance_of([f"{name} {at}" for at in range(max(tasks, 3))], layers)
    cosines = gate_similarity(importance)
    if tasks == 2:
        layers = {layer: each[:2, :2] for layer, each in cosines.layers.items()}
        cosines = TaskCosines(["$a", "b$"], cosines.matrix[:2, :2], layers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = _figure(cosines, "title")
        figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.get_figwidth() and box.y1 <= figure.get_figheight()
    assert figure.get_figwidth() <= 22
    _, _, matrix, by_layer, *_ = figure.axes
    (image,) = matrix.images
    order = [label.get_text() for label in matrix.get_yticklabels()]
    assert order == [label.get_text() for label in matrix.get_xticklabels()]
    if tasks <= 60:
        rows = [[cut(task) for task in cosines.tasks].index(label) for label in order]
        np.testing.assert_array_equal(image.get_array(), cosines.matrix[rows][:, rows])
        assert len(matrix.texts) == (tasks * (tasks - 1) if tasks <= 12 else 0)
    assert len(by_layer.lines) == (tasks * (tasks - 1) // 2 if tasks <= 4 else 1) + 1


def test_the_same_cosines_give_the_same_bytes(tmp_path):
    cosines = gate_similarity(importance_of(["$5", "b", "c"], 4))
    for name in ("one.png", "other.png"):
        draw_cosines(cosines, tmp_path / name, "title")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
