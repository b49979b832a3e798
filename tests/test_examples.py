"""The examples run, small, as a person would run them."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from repwatch import Registry, similarity

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_layer_correspondence_prints_a_line_for_every_distance_from_the_registry_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightning.pytorch")
    example = load("layer_correspondence")
    words = ["--registry", str(tmp_path / "runs.db")]
    with pytest.MonkeyPatch.context() as patch:
        # Two batches are enough to go through all of it.
        patch.setattr(example, "VALIDATION", 1_600)
        example.main([*words, "--nets", "2", "--epochs", "1"])
    first = capsys.readouterr().out
    assert [run.name for run in Registry(tmp_path / "runs.db").runs()] == ["seed-0", "seed-1"]
    for name in (*similarity.DISTANCES, "procrustes"):
        cells = re.findall(rf"^{name} +(.*)$", first, re.MULTILINE)
        assert len(cells) == 1, name
        assert all(0 <= float(cell) <= 100 for cell in cells[0].split())
    example.main([*words, "--table-only"])
    assert capsys.readouterr().out == first[first.index("Same layer") :]
    with pytest.raises(SystemExit):
        example.main(words)


def test_layer_correspondence_is_all_right_for_layers_that_agree_and_chance_for_noise() -> None:
    example = load("layer_correspondence")
    rng = np.random.default_rng(0)
    shape = (20, 5)
    vectors = np.tile(rng.normal(size=(5, 40)), (20, 1)) + 0.01 * rng.normal(size=(100, 40))
    assert example.from_vectors(vectors, shape) == 1.0
    assert abs(example.from_vectors(rng.normal(size=(100, 40)), shape) - 0.2) < 0.1


def test_words_atlas_writes_a_page_of_words_and_categories(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float16)
    categories = np.zeros((30, 1), dtype=bool)
    categories[::3] = True
    source = tmp_path / "words.npz"
    np.savez(
        source,
        words=np.array([f"word{i}" for i in range(30)]),
        vectors=vectors,
        category_names=np.array(["food.n.01"]),
        categories=categories,
    )
    out = tmp_path / "words.html"
    load("words_atlas").main([str(source), "-o", str(out)])
    assert "<title>30 words</title>" in out.read_text(encoding="utf-8")
    assert (tmp_path / "words.atlas.npz").is_file()


def test_packages_atlas_writes_a_page_of_what_descriptions_say(tmp_path: Path) -> None:
    kinds = ("game of strategy", "network server daemon", "mail reader client")
    lines = [
        json.dumps(
            {
                "title": f"package-{i}",
                "section": "misc",
                "tags": ["role::program"],
                "url": "https://example.org",
                "summary": kinds[i % 3],
                "text": f"The {kinds[i % 3]} number {i % 5}.",
            }
        )
        for i in range(30)
    ]
    source = tmp_path / "packages.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "packages.html"
    load("packages_atlas").main([str(source), "-o", str(out)])
    assert "<title>30 Debian packages</title>" in out.read_text(encoding="utf-8")
