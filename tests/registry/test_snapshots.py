"""Snapshots, their RDMs and sketches; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from repwatch import rdm, similarity
from repwatch.errors import (
    ConfigurationError,
    DivergedRDMError,
    ProbeMismatchError,
    RDMError,
    RunNotFoundError,
    UnknownLayerError,
)
from repwatch.probe import ProbeSet
from repwatch.registry import NewSnapshot

from .helpers import PAIRS, rdm_of, snapshot_of


class TestSnapshots:
    def test_snapshots_come_back_typed_and_whole(self, registry, probe, run):
        new = snapshot_of("fc", step=5, depth=2, scalars={"norm": np.float32(1.5), "zeros": 0})
        registry.add_snapshots(run.id, [new])
        (snapshot,) = registry.snapshots()
        assert (snapshot.run, snapshot.run_id, snapshot.layer) == ("first", run.id, "fc")
        assert (snapshot.step, snapshot.epoch, snapshot.depth, snapshot.points) == (5, 0, 2, 6)
        assert snapshot.scalars == {"norm": 1.5, "zeros": 0.0}
        assert snapshot.probe == probe.fingerprint
        assert not snapshot.diverged
        assert snapshot.rdm.dtype == np.float32
        np.testing.assert_allclose(snapshot.rdm, new.rdm, rtol=1e-3)

    def test_the_stored_sketch_is_that_of_the_rdm(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of(step=3)])
        (snapshot,) = registry.snapshots()
        np.testing.assert_array_equal(snapshot.sketch, similarity.sketch(rdm_of(3)))

    def test_snapshots_are_ordered_by_run_start_step_and_depth(self, registry, probe, run):
        later = registry.start_run("a later one", probe=probe)
        registry.add_snapshots(later.id, [snapshot_of("fc", 0, 1)])
        for step in (10, 2):
            registry.add_snapshots(
                run.id, [snapshot_of("b", step, 1), snapshot_of("input", step, 0)]
            )
        order = [(s.run, s.step, s.layer) for s in registry.snapshots()]
        assert order == [
            ("first", 2, "input"),
            ("first", 2, "b"),
            ("first", 10, "input"),
            ("first", 10, "b"),
            ("a later one", 0, "fc"),
        ]
        assert [s.step for s in run.snapshots("b")] == [2, 10]
        assert run.layers == ["input", "b"]

    def test_snapshots_are_filtered(self, registry, probe, run):
        other = registry.start_run("other", probe=probe)
        for recorded in (run, other):
            registry.add_snapshots(recorded.id, [snapshot_of("a"), snapshot_of("b")])
        registry.label(other, "bad", "noise")
        assert {s.run for s in registry.snapshots(labeled=True)} == {"other"}
        assert {s.run for s in registry.snapshots(labeled=False)} == {"first"}
        renamed = r"snapshots\(labelled=\) is now labeled="
        with pytest.warns(DeprecationWarning, match=renamed):
            assert {s.run for s in registry.snapshots(labelled=True)} == {"other"}
        with (
            pytest.warns(DeprecationWarning, match=renamed),
            pytest.raises(TypeError, match="Got both"),
        ):
            registry.snapshots(labeled=True, labelled=True)
        assert {s.cause for s in registry.snapshots(run="other")} == {"noise"}
        assert len(registry.snapshots(layer="a", run=run)) == 1
        assert registry.snapshots(probe="another") == []

    def test_snapshots_are_selected_by_step(self, registry, probe, run):
        other = registry.start_run("other", probe=probe)
        registry.add_snapshots(run.id, [snapshot_of("a", step) for step in (0, 3, 7)])
        registry.add_snapshots(other.id, [snapshot_of("a", step) for step in (0, 3)])
        assert {s.run for s in registry.snapshots(step=3)} == {"first", "other"}
        assert [(s.run, s.step) for s in registry.snapshots(step="last")] == [
            ("first", 7),
            ("other", 3),
        ]
        assert [s.step for s in run.snapshots("a", step="last")] == [7]
        assert run.snapshots(step=4) == []

    def test_a_layer_that_the_run_does_not_have_is_refused(self, registry, run):
        assert run.snapshots("encodr") == [], "no layer is known yet"
        registry.add_snapshots(run.id, [snapshot_of("encoder"), snapshot_of("head")])
        with pytest.raises(UnknownLayerError, match="no layer 'encodr'"):
            run.snapshots("encodr")

    def test_the_same_run_layer_and_step_is_replaced(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of(rdm=rdm_of(1))])
        (before,) = registry.snapshots()
        registry.add_snapshots(run.id, [snapshot_of(rdm=rdm_of(2), scalars={}, epoch=3)])
        (after,) = registry.snapshots()
        assert (after.id, after.epoch, after.scalars) == (before.id, 3, {})
        np.testing.assert_allclose(after.rdm, rdm_of(2), rtol=1e-3)

    def test_the_last_of_two_equal_ones_in_one_call_stays(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of(depth=1), snapshot_of(depth=2)])
        assert [s.depth for s in registry.snapshots()] == [2]

    def test_a_diverged_snapshot_is_stored_and_marked(self, registry, run):
        with_nan = rdm_of(0)
        with_nan[3] = np.nan
        new = [snapshot_of("a", rdm=None), snapshot_of("b", rdm=with_nan), snapshot_of("c")]
        registry.add_snapshots(run.id, new)
        a, b, c = registry.snapshots()
        assert [a.diverged, b.diverged, c.diverged] == [True, True, False]
        with pytest.raises(DivergedRDMError, match="'a' of run 'first' has no RDM at step 0"):
            _ = a.rdm
        with pytest.raises(DivergedRDMError):
            _ = b.sketch
        stack = registry.rdms([a, c])
        assert np.isnan(stack[0]).all()
        assert np.isfinite(stack[1]).all()

    def test_a_snapshot_that_diverges_when_replaced_loses_its_rdm(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of()])
        registry.add_snapshots(run.id, [snapshot_of(rdm=None)])
        (snapshot,) = registry.snapshots()
        assert snapshot.diverged
        registry.add_snapshots(run.id, [snapshot_of()])
        assert registry.snapshots()[0].rdm.shape == (PAIRS,)

    def test_nan_scalars_come_back_as_nan(self, registry, run):
        registry.add_snapshots(
            run.id, [snapshot_of(scalars={"norm": np.float32("nan"), "m": -np.inf})]
        )
        (snapshot,) = registry.snapshots()
        assert math.isnan(snapshot.scalars["norm"])
        assert snapshot.scalars["m"] == -math.inf

    def test_stacks_follow_the_order_asked_for(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of(step=step) for step in range(700)])
        asked = [*reversed(registry.snapshots()), registry.snapshots()[3]]
        stack, sketches = registry.rdms(asked), registry.sketches(asked)
        assert stack.shape == (701, PAIRS)
        assert sketches.shape == (701, 1024)
        np.testing.assert_array_equal(stack[-1], stack[-5])
        np.testing.assert_allclose(stack[0], rdm_of(699), rtol=1e-3)
        np.testing.assert_array_equal(sketches[0], similarity.sketch(rdm_of(699)))

    def test_an_empty_stack_is_empty(self, registry):
        assert registry.rdms([]).shape == (0, 0)
        assert registry.sketches([]).shape == (0, 1024)

    def test_rdms_of_different_sizes_do_not_stack(self, registry, run):
        small = ProbeSet(torch.ones(4, 1))
        other = registry.start_run("small", probe=small)
        registry.add_snapshots(run.id, [snapshot_of()])
        registry.add_snapshots(other.id, [snapshot_of(rdm=np.ones(6, np.float32))])
        with pytest.raises(ProbeMismatchError, match="4 and 6 probe points"):
            registry.rdms(registry.snapshots())

    def test_an_rdm_over_other_points_than_the_probe_set_is_refused(self, registry, run):
        with pytest.raises(ProbeMismatchError, match=r"has 3 points, the run's probe set .* has 6"):
            registry.add_snapshots(run.id, [snapshot_of("a"), snapshot_of(rdm=np.ones(3))])
        assert registry.snapshots() == []

    def test_a_square_rdm_is_refused(self, registry, run):
        with pytest.raises(RDMError, match="must be condensed"):
            registry.add_snapshots(run.id, [snapshot_of(rdm=np.ones((6, 6)))])

    def test_a_step_that_is_no_number_is_refused(self, registry, run):
        with pytest.raises(ConfigurationError, match=r"step .* must be a whole number, got float"):
            registry.add_snapshots(
                run.id, [snapshot_of(step=0, epoch=0), NewSnapshot("a", 1.5, 0, 0, None)]
            )

    def test_snapshots_of_an_unknown_run_are_refused(self, registry, run):
        with pytest.raises(RunNotFoundError, match="'nobody'"):
            registry.add_snapshots("nobody", [snapshot_of()])

    def test_records_are_frozen_hashable_and_say_no_more_than_needed(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of()])
        (snapshot,) = registry.snapshots()
        with pytest.raises(dataclasses.FrozenInstanceError):
            snapshot.step = 3
        assert len({snapshot, registry.snapshots()[0], run}) == 2
        assert "registry" not in repr(snapshot) + repr(run)

    def test_records_survive_pickling_and_still_read(self, registry, run):
        registry.add_snapshots(run.id, [snapshot_of()])
        (snapshot,) = registry.snapshots()
        for other in (pickle.loads(pickle.dumps(snapshot)), copy.deepcopy(snapshot)):
            assert other == snapshot
            np.testing.assert_array_equal(other.rdm, snapshot.rdm)
            other.registry.close()

    def test_a_real_rdm_comes_back_within_a_thousandth(self, registry, run):
        D = rdm.from_activations(
            torch.randn(6, 50, generator=torch.Generator().manual_seed(0)) + 1000
        )
        registry.add_snapshots(run.id, [snapshot_of(rdm=D)])
        np.testing.assert_allclose(registry.snapshots()[0].rdm, D, rtol=1e-3)
