"""Snapshots are placed among landmarks that stay where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from repwatch import similarity
from repwatch.maps import METHODS, RepresentationSpace
from tests.maps.populations import LANDMARKS, NEWCOMERS, N, Snapshot


@pytest.mark.parametrize("method", METHODS)
def test_landmarks_do_not_move_while_snapshots_are_placed(
    method: str, spaces: dict[str, RepresentationSpace]
) -> None:
    before = spaces[method].positions.copy()
    spaces[method].place(NEWCOMERS)
    assert np.array_equal(spaces[method].positions, before)
    with pytest.raises(ValueError, match="read-only"):
        spaces[method].positions[0] = 0


@pytest.mark.parametrize("method", METHODS)
def test_a_placement_does_not_depend_on_its_company(
    method: str, spaces: dict[str, RepresentationSpace]
) -> None:
    together = spaces[method].place(NEWCOMERS)
    for k, snapshot in enumerate(NEWCOMERS):
        alone = spaces[method].place([snapshot])[0]
        assert np.array_equal(alone.position, together[k].position)
        assert alone.nearest == together[k].nearest
        assert alone.novelty == together[k].novelty


@pytest.mark.parametrize("method", METHODS)
def test_a_landmark_is_placed_at_its_position(
    method: str, spaces: dict[str, RepresentationSpace]
) -> None:
    space = spaces[method]
    placement = space.place(LANDMARKS)
    away = np.linalg.norm(placement.positions - space.positions, axis=1)
    assert np.median(away) < 0.02 * np.ptp(space.positions)
    assert [placed.nearest[0].id for placed in placement] == list(space.snapshot_ids)
    assert [placed.nearest[0].distance for placed in placement] == [0] * len(LANDMARKS)
    assert placement.novelty.max() == 0


def test_a_run_is_placed_among_runs_of_its_kind(spaces: dict[str, RepresentationSpace]) -> None:
    space = spaces["tsne"]
    ends = [snapshot for snapshot in NEWCOMERS if snapshot.id % 100 == 5]
    for kind, placed in enumerate(space.place(ends)):
        away = np.linalg.norm(space.positions - placed.position, axis=1)
        on_map = [space.snapshot_ids[k] for k in np.argsort(away)[:3]]
        nearest = [near.id for near in placed.nearest[:4]]
        assert all(snapshot_id // 100 % 3 == kind for snapshot_id in (*on_map, *nearest))


def test_nearest_landmarks_are_found_by_exact_distance(
    spaces: dict[str, RepresentationSpace],
) -> None:
    placement = spaces["tsne"].place(NEWCOMERS, k=5)
    exact = similarity.cross(
        np.stack([snapshot.rdm for snapshot in NEWCOMERS]),
        np.stack([landmark.rdm for landmark in LANDMARKS]),
    )
    assert placement.exact
    for row, near in zip(exact, placement.nearest, strict=True):
        order = np.argsort(row)[:5]
        assert [neighbor.id for neighbor in near] == [LANDMARKS[k].id for k in order]
        np.testing.assert_allclose([neighbor.distance for neighbor in near], row[order], rtol=1e-4)


def test_what_is_unlike_any_landmark_is_reported(spaces: dict[str, RepresentationSpace]) -> None:
    generator = np.random.default_rng(5)
    stranger = Snapshot(7, pdist(generator.normal(size=(N, 2)) ** 3).astype(np.float32))
    known, strange = spaces["tsne"].place([NEWCOMERS[3], stranger])
    assert not known.is_novel
    assert known.novelty < 1.5
    assert strange.is_novel
    assert strange.novelty > 3


def test_outside_is_measured_against_other_runs() -> None:
    """Snapshots of one run lie close to each other, which is no measure for a new run."""
    informed = RepresentationSpace.fit(LANDMARKS, "cosine", "pca").place(NEWCOMERS)
    untold = RepresentationSpace.fit(
        [replace(landmark, run_id="a") for landmark in LANDMARKS], "cosine", "pca"
    ).place(NEWCOMERS)
    assert informed.novelty.max() < untold.novelty.max()
