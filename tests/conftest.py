"""What several test modules share: trainings through either Lightning namespace, PostgreSQL."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from repwatch import Registry
from repwatch.drift import trees
from repwatch.registry import Run
from tests.watch.helpers import PROBE

POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/test"

# Lightning's own, about this machine and not about RepWatch.
LIGHTNING_NOISE = (
    "ignore:.*does not have many workers.*",
    "ignore:.*module\\(s\\) in eval mode.*",
    "ignore:.*The number of training batches.*",
    "ignore:.*but have no `val_dataloader`.*",
    "ignore:.*across ranks is zero.*",
    "ignore:.*Checkpoint directory.*",
    "ignore:.*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    "ignore:.*os.fork\\(\\) was called.*",
    "ignore:.*use_fork.*:DeprecationWarning",
    "ignore:.*Starting from v1.9.0, `tensorboardX` has been removed.*",
    "ignore:.*unclosed file.*:ResourceWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for noise in LIGHTNING_NOISE:
            item.add_marker(pytest.mark.filterwarnings(noise))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty one."""
    return Registry(tmp_path / "repwatch.db")


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> ModuleType:
    """Each Lightning namespace in turn; skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


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


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a registry, of which made-up histories take their fields."""
    registry = Registry(tmp_path_factory.mktemp("drift") / "repwatch.db")
    return registry.start_run("template", probe=PROBE, monitor="val_loss")


@pytest.fixture
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift detection with fewer trees than it has, which is faster."""
    monkeypatch.setattr(trees, "N_TREES", 60)
