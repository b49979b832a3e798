"""The essay's examples at their smallest size: each reaches the number that its claim needs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs an example; the values that it has measured, and whether its claim held."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(EXAMPLES)
    threads = torch.get_num_threads()

    def run(name: str, *words: str) -> dict[str, Any]:
        importlib.import_module(name).main([*words, "--out", str(tmp_path)])
        assert (tmp_path / f"{name}.png").stat().st_size < 200_000
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert "<script" in page
        assert not any(f'{word}="http' in page for word in ("src", "link href"))
        result: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
        return {"held": result["held"], **result["values"]}

    yield run
    torch.set_num_threads(threads)


def test_two_curves_need_a_hidden_layer(run: Run) -> None:
    found = run("two_curves", "--seeds", "1", "--epochs", "150")
    assert found["held"]
    assert found["line"] < 0.95
    assert found["hidden"] == 1.0
    assert found["separable"]["input"] < 0.95 < found["separable"]["hidden"]


def test_classes_untangle_in_the_hidden_layer(run: Run) -> None:
    found = run("raw_and_hidden", "--points", "200", "--epochs", "10")
    assert found["held"]
    assert found["hidden"][-1] > found["raw"] + 0.03 > found["shuffled"] + 0.5
    assert found["hidden"][0] < found["hidden"][-1]


def test_cubes_and_spouts_are_told_apart_by_their_distances(run: Run) -> None:
    found = run("fingerprints", "--points", "200", "--seeds", "3", "--epochs", "20")
    assert found["held"]
    assert found["told apart"] == [6, 6]
    assert found["means"]["sigmoid"]["near an end"] > 0.4
    assert found["means"]["sigmoid"]["exactly zero"] == 0
    assert found["means"]["ReLU"]["exactly zero"] > 0.2


def write_planted_words(folder: Path) -> tuple[Path, Path]:
    """Four kinds of twelve words, near each other as vectors, and beside each other in texts."""
    generator = np.random.default_rng(0)
    letters = "abcdefghijkl"
    words = [f"{kind}{letter}" for kind in ("food", "city", "body", "kin") for letter in letters]
    kinds = np.repeat(np.arange(4), 12)
    vectors = generator.normal(size=(4, 20))[kinds] * 2 + generator.normal(size=(48, 20))
    glove, corpus = folder / "planted.npz", folder / "planted.jsonl"
    members = kinds[:, None] == np.arange(4)
    names = ["food.n.01", "city.n.01", "body_part.n.01", "relative.n.01"]
    np.savez(glove, words=words, vectors=vectors, category_names=names, categories=members)
    lines = []
    for _ in range(12_000):
        start = 12 * int(generator.integers(4))
        chosen = generator.integers(start, start + 12, size=8)
        lines.append(json.dumps({"text": " ".join(words[k] for k in chosen)}))
    corpus.write_text("\n".join(lines), encoding="utf-8")
    return glove, corpus


def test_categories_of_words_cluster_and_form_while_a_skip_gram_learns(
    run: Run, tmp_path: Path
) -> None:
    glove, corpus = write_planted_words(tmp_path)
    found = run("words", "--data", str(glove), "--corpus", str(corpus), "--epochs", "30")
    assert found["held"]
    assert sorted(found["ratios"]) == sorted(
        ["food.n.01", "city.n.01", "body_part.n.01", "relative.n.01"]
    )
    first, last = found["learned"][0][0], found["learned"][-1][0]
    assert first < 0.5 < 0.8 < last
    page = (tmp_path / "words.html").read_text(encoding="utf-8")
    assert "<title>48 words</title>" in page


def write_planted_packages(path: Path) -> None:
    """Two sections of three kinds each; a kind has words of its own, and so has its section."""
    generator = np.random.default_rng(0)
    lines = []
    for row in range(480):
        section, kind = ("games", "mail")[row % 2], "abc"[row // 2 % 3]
        words = [f"{section}{c}" for c in "xyz"] * 2 + [f"{section}{kind}{c}" for c in "xyz"]
        text = " ".join(generator.choice(words, size=12))
        package = {"title": f"p{row}", "section": section, "tags": [f"{section}::{kind}"]}
        url = f"https://example.org/{row}"
        lines.append(json.dumps({**package, "summary": "", "text": text, "url": url}))
    path.write_text("\n".join(lines), encoding="utf-8")


def test_documents_form_topics_and_clusters_within_them(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    source = tmp_path / "packages.jsonl"
    write_planted_packages(source)
    words = ["--epochs", "12", "--points", "100", "--batch", "512", "--thin", "1"]
    found = run("documents", "--data", str(source), *words)
    assert found["held"]
    for values in found["purity"].values():
        assert values["section"][0] > 0.9
        assert values["within"][0] > 2 * values["within"][1]
    first, last = found["learned"]["tag"][0], found["learned"]["tag"][-1]
    assert first[0] < 0.3 < 0.5 < last[0]


def test_a_sentence_is_dominated_by_its_first_word(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    generator = np.random.default_rng(0)
    lines = []
    for _ in range(700):
        first, *rest = generator.choice(6, size=4)
        words = [f"start{first}", *(f"word{k}" for k in rest)]
        lines.append(" ".join(words) + "\t" + " ".join(word.replace("o", "ô") for word in words))
    source = tmp_path / "pairs.tsv"
    source.write_text("\n".join(lines), encoding="utf-8")
    words = ["--epochs", "3", "--width", "48", "--points", "150", "--batch", "4"]
    found = run("translation", "--data", str(source), *words)
    for name in ("source as it is", "source reversed"):
        first, *others = (found["purity"][name][kind][-1][0] for kind in found["purity"][name])
        assert first > max(others), name
        bleu = {system: score[0] for system, score in found["scores"][name].items()}
        assert bleu["network"] > max(bleu["copying"], bleu["most frequent"]), name


def test_directions_lead_to_the_lists_of_the_essay(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glove = EXAMPLES.parent.parent / "shared" / "data" / "glove50k.npz"
    if not glove.is_file():
        pytest.skip(f"There is no {glove}.")
    found = run("directions", "--data", str(glove), "--most", "10000")
    assert found["held"]
    assert min(found["quantiles"]["masculine"].values()) > 0.95
    assert min(found["quantiles"]["feminine"].values()) > 0.95
    assert found["outer"] >= 24
    capsys.readouterr()
    words = ["--data", str(glove), "--out", str(tmp_path), "--most", "10000"]
    importlib.import_module("directions").main([*words, "--from", "man", "--to", "woman"])
    assert "pregnant" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="'nosuchword' is not among them"):
        importlib.import_module("directions").main([*words, "--from", "man", "--to", "nosuchword"])


def test_representations_of_one_kind_lie_together(run: Run) -> None:
    found = run("space_of_mnist", "--seeds", "2", "--epochs", "4", "--points", "60")
    assert found["count"] == 216
    for column in ("depth", "time"):
        share, expected = found["neighbors"]["cosine"][column]
        assert share > 1.2 * expected, column
    assert found["maps"]["tsne"]["r"] > 0.4


def test_two_models_of_one_accuracy_may_differ_inside(run: Run) -> None:
    found = run("same_inside", "--seeds", "1", "--epochs", "6", "--points", "120")
    lowest = {row["differs"]: min(row["cka"]) for row in found["rows"]}
    assert len(lowest) == 10
    assert lowest["seed"] > 0.9 > lowest["convolutions"]
    assert all(row["p"] and max(row["p"]) < 0.05 for row in found["rows"])


def test_the_gallery_has_a_row_for_every_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    gallery = importlib.import_module("make_gallery")
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert readme == gallery.make_table()
    for name in gallery.SCRIPTS:
        assert f"gallery/{name}.png" in readme, f"{name} is not in the gallery: make examples"
        assert (EXAMPLES / "gallery" / f"{name}.png").is_file()


def test_a_run_that_veers_off_is_flagged_and_its_advice_helps(run: Run) -> None:
    pytest.importorskip("lightning")
    found = run("watch_a_run", "--runs", "12", "--epochs", "3", "--points", "120")
    first, second = found["first"], found["second"]
    assert "lower it" in first["message"]
    assert second["flag"] is None
    assert second["lr"] < first["lr"] / 5
    assert second["good neighbors"] > first["good neighbors"]
    assert max(second["deviation"].values()) < min(first["deviation"].values())
