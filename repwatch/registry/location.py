"""Where a registry is: a path or a URL, parsed once, at construction."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from repwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRONMENT_VARIABLE = "REPWATCH_REGISTRY"
DEFAULT_NAME = "repwatch.db"
PROJECT_VARIABLE = "REPWATCH_PROJECT"
SPOOL_VARIABLE = "REPWATCH_SPOOL"
SPOOL_NAME = "repwatch-spool"

Location = str | os.PathLike[str] | URL


def resolve(location: Location | None, default: Path | None = None) -> tuple[URL, Path | None]:
    """(URL, path of the SQLite file or None) of a location.

    None means $REPWATCH_REGISTRY, else `default`, else ./repwatch.db. Paths are made absolute, so
    that a later change of directory does not move the registry. Raises ConfigurationError.
    """
    if location is None:
        location = os.environ.get(ENVIRONMENT_VARIABLE) or default or DEFAULT_NAME
    if not isinstance(location, str | os.PathLike | URL):
        raise ConfigurationError(
            f"registry must be a path, a database URL or a Registry, got {type(location).__name__}."
        )
    if isinstance(location, URL):
        return _from_url(location)
    text = os.fspath(location)
    if isinstance(text, str) and "://" in text and not isinstance(location, os.PathLike):
        return _from_url(_parse(text))
    return _from_path(Path(text))


def spool_folder(folder: str | Path | None, log_folder: Path | None = None) -> Path:
    """The absolute folder for runs whose registry does not answer; it is not created.

    None means $REPWATCH_SPOOL, else `repwatch-spool` in `log_folder`, else in the current folder.
    """
    chosen = folder or os.environ.get(SPOOL_VARIABLE) or (log_folder or Path()) / SPOOL_NAME
    return Path(chosen).expanduser().absolute()


def _parse(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            f"registry {text!r} cannot be read as a database URL. Give a path such as "
            "'repwatch.db', or 'postgresql+psycopg://user@host:5432/database'."
        ) from error


def _from_path(path: Path) -> tuple[URL, Path]:
    if not path.name:
        raise ConfigurationError(
            f"registry {str(path)!r} names no file; give one, such as 'repwatch.db'."
        )
    path = path.expanduser().absolute()
    return URL.create("sqlite", database=str(path)), path


def _from_url(url: URL) -> tuple[URL, Path | None]:
    makers: dict[str, Callable[[URL], tuple[URL, Path | None]]] = {
        "sqlite": _from_sqlite_url,
        "postgresql": _from_postgresql_url,
        "postgres": _from_postgresql_url,
    }
    kind = url.drivername.partition("+")[0]
    if kind not in makers:
        raise ConfigurationError(
            f"registry URLs can be sqlite:///path or postgresql+psycopg://..., got {kind!r}."
        )
    return makers[kind](url)


def _from_sqlite_url(url: URL) -> tuple[URL, Path]:
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigurationError(
            f"registry {url.render_as_string()!r} must name a file and nothing else, since "
            "the writer and the readers each open it: give a path such as 'repwatch.db'."
        )
    return _from_path(Path(url.database))


def _from_postgresql_url(url: URL) -> tuple[URL, None]:
    return url.set(drivername="postgresql+psycopg"), None
