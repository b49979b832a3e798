"""What a person sees of a run without asking, and why runs are not compared."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from repwatch import ProbeSet, Registry, Watcher, cli, rdm
from repwatch.registry.health import examine
from repwatch.watch import workers
from repwatch.watch.comparability import explain_incomparable, find_comparison, read_earlier_probes
from repwatch.watch.drift_monitor import DriftMonitor
from tests.watch.helpers import PROBE, network, watch


def train(registry: Registry, probe: ProbeSet = PROBE, name: str = "own", **options: object) -> str:
    """A run of one snapshot, with all that is said about it."""
    watcher = Watcher(network(0), probe, registry=registry, run_name=name, **options)
    watcher.start()
    watcher.snapshot(0, 0)
    watcher.finish(cost="0.4 s, 1.2% of the time")
    return watcher.run_id if watcher._recorder else registry.run(name).id


def test_a_line_at_the_start_and_a_summary_at_the_end(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    train(registry)
    start, end = capsys.readouterr().err.splitlines()
    assert start.startswith(
        "RepWatch: watches 2 of 2 layers with weights, from 1 to 2; 24 points; "
    )
    assert start.endswith("repwatch.db; no runs to compare with yet")
    assert "'own': snapshots at 1 step; 0.4 s, 1.2% of the time; no flags; no label yet." in end
    assert f"Next: repwatch show own -r {registry.path}" in end


def test_the_line_counts_the_runs_to_compare_with(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        watch(registry, f"run-{index}", steps=1)
        registry.label(f"run-{index}", "good" if index else "bad")
    assert capsys.readouterr().err == "", "verbose=False"
    train(registry)
    start, end = capsys.readouterr().err.splitlines()
    assert start.endswith("; 6 runs to compare with, 5 good: flags are on")
    assert "nearest landmarks: run-" in end
    registry.unlabel("run-5")
    train(registry, name="next")
    assert "7 runs to compare with, 4 good: landmark flags need 5 good ones" in (
        capsys.readouterr().err
    )


def test_where_the_log_shows_it_nothing_is_said_twice(
    registry: Registry, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="repwatch"):
        train(registry)
    assert capsys.readouterr().err == ""
    assert sum("no runs to compare with yet" in line for line in caplog.messages) == 1


def test_steps_that_wait_for_the_landmarks_are_mentioned_once(
    registry: Registry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.label(watch(registry, "good", steps=1), "good")
    learned, fit = threading.Event(), DriftMonitor.fit

    def learn_later(monitor: DriftMonitor, registry: Registry) -> None:
        assert learned.wait(60)
        fit(monitor, registry)

    monkeypatch.setattr(DriftMonitor, "fit", learn_later)
    monkeypatch.setattr(workers, "LONG_LEARNING", -1.0)
    watcher = Watcher(network(0), PROBE, registry=registry, run_name="own")
    watcher.start()
    watcher.snapshot(0, 0)
    watcher.snapshot(1, 1)
    learned.set()
    watcher.finish()
    assert capsys.readouterr().err.count("still learning from the landmarks") == 1


# Runs that are not compared


def test_a_run_of_other_points_learns_which_runs_it_is_not_compared_with(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(registry, "first", steps=1)
    other = ProbeSet(torch.randn(24, 6, generator=torch.Generator().manual_seed(9)))
    train(registry, other)
    (reason,) = [note for note in registry.run("own").notes if "compare" in note]
    assert reason in capsys.readouterr().err
    assert reason == (
        "'own' is not compared with the run 'first': they saw other points. To compare with them, "
        f'use their points: RepWatch(probe="{PROBE.fingerprint}").'
    )


def test_another_normalization_is_shown_by_means_and_spreads(registry: Registry) -> None:
    places, source = range(24), {"kinds": ["TensorDataset"], "lengths": [24], "wanted": 24}
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(9))
    one = ProbeSet(x, places=places, source=source)
    two = ProbeSet(0.5 + 0.25 * x, places=places, source=source)
    for name in ("a", "b", "c", "d"):
        watch(registry, name, probe=one, steps=1)
    run = registry.run(watch(registry, "own", probe=two, steps=1))
    reason = explain_incomparable(registry, run, two) or ""
    assert "4 runs (a, b, c and 1 more): they saw the same points, prepared in another" in reason
    mean, spread = float(x.mean()), float(x.std())
    assert f"mean {0.5 + 0.25 * mean:.3g}, spread {0.25 * spread:.3g} here; " in reason
    assert f"mean {mean:.3g}, spread {spread:.3g} there" in reason


@pytest.mark.parametrize("probe", [ProbeSet(torch.randn(24, 5)), ProbeSet(torch.arange(24))])
def test_runs_of_inputs_of_another_kind_are_not_spoken_of(
    registry: Registry, probe: ProbeSet
) -> None:
    watch(registry, "first", steps=1)
    run = registry.start_run("own", probe=probe)
    assert explain_incomparable(registry, run, probe) is None


def test_the_probe_set_of_most_runs_comes_first(registry: Registry) -> None:
    assert list(read_earlier_probes(registry)) == []
    assert registry.path is not None
    assert not registry.path.exists(), "nothing is made to read it"
    other = ProbeSet(torch.randn(24, 6))
    for name, probe in (("a", PROBE), ("b", PROBE), ("c", other)):
        watch(registry, name, probe=probe, steps=1)
    found = [probe.fingerprint for probe in read_earlier_probes(registry)]
    assert found == [PROBE.fingerprint, other.fingerprint]


def test_doctor_and_runs_show_what_does_not_compare(registry: Registry) -> None:
    watch(registry, "a", steps=1)
    watch(registry, "b", steps=1)
    assert not [finding for finding in examine(registry) if finding.subject == "probe sets"]
    listed = CliRunner().invoke(cli.app, ["runs", "-r", str(registry.path)])
    assert "probe set" not in listed.output
    watch(registry, "c", probe=ProbeSet(torch.randn(24, 6)), steps=1)
    (hint,) = [finding for finding in examine(registry) if finding.subject == "probe sets"]
    assert hint.level == "hint"
    assert "1 of 3 runs are not compared with any other run" in hint.message
    assert f'RepWatch(probe="{PROBE.fingerprint}")' in hint.message
    listed = CliRunner().invoke(cli.app, ["runs", "-r", str(registry.path)])
    assert f"probe set {PROBE.fingerprint}: 24 points, 2 runs" in listed.output


def test_runs_compare_with_runs_of_the_same_metric_only(registry: Registry) -> None:
    for name, metric in (("first", None), ("second", "cosine"), ("third", "cosine")):
        train(registry, name=name, metric=metric)
    first, second, third = (registry.run(name) for name in ("first", "second", "third"))
    assert first.probe == PROBE.fingerprint
    assert second.probe == third.probe != first.probe
    stored = registry.probe(second.probe)
    assert (stored.metric, stored.columns) == ("cosine", PROBE.columns)
    assert "cosine distances" in repr(stored)
    (snapshot,) = second.snapshots(layer="2")
    rows = network(0)(PROBE.inputs)
    # RDMs are stored in half precision.
    np.testing.assert_allclose(snapshot.rdm, rdm.from_activations(rows, "cosine"), rtol=1e-3)
    assert find_comparison(registry, third).runs == 1


def test_a_run_of_another_metric_says_how_it_would_compare(registry: Registry) -> None:
    train(registry, name="first")
    train(registry, metric="cosine")
    reason = (
        "'own' is not compared with the run 'first': its distances are cosine, theirs euclidean. "
        'To compare with them, take theirs: RepWatch(metric="euclidean").'
    )
    assert reason in registry.run("own").notes
