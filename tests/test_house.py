"""The structure of the package: layers, homes of heavy libraries, names, and a light front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import repwatch
from tests import sizes

PACKAGE = Path(repwatch.__file__).parent

LAYERS = (
    "_version",
    "errors",
    "_names",
    "_deprecated",
    "_scratch",
    "_archives",
    "_tsne",
    "_preserve",
    "_files",
    "rdm",
    "similarity",
    "probe",
    "capture",
    "registry",
    "analysis",
    "maps",
    "drift",
    "vitals",
    "web",
    "page",
    "watch",
    "atlas",
    "integrations",
    "compare",
    "loggers",
    "space",
    "watcher",
    "lightning",
    "transformers",
    "fabric",
    "optuna",
    "cli",
    "__main__",
)

HOMES = {
    "sqlalchemy": {"registry"},
    "alembic": {"registry"},
    "openTSNE": {"_tsne"},
    "plotly": {"integrations"},
    "lightning": {"integrations"},
    "pytorch_lightning": {"integrations"},
    "optuna": {"integrations"},
    "transformers": {"integrations"},
}


# `Registry.suggest_labels` and `Watcher(loggers=...)` lead to higher layers.
DOORS = {("registry/registry.py", "analysis"), ("watch/watcher.py", "integrations")}


def modules() -> list[tuple[str, Path]]:
    """(layer, file) of every module of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in files]


def imports(path: Path) -> set[str]:
    """Absolute names that a file imports anywhere, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "repwatch":
                found |= {f"repwatch.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer for layer, _ in modules()} - {"__init__"} <= set(LAYERS)


def test_the_tests_mirror_the_packages() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert packages <= folders


def test_a_module_imports_only_from_lines_above_its_own() -> None:
    wrong = []
    for layer, path in modules():
        if layer == "__init__":
            continue
        for name in imports(path):
            if name.startswith("repwatch."):
                other = name.split(".")[1]
                door = (path.relative_to(PACKAGE).as_posix(), other) in DOORS
                if other in LAYERS and LAYERS.index(other) > LAYERS.index(layer) and not door:
                    wrong.append(f"{path.relative_to(PACKAGE)} imports repwatch.{other}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert sizes.circles(sizes.import_graph(sizes.parse_package())) == []


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_library_has_one_home(library: str) -> None:
    users = {
        layer
        for layer, path in modules()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= HOMES[library]


def test_public_names_are_those_that_are_announced() -> None:
    for name in repwatch.__all__:
        assert getattr(repwatch, name) is not None
    assert set(repwatch.__all__) <= set(dir(repwatch))
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = repwatch.missing  # type: ignore[attr-defined]


def test_importing_repwatch_loads_nothing_heavy() -> None:
    heavy = ["torch", "scipy", "sklearn", "openTSNE", "plotly", "sqlalchemy", "numpy", "lightning"]
    code = f"import sys, repwatch; print([name for name in {heavy} if name in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


def test_repwatch_never_imports_a_lightning_that_the_user_has_not() -> None:
    pytest.importorskip("lightning.pytorch")
    code = (
        "import sys, lightning.pytorch, repwatch; repwatch.RepWatch(); "
        "print('pytorch_lightning' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip().endswith("False")


def test_a_callback_loads_nothing_that_a_first_run_does_not_need() -> None:
    pytest.importorskip("lightning.pytorch")
    heavy = ["alembic", "pandas", "plotly", "openTSNE", "sklearn.ensemble"]
    own = ["repwatch.drift", "repwatch.page", "repwatch.watch.map_tracker"]
    code = (
        "import sys, lightning.pytorch; before = set(sys.modules); import repwatch; "
        f"repwatch.RepWatch(); print(sorted((set(sys.modules) - before) & {{*{heavy + own}}}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip().endswith("[]")


def test_every_public_name_has_a_docstring() -> None:
    assert sizes.undocumented(sizes.parse_package()) == []


def test_files_stay_short_enough_to_read() -> None:
    long = {
        str(path.relative_to(PACKAGE)): count
        for _, path in modules()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long
