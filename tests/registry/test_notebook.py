"""Runs, registries and reports in a notebook, and a run in one line."""

from __future__ import annotations

import re
from pathlib import Path

from repwatch import Registry
from repwatch.page import write_report
from tests.watch.helpers import PROBE, watch

NASTY = "<script>alert('x')</script>"


def nasty_registry(path: Path) -> Registry:
    registry = Registry(path)
    run = registry.start_run(
        NASTY,
        probe=PROBE,
        hparams={"lr": 0.1, f"a{NASTY}": NASTY, **{f"x{i}": i for i in range(200)}},
        monitor="val_loss",
    )
    registry.add_metrics(run.id, 3, 0, {"val_loss": 0.25, NASTY: 1.0})
    registry.add_notes(run.id, [f"note {NASTY}"])
    registry.label(run, "bad", NASTY)
    return registry


def test_a_run_is_one_line_and_a_table_without_markup_of_others(tmp_path: Path) -> None:
    run = nasty_registry(tmp_path / "runs.db").runs()[0]
    line = repr(run)
    assert len(line) < 100
    assert "\n" not in line
    assert "running" in line
    assert "bad" in line
    table = run._repr_html_()
    assert "<script" not in table
    assert "&lt;script&gt;" in table
    assert '<td style="text-align:left">lr</td>' in table
    assert table.count("<tr>") < 100, "200 hyperparameters are not all shown"


def test_a_registry_is_a_table_of_its_newest_runs(tmp_path: Path) -> None:
    registry = nasty_registry(tmp_path / "runs.db")
    for index in range(21):
        registry.start_run(f"later-{index}", probe=PROBE)
    table = registry._repr_html_()
    assert "22 runs" in table
    assert table.index("later-20") < table.index("later-2<")
    assert "later-0<" not in table
    assert "<script" not in table
    assert "val_loss 0.25" in nasty_registry(tmp_path / "one.db")._repr_html_()
    assert "0 runs" in Registry(tmp_path / "empty.db").create()._repr_html_()


def test_a_report_is_a_path_and_shows_itself_apart_from_the_notebook(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "runs.db")
    watch(registry, "one")
    report = write_report(
        registry,
        tmp_path / "page.html",
        distances=["cosine"],
        methods=["pca"],
        each_layer=False,
        title=NASTY,
    )
    assert isinstance(report, Path)
    assert report == tmp_path / "page.html"
    frame = report._repr_html_()
    assert re.match(r'<iframe sandbox="allow-scripts allow-downloads"[^<>]*></iframe>$', frame)
    assert "allow-same-origin" not in frame
    assert (report.parent / "page.html").exists()
