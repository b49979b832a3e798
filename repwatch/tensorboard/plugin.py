"""The RepWatch tab: lists figures, hands out one at a time, and serves a fixed list of files.

Read-only. Every answer comes from TensorBoard's data provider or from a file named in `_FILES` or
from the installed plotly; no part of a request becomes a path.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from repwatch.errors import MissingPackageError
from repwatch.figures.export import asset, plotly_js
from repwatch.tensorboard.summary import PLUGIN_NAME

__all__ = ["RepWatchPlugin"]

_FILES = {
    "index.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "map.js": "text/javascript; charset=utf-8",
    "marks.js": "text/javascript; charset=utf-8",
    "texts.js": "text/javascript; charset=utf-8",
    "payload.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "plotly.min.js": "text/javascript; charset=utf-8",
}
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
# More than any run has: the provider wants a number, and every step is to be listed.
_ALL = 10**6
_GZIP_MAGIC = b"\x1f\x8b"

App = Callable[..., Any]


class RepWatchPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """Maps of representations, one for each step, from the event files of any run."""

    plugin_name = PLUGIN_NAME

    def __init__(self, context: Any) -> None:
        self._provider = context.data_provider

    def is_active(self) -> bool:
        """Whether to ask: TensorBoard lists a plugin with data by itself."""
        return False

    def frontend_metadata(self) -> Any:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="RepWatch")

    def get_plugin_apps(self) -> dict[str, App]:
        """The routes: two for data, and one for each file of the page."""
        files = {f"/{name}": _app(_serve_file(name, kind)) for name, kind in _FILES.items()}
        return {
            "/figures": _app(self._serve_figures),
            "/figure": _app(self._serve_figure),
            **files,
        }

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
        return _answer(request, json.dumps(listed).encode(), _JSON)

    def _serve_figure(self, request: Request) -> Response:
        """The payload for `?run=&tag=&step=`."""
        run, tag = request.args.get("run"), request.args.get("tag")
        step = request.args.get("step", type=int)
        if run is None or tag is None or step is None:
            return _refuse("Expected run, tag and a whole number as step.", 400)
        wanted = provider.RunTagFilter(runs=[run], tags=[tag])
        data = self._read(request, wanted).get(run, {}).get(tag, [])
        found = next((datum for datum in data if datum.step == step and datum.values), None)
        if found is None:
            return _refuse("There is no figure for this run, tag and step.", 404)
        context = plugin_util.context(request.environ)
        blob = self._provider.read_blob(context, blob_key=found.values[0].blob_key)
        packed = bytes(blob)
        if not packed.startswith(_GZIP_MAGIC):
            packed = gzip.compress(packed, mtime=0)
        return _answer(request, packed, _JSON, packed=True)

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


def _app(serve: Callable[[Request], Response]) -> App:
    """A WSGI application that only reads."""

    @Request.application
    def application(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _refuse("Only GET and HEAD are known here.", 405)
        return serve(request)

    return application


def _serve_file(name: str, kind: str) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        try:
            if name == "plotly.min.js":
                return _answer(request, _packed_plotly(), kind, packed=True)
            return _answer(request, asset(name), kind)
        except MissingPackageError as error:
            return _refuse(str(error), 500)

    return serve


@cache
def _packed_plotly() -> bytes:
    """plotly.min.js, compressed once for the life of the server: 4.8 MB become 1.4."""
    return gzip.compress(plotly_js().read_bytes(), compresslevel=6, mtime=0)


def _answer(request: Request, content: bytes, kind: str, *, packed: bool = False) -> Response:
    """A conditional, compressed answer. `packed`: the content is gzip already."""
    tag = hashlib.sha256(content).hexdigest()[:24]
    takes_gzip = request.accept_encodings["gzip"] > 0
    if takes_gzip and not packed:
        content = gzip.compress(content, compresslevel=6, mtime=0)
    elif packed and not takes_gzip:
        content = _decompress(content)
    response = Response(content, content_type=kind)
    if takes_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(tag, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request.environ)
    return response


def _decompress(content: bytes) -> bytes:
    return zlib.decompress(content, wbits=31)


def _refuse(message: str, code: int) -> Response:
    response = Response(message, status=code, content_type=_TEXT)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
