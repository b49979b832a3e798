"""The registries that the tab may read, and the routes that read them.

They are those that --repwatch_registry names, and those called repwatch.db under the log directory
or beside it. A request names one by a key of this list, never by a path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from werkzeug import Request, Response

from repwatch.errors import (
    ConfigurationError,
    ProbeError,
    RepWatchError,
    RunNotFoundError,
    UnknownLayerError,
)
from repwatch.integrations.tensorboard.answers import JSON, Serve, answer, refuse

if TYPE_CHECKING:
    from repwatch.page import PageReader

__all__ = ["RegistryRoutes"]

_NAME = "repwatch.db"
_DEEPEST = 6
_MOST_FOLDERS = 20_000
_LOOK_AGAIN = 60.0
_NOT_FOUND = (RunNotFoundError, UnknownLayerError, ProbeError)


class _Known(NamedTuple):
    """One registry: its name for people, where it is, and its reader once somebody looked."""

    name: str
    location: str
    lock: Lock
    reader: list[PageReader]


class RegistryRoutes:
    """Finds registries and answers for them; nothing heavy is imported before somebody looks."""

    def __init__(self, context: Any) -> None:
        self._folder = _local(getattr(context, "logdir", None))
        named = getattr(getattr(context, "flags", None), "repwatch_registry", None) or ""
        self._named = [part.strip() for part in str(named).split(",") if part.strip()]
        self._known: dict[str, _Known] = {}
        self._looked = -math.inf

    def any_found(self) -> bool:
        """Whether there is a registry; looks again only after a while."""
        if time.monotonic() - self._looked > _LOOK_AGAIN:
            self._find()
        return bool(self._known)

    def routes(self) -> dict[str, Serve]:
        """What answers each path, below the plugin's own."""
        return {
            "/registries": self._serve_list,
            "/page": self._serving(lambda reader, request: reader.overview()),
            "/points": self._serving(
                lambda reader, request: reader.points(_word(request, "probe"))
            ),
            "/views": self._serving(
                lambda reader, request: reader.views(_word(request, "run"), _word(request, "layer"))
            ),
            "/positions": self._serving(
                lambda reader, request: reader.map(
                    _word(request, "method"),
                    _word(request, "distance"),
                    _names(request, "layers"),
                )
            ),
            "/compare": self._serving(
                lambda reader, request: reader.compare(_number(request, "a"), _number(request, "b"))
            ),
            "/direction": self._serving(
                lambda reader, request: reader.direction(
                    _number(request, "id"),
                    *(_word(request, name) for name in ("column", "start", "end")),
                )
            ),
        }

    def _serve_list(self, request: Request) -> Response:
        """`{"registries": [{"key", "name"}]}`: those named first, then those found, by path."""
        self._find()
        listed = [{"key": key, "name": known.name} for key, known in self._known.items()]
        return answer(request, json.dumps({"registries": listed}).encode(), JSON)

    def _serving(self, read: Callable[[PageReader, Request], Any]) -> Serve:
        """A route that reads the registry that `?registry=` names by its key."""

        def serve(request: Request) -> Response:
            key = request.args.get("registry", "")
            if key not in self._known:
                self._find()
            if key not in self._known:
                return refuse("Expected registry to be a key of /registries.", 404)
            known = self._known[key]
            try:
                with known.lock:
                    if not known.reader:
                        known.reader.append(_open(known.location))
                # Others are answered while a map is being made.
                content = read(known.reader[0], request)
            except _NOT_FOUND as error:
                return refuse(str(error), 404)
            except ConfigurationError as error:
                return refuse(str(error), 400)
            except RepWatchError as error:
                return refuse(str(error), 409)
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            return answer(request, text.encode(), JSON)

        return serve

    def _find(self) -> None:
        """Adds new registries; one that is gone answers with an error of its own."""
        self._looked = time.monotonic()
        found = [(location, _shown(location)) for location in self._named]
        if self._folder is not None:
            found += [
                (str(path), str(path.relative_to(self._folder)))
                for path in sorted(_search(self._folder))
            ]
            # By default the registry lies beside the folder that a logger writes to.
            beside = self._folder.parent / _NAME
            if beside.is_file() and not beside.is_symlink():
                found.append((str(beside), f"../{_NAME}"))
        for location, name in found:
            key = hashlib.sha256(location.encode()).hexdigest()[:16]
            self._known.setdefault(key, _Known(name, location, Lock(), []))


def _open(location: str) -> PageReader:
    from repwatch.page import PageReader
    from repwatch.registry import Registry

    return PageReader(Registry(location, read_only=True))


def _local(folder: Any) -> Path | None:
    """The log directory, if it is one on this machine."""
    if not folder or "://" in str(folder):
        return None
    return Path(str(folder)).expanduser().absolute()


def _search(folder: Path) -> Iterator[Path]:
    """Registries in the folder; links that lead out of it are not followed."""
    inside = folder.resolve()
    for seen, (here, names, files) in enumerate(os.walk(folder)):
        depth = len(Path(here).relative_to(folder).parts)
        names[:] = [name for name in names if not name.startswith(".")] if depth < _DEEPEST else []
        if seen == _MOST_FOLDERS:
            return
        path = Path(here) / _NAME
        if _NAME in files and path.resolve().is_relative_to(inside):
            yield path


def _shown(location: str) -> str:
    """What a person sees of a registry's location; of a database server, only that it is one."""
    return "database" if "://" in location else Path(location).name


def _word(request: Request, name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise ConfigurationError(f"Expected {name} in the address, but it is not there.")
    return value


def _names(request: Request, name: str) -> list[str]:
    """A list of names, as JSON; empty where it is not in the address."""
    text = request.args.get(name, "[]")
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"Expected {name} in the address to be a JSON list of names.")
    return names


def _number(request: Request, name: str) -> int:
    value = request.args.get(name, type=int)
    if value is None:
        raise ConfigurationError(f"Expected {name} in the address to be a whole number.")
    return value
