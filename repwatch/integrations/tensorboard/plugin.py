"""The RepWatch tab: the page of a registry, else figures of event files, and a fixed list of files.

Read-only. Every answer comes from a registry that `registries` found, from TensorBoard's data
provider, or from a file named in `_FILES` or in the installed plotly; no part of a request becomes
a path.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from repwatch.errors import MissingPackageError
from repwatch.integrations.plotly_figures.plotly_js import plotly_js
from repwatch.integrations.tensorboard.answers import JSON, answer, application, refuse
from repwatch.integrations.tensorboard.registries import RegistryRoutes
from repwatch.integrations.tensorboard.summary import PLUGIN_NAME
from repwatch.web.assets import asset

__all__ = ["RepWatchPlugin"]

_SCRIPTS = (
    "core/address.js",
    "core/colors.js",
    "core/csv.js",
    "core/dom.js",
    "core/label-grid.js",
    "core/label-placement.js",
    "core/links.js",
    "core/palette.js",
    "core/payload.js",
    "core/pointer-gestures.js",
    "core/polygon.js",
    "core/renderers.js",
    "page/document.js",
    "page/figure-page.js",
    "page/gallery.js",
    "page/index.js",
    "page/layout.js",
    "page/live.js",
    "page/map.js",
    "page/pair.js",
    "page/picture.js",
    "page/point-box.js",
    "page/scatter.js",
    "page/search.js",
    "page/similarity.js",
    "page/space.js",
    "page/sprites.js",
    "page/step-bar.js",
    "page/toolbar.js",
    "page/widgets.js",
    "page/workbench.js",
    "plotly.min.js",
)
_FILES = {
    **dict.fromkeys(_SCRIPTS, "text/javascript; charset=utf-8"),
    **dict.fromkeys(
        (
            "core/tokens.css",
            "core/base.css",
            "page/figure.css",
            "page/panels.css",
            "page/workbench.css",
        ),
        "text/css; charset=utf-8",
    ),
}
# More than any run has: the provider wants a number, and every step must be listed.
_ALL = 10**6
_GZIP_MAGIC = b"\x1f\x8b"

App = Callable[..., Any]


class RepWatchPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """Maps of representations, one for each step, from the event files of any run."""

    plugin_name = PLUGIN_NAME

    def __init__(self, context: Any) -> None:
        self._provider = context.data_provider
        self._registries = RegistryRoutes(context)

    def is_active(self) -> bool:
        """Whether there is a registry: a plugin with figures TensorBoard lists on its own."""
        return self._registries.any_found()

    def frontend_metadata(self) -> Any:
        """The name of the tab, and the script that TensorBoard loads into its frame."""
        return base_plugin.FrontendMetadata(es_module_path="/page/index.js", tab_name="RepWatch")

    def get_plugin_apps(self) -> dict[str, App]:
        """The routes: those of registries, two for figures, and one for each file of the page."""
        routes = {
            "/figures": self._serve_figures,
            "/figure": self._serve_figure,
            **self._registries.routes(),
            **{f"/{name}": _serve_file(name, kind) for name, kind in _FILES.items()},
        }
        return {path: application(serve) for path, serve in routes.items()}

    def _serve_figures(self, request: Request) -> Response:
        """`{"runs": [{"run", "tags": [{"tag", "steps", "time"}]}]}`, in order of names."""
        series = self._read(request, None)
        runs = [
            {
                "run": run,
                "tags": [
                    {
                        "tag": tag,
                        "steps": [datum.step for datum in data],
                        "time": max(datum.wall_time for datum in data),
                    }
                    for tag, data in sorted(tags.items())
                    if data
                ],
            }
            for run, tags in sorted(series.items())
        ]
        listed = {"runs": [run for run in runs if run["tags"]]}
        return answer(request, json.dumps(listed).encode(), JSON)

    def _serve_figure(self, request: Request) -> Response:
        """The payload for `?run=&tag=&step=`."""
        run, tag = request.args.get("run"), request.args.get("tag")
        step = request.args.get("step", type=int)
        if run is None or tag is None or step is None:
            return refuse("Expected run, tag and a whole number as step.", 400)
        wanted = provider.RunTagFilter(runs=[run], tags=[tag])
        data = self._read(request, wanted).get(run, {}).get(tag, [])
        found = next((datum for datum in data if datum.step == step and datum.values), None)
        if found is None:
            return refuse("There is no figure for this run, tag and step.", 404)
        context = plugin_util.context(request.environ)
        blob = self._provider.read_blob(context, blob_key=found.values[0].blob_key)
        packed = bytes(blob)
        if not packed.startswith(_GZIP_MAGIC):
            packed = gzip.compress(packed, mtime=0)
        return answer(request, packed, JSON, packed=True)

    def _read(self, request: Request, wanted: Any) -> dict[str, dict[str, list[Any]]]:
        try:
            series: dict[str, dict[str, list[Any]]] = self._provider.read_blob_sequences(
                plugin_util.context(request.environ),
                experiment_id=plugin_util.experiment_id(request.environ),
                plugin_name=PLUGIN_NAME,
                downsample=_ALL,
                run_tag_filter=wanted,
            )
        except errors.NotFoundError:
            # TensorBoard has not read the log directory yet.
            return {}
        return series


def _serve_file(name: str, kind: str) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        try:
            if name == "plotly.min.js":
                return answer(request, _packed_plotly(), kind, packed=True)
            return answer(request, asset(name), kind)
        except MissingPackageError as error:
            return refuse(str(error), 500)

    return serve


@cache
def _packed_plotly() -> bytes:
    """plotly.min.js, compressed once for the life of the server: 4.8 MB become 1.4."""
    return gzip.compress(plotly_js().read_bytes(), compresslevel=6, mtime=0)
