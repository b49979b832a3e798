"""The command line, called as a person would."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from repwatch import Registry, cli
from repwatch.cli import show
from repwatch.vitals.signs import LayerSigns
from tests.registry.helpers import flag_of
from tests.report_file import read_report
from tests.watch.helpers import landmark_registry, watch


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = landmark_registry(tmp_path_factory.mktemp("cli") / "repwatch.db")
    watch(made, "current")
    watch(made, "[red]evil[/red]\x1b[31m")
    return made


def call(registry: Registry, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, "--registry", str(registry.path)])


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["runs"],
        ["show"],
        ["label"],
        ["suggest-labels"],
        ["map"],
        ["report"],
        ["compare"],
        ["atlas"],
        ["check"],
        ["backtest"],
        ["directions"],
        ["purity"],
        ["export"],
        ["import"],
        ["prune"],
        ["doctor"],
    ],
)
def test_every_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_runs_lists_them_with_outcome_and_metrics(registry: Registry) -> None:
    payload = json.loads(call(registry, "runs", "--json").output)
    assert [run["name"] for run in payload][:2] == ["good-0", "bad-0"]
    assert payload[1]["cause"] == "learning rate too high"
    assert payload[0]["metrics"]["val_loss"] == 0.25
    assert "good-0" in call(registry, "runs").output


def test_runs_fits_a_narrow_terminal_and_cuts_no_name(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width, has_time in ((80, False), (120, True)):
        monkeypatch.setattr("repwatch.cli.runs.console.width", width)
        output = call(registry, "runs").output
        assert all(run.name in output for run in registry.runs() if "evil" not in run.name)
        assert "…" not in output
        assert ("started" in output) == has_time
        assert "learning rate too high" in output
        assert max(map(len, output.splitlines())) <= width


def test_untrusted_names_are_shown_as_they_are_written(registry: Registry) -> None:
    output = call(registry, "runs").output
    assert "\x1b[31m" not in output
    assert "[red]" in output.replace("\n", "")


def test_show_prints_layers_metrics_and_hyperparameters(registry: Registry) -> None:
    payload = json.loads(call(registry, "show", "current", "--json").output)
    assert payload["status"] == "finished"
    assert payload["layers"]["2"] == [0, 1, 2, 3]
    assert "val_loss" in call(registry, "show", "current").output


def test_show_begins_with_flags_and_vital_signs_and_marks_flagged_layers(
    registry: Registry,
) -> None:
    run = registry.run("current")
    evidence = {"rule": "dead-units", "layers": ["2"]}
    registry.add_flag(
        run.id, kind="vital", step=3, epoch=1, message="Units are dead.", evidence=evidence
    )
    payload = json.loads(call(registry, "show", "current", "--json").output)
    assert payload["vitals"]["2"]["near_zero"] < 0.5
    lines = call(registry, "show", "current").output.splitlines()
    places = [
        next(k for k, line in enumerate(lines) if word in line)
        for word in ("flag at step 3", "dimension", "Metrics")
    ]
    assert places == sorted(places)
    marked = next(k for k, line in enumerate(lines) if "! dead-units" in line)
    assert lines[marked - 1].split()[0] == "2"


def test_show_does_not_cut_the_names_of_layers_and_rules(registry: Registry) -> None:
    signs = [LayerSigns("bert.encoder.layer.0", dict.fromkeys(("dead", "near_zero"), 1.0))]
    evidence = {"rule": "exploding-activations", "layers": ["bert.encoder.layer.0"]}
    flag = flag_of(registry.run("current"), evidence=evidence)
    narrow = Console(width=80, file=io.StringIO())
    narrow.print(show._vitals_table(signs, [flag]))
    assert isinstance(narrow.file, io.StringIO)
    assert "bert.encoder.layer.0" in narrow.file.getvalue()
    assert "! exploding-activations" in narrow.file.getvalue()


def test_label_makes_a_landmark_and_takes_it_away(registry: Registry) -> None:
    assert call(registry, "label", "current", "bad", "--cause", "too much dropout").exit_code == 0
    assert registry.run("current").cause == "too much dropout"
    assert call(registry, "label", "current", "none").exit_code == 0
    assert registry.run("current").label is None


def test_a_label_for_a_run_that_is_not_there_names_the_nearest(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["repwatch", "label", "currant", "good", "--registry", str(registry.path)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert "current" in message
    assert "Traceback" not in message


def test_suggested_labels_are_applied_only_when_asked_and_never_over_a_persons(
    tmp_path: Path,
) -> None:
    made = Registry(tmp_path / "repwatch.db")
    for index, name in enumerate(["manual", "fine", "good", "slow", "[red]lost[/red]\x1b[31m"]):
        watch(made, name, steps=4 if index < 3 else 1)
    made.label("manual", "bad", "a person's label")
    words = ["suggest-labels", "--metric", "val_loss", "--mode", "min"]
    payload = json.loads(call(made, *words, "--json").output)
    assert [suggestion["label"] for suggestion in payload["suggestions"]] == ["good"] * 3 + [
        "bad"
    ] * 2
    assert payload["present"]["manual"] == "bad"
    shown = call(made, *words).output
    assert "suggest-labels --metric val_loss --mode min" in shown
    assert "--apply" in shown
    assert "\x1b[31m" not in shown
    assert [run.name for run in made.runs() if run.label] == ["manual"]
    assert (
        "Labeled 4 of 5 runs; 1 already labeled by a person" in call(made, *words, "--apply").output
    )
    labels = {run.name: (run.label, run.automatic) for run in made.runs()}
    assert labels["manual"] == ("bad", False)
    assert labels["fine"] == ("good", True)
    assert labels["slow"] == ("bad", True)
    assert call(made, "suggest-labels", "--metric", "val_los", "--mode", "min").exit_code != 0


def test_map_writes_one_file_and_never_overwrites_unasked(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "map.html"
    result = call(registry, "map", "--out", str(out), "--method", "pca")
    assert result.exit_code == 0, result.output
    first = out.read_bytes()
    assert b'id="scene"' in first
    assert call(registry, "map", "--out", str(out), "--method", "pca").exit_code != 0
    assert out.read_bytes() == first
    assert call(registry, "map", "--out", str(out), "--overwrite").exit_code == 0


def test_report_writes_one_file_and_never_overwrites_unasked(
    registry: Registry, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    words = ["report", "current", "--out", str(out), "--distance", "cosine"]
    result = call(registry, *words)
    assert result.exit_code == 0, result.output
    first = out.read_bytes()
    assert read_report(out)["page"]["current"] == ["current"]
    assert call(registry, *words).exit_code != 0
    assert out.read_bytes() == first
    assert call(registry, *words, "--overwrite").exit_code == 0
    assert call(registry, "report", "nobody", "--out", str(tmp_path / "x.html")).exit_code != 0
    assert not (tmp_path / "x.html").exists()


def test_map_as_json_is_the_scene(registry: Registry) -> None:
    scene = json.loads(call(registry, "map", "--json", "--method", "pca").output)
    assert scene["version"] == 2
    assert scene["method"] == "pca"


@pytest.mark.parametrize("distance", ["cka", "spearman", "pearson"])
def test_map_takes_any_distance_and_the_layers_that_are_chosen(
    registry: Registry, distance: str
) -> None:
    words = ["map", "--json", "--distance", distance, "--method", "pca", "--layer", "2"]
    result = call(registry, *words)
    assert result.exit_code == 0, result.output
    scene = json.loads(result.output)
    assert scene["distance"] == distance
    transformed = json.loads(call(registry, *words, "--transform", "near").output)
    assert transformed["distance"] == f"{distance}-near"
    assert scene["layers"] == ["2"]
    assert len(scene["snapshots"]) == len(registry.snapshots(layer="2"))
    wrong = call(registry, "map", "--json", "--layer", "nowhere")
    assert wrong.exit_code != 0
    assert "Got snapshots of other layers only: 1, 2, input" in str(wrong.exception)


def test_a_report_without_maps_of_each_layer_is_smaller(registry: Registry, tmp_path: Path) -> None:
    sizes = []
    for option in ("--each-layer", "--no-each-layer"):
        out = tmp_path / f"report{option}.html"
        words = ["report", "current", "--out", str(out), "--distance", "spearman", option]
        result = call(registry, *words)
        assert result.exit_code == 0, result.output
        sizes.append(len(read_report(out)["page"]["maps"]))
    assert sizes == [2 * 4, 2]


def test_reading_commands_do_not_make_a_registry(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    for words in (["runs"], ["suggest-labels", "--apply"]):
        result = CliRunner().invoke(cli.app, [*words, "--registry", str(missing)])
        assert result.exit_code != 0
        assert not missing.exists()
