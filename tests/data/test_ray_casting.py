"""Rays against solids."""

import numpy as np
import pytest

from tsbn_hub.data.sets.scenes.ray_casting import Balls, Cubes, Cylinders, Room, cast, nearest

INSIDE = {  # of the unit shape: the greatest of these is < 1
    Cubes: lambda p: np.abs(p).max(axis=0),
    Cylinders: lambda p: np.maximum(np.hypot(p[0], p[2]), np.abs(p[1])),
    Balls: lambda p: np.sqrt((p * p).sum(axis=0)),
}


def solids_of(shape, count, seed=0):
    """Turned every way and stretched, 3 m or more from the origin."""
    random = np.random.default_rng(seed)
    turns = np.linalg.qr(random.normal(size=(count, 3, 3)))[0]
    sizes = random.uniform(0.2, 1.2, (count, 1, 1)) if shape is Balls else random.uniform(0.1, 1.2, (count, 3, 1))
    centres = random.normal(size=(3, count))
    centres *= random.uniform(3, 6, count) / np.linalg.norm(centres, axis=0)
    return shape(centres.astype("f"), (turns / sizes).transpose(1, 2, 0).astype("f"))


def directions_of(count, seed=1):
    directions = np.random.default_rng(seed).normal(size=(3, count)).astype("f")
    directions[:, :6] = [[1, -1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0], [0, 0, 0, 0, 1, -1]]
    return directions


def local(solids, solid, points):
    return solids._to_local[:, :, solid].astype(float) @ (points - solids._centres[:, solid, None])


@pytest.mark.parametrize("shape", INSIDE)
def test_hits_are_where_the_ray_first_is_inside(shape):
    solids, directions = solids_of(shape, 8), directions_of(900)
    hits = solids.hits(np.zeros(3, "f"), directions)
    distance = {(ray, solid): at for ray, solid, at in zip(*hits, strict=True)}
    assert len(distance) == len(hits.ray) > 40
    steps = np.linspace(0, 12, 800)
    for solid in range(8):
        for ray in range(900):
            inside = INSIDE[shape](local(solids, solid, directions[:, ray, None].astype(float) * steps))
            at = distance.get((ray, solid))
            if at is None:
                assert inside.min() > 0.99, "a miss goes by"
            else:
                entry = local(solids, solid, directions[:, ray, None].astype(float) * at)
                assert INSIDE[shape](entry)[0] == pytest.approx(1, abs=1e-4)
                assert inside[steps < at].min() > 1 - 1e-4, "no part of the ray is inside before"


@pytest.mark.parametrize("shape", INSIDE)
def test_normals_are_the_gradient_of_the_surface(shape):
    solids, directions = solids_of(shape, 8), directions_of(2000)
    ray, solid, distance = solids.hits(np.zeros(3, "f"), directions)
    points = directions[:, ray] * distance
    _, faces, normals = solids.surface(points, solid)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, rtol=1e-5)
    assert len(np.unique(faces)) == {Cubes: 6, Cylinders: 3, Balls: 1}[shape]
    for at in range(0, len(ray), 7):
        steps = np.concatenate([np.eye(3), -np.eye(3)], axis=1) * 1e-5
        values = INSIDE[shape](local(solids, solid[at], points[:, at, None].astype(float) + steps))
        gradient = values[:3] - values[3:]
        assert normals[:, at] @ gradient / np.linalg.norm(gradient) == pytest.approx(1, abs=2e-3)


def test_a_room_is_met_from_inside():
    room = Room(np.array([[1], [0], [0]], "f"), (np.eye(3, dtype="f") / [[2], [3], [4]]).astype("f")[:, :, None])
    directions = np.array([[1, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, -1]], "f")
    ray, solid, distance = room.hits(np.zeros(3, "f"), directions)
    assert ray.tolist() == [0, 1, 2, 3] and solid.tolist() == [0] * 4
    np.testing.assert_allclose(distance, [3, 1, 1.5, 4])
    _, faces, normals = room.surface(distance * directions, solid)
    assert faces.tolist() == [1, 0, 3, 4]
    np.testing.assert_allclose(normals, [[-1, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])


def test_the_nearest_of_several_groups():
    groups = [solids_of(shape, 30, seed) for seed, shape in enumerate(INSIDE)]
    hits = cast(groups, np.zeros(3, "f"), directions_of(500))
    solid, distance = nearest(hits, 500)
    assert 0 < (solid < 0).sum() < 400 and len(np.unique(solid // 30)) == 4
    for ray in range(500):
        of_ray = np.flatnonzero(hits.ray == ray)
        if len(of_ray):
            first = of_ray[hits.distance[of_ray].argmin()]
            assert (solid[ray], distance[ray]) == (hits.solid[first], hits.distance[first])
        else:
            assert (solid[ray], distance[ray]) == (-1, np.inf)


def test_a_group_may_be_empty():
    nothing = Balls(np.empty((3, 0), "f"), np.empty((3, 3, 0), "f"))
    alone, beside = (
        cast(groups, np.zeros(3, "f"), directions_of(50))
        for groups in ([solids_of(Cubes, 9)], [nothing, solids_of(Cubes, 9)])
    )
    for one, other in zip(alone, beside, strict=True):
        assert np.array_equal(one, other)
