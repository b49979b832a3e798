"""What a Registry stores, it gives back; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
import torch

from repwatch.errors import (
    ConfigurationError,
    LabelError,
    ProbeError,
    ProbeMismatchError,
    RegistryError,
    RunExistsError,
    RunNotFoundError,
)
from repwatch.probe import ProbeSet
from repwatch.registry import Registry

from .helpers import snapshot_of


class TestRuns:
    def test_a_new_run_comes_back_as_it_was_given(self, registry, probe):
        hparams = {
            "lr": 0.1,
            "layers": [64, 64],
            "optimizer.name": "sgd",
            "optimizer.nesterov": True,
        }
        run = registry.start_run(
            "net", probe=probe, hparams=hparams, versions={"torch": "2"}, monitor="acc", mode="max"
        )
        assert registry.run("net") == run
        assert (run.name, run.status, run.hparams) == ("net", "running", hparams)
        assert (run.versions, run.monitor, run.mode) == ({"torch": "2"}, "acc", "max")
        assert run.probe == probe.fingerprint
        assert run.started_at.utcoffset() == timedelta(0)
        assert (run.label, run.cause, run.automatic, run.flags) == (None, None, False, ())

    def test_runs_are_listed_oldest_first(self, registry, probe):
        for name in ("c", "a", "b"):
            registry.start_run(name, probe=probe)
        assert [run.name for run in registry.runs()] == ["c", "a", "b"]

    def test_runs_are_filtered_by_status_label_and_probe(self, registry, probe):
        good, bad, other = (registry.start_run(name, probe=probe) for name in "gbo")
        registry.label(good, "good")
        registry.label(bad, "bad")
        registry.finish_run(other.id, "stopped")
        assert [run.name for run in registry.runs(label="good")] == ["g"]
        assert [run.name for run in registry.runs(status="stopped")] == ["o"]
        assert registry.runs(probe="another") == []
        assert [run.name for run in registry.landmarks(probe.fingerprint)] == ["g", "b"]

    def test_a_run_without_a_name_gets_a_readable_one(self, registry, probe):
        names = {registry.start_run(None, probe=probe).name for _ in range(3)}
        assert len(names) == 3
        assert all(len(name.split("-")) == 3 for name in names)

    @pytest.mark.parametrize("name", ["日本語 🦔", "a/b\\c 'quoted' \"\"; --", "%_*?", "x" * 5000])
    def test_a_name_is_any_text(self, registry, probe, name):
        run = registry.start_run(name, probe=probe)
        assert run.name == name
        assert registry.run(name).id == run.id

    @pytest.mark.parametrize(
        "name", ["nul \x00 inside", "lone \ud800 surrogate", "line\nend", "\x1b[31mred"]
    )
    def test_a_name_that_no_database_takes_is_stored_with_escapes(self, registry, probe, name):
        run = registry.start_run(name, probe=probe)
        assert registry.run(name).id == run.id
        with pytest.raises(RunExistsError):
            registry.start_run(name, probe=probe)

    @pytest.mark.parametrize("name", ["", "  ", 7])
    def test_an_empty_name_is_refused(self, registry, probe, name):
        with pytest.raises(ConfigurationError, match="run_name must be some text"):
            registry.start_run(name, probe=probe)

    def test_a_taken_name_raises_and_suggests_a_free_one(self, registry, probe, run):
        registry.start_run("first-2", probe=probe)
        with pytest.raises(RunExistsError, match="'first-3'"):
            registry.start_run("first", probe=probe)
        assert len(registry.runs()) == 2

    def test_a_run_is_found_by_id_by_beginning_of_id_and_by_name(self, registry, run):
        assert registry.run(run.id) == registry.run(run.id[:4]) == registry.run("first") == run

    def test_an_ambiguous_beginning_of_an_id_raises(self, registry, probe):
        for end in "12":
            registry.start_run(None, probe=probe, run_id=f"abcd{end}")
        with pytest.raises(RunNotFoundError, match="begins the ids of 2 runs"):
            registry.run("abcd")

    def test_an_unknown_run_names_the_nearest(self, registry, probe):
        for name in ("baseline", "wide-net", "deep-net"):
            registry.start_run(name, probe=probe)
        with pytest.raises(RunNotFoundError, match="nearest: 'baseline'"):
            registry.run("Basline")
        with pytest.raises(RunNotFoundError, match="newest runs: 'deep-net'"):
            registry.run("zzz")

    def test_wildcards_find_no_run(self, registry, run):
        with pytest.raises(RunNotFoundError):
            registry.run("%%%%")

    def test_an_empty_registry_reports_it(self, registry):
        assert registry.runs() == []
        with pytest.raises(RunNotFoundError, match="no runs yet"):
            registry.run("any")

    def test_a_run_is_not_a_number(self, registry):
        with pytest.raises(ConfigurationError, match="its name or its id, got int"):
            registry.run(3)

    def test_a_run_ends_with_a_status_and_a_time(self, registry, run):
        registry.finish_run(run.id, "finished")
        ended = registry.run(run.id)
        assert ended.status == "finished"
        assert ended.ended_at >= ended.started_at

    def test_a_run_cannot_end_as_running(self, registry, run):
        with pytest.raises(ConfigurationError, match="'finished', 'stopped', 'failed'"):
            registry.finish_run(run.id, "running")

    def test_a_silent_run_is_read_as_dead_until_it_gives_a_sign(self, location, registry, run):
        impatient = Registry(location, dead_after=0.0)
        assert impatient.run(run.id).status == "dead"
        assert [dead.id for dead in impatient.runs(status="dead")] == [run.id]
        assert registry.run(run.id).status == "running"
        before = registry.run(run.id).heartbeat_at
        registry.heartbeat(run.id)
        assert registry.run(run.id).heartbeat_at > before
        impatient.close()

    def test_a_deleted_run_takes_everything_along(self, registry, run, probe):
        retained = registry.start_run("retained", probe=probe)
        for recorded in (run, retained):
            registry.add_snapshots(recorded.id, [snapshot_of()])
            registry.add_metrics(recorded.id, 0, 0, {"loss": 1.0})
            registry.add_flag(recorded.id, kind="drift", step=0, epoch=0, message="m")
            registry.label(recorded, "good")
        gone = registry.snapshots(run=run)
        registry.delete_run(run)
        assert [left.run for left in registry.snapshots()] == ["retained"]
        assert [left.metrics for left in registry.runs()] == [{"loss": 1.0}]
        assert len(registry.run("retained").flags) == 1
        with pytest.raises(RegistryError, match="no longer in the registry"):
            registry.rdms(gone)

    def test_an_id_of_a_deleted_snapshot_is_never_given_again(self, registry, run, probe):
        registry.add_snapshots(run.id, [snapshot_of()])
        (old,) = registry.snapshots()
        registry.delete_run(run)
        registry.add_snapshots(registry.start_run("next", probe=probe).id, [snapshot_of()])
        assert registry.snapshots()[0].id > old.id


class TestResuming:
    def test_a_run_id_continues_its_run(self, registry, probe, run):
        registry.add_snapshots(run.id, [snapshot_of(step=7)])
        registry.finish_run(run.id, "stopped")
        again = registry.start_run(None, probe=probe, hparams={"lr": 0.2, "wd": 1}, run_id=run.id)
        assert (again.id, again.name, again.status, again.ended_at) == (
            run.id,
            "first",
            "running",
            None,
        )
        assert again.hparams == {"lr": 0.2, "wd": 1}
        assert again.started_at == run.started_at
        assert again.last_step == 7
        assert len(again.snapshots()) == 1

    def test_an_unknown_run_id_becomes_a_new_run(self, registry, probe):
        run = registry.start_run("from elsewhere", probe=probe, run_id="its-own-id")
        assert run.id == "its-own-id"

    def test_a_name_continues_its_run_when_asked_to(self, registry, probe, run):
        assert registry.start_run("first", probe=probe, on_exists="resume").id == run.id
        assert registry.start_run("second", probe=probe, on_exists="resume").id != run.id

    def test_a_name_that_is_taken_gets_a_number_when_asked_to(self, registry, probe, run):
        again = [registry.start_run("first", probe=probe, on_exists="number") for _ in range(2)]
        assert [other.name for other in again] == ["first-2", "first-3"]
        assert registry.start_run("new", probe=probe, on_exists="number").name == "new"
        continued = registry.start_run("new", probe=probe, run_id=run.id, on_exists="number")
        assert (continued.id, continued.name) == (run.id, "first")

    def test_a_continued_run_cannot_take_the_name_of_another(self, registry, probe, run):
        registry.start_run("second", probe=probe)
        with pytest.raises(RunExistsError, match="'second'"):
            registry.start_run("second", probe=probe, run_id=run.id)

    def test_a_continued_run_retains_its_probe_set(self, registry, probe, run):
        other = ProbeSet(torch.ones(6, 2))
        with pytest.raises(ProbeMismatchError) as error:
            registry.start_run("first", probe=other, on_exists="resume")
        assert probe.fingerprint in str(error.value)
        assert other.fingerprint in str(error.value)

    def test_a_continued_run_retains_its_label(self, registry, probe, run):
        registry.label(run, "bad", "noise")
        assert registry.start_run(None, probe=probe, run_id=run.id).cause == "noise"

    def test_other_words_for_on_exists_are_refused(self, registry, probe):
        with pytest.raises(ConfigurationError, match="'resume', 'number', got 'overwrite'"):
            registry.start_run("x", probe=probe, on_exists="overwrite")


class TestHyperparameters:
    def test_numpy_and_torch_numbers_become_python_numbers(self, registry, probe):
        given = {
            "a": np.int64(3),
            "b": np.float32(0.5),
            "c": np.bool_(True),
            "d": torch.tensor(2.5),
            "e": np.arange(3),
            "f": (1, 2),
        }
        stored = registry.start_run("n", probe=probe, hparams=given).hparams
        assert stored == {"a": 3, "b": 0.5, "c": True, "d": 2.5, "e": [0, 1, 2], "f": [1, 2]}
        assert [type(stored[key]) for key in "abcd"] == [int, float, bool, float]

    def test_what_json_does_not_know_is_stored_as_its_repr(self, registry, probe):
        given = {"loss": torch.nn.functional.relu, "kind": dict, "when": timedelta(1), "set": {1}}
        stored = registry.start_run("r", probe=probe, hparams=given).hparams
        assert stored == {
            "loss": "torch.nn.functional.relu",
            "kind": "builtins.dict",
            "when": "datetime.timedelta(days=1)",
            "set": "{1}",
        }

    def test_nan_and_infinities_survive_anywhere(self, registry, probe):
        given = {"clip": math.inf, "deep": [{"x": -math.inf}, math.nan]}
        stored = registry.start_run("i", probe=probe, hparams=given).hparams
        assert stored["clip"] == math.inf
        assert stored["deep"][0] == {"x": -math.inf}
        assert math.isnan(stored["deep"][1])


class TestMetrics:
    def test_the_last_value_by_step_is_in_metrics(self, registry, run):
        registry.add_metrics(run.id, np.int64(20), 2, {"loss": np.float32(0.25), "acc": 0.5})
        registry.add_metrics(run.id, 10, 1, {"loss": torch.tensor(0.75)})
        again = registry.run(run.id)
        assert again.metrics == {"loss": 0.25, "acc": 0.5}
        assert again.history("loss") == [(10, 1, 0.75), (20, 2, 0.25)]
        assert again.history("none") == []
        assert again.last_step == 20

    def test_nan_and_infinities_come_back_as_they_are(self, registry, run):
        for step, value in enumerate([math.inf, -math.inf, math.nan]):
            registry.add_metrics(run.id, step, 0, {"loss": value})
        values = [value for _, _, value in run.history("loss")]
        assert values[:2] == [math.inf, -math.inf]
        assert math.isnan(values[2])
        assert math.isnan(registry.run(run.id).metrics["loss"])

    def test_a_metric_of_the_same_step_is_replaced(self, registry, run):
        registry.add_metrics(run.id, 1, 0, {"loss": math.nan})
        registry.add_metrics(run.id, 1, 0, {"loss": 2.0})
        assert run.history("loss") == [(1, 0, 2.0)]

    def test_each_run_has_its_own(self, registry, probe, run):
        other = registry.start_run("other", probe=probe)
        registry.add_metrics(run.id, 1, 0, {"loss": 1.0})
        registry.add_metrics(other.id, 5, 0, {"loss": 5.0})
        assert [run.metrics["loss"] for run in registry.runs()] == [1.0, 5.0]

    def test_what_is_no_number_is_refused_by_name(self, registry, run):
        with pytest.raises(ConfigurationError, match="metric 'confusion' must be one number"):
            registry.add_metrics(run.id, 1, 0, {"confusion": torch.ones(3)})

    def test_metrics_of_an_unknown_run_are_refused(self, registry):
        with pytest.raises(RunNotFoundError):
            registry.add_metrics("nobody", 1, 0, {"loss": 1.0})


class TestFlags:
    def test_a_flag_retains_its_reasons(self, registry, run):
        flag = registry.add_flag(
            run.id,
            kind="drift",
            step=3,
            epoch=1,
            layer="fc",
            message="going the way of …",
            cause="learning rate too high",
            probability=np.float32(0.75),
            evidence={"nearest": ["a", "b"], "distance": np.float64(0.5), "outside": math.inf},
        )
        assert registry.run(run.id).flags == (flag,)
        assert flag.probability == 0.75
        assert flag.evidence == {"nearest": ["a", "b"], "distance": 0.5, "outside": math.inf}

    def test_flags_are_in_the_order_they_were_raised(self, registry, run):
        for message in ("one", "two"):
            registry.add_flag(run.id, kind="diverged", step=0, epoch=0, message=message)
        assert [flag.message for flag in registry.run(run.id).flags] == ["one", "two"]

    def test_a_flag_of_an_unknown_run_is_refused(self, registry):
        with pytest.raises(RunNotFoundError):
            registry.add_flag("nobody", kind="drift", step=0, epoch=0, message="")


class TestLabels:
    def test_a_label_makes_a_landmark(self, registry, run):
        labeled = registry.label("first", "bad", cause="learning rate too high")
        assert labeled == registry.run("first")
        assert (labeled.label, labeled.cause) == ("bad", "learning rate too high")
        assert registry.label(run, "good").cause is None
        assert registry.unlabel(run).label is None
        assert registry.landmarks(run.probe) == []

    @pytest.mark.parametrize(
        ("label", "cause", "message"),
        [
            ("fine", None, "'good' or 'bad', got 'fine'"),
            ("good", "noise", "A good run has no cause"),
            ("bad", " ", "A cause is a few words"),
            ("bad", 3, "A cause is a few words"),
        ],
    )
    def test_an_empty_label_is_refused(self, registry, run, label, cause, message):
        with pytest.raises(LabelError, match=message):
            registry.label(run, label, cause)
        assert registry.run(run.id).label is None

    def test_a_label_for_a_run_that_is_not_there_names_the_nearest(self, registry, run):
        with pytest.raises(RunNotFoundError, match="'first'"):
            registry.label("frist", "good")

    def test_an_automatic_label_does_not_replace_a_persons(self, registry, run):
        assert registry.label(run, "good", automatic=True).automatic
        assert registry.label(run, "bad", "noise", automatic=True).cause == "noise"
        registry.label(run, "good")
        labeled = registry.label(run, "bad", automatic=True)
        assert (labeled.label, labeled.automatic) == ("good", False)


class TestProbeSets:
    def test_a_probe_set_comes_back_whole(self, registry, probe):
        registry.add_probe(probe)
        again = registry.probe(probe.fingerprint)
        assert again.fingerprint == probe.fingerprint
        assert (again.columns, again.texts, again.links) == (
            probe.columns,
            probe.texts,
            probe.links,
        )

    def test_a_probe_set_is_stored_once(self, registry, probe):
        registry.add_probe(probe)
        registry.add_probe(probe)
        registry.start_run("a", probe=probe)
        (info,) = registry.probes()
        assert (info.fingerprint, info.name, info.points, info.runs) == (
            probe.fingerprint,
            "six",
            6,
            1,
        )
        assert info.used_at > info.created_at

    def test_what_a_person_sees_is_read_without_the_inputs(self, registry, probe):
        registry.add_probe(probe)
        points = registry.points(probe.fingerprint)
        assert [point.point for point in points] == list(range(6))
        assert points[1].columns == {"label": 1, "weight": None}
        assert (points[1].text, points[1].link) == ("point 1", "https://example.org/1")

    def test_the_shared_probe_set_is_the_one_used_last(self, registry, probe):
        other = ProbeSet(torch.ones(3, 2))
        registry.add_probe(probe)
        registry.add_probe(other)
        assert registry.probe().fingerprint == other.fingerprint
        registry.start_run("again", probe=probe)
        assert registry.probe().fingerprint == probe.fingerprint

    def test_a_stored_probe_set_gets_columns_and_images_later(self, registry, run, probe):
        images = np.zeros((6, 4, 4), dtype=np.uint8)
        richer = ProbeSet(probe.inputs, columns={"kind": list("abcabc")}, images=images)
        registry.add_probe(richer)
        assert "kind" not in registry.probe(run.probe).columns
        registry.add_probe(richer, replace=True)
        stored = registry.probe(run.probe)
        assert stored.columns == {"kind": list("abcabc")}
        assert stored.images is not None
        assert [point.columns["kind"] for point in registry.points(run.probe)] == list("abcabc")
        assert registry.run(run.name).probe == richer.fingerprint

    def test_an_unknown_probe_set_is_reported_with_the_known_ones(self, registry, probe):
        with pytest.raises(ProbeError, match="holds no probe set yet"):
            registry.probe()
        registry.add_probe(probe)
        with pytest.raises(ProbeError, match=probe.fingerprint):
            registry.probe("feedbeef")
        with pytest.raises(ProbeError, match=probe.fingerprint):
            registry.points("feedbeef")


def test_a_space_is_stored_by_key(registry):
    assert registry.load_space("all layers") is None
    registry.save_space("all layers", b"\x00one")
    registry.save_space("all layers", b"two\xff")
    assert registry.load_space("all layers") == b"two\xff"
