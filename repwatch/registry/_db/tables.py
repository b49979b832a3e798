"""The registry's tables, as SQLAlchemy typed mappings.

probe_sets 1─n probe_points      a probe set and what a person sees of each of its points
probe_sets 1─n runs 1─n snapshots 1─1 rdms
                    1─n metrics, flags
                    1─1 labels   the outcome that makes a run a landmark
spaces                           fitted maps, and what was read of a run, by key

The large blobs of a snapshot are in `rdms`, so that listing snapshots reads none of them; a
diverged snapshot has no row there. A change here needs a revision in `versions/`.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

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


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# SQLite counts rows only in a column that is exactly INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")


def _run_key(primary: bool = False) -> Mapped[str]:
    return mapped_column(Words, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=primary)


class ProbeSetRow(Base):
    __tablename__ = "probe_sets"

    fingerprint: Mapped[str] = mapped_column(Words, primary_key=True)
    name: Mapped[str | None] = mapped_column(Words(optional=True))
    points: Mapped[int] = mapped_column(Count)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    used_at: Mapped[datetime] = mapped_column(UtcTime)
    content: Mapped[bytes] = mapped_column(Blob)


class ProbePointRow(Base):
    """One probe point as a person sees it; written once with its probe set, never changed."""

    __tablename__ = "probe_points"

    probe: Mapped[str] = mapped_column(
        Words, ForeignKey("probe_sets.fingerprint", ondelete="CASCADE"), primary_key=True
    )
    point: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    columns: Mapped[dict[str, object]] = mapped_column(Json)
    text: Mapped[str | None] = mapped_column(Words(optional=True))
    link: Mapped[str | None] = mapped_column(Words(optional=True))


class RunRow(Base):
    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("project", "name"), Index(None, "probe", "project"))

    id: Mapped[str] = mapped_column(Words, primary_key=True)
    name: Mapped[str] = mapped_column(Words)
    probe: Mapped[str] = mapped_column(Words, ForeignKey("probe_sets.fingerprint"))
    status: Mapped[str] = mapped_column(Words)
    hparams: Mapped[dict[str, object]] = mapped_column(Json)
    versions: Mapped[dict[str, str]] = mapped_column(Json(dict, str))
    monitor: Mapped[str | None] = mapped_column(Words(optional=True))
    mode: Mapped[str] = mapped_column(Words)
    started_at: Mapped[datetime] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime(optional=True))
    heartbeat_at: Mapped[datetime] = mapped_column(UtcTime)
    last_step: Mapped[int] = mapped_column(Whole)
    notes: Mapped[list[str]] = mapped_column(Json(list, str), server_default="[]")
    project: Mapped[str] = mapped_column(Words, server_default="")


class SnapshotRow(Base):
    __tablename__ = "snapshots"
    __table_args__ = (
        UniqueConstraint("run_id", "layer", "step"),
        # Ids are never given twice: a stored space names its snapshots by them.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    run_id: Mapped[str] = _run_key()
    layer: Mapped[str] = mapped_column(Words)
    step: Mapped[int] = mapped_column(Whole)
    epoch: Mapped[int] = mapped_column(Whole)
    depth: Mapped[int] = mapped_column(Small)
    diverged: Mapped[bool] = mapped_column(Truth)
    scalars: Mapped[dict[str, float]] = mapped_column(Json(dict, float))


class RdmRow(Base):
    """The RDM as float16 with its scale, and its sketch (float32); little-endian."""

    __tablename__ = "rdms"

    snapshot_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("snapshots.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    scale: Mapped[float] = mapped_column(Number)
    # The sketch comes before the RDM: SQLite then reads it without walking through the RDM.
    sketch: Mapped[bytes] = mapped_column(Blob)
    rdm: Mapped[bytes] = mapped_column(Blob)


class MetricRow(Base):
    """One value; NaN and infinities are stored as text, for SQLite turns NaN into NULL."""

    __tablename__ = "metrics"

    run_id: Mapped[str] = _run_key(primary=True)
    name: Mapped[str] = mapped_column(Words, primary_key=True)
    step: Mapped[int] = mapped_column(Whole, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(Whole)
    value: Mapped[float | None] = mapped_column(Number(optional=True))
    special: Mapped[str | None] = mapped_column(Words(optional=True))


class LabelRow(Base):
    __tablename__ = "labels"

    run_id: Mapped[str] = _run_key(primary=True)
    label: Mapped[str] = mapped_column(Words(optional=True))
    cause: Mapped[str | None] = mapped_column(Words(optional=True))
    automatic: Mapped[bool] = mapped_column(Truth(optional=True))
    labeled_at: Mapped[datetime] = mapped_column("labelled_at", UtcTime)


class FlagRow(Base):
    __tablename__ = "flags"
    __table_args__ = (Index(None, "run_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    run_id: Mapped[str] = _run_key()
    kind: Mapped[str] = mapped_column(Words)
    step: Mapped[int] = mapped_column(Whole)
    epoch: Mapped[int] = mapped_column(Whole)
    layer: Mapped[str | None] = mapped_column(Words(optional=True))
    message: Mapped[str] = mapped_column(Words)
    cause: Mapped[str | None] = mapped_column(Words(optional=True))
    probability: Mapped[float | None] = mapped_column(Number(optional=True))
    evidence: Mapped[dict[str, object]] = mapped_column(Json)
    raised_at: Mapped[datetime] = mapped_column(UtcTime)


class SpaceRow(Base):
    __tablename__ = "spaces"

    key: Mapped[str] = mapped_column(Words, primary_key=True)
    saved_at: Mapped[datetime] = mapped_column(UtcTime)
    content: Mapped[bytes] = mapped_column(Blob)
