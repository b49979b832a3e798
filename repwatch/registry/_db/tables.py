"""The registry's tables.

probe_sets 1─n probe_points      a probe set and what a person sees of each of its points
probe_sets 1─n runs 1─n snapshots 1─1 rdms
                    1─n metrics, flags
                    1─1 labels   the outcome that makes a run a landmark
spaces                           fitted maps, and what was read of a run, by key

The large blobs of a snapshot are in `rdms`, so that listing snapshots reads none of them; a
diverged snapshot has no row there. A change here needs a revision in `versions/`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from repwatch.registry._db.columns import (
    Blob,
    Count,
    Json,
    Number,
    Small,
    Truth,
    UtcTime,
    Whole,
    Words,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows only in a column that is exactly INTEGER.
_RowId = BigInteger().with_variant(Integer(), "sqlite")
_required: partial[Column[Any]] = partial(Column, nullable=False)
_key: partial[Column[Any]] = partial(Column, primary_key=True)
_number_key: partial[Column[Any]] = partial(_key, autoincrement=False)


def _of_run() -> ForeignKey:
    return ForeignKey("runs.id", ondelete="CASCADE")


PROBE_SETS = Table(
    "probe_sets",
    METADATA,
    _key("fingerprint", Words),
    Column("name", Words(optional=True)),
    _required("points", Count),
    _required("created_at", UtcTime),
    _required("used_at", UtcTime),
    _required("content", Blob),
)

# One probe point as a person sees it; written once with its probe set.
PROBE_POINTS = Table(
    "probe_points",
    METADATA,
    _key("probe", Words, ForeignKey("probe_sets.fingerprint", ondelete="CASCADE")),
    _number_key("point", Integer),
    _required("columns", Json),
    Column("text", Words(optional=True)),
    Column("link", Words(optional=True)),
)

RUNS = Table(
    "runs",
    METADATA,
    _key("id", Words),
    _required("name", Words),
    _required("probe", Words, ForeignKey("probe_sets.fingerprint")),
    _required("status", Words),
    _required("hparams", Json),
    _required("versions", Json(dict, str)),
    Column("monitor", Words(optional=True)),
    _required("mode", Words),
    _required("started_at", UtcTime),
    Column("ended_at", UtcTime(optional=True)),
    _required("heartbeat_at", UtcTime),
    _required("last_step", Whole),
    _required("notes", Json(list, str), server_default="[]"),
    _required("project", Words, server_default=""),
    UniqueConstraint("project", "name"),
    Index(None, "probe", "project"),
)

SNAPSHOTS = Table(
    "snapshots",
    METADATA,
    _key("id", _RowId),
    _required("run_id", Words, _of_run()),
    _required("layer", Words),
    _required("step", Whole),
    _required("epoch", Whole),
    _required("depth", Small),
    _required("diverged", Truth),
    _required("scalars", Json(dict, float)),
    UniqueConstraint("run_id", "layer", "step"),
    # Ids are never reused: a stored space refers to its snapshots by them.
    sqlite_autoincrement=True,
)

# The RDM as float16 with its scale, and its sketch (float32); little-endian. The sketch comes
# before the RDM: SQLite then reads it without walking through the RDM.
RDMS = Table(
    "rdms",
    METADATA,
    _number_key("snapshot_id", _RowId, ForeignKey("snapshots.id", ondelete="CASCADE")),
    _required("scale", Number),
    _required("sketch", Blob),
    _required("rdm", Blob),
)

# One value; NaN and infinities are stored as text, since SQLite turns NaN into NULL.
METRICS = Table(
    "metrics",
    METADATA,
    _key("run_id", Words, _of_run()),
    _key("name", Words),
    _number_key("step", Whole),
    _required("epoch", Whole),
    Column("value", Number(optional=True)),
    Column("special", Words(optional=True)),
)

# Values that a run without a label lacks are optional, and the columns required.
LABELS = Table(
    "labels",
    METADATA,
    _key("run_id", Words, _of_run()),
    _required("label", Words(optional=True)),
    Column("cause", Words(optional=True)),
    _required("automatic", Truth(optional=True)),
    _required("labelled_at", UtcTime),
)

FLAGS = Table(
    "flags",
    METADATA,
    _key("id", _RowId),
    _required("run_id", Words, _of_run()),
    _required("kind", Words),
    _required("step", Whole),
    _required("epoch", Whole),
    Column("layer", Words(optional=True)),
    _required("message", Words),
    Column("cause", Words(optional=True)),
    Column("probability", Number(optional=True)),
    _required("evidence", Json),
    _required("raised_at", UtcTime),
    Index(None, "run_id"),
    sqlite_autoincrement=True,
)

SPACES = Table(
    "spaces",
    METADATA,
    _key("key", Words),
    _required("saved_at", UtcTime),
    _required("content", Blob),
)
