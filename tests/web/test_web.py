"""Sources of the pages: where they are read from, and how modules become one script."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

import pytest

from repwatch.errors import ConfigurationError, MissingPackageError
from repwatch.web import asset, bundle, modules_of

BUNDLES = {
    "report": "page/report-main.js",
    "tab": "page/index.js",
    "atlas": "atlas/atlas.js",
}
_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"([^"]+)";$', re.MULTILINE)
_DECLARED = re.compile(
    r"^(?:export )?(?:async )?(?:const|let|var|function\*?|class) (?:(\w+)|[\[{]([^\]}]*)[\]}])",
    re.MULTILINE,
)


def imports(module: str) -> dict[str, list[str]]:
    """Paths of the modules that a module imports, below dashboards/, and the names it takes."""
    source = asset(module).decode()
    found = {
        posixpath.normpath(posixpath.join(posixpath.dirname(module), path)): [
            name.strip() for name in names.split(",") if name.strip()
        ]
        for names, path in _IMPORT.findall(source)
    }
    assert len(found) == len(re.findall(r"^import\b", source, re.MULTILINE))
    return found


def declared(module: str) -> list[str]:
    """Names that a module declares at the top level."""
    parts = _DECLARED.findall(asset(module).decode())
    return [name.strip() for single, several in parts for name in (single or several).split(",")]


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_declares_each_name_once_and_after_what_it_uses(name: str) -> None:
    modules: Sequence[str] = modules_of(BUNDLES[name])
    owners: dict[str, str] = {}
    for position, module in enumerate(modules):
        assert "</script" not in asset(module).decode().lower()
        for imported, names in imports(module).items():
            assert imported in modules[:position], f"{module} is bundled before {imported}"
            assert {owners.get(name) for name in names} <= {imported}, f"{names} of {imported}"
        for declaration in declared(module):
            assert declaration not in owners, (
                f"{declaration} is in {module} and in {owners[declaration]}"
            )
            owners[declaration] = module
    assert len(owners) > 20


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_imports_and_exports_nothing(name: str) -> None:
    assert re.search(r"^(import|export)\b", bundle(BUNDLES[name]), re.MULTILINE) is None


@pytest.mark.parametrize(
    "name",
    [
        "../pyproject.toml",
        "core/../../pyproject.toml",
        "/etc/passwd",
        "core\\tokens.css",
        "C:/a.js",
    ],
)
def test_a_path_that_leads_out_of_the_sources_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="inside of dashboards"):
        asset(name)


@pytest.mark.parametrize("name", ["core/none.js", "core", "tokens.css"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(MissingPackageError, match=name):
        asset(name)
