"""Runs by name or id, and names that are free: by the indexes, however many runs there are."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, or_, select

from repwatch.errors import RunNotFoundError
from repwatch.registry._db.migrations import in_project, place_of
from repwatch.registry._db.tables import RUNS
from repwatch.registry.names import made_names, nearest_names, numbered_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHORTEST_PREFIX = 4
_CANDIDATES = 100


def find_exact_id(connection: Connection, name_or_id: str) -> str | None:
    """The id of the run with exactly this id or name; None where there is none."""
    ours = in_project(connection)
    by_id, by_name = RUNS.c.id == name_or_id, RUNS.c.name == name_or_id
    exact = select(RUNS.c.id).where(or_(and_(by_id, ours), and_(by_name, ours)))
    found = connection.scalars(exact).all()
    if len(found) > 1:  # one run's name is another's id: the id wins, as it cannot be changed
        return name_or_id
    return found[0] if found else None


def find_run_id(connection: Connection, name_or_id: str) -> str:
    """The id of the run with this id, name, or unique id prefix. Raises RunNotFoundError."""
    exact = find_exact_id(connection, name_or_id)
    found: Sequence[str] = [] if exact is None else [exact]
    if not found and len(name_or_id) >= _SHORTEST_PREFIX:
        by_prefix = RUNS.c.id.startswith(name_or_id, autoescape=True)
        query = select(RUNS.c.id).where(by_prefix, in_project(connection))
        found = connection.scalars(query).all()
        if len(found) > 1:
            raise RunNotFoundError(
                f"{name_or_id!r} begins the ids of {len(found)} runs "
                f"({', '.join(found[:4])}); give more of the id, or the name."
            )
    if not found:
        raise run_not_found(connection, name_or_id)
    return found[0]


def run_not_found(connection: Connection, name_or_id: str) -> RunNotFoundError:
    """The error for a run that is not there; it names the nearest, or reports that none exist."""
    query = select(RUNS.c.name).where(in_project(connection)).order_by(RUNS.c.started_at.desc())
    names = connection.scalars(query).all()
    if not names:
        hint = "It holds no runs yet: train with RepWatch() first."
    elif near := nearest_names(name_or_id, names):
        hint = f"The nearest: {', '.join(map(repr, near))}."
    else:
        hint = f"Its newest runs: {', '.join(map(repr, names[:3]))}."
    place = place_of(connection)
    return RunNotFoundError(f"No run {name_or_id!r} in the registry {place}. {hint}")


def free_run_name(connection: Connection, name: str | None) -> str:
    """The name, if no run has it; else with the next free number. None makes one up."""
    candidates = made_names() if name is None else numbered_names(name)
    return _first_free(connection, candidates)


def _first_free(connection: Connection, candidates: Iterator[str]) -> str:
    while True:
        some = list(islice(candidates, _CANDIDATES))
        query = select(RUNS.c.name).where(in_project(connection), RUNS.c.name.in_(some))
        taken = set(connection.scalars(query))
        free = next((name for name in some if name not in taken), None)
        if free is not None:
            return free
