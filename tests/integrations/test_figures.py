from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import pytest

from repwatch.errors import ConfigurationError
from repwatch.integrations.plotly_figures import (
    SENTENCE,
    map_figure,
    palette,
    render_html,
    strip_figure,
    write_html,
)
from repwatch.page import MapScene, RunStrip, build_map
from tests.maps.fake_snapshots import LAYERS, FakeRun, FakeSnapshot, population

if TYPE_CHECKING:
    from pathlib import Path

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(name="scene")
def make_scene() -> MapScene:
    people = population(diverged=1)
    return build_map(people.snapshots, people.positions, **people.arguments())


def traces(figure: go.Figure, role: str) -> list[Any]:
    return [trace for trace in figure.data if trace.meta["role"] == role]


def texts(value: Any) -> list[str]:
    """Every string in a figure's dictionary."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, item in value.items() if key != "meta" for text in texts(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in texts(item)]
    return []


def test_the_map_has_a_point_for_each_snapshot(scene: MapScene) -> None:
    figure = map_figure(scene)
    points = [len(trace.x) for role in ("landmark", "current") for trace in traces(figure, role)]
    assert sum(points) == len(scene["snapshots"])


def test_landmarks_are_one_trace_for_each_outcome_and_small_and_pale(scene: MapScene) -> None:
    figure = map_figure(scene)
    landmarks = traces(figure, "landmark")
    assert [trace.name for trace in landmarks] == [place["name"] for place in scene["causes"]]
    for trace in landmarks:
        edge, fills = trace.marker.line.color, set(trace.marker.color)
        assert all(palette.luminance(fill) > palette.luminance(edge) for fill in fills)
    current = traces(figure, "current")
    assert all(max(trace.marker.size) > landmarks[0].marker.size for trace in current)


def test_layers_differ_by_shape_in_landmarks_and_current_run_alike(scene: MapScene) -> None:
    figure = map_figure(scene)
    shapes = {trace.name: trace.marker.symbol for trace in traces(figure, "current")}
    assert list(shapes) == list(LAYERS)
    assert len(set(shapes.values())) == len(LAYERS)
    landmark = traces(figure, "landmark")[0]
    drawn = {
        LAYERS[code]: symbol
        for code, symbol in zip(landmark.customdata, landmark.marker.symbol, strict=True)
    }
    assert drawn == shapes


def test_the_newest_point_is_the_largest_and_carries_the_layer_name(scene: MapScene) -> None:
    for trace in traces(map_figure(scene), "current"):
        assert list(trace.customdata) == sorted(trace.customdata)
        assert np.argmax(trace.marker.size) == len(trace.x) - 1
        assert [text for text in trace.text if text] == [trace.name]


def test_the_line_grows_darker_and_joins_all_points_of_a_layer(scene: MapScene) -> None:
    figure = map_figure(scene)
    points = traces(figure, "current")[1]
    lines = [line for line in traces(figure, "line") if line.meta["layer"] == 1]
    brightness = [sum(bytes.fromhex(line.line.color[1:])) for line in lines]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness)) == palette.SHADES
    walked = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    assert list(dict.fromkeys(walked)) == list(zip(points.x, points.y, strict=True))


def test_a_step_cuts_the_current_run_and_leaves_landmarks_and_frame_alone(scene: MapScene) -> None:
    whole, cut = map_figure(scene), map_figure(scene, step=100)
    assert all(max(trace.customdata) == 100 for trace in traces(cut, "current"))
    assert [len(trace.x) for trace in traces(cut, "landmark")] == [
        len(trace.x) for trace in traces(whole, "landmark")
    ]
    assert cut.layout.xaxis.range == whole.layout.xaxis.range
    assert cut.layout.yaxis.range == whole.layout.yaxis.range


def test_axes_mean_nothing_so_none_are_drawn_and_both_have_one_scale(scene: MapScene) -> None:
    layout = map_figure(scene).layout
    assert not layout.xaxis.visible
    assert not layout.yaxis.visible
    assert (layout.yaxis.scaleanchor, layout.yaxis.scaleratio) == ("x", 1)
    assert layout.title.subtitle.text.replace("<br>", " ") == SENTENCE


def test_hovering_shows_run_layer_time_outcome_metric_and_settings(scene: MapScene) -> None:
    trace = traces(map_figure(scene), "landmark")[1]
    assert trace.hovertext[-1].split("<br>") == [
        "<b>learning-rate-too-high-1</b>",
        "head · epoch 8 · step 1,600",
        "bad: learning rate too high",
        "last val_loss 0.25",
        "lr=0.1, batch_size=32, optimizer=SGD",
    ]


def test_markup_from_outside_is_escaped_everywhere() -> None:
    snapshots = [
        FakeSnapshot(0, f"{MARKUP}current", f"{MARKUP}layer", 0),
        FakeSnapshot(1, f"{MARKUP}old", f"{MARKUP}layer", 0, label="bad", cause=f"{MARKUP}cause"),
    ]
    hparams = {f"{MARKUP}key": f"{MARKUP}value"}
    runs = [
        FakeRun(snapshot.run, snapshot.label, snapshot.cause, "finished", hparams, {MARKUP: 1.0})
        for snapshot in snapshots
    ]
    scene = build_map(
        snapshots, np.eye(2), current=snapshots[0].run, runs=runs, metric=MARKUP, notes=[MARKUP]
    )
    found = texts(map_figure(scene).to_dict())
    assert not [text for text in found if "<img" in text]
    assert sum("&lt;img" in text for text in found) >= 8


def test_text_is_one_line_and_not_endless() -> None:
    scene = build_map([FakeSnapshot(0, "a\nb" + "c" * 500, "fc", 0)], [[0, 0]])
    name = map_figure(scene).data[0].hovertext[0].split("<br>")[0]
    assert name.startswith("<b>a bccc")
    assert len(name) < 110


def test_dark_figures_use_the_dark_color_of_each_light_one(scene: MapScene) -> None:
    light, dark = map_figure(scene), map_figure(scene, dark=True)
    colors = re.compile(r"^#[0-9A-F]{6}$")
    used = [text for text in texts(light.to_dict()) if colors.match(text)]
    assert set(used) <= set(palette.DARK)
    assert [palette.DARK[color] for color in used] == [
        text for text in texts(dark.to_dict()) if colors.match(text)
    ]


def test_no_two_light_colors_are_the_same() -> None:
    ramps = [shade for number in range(3) for shade in palette.ramp(number)]
    causes = [color for hue in palette.CAUSES for color in hue]
    assert len(set(ramps + causes)) == len(ramps + causes)


def test_names_of_outcomes_can_be_read_on_both_pages() -> None:
    for hue in (palette.GOOD, palette.UNLABELED, *palette.CAUSES):
        assert palette.contrast(hue.text, palette.PAPER) >= 4.5
        assert palette.contrast(palette.DARK[hue.text], palette.DARK[palette.PAPER]) >= 4.5


def test_many_landmarks_are_drawn_by_webgl() -> None:
    snapshots = [FakeSnapshot(index, "old", "fc", index) for index in range(1500)]
    figure = map_figure(build_map(snapshots, np.random.default_rng(0).normal(size=(1500, 2))))
    assert [trace.type for trace in traces(figure, "landmark")] == ["scattergl"]
    assert np.isfinite(figure.data[0].x).all()


def test_an_empty_map_and_a_map_of_one_point_can_be_drawn() -> None:
    assert len(map_figure(build_map([], [])).data) == 0
    figure_of_one = map_figure(
        build_map([FakeSnapshot(0, "a", "fc", 0)], [[3.0, 3.0]], current="a")
    )
    assert figure_of_one.layout.xaxis.range == (2.0, 4.0)


def test_a_scene_of_another_version_is_refused(scene: MapScene) -> None:
    with pytest.raises(ConfigurationError, match="version 2, but got kind 'map', version 1"):
        map_figure({**scene, "version": 1})


def test_the_page_is_one_file_that_may_not_ask_the_network(scene: MapScene, tmp_path: Path) -> None:
    path = write_html(scene, tmp_path / "map.html", title="A & B")
    page = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "<title>A &amp; B</title>" in page
    assert "plotly.js v" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    both = render_html(scene, map_figure(scene))
    assert both.count("plotly.js v") == 1
    assert both.count("Plotly.newPlot(") == page.count("Plotly.newPlot(") + 1


def test_a_page_that_exists_is_only_replaced_on_request(scene: MapScene, tmp_path: Path) -> None:
    path = tmp_path / "map.html"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="overwrite=True"):
        write_html(scene, path)
    assert path.read_text() == "mine"
    write_html(map_figure(scene), path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_into_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="existing folder"):
        write_html(build_map([], []), tmp_path / "no" / "map.html")


def test_a_page_that_fails_half_way_leaves_the_old_one_and_nothing_else(
    scene: MapScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "map.html"
    path.write_text("mine")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_html(scene, path, overwrite=True)
    assert [child.name for child in tmp_path.iterdir()] == ["map.html"]
    assert path.read_text() == "mine"


STRIP: RunStrip = {
    "run": "<b>mine</b>",
    "kind": "good",
    "layers": ["fc1", "fc2"],
    "steps": [0, 50, 1000],
    "values": [[1.0, 2.5, 4.0], [None, 1.2, 1.1]],
    "flags": [("fc2", 50), (None, 1000)],
}


def test_the_strip_has_a_cell_for_each_layer_and_step_and_marks_flags() -> None:
    cells, flags = strip_figure(STRIP).data
    assert [list(row) for row in cells.z] == STRIP["values"]
    assert list(cells.y) == STRIP["layers"]
    assert list(zip(flags.x, flags.y, strict=True)) == [(1, "fc2"), (2, "fc1"), (2, "fc2")]
    layout = strip_figure(STRIP).layout
    assert list(layout.xaxis.ticktext) == ["0", "50", "1,000"]
    assert "spread" in layout.title.subtitle.text
    assert "<b>mine" not in layout.title.text
    assert "&lt;b&gt;mine" in layout.title.text


def test_a_strip_of_changes_says_so_and_one_without_cells_can_be_drawn() -> None:
    figure = strip_figure({**STRIP, "kind": "change", "flags": []})
    assert "snapshot before" in figure.layout.title.subtitle.text
    assert len(figure.data) == 1
    empty: RunStrip = {**STRIP, "layers": [], "steps": [], "values": [], "flags": []}
    assert len(strip_figure(empty).data) == 1
