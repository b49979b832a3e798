"""Build hooks of the documentation: pictures of examples/, and a check that pages stay offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent

# Tags that make a browser load something by themselves; a link that a reader follows is none.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*?\bsrc=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|icon|preconnect|preload|dns-prefetch))"
    r"[^>]*?\bhref=[\"']?((?:https?:)?//[^\"'\s>]+)"
)
_LOADED_BY_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures of examples/ to the site as images/NAME.png."""
    for picture in sorted((ROOT / "examples").glob("*.png")):
        source = str(picture)
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let pages name pictures by their place in the repository, as readers on GitHub need it."""
    up = "../" * page.file.src_uri.count("/")
    return markdown.replace(f"]({up}../examples/", f"]({up}images/")


def on_post_build(config: MkDocsConfig) -> None:
    """Fail the build where a page or a style sheet would load something from another host."""
    site = Path(config.site_dir)
    found = []
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        pattern = _LOADED if path.suffix == ".html" else _LOADED_BY_STYLE
        for match in pattern.finditer(path.read_text(encoding="utf-8")):
            address = next(group for group in match.groups() if group)
            found.append(f"{path.relative_to(site)} loads {address}")
    if found:
        raise PluginError(
            "Expected pages that load nothing from other hosts, but " + "; ".join(found)
        )
