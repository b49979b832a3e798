"""Maps that follow one another while a training continues, and maps of every distance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from repwatch import rdm, similarity
from repwatch.maps import METHODS, RepresentationSpace, read_rows
from tests.maps.test_space import LANDMARKS, NEWCOMERS, runs

FIRST = LANDMARKS
MORE = [*LANDMARKS, *(snapshot for snapshot in runs(20, seed=0) if snapshot.id >= 1200)]


@pytest.mark.parametrize("method", METHODS)
def test_a_map_that_follows_another_lies_on_it(method: str) -> None:
    first = RepresentationSpace.fit(FIRST, method=method)
    # The map before, as a person may have left it: mirrored and turned.
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    previous = first.positions @ turn + 3
    before = dict(zip(first.snapshot_ids, previous.tolist(), strict=True))
    alone = RepresentationSpace.fit(MORE, method=method)
    follows = RepresentationSpace.fit(MORE, method=method, previous_positions=before)
    places = dict(zip(follows.snapshot_ids, follows.positions, strict=True))
    away = np.linalg.norm(
        np.array([places[snapshot_id] for snapshot_id in first.snapshot_ids]) - previous, axis=1
    )
    extent = np.ptp(previous, axis=0).max()
    assert np.median(away) < 0.15 * extent
    lone = dict(zip(alone.snapshot_ids, alone.positions, strict=True))
    jumped = np.linalg.norm(
        np.array([lone[snapshot_id] for snapshot_id in first.snapshot_ids]) - previous, axis=1
    )
    assert np.median(away) < 0.5 * np.median(jumped)


@pytest.mark.parametrize("method", ["pca", "mds"])
def test_a_linear_map_that_follows_is_the_same_map_turned(method: str) -> None:
    first = RepresentationSpace.fit(FIRST, method=method)
    before = dict(zip(first.snapshot_ids, (first.positions * [-1, 1]).tolist(), strict=True))
    alone = RepresentationSpace.fit(MORE, method=method)
    follows = RepresentationSpace.fit(MORE, method=method, previous_positions=before)
    turned = rdm.align(alone.positions, follows.positions)
    np.testing.assert_allclose(turned, follows.positions, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_that_follows_places_where_its_landmarks_are_and_is_stored(method: str) -> None:
    first = RepresentationSpace.fit(FIRST, method=method)
    before = dict(zip(first.snapshot_ids, (first.positions + 5).tolist(), strict=True))
    follows = RepresentationSpace.fit(MORE, method=method, previous_positions=before)
    away = np.linalg.norm(follows.place(MORE).positions - follows.positions, axis=1)
    assert np.median(away) < 0.02 * np.ptp(follows.positions)
    restored = RepresentationSpace.from_bytes(follows.to_bytes())
    assert np.array_equal(restored.place(NEWCOMERS).positions, follows.place(NEWCOMERS).positions)


def test_too_little_of_a_map_before_is_none() -> None:
    alone = RepresentationSpace.fit(FIRST, method="pca")
    before = {FIRST[0].id: (100.0, 100.0), FIRST[1].id: (0.0, 0.0)}
    follows = RepresentationSpace.fit(FIRST, method="pca", previous_positions=before)
    assert np.array_equal(alone.positions, follows.positions)


@pytest.mark.parametrize("distance", similarity.DISTANCES)
def test_rows_preserve_the_distances_of_any_kind(distance: str) -> None:
    rows = read_rows(LANDMARKS, distance)
    assert rows.shape == (len(LANDMARKS), similarity.SKETCH_LENGTH)
    if distance in similarity.SKETCHED_DISTANCES:
        rows = similarity.sketch_vectors(rows, distance)
    exact = similarity.pairwise(np.stack([landmark.rdm for landmark in LANDMARKS]), distance)
    estimated = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=2)
    far = exact > 0.1 * exact.max()
    np.testing.assert_allclose(estimated[far], exact[far], rtol=0.2)
    assert np.abs(estimated[far] / exact[far] - 1).mean() < 0.05


@pytest.mark.parametrize("distance", ["spearman", "cka"])
def test_rows_that_were_read_before_make_the_same_map(distance: str) -> None:
    fresh = RepresentationSpace.fit(LANDMARKS, distance, "pca")
    given = RepresentationSpace.fit(LANDMARKS, distance, "pca", rows=read_rows(LANDMARKS, distance))
    assert np.array_equal(fresh.positions, given.positions)
    assert np.array_equal(
        fresh.place(NEWCOMERS).positions,
        given.place(NEWCOMERS, rows=read_rows(NEWCOMERS, distance)).positions,
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_is_the_same_in_many_runs_can_be_mapped(method: str) -> None:
    twins = [replace(LANDMARKS[0], id=k) for k in range(140)]
    space = RepresentationSpace.fit(twins, "cka", method)
    assert np.isfinite(space.positions).all()
    assert np.isfinite(space.place(twins[:2]).positions).all()
