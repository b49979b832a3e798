"""The RepWatch tab: the page of a registry, and its fixed files.

Read-only. Every answer comes from a registry that `registries` found, or from a file of the
page; no part of a request becomes a path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from repwatch.errors import MissingPackageError
from repwatch.integrations.tensorboard.answers import answer, application, refuse
from repwatch.integrations.tensorboard.registries import RegistryRoutes
from repwatch.web import asset

__all__ = ["RepWatchPlugin"]

_FILES = {"tab.js": "text/javascript", "page.css": "text/css"}

App = Callable[..., Any]


class RepWatchPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The page of the registries that belong to the log directory."""

    plugin_name = "repwatch"

    def __init__(self, context: Any) -> None:
        self._registries = RegistryRoutes(context)

    def is_active(self) -> bool:
        """Whether there is a registry."""
        return self._registries.any_found()

    def frontend_metadata(self) -> Any:
        """The name of the tab, and the script that TensorBoard loads into its frame."""
        return base_plugin.FrontendMetadata(es_module_path="/tab.js", tab_name="RepWatch")

    def get_plugin_apps(self) -> dict[str, App]:
        """The routes: those of registries, and one for each file of the page."""
        routes = {
            **self._registries.routes(),
            **{f"/{name}": _serve_file(f"built/{name}", kind) for name, kind in _FILES.items()},
        }
        return {path: application(serve) for path, serve in routes.items()}


def _serve_file(name: str, kind: str) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        try:
            return answer(request, asset(name), f"{kind}; charset=utf-8")
        except MissingPackageError as error:
            return refuse(str(error), 500)

    return serve
