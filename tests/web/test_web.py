"""Files of the pages: where they are read from, and that the bundles are those of the sources."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from repwatch.errors import ConfigurationError, MissingPackageError
from repwatch.web import asset, fill

FOLDER = Path(__file__).parents[2] / "dashboards"
BUILT = FOLDER / "built"


def test_the_bundles_are_of_the_sources_as_they_are() -> None:
    known = json.loads((BUILT / "sources.json").read_text(encoding="utf-8"))
    assert len(known) > 50
    now = {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in known}
    changed = [name for name, found in now.items() if found != known[name]]
    assert not changed, "run `make web`: these have changed since the bundles were made"


@pytest.mark.skipif(
    not (FOLDER / "node_modules" / "esbuild").is_dir() or shutil.which("node") is None,
    reason="esbuild is missing: make web",
)
def test_building_again_gives_the_same_bundles(tmp_path: Path) -> None:
    subprocess.run(["node", "build.js", str(tmp_path)], cwd=FOLDER, check=True)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in BUILT.iterdir()}


@pytest.mark.parametrize("name", ["tab.js", "report.js", "atlas.js"])
def test_a_bundle_is_one_script_that_no_page_ends_early(name: str) -> None:
    text = asset(f"built/{name}").decode()
    assert len(text) > 10_000
    assert "</script" not in text.lower()
    assert "sourceMappingURL" not in text


def test_a_template_takes_files_and_parts() -> None:
    parts = {"TITLE": "A &amp; B", "SCENE": "...", "STREAMS": "{{TITLE}}"}
    page = fill("page/workbench.html", parts)
    assert "<title>A &amp; B</title>" in page
    assert asset("built/report.js").decode() in page
    assert asset("built/page.css").decode() in page
    assert '<script type="application/json" id="streams">{{TITLE}}</script>' in page, "data is data"


@pytest.mark.parametrize(
    "name",
    [
        "../pyproject.toml",
        "built/../../pyproject.toml",
        "/etc/passwd",
        "built\\page.css",
        "C:/a.js",
    ],
)
def test_a_path_that_leads_out_of_the_sources_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="inside of dashboards"):
        asset(name)


@pytest.mark.parametrize("name", ["built/none.js", "built", "page.css"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(MissingPackageError, match=name):
        asset(name)
