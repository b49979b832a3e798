from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
import torch
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from repwatch.probe import ProbeSet
from repwatch.registry import Registry, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/test"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database that lives as long as the tests."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    admin = create_engine(
        POSTGRESQL, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3}
    )
    name = f"repwatch_test_{uuid.uuid4().hex[:12]}"
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        pytest.skip(f"no PostgreSQL at {POSTGRESQL}: {str(error.orig).splitlines()[0]}")
    yield POSTGRESQL.rsplit("/", 1)[0] + "/" + name
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def postgresql_schema(postgresql: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL schema, as search path."""
    engine = create_engine(postgresql)
    name = f"s{uuid.uuid4().hex[:12]}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    yield f"{postgresql}?options=-csearch_path%3D{name}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty registry can be made, on each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "repwatch.db")
    return str(request.getfixturevalue("postgresql_schema"))


@pytest.fixture
def registry(location: str) -> Iterator[Registry]:
    with_registry = Registry(location)
    yield with_registry
    with_registry.close()


@pytest.fixture
def probe() -> ProbeSet:
    """Six probe points with a label, a text and a link each."""
    return ProbeSet(
        torch.arange(12.0).reshape(6, 2),
        columns={"label": [0, 1, 2, 0, 1, 2], "weight": [0.5, None, 1.5, 2.5, 3.5, 4.5]},
        texts=[f"point {i}" for i in range(6)],
        links=[f"https://example.org/{i}" for i in range(6)],
        name="six",
    )


@pytest.fixture
def run(registry: Registry, probe: ProbeSet) -> Run:
    return registry.start_run("first", probe=probe, hparams={"lr": 0.1})
