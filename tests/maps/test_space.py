"""Spaces: fitted on landmarks that are then fixed, while others are placed among them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from repwatch import atlas, maps, page, similarity
from repwatch.errors import (
    ConfigurationError,
    ProbeMismatchError,
    SpaceError,
)
from repwatch.maps import (
    METHODS,
    MapSettings,
    RepresentationSpace,
    placement_agreement,
    select,
)
from tests.maps.populations import LANDMARKS, NEWCOMERS, N, Snapshot, runs


def positions_of(snapshots: list[Snapshot], **settings: Any) -> NDArray[np.float32]:
    return RepresentationSpace.fit(snapshots, **settings).positions


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_map(
    method: str, spaces: dict[str, RepresentationSpace]
) -> None:
    again = RepresentationSpace.fit(LANDMARKS, "cosine", method)
    assert np.array_equal(again.positions, spaces[method].positions)
    assert again.positions.dtype == np.float32
    assert again.snapshot_ids == tuple(landmark.id for landmark in LANDMARKS)


def test_another_seed_gives_another_tsne() -> None:
    assert not np.array_equal(positions_of(LANDMARKS, seed=1), positions_of(LANDMARKS, seed=2))


@pytest.mark.parametrize("method", METHODS)
def test_maps_preserve_the_neighbors(method: str, spaces: dict[str, RepresentationSpace]) -> None:
    between = similarity.pairwise(np.stack([landmark.rdm for landmark in LANDMARKS]))
    trust = trustworthiness(between, spaces[method].positions, n_neighbors=5, metric="precomputed")
    assert trust > (0.95 if method == "tsne" else 0.9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [3, 4, 5, 7, 13])
def test_small_populations_have_maps_that_separate_them(method: str, count: int) -> None:
    few = LANDMARKS[5::6][:count] if count <= 12 else LANDMARKS[:count]
    space = RepresentationSpace.fit(few, method=method)
    assert np.isfinite(space.positions).all()
    assert pdist(space.positions).min() > 0
    if method == "tsne":
        assert pdist(space.positions).min() > 1e-3 * np.ptp(space.positions)
        assert space.perplexity is not None
        assert 1 < space.perplexity < len(few) - 1


def test_perplexity_adapts_and_the_effective_value_is_reported(
    spaces: dict[str, RepresentationSpace],
) -> None:
    assert spaces["tsne"].perplexity == pytest.approx((len(LANDMARKS) - 1) / 3)
    assert spaces["pca"].perplexity is None
    assert RepresentationSpace.fit(LANDMARKS, perplexity=7).perplexity == 7


def test_identical_snapshots_can_be_mapped() -> None:
    twins = [replace(LANDMARKS[0], id=k) for k in range(5)]
    assert np.isfinite(positions_of(twins)).all()
    placement = RepresentationSpace.fit(twins, method="pca").place([LANDMARKS[0], LANDMARKS[5]])
    assert placement.novelty.tolist() == [0, np.inf]
    assert placement.is_novel.tolist() == [False, True]


@pytest.mark.parametrize("method", ["pca", "mds"])
def test_linear_maps_are_pca_of_the_vectors(method: str) -> None:
    vectors = similarity.vectors(
        np.stack([landmark.rdm for landmark in LANDMARKS]).astype(float), "pearson"
    )
    model = PCA(2).fit(vectors)
    space = RepresentationSpace.fit(LANDMARKS, "pearson", method, exact=True)
    expected = model.transform(vectors)
    signs = np.sign((expected * space.positions).sum(0))
    np.testing.assert_allclose(space.positions * signs, expected, atol=1e-5)
    placed = space.place(NEWCOMERS).positions
    new = similarity.vectors(
        np.stack([snapshot.rdm for snapshot in NEWCOMERS]).astype(float), "pearson"
    )
    np.testing.assert_allclose(placed * signs, model.transform(new), atol=1e-5)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("distance", "left_out"), [("euclidean", (903,)), ("cosine", ())])
def test_a_snapshot_that_has_exploded_spoils_no_map(
    distance: str, left_out: tuple[int, ...], exact: bool
) -> None:
    """Its distances are finite, but their squares are beyond float32; its shape may be fine."""
    exploded = Snapshot(903, NEWCOMERS[0].rdm * np.float32(1e24))
    space = RepresentationSpace.fit(
        [exploded, *LANDMARKS], method="pca", distance=distance, exact=exact
    )
    assert space.left_out == left_out
    assert np.isfinite(space.positions).all()
    assert space.place([exploded]).left_out == left_out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("exact", [False, True])
def test_a_restored_space_places_identically(method: str, exact: bool) -> None:
    space = RepresentationSpace.fit(LANDMARKS[::2], "euclidean", method, seed=3, exact=exact)
    restored = RepresentationSpace.from_bytes(space.to_bytes())
    assert np.array_equal(restored.positions, space.positions)
    for name in ("snapshot_ids", "layers", "method", "distance", "seed", "perplexity", "probe"):
        assert getattr(restored, name) == getattr(space, name)
    expected = space.place(NEWCOMERS)
    unattached = restored.place(NEWCOMERS)
    assert np.array_equal(unattached.positions, expected.positions)
    assert np.array_equal(unattached.novelty, expected.novelty)
    assert unattached.exact is exact
    attached = restored.attach(LANDMARKS).place(NEWCOMERS)
    assert attached.exact
    assert attached.nearest == expected.nearest


def test_stored_spaces_hold_no_pickle_and_foreign_bytes_are_refused() -> None:
    space = RepresentationSpace.fit(LANDMARKS[:6], method="pca")
    with np.load(io.BytesIO(space.to_bytes()), allow_pickle=False) as file:
        names, header = file.files, json.loads(file["header"].tobytes())
        arrays = {name: file[name] for name in names}
    assert all(array.dtype != object for array in arrays.values())
    for blob in (b"", b"no space", space.to_bytes()[:200]):
        with pytest.raises(SpaceError, match="bytes of a RepresentationSpace"):
            RepresentationSpace.from_bytes(blob)
    arrays["header"] = np.frombuffer(json.dumps({**header, "format": 99}).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    with pytest.raises(SpaceError, match="Got 99"):
        RepresentationSpace.from_bytes(file.getvalue())


def test_diverged_and_constant_snapshots_are_left_out_and_named() -> None:
    constant = Snapshot(902, np.zeros(N * (N - 1) // 2, dtype=np.float32))
    odd = [Snapshot(901, None), constant]
    space = RepresentationSpace.fit([*odd, *LANDMARKS], "cosine", "pca")
    assert space.left_out == (901, 902)
    assert space.notes == ("2 snapshots left out, diverged, exploded or constant: 901, 902.",)
    assert len(space) == len(LANDMARKS)
    placement = space.place([odd[0], NEWCOMERS[0], odd[1]])
    assert placement.snapshot_ids == (NEWCOMERS[0].id,)
    assert placement.left_out == (901, 902)
    assert len(space.place([odd[0]])) == 0
    assert space.place([odd[0]]).positions.shape == (0, 2)
    assert RepresentationSpace.fit([*odd, *LANDMARKS]).left_out == (901,), "its RDM is all zeros"


def test_fit_and_the_map_of_a_registry_have_the_same_default_distance() -> None:
    assert RepresentationSpace.fit(LANDMARKS[:6]).distance == MapSettings().distance


def test_a_map_of_transformed_distances_is_that_of_their_vectors() -> None:
    rdms = np.stack([landmark.rdm for landmark in LANDMARKS])
    vectors = similarity.vectors(rdms.astype(float), "cosine", transform="near")
    space = RepresentationSpace.fit(LANDMARKS, "cosine-near", "pca", exact=True)
    expected = PCA(2).fit_transform(vectors)
    signs = np.sign((expected * space.positions).sum(0))
    np.testing.assert_allclose(space.positions * signs, expected, atol=1e-5)
    near = space.place(NEWCOMERS[:1])[0].nearest[0]
    away = cdist(similarity.vectors(NEWCOMERS[0].rdm[None], "cosine", transform="near"), vectors)
    assert near.distance == pytest.approx(away.min(), rel=1e-3)
    assert RepresentationSpace.from_bytes(space.to_bytes()).distance == "cosine-near"


@pytest.mark.parametrize("exact", [False, True])
def test_a_space_needs_three_snapshots(exact: bool) -> None:
    for few in ([], [Snapshot(1, None)] * 5, [*LANDMARKS[:2], Snapshot(1, None)]):
        with pytest.raises(SpaceError, match="at least 3 snapshots"):
            RepresentationSpace.fit(few, exact=exact)


def test_probe_sets_are_not_mixed(spaces: dict[str, RepresentationSpace]) -> None:
    foreign = replace(NEWCOMERS[0], probe="fedc9876")
    for act in (
        lambda: RepresentationSpace.fit([*LANDMARKS, foreign]),
        lambda: spaces["pca"].place([foreign]),
    ):
        with pytest.raises(ProbeMismatchError, match=r"Got 0123abcd and fedc9876.*shared"):
            act()
    smaller = Snapshot(1, pdist(np.random.default_rng(0).normal(size=(N - 1, 2))))
    with pytest.raises(SpaceError, match="number of probe points"):
        RepresentationSpace.fit([*LANDMARKS, smaller], exact=True)
    exact = RepresentationSpace.fit(LANDMARKS, method="pca", exact=True)
    with pytest.raises(SpaceError, match="as many probe points"):
        exact.place([smaller])


@pytest.mark.parametrize("distance", similarity.DISTANCES)
def test_every_distance_makes_a_space(distance: str) -> None:
    space = RepresentationSpace.fit(LANDMARKS[::3], distance, "pca")
    placement = space.place(NEWCOMERS[5:6])
    near = placement.nearest[0]
    assert placement.exact
    exact = similarity.cross(
        NEWCOMERS[5].rdm[None], [landmark.rdm for landmark in LANDMARKS[::3]], distance
    )
    assert near[0].distance == pytest.approx(exact.min(), rel=1e-4)


def test_spaces_of_one_layer_of_a_depth_band_and_of_all() -> None:
    mixed = [
        replace(landmark, layer=f"layer{k % 3}", depth=k % 3)
        for k, landmark in enumerate(LANDMARKS)
    ]
    fitted = RepresentationSpace.fit(mixed, method="pca", layers="layer1")
    assert set(fitted.layers) == {"layer1"}
    two = RepresentationSpace.fit(mixed, method="pca", layers=["layer0", "layer2"])
    assert set(two.layers) == {"layer0", "layer2"}
    band = RepresentationSpace.fit(mixed, method="pca", depths=(1, 2))
    assert set(band.layers) == {"layer1", "layer2"}
    assert len(RepresentationSpace.fit(mixed, method="pca")) == len(mixed)
    with pytest.raises(SpaceError, match=r"\['conv'\].*layer0, layer1, layer2"):
        select(mixed, layers="conv")


def test_landmarks_thin_themselves_when_there_are_too_many() -> None:
    settings = {"distance": "cosine", "method": "pca", "max_landmarks": 10, "seed": 1}
    space = RepresentationSpace.fit(LANDMARKS, **settings)
    again = RepresentationSpace.fit(LANDMARKS, **settings)
    assert len(space) == 10
    assert space.snapshot_ids == again.snapshot_ids
    assert set(space.snapshot_ids) | set(space.thinned) == {landmark.id for landmark in LANDMARKS}
    assert "10 of 72 landmarks used" in space.notes[0]
    vectors = similarity.vectors(np.stack([landmark.rdm for landmark in LANDMARKS]))
    ids = [landmark.id for landmark in LANDMARKS]
    chosen = vectors[[ids.index(snapshot_id) for snapshot_id in space.snapshot_ids]]
    covered = cdist(vectors, chosen).min(1).max()
    generator = np.random.default_rng(0)
    by_chance = [
        cdist(vectors, vectors[generator.choice(72, 10, replace=False)]).min(1).max()
        for _ in range(50)
    ]
    assert covered < np.quantile(by_chance, 0.05)


def test_rows_read_in_bulk_are_as_good_as_the_snapshots_own() -> None:
    rows = similarity.sketches(np.stack([landmark.rdm for landmark in LANDMARKS]))
    bare = [replace(landmark, rdm_or_none=np.zeros(3, dtype=np.float32)) for landmark in LANDMARKS]
    given = RepresentationSpace.fit(bare, method="pca", rows=rows)
    np.testing.assert_allclose(given.positions, positions_of(LANDMARKS, method="pca"), atol=1e-5)
    with pytest.raises(ConfigurationError, match="one row for each of 72"):
        RepresentationSpace.fit(LANDMARKS, rows=rows[1:])
    with pytest.raises(ConfigurationError, match="select first"):
        RepresentationSpace.fit(LANDMARKS, rows=rows, layers="fc")


def test_a_registry_is_asked_once_for_all_snapshots() -> None:
    class Registry:
        asked = 0

        def sketches(self, snapshots: list[Any]) -> NDArray[np.float32]:
            self.asked += 1
            return similarity.sketches(np.stack([snapshot.inner.rdm for snapshot in snapshots]))

    @dataclass(frozen=True)
    class Stored:
        inner: Snapshot
        registry: Registry
        layer: str = "fc"

        @property
        def id(self) -> int:
            return self.inner.id

        @property
        def rdm(self) -> NDArray[Any]:
            raise AssertionError("a space from sketches reads no RDM")

    registry = Registry()
    space = RepresentationSpace.fit(
        [Stored(landmark, registry) for landmark in LANDMARKS], method="pca"
    )
    assert registry.asked == 1
    np.testing.assert_allclose(space.positions, positions_of(LANDMARKS, method="pca"), atol=1e-5)


def test_progress_goes_from_nothing_to_all() -> None:
    reports: list[tuple[float, str]] = []
    RepresentationSpace.fit(LANDMARKS, progress=lambda share, what: reports.append((share, what)))
    shares = [share for share, _ in reports]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert {"finding neighbors", "fitting"} <= {what for _, what in reports}


def test_maps_of_the_same_landmarks_agree_on_what_is_clear(
    spaces: dict[str, RepresentationSpace],
) -> None:
    agreement = placement_agreement(list(spaces.values()), NEWCOMERS, k=8)
    assert agreement.shape == (len(NEWCOMERS),)
    assert agreement.mean() > 0.6
    same = placement_agreement([spaces["pca"], spaces["pca"]], NEWCOMERS)
    assert same.tolist() == [1.0] * len(NEWCOMERS)
    with pytest.raises(SpaceError, match="same landmarks"):
        placement_agreement([spaces["pca"]], NEWCOMERS)


@pytest.mark.parametrize(
    "settings",
    [
        {"distance": "cosinus"},
        {"method": "umap"},
        {"perplexity": 0},
        {"max_landmarks": 2},
    ],
)
def test_arguments_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Expected .*Got "):
        RepresentationSpace.fit(LANDMARKS, **settings)


def test_equal_snapshots_are_at_one_place() -> None:
    landmarks = runs(4)
    same = landmarks[0].rdm
    twins = [Snapshot(9000 + i, same, layer="input", run_id=f"twin-{i}") for i in range(8)]
    space = RepresentationSpace.fit([*landmarks, *twins], seed=0)
    where = dict(zip(space.snapshot_ids, space.positions.tolist(), strict=True))
    assert {tuple(where[twin.id]) for twin in twins} == {tuple(where[landmarks[0].id])}
    assert len({tuple(place) for place in space.positions.tolist()}) == len(landmarks)


def test_names_of_the_last_release_work_and_warn() -> None:
    placed = RepresentationSpace.fit(LANDMARKS, method="pca").place(NEWCOMERS[:1])
    with pytest.warns(DeprecationWarning, match="outside is now novelty"):
        assert placed.outside == placed.novelty
    with pytest.warns(DeprecationWarning, match="unlike is now is_novel"):
        assert placed[0].unlike == placed[0].is_novel
    with pytest.warns(DeprecationWarning, match="Nearest is now LandmarkNeighbor"):
        assert maps.Nearest is maps.LandmarkNeighbor
    with pytest.warns(DeprecationWarning, match="read_whole is now build_report"):
        assert page.read_whole is page.build_report
    with pytest.warns(DeprecationWarning, match="kept_layout is now cached_layout"):
        assert atlas.kept_layout is atlas.cached_layout
