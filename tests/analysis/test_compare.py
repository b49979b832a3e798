"""Two runs side by side: what is alike inside, what is not, and how it is described."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from repwatch import ProbeSet, Registry, cli, rdm, similarity
from repwatch.analysis.compare import ALIKE, compare_runs
from repwatch.errors import ConfigurationError, DivergedRDMError, ProbeMismatchError
from repwatch.page import write_comparison
from repwatch.registry import NewSnapshot, Run

POINTS = 24
LAYERS = ("input", "body.0", "body.1", "head")


def activations(layer: str, seed: int = 0) -> np.ndarray:
    """(24, 6) of a layer: the same for the same name and seed."""
    generator = np.random.default_rng([seed, *map(ord, layer)])
    return generator.normal(size=(POINTS, 6))


def rotated(X: np.ndarray, seed: int) -> np.ndarray:
    """The same representation in other neurons."""
    generator = np.random.default_rng(seed)
    return X @ np.linalg.qr(generator.normal(size=(6, 6)))[0]


class Book:
    """A registry, and a short way to write runs into it."""

    def __init__(self, path: Path) -> None:
        self.registry = Registry(path)
        self.probe = ProbeSet(np.random.default_rng(0).normal(size=(POINTS, 3)))

    def run(
        self,
        name: str,
        layers: dict[str, np.ndarray | None] | None = None,
        *,
        steps: tuple[int, ...] = (0, 10),
        metric: tuple[str, float] | None = None,
        label: str | None = None,
        mode: str = "min",
        probe: ProbeSet | None = None,
    ) -> Run:
        layers = layers or {layer: rotated(activations(layer), len(name)) for layer in LAYERS}
        monitor = metric[0] if metric else None
        run = self.registry.start_run(name, probe=probe or self.probe, monitor=monitor, mode=mode)
        for step in steps:
            new = [
                NewSnapshot(layer, step, 0, depth, None if X is None else rdm.from_activations(X))
                for depth, (layer, X) in enumerate(layers.items())
            ]
            self.registry.add_snapshots(run.id, new)
        if metric:
            self.registry.add_metrics(run.id, steps[-1], 0, dict([metric]))
        if label:
            self.registry.label(name, label)
        return self.registry.run(name)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "repwatch.db")


def changed(*layers: str) -> dict[str, np.ndarray | None]:
    """The usual layers, some of which do something else."""
    return {layer: activations(layer, seed=int(layer in layers)) for layer in LAYERS}


def test_the_same_representations_in_other_neurons_are_similar_inside(book: Book) -> None:
    found = compare_runs(
        book.run("a", metric=("val_loss", 0.50)), book.run("bb", metric=("val_loss", 0.52))
    )
    assert found.similar_inside
    assert [match.similarity for match in found.matches] == pytest.approx([1.0] * 4, abs=1e-5)
    assert all(match.p < 0.05 and match.nearest == match.first for match in found.matches)
    assert found.verdict == (
        "Similar outcome (val_loss 0.5 and 0.52) and similar inside, in all 3 layers compared."
    )


def test_layers_that_do_something_else_are_named(book: Book) -> None:
    found = compare_runs(
        book.run("a", label="good"), book.run("b", changed("body.1", "head"), label="good")
    )
    assert [match.alike for match in found.matches] == [True, True, False, False]
    assert found.verdict == (
        "Similar outcome (good and good) but different inside, in layers body.1, head (2 of 3)."
    )


def test_labels_that_differ_are_different_outcomes(book: Book) -> None:
    found = compare_runs(book.run("a", label="good"), book.run("b", label="bad"))
    assert found.outcome.similar is False
    assert found.verdict.startswith("Different outcome (good and bad) but similar inside")


def test_without_labels_and_metrics_the_outcome_is_not_known_and_that_is_reported(
    book: Book,
) -> None:
    found = compare_runs(book.run("a"), book.run("b", changed(*LAYERS)))
    assert found.outcome.similar is None
    assert found.verdict.startswith("Outcome not known (the runs have neither labels nor")
    assert found.verdict.endswith("and different inside, in all 3 layers compared.")


@pytest.mark.parametrize(
    ("mode", "values", "tolerance", "similar"),
    [
        ("max", (0.95, 0.935), None, True),
        ("max", (0.95, 0.92), None, False),
        ("min", (0.10, 0.109), None, True),
        ("min", (0.10, 0.12), None, False),
        ("min", (0.10, 0.12), 0.02, True),
        ("max", (300.0, 320.0), None, True),
        ("min", (float("nan"), 0.1), None, False),
        ("min", (float("nan"), float("inf")), None, True),
    ],
)
def test_metrics_are_similar_within_the_tolerance_that_is_reported(
    book: Book, mode: str, values: tuple[float, float], tolerance: float | None, similar: bool
) -> None:
    runs = [
        book.run(name, metric=("score", value), mode=mode)
        for name, value in zip("ab", values, strict=True)
    ]
    assert compare_runs(*runs, tolerance=tolerance).outcome.similar is similar


def test_a_metric_that_is_asked_for_goes_before_labels(book: Book) -> None:
    runs = [
        book.run("a", label="good", metric=("loss", 1.0)),
        book.run("b", label="good", metric=("loss", 2.0)),
    ]
    assert compare_runs(*runs).outcome.by == "label"
    assert compare_runs(*runs, metric="loss").outcome.similar is False
    with pytest.raises(ConfigurationError, match="which 'a' does not have; it has loss"):
        compare_runs(*runs, metric="accuracy")


@pytest.mark.parametrize("name", similarity.SIMILARITIES)
def test_the_matrix_holds_the_similarity_of_every_pair(book: Book, name: str) -> None:
    first, second = book.run("a"), book.run("b", changed("head"))
    found = compare_runs(first, second, name)
    for row, snapshot in enumerate(first.snapshots()[-4:]):
        for column, other in enumerate(second.snapshots()[-4:]):
            expected = similarity.similarity(snapshot.rdm, other.rdm, name)
            assert found.matrix[row][column] == pytest.approx(expected, abs=1e-9)
    assert found.limit == ALIKE[name]


def test_mantels_test_is_the_one_of_similarity(book: Book) -> None:
    first, second = book.run("a"), book.run("b", changed("head"))
    head = compare_runs(first, second, permutations=499, seed=3).matches[-1]
    one, other = (run.snapshots("head")[-1].rdm for run in (first, second))
    assert (head.r, head.p) == similarity.mantel(one, other, 499, 3, alternative="greater")


def test_layers_without_a_namesake_match_by_relative_depth_and_that_is_reported(book: Book) -> None:
    layers = {"input": "input", "x.0": "body.0", "x.1": "body.1", "out": "head"}
    other = {name: rotated(activations(layer), 1) for name, layer in layers.items()}
    found = compare_runs(book.run("a"), book.run("b", other))
    assert [(match.first, match.second, match.by) for match in found.matches] == [
        ("input", "input", "name"),
        ("body.0", "x.0", "depth"),
        ("body.1", "x.1", "depth"),
        ("head", "out", "depth"),
    ]
    assert found.similar_inside
    assert found.notes == ("3 of 4 layers match by relative depth, not by name.",)


def test_a_layer_that_has_no_counterpart_is_named(book: Book) -> None:
    shorter = {layer: activations(layer) for layer in ("input", "body.0", "head")}
    found = compare_runs(book.run("a"), book.run("b", shorter))
    assert [match.first for match in found.matches] == ["input", "body.0", "head"]
    assert found.notes == ("Without a match, of 'a': body.1.",)
    assert len(found.matrix) == 4
    assert len(found.matrix[0]) == 3


def test_diverged_and_dead_layers_are_left_out_and_named(book: Book) -> None:
    other = changed() | {"body.0": None, "body.1": np.zeros((POINTS, 6))}
    found = compare_runs(book.run("a"), book.run("b", other))
    assert found.layers[1] == ("input", "head")
    assert [match.first for match in found.matches] == ["input", "head"]
    assert "Left out of 'b', diverged at step 10: body.0." in found.notes
    assert "Left out of 'b', all distances equal: body.1." in found.notes
    gone = {layer: activations(layer) if layer == "input" else None for layer in LAYERS}
    with pytest.raises(DivergedRDMError, match="All of 'c' are NaN or infinite at step 10"):
        compare_runs(book.run("c", gone), book.run("d"))


def test_the_step_is_the_last_in_common_or_the_one_that_is_given(book: Book) -> None:
    first, second = book.run("a", steps=(0, 10, 20)), book.run("b", steps=(0, 10, 15))
    assert compare_runs(first, second).steps == (10, 10)
    assert compare_runs(first, second, step=0).steps == (0, 0)
    with pytest.raises(ConfigurationError, match=r"'b' has snapshots\. Got 20; the nearest"):
        compare_runs(first, second, step=20)
    apart = compare_runs(first, book.run("c", steps=(7,)))
    assert apart.steps == (20, 7)
    assert "no step in common" in apart.notes[0]


def test_runs_that_cannot_be_compared_are_refused(book: Book) -> None:
    first = book.run("a")
    other = ProbeSet(np.ones((POINTS, 3)))
    with pytest.raises(ProbeMismatchError, match=r"'a' with .* and 'b' with"):
        compare_runs(first, book.run("b", probe=other))
    with pytest.raises(ConfigurationError, match=r"one of .*'cka'.* Got 'euclidean'"):
        compare_runs(first, first, "euclidean")
    with pytest.raises(ConfigurationError, match=r"snapshots\. Got 'c' without"):
        compare_runs(first, book.registry.start_run("c", probe=book.probe))
    alone = {"input": activations("input")}
    with pytest.raises(ConfigurationError, match="the same name or relative depth"):
        compare_runs(first, book.run("d", alone))
    with pytest.raises(ConfigurationError, match=r"tolerance of at least 0\. Got -1"):
        compare_runs(first, first, tolerance=-1)


def test_a_comparison_is_plain_data(book: Book) -> None:
    found = compare_runs(book.run("a", label="good"), book.run("b", label="good"))
    payload = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert payload["verdict"] == found.verdict
    assert payload["outcome"] == {"similar": True, "by": "label", "why": "good and good"}
    assert payload["matches"][1]["second"] == "body.0"
    assert np.array(payload["matrix"]) == pytest.approx(np.array(found.matrix))


def test_the_page_shows_the_matrix_and_frames_the_matches(book: Book, tmp_path: Path) -> None:
    found = compare_runs(book.run("a"), book.run("<b>evil</b>", changed("head")))
    page = write_comparison(found, tmp_path / "compared.html").read_text(encoding="utf-8")
    cells = re.findall(r'<td class="([^"]*)" style="[^"]*">([-\d.]+)</td>', page)
    shown = np.array([float(value) for _, value in cells]).reshape(len(LAYERS), -1)
    assert shown == pytest.approx(np.array(found.matrix), abs=0.0051)
    frames = [kinds.split()[0] for kinds, _ in cells if "like" in kinds]
    assert frames == ["alike"] * 3 + ["unlike"]
    assert "<b>evil" not in page
    assert "&lt;b&gt;evil" in page


def test_the_page_is_one_file_and_is_not_overwritten_unasked(book: Book, tmp_path: Path) -> None:
    found = compare_runs(book.run("a"), book.run("b"))
    page = write_comparison(found, tmp_path / "compared.html")
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "src=" not in text.replace("default-src", "")
    with pytest.raises(ConfigurationError, match="exists already"):
        write_comparison(found, page)
    with pytest.raises(ConfigurationError, match="Expected an existing folder"):
        write_comparison(found, tmp_path / "none" / "compared.html")
    assert write_comparison(found, page, overwrite=True) == page


def call(book: Book, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, "--registry", str(book.registry.path)])


def test_the_command_prints_the_verdict_and_the_layers(book: Book, tmp_path: Path) -> None:
    book.run("a", label="good")
    book.run("[red]b[/red]\x1b[31m", changed("head"), label="good")
    out = tmp_path / "heatmap.html"
    result = call(book, "compare", "a", "[red]b[/red]\x1b[31m", "-o", str(out))
    assert result.exit_code == 0, result.output
    assert "different inside, in layer head (1 of 3)" in result.output.replace("\n", "")
    assert "body.0" in result.output
    assert "\x1b[31m" not in result.output
    assert out.exists()


def test_the_command_gives_json(book: Book) -> None:
    book.run("a")
    book.run("b")
    result = call(book, "compare", "a", "b", "--json", "--similarity", "pearson", "--step", "0")
    payload = json.loads(result.output)
    assert payload["steps"] == [0, 0]
    assert payload["similarity"] == "pearson"
    assert len(payload["matrix"]) == len(payload["layers"][0])


def test_a_run_in_which_nothing_varies_is_a_clear_error(book: Book) -> None:
    dead = {layer: np.zeros((POINTS, 6)) for layer in ("body.1", "head")}
    with pytest.raises(ConfigurationError, match="none in 'dead'"):
        compare_runs(book.run("a"), book.run("dead", dead))
