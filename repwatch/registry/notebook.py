"""Runs and registries as a notebook shows them: small tables. All text in them is escaped."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from repwatch.registry.hparams import hparam_title, name_order

__all__ = ["RegistryTable", "run_table"]

MOST_RUNS = 20
MOST_VALUES = 30
_LONGEST = 360


class ShownRun(Protocol):
    """What is shown of a `records.Run`, which uses this module."""

    @property
    def name(self) -> str:
        """The run's name."""

    @property
    def status(self) -> str:
        """Whether its training is running, or how it ended."""

    @property
    def last_step(self) -> int:
        """Its last optimizer step."""

    @property
    def label(self) -> str | None:
        """ "good", "bad" or None."""

    @property
    def cause(self) -> str | None:
        """Why it is bad, or None."""

    @property
    def started_at(self) -> datetime:
        """When it began, in UTC."""

    @property
    def monitor(self) -> str | None:
        """The metric that decides how good it is."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last value of each metric."""

    @property
    def hparams(self) -> Mapping[str, Any]:
        """Its flat hyperparameters."""

    @property
    def flags(self) -> Sequence[Any]:
        """Its flags, oldest first."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know about how it was watched."""


class RegistryTable(ABC):
    """Shows the newest runs of a registry, a row for each; a base class of `Registry`."""

    @abstractmethod
    def runs(self) -> Sequence[ShownRun]:
        """The runs, oldest first."""

    def _repr_html_(self) -> str:
        runs = self.runs()
        names = ("run", "status", "label", "step", "started", "metric", "flags")
        shown = [
            (
                run.name,
                run.status,
                run.label or "",
                run.last_step,
                f"{run.started_at:%Y-%m-%d %H:%M}",
                _monitored(run),
                len(run.flags) or "",
            )
            for run in reversed(runs[-MOST_RUNS:])
        ]
        left_out = f"; the newest {MOST_RUNS}" if len(runs) > MOST_RUNS else ""
        return _table(f"{self!r}: {len(runs)} runs{left_out}", shown, names)


def run_table(run: ShownRun) -> str:
    """What is stored about a run: its state, metrics, hyperparameters, flags and notes."""
    hparams = {name: run.hparams[name] for name in sorted(run.hparams, key=name_order)}
    rows: list[tuple[object, ...]] = [
        ("status", f"{run.status}, step {run.last_step}"),
        ("started", f"{run.started_at:%Y-%m-%d %H:%M} UTC"),
        ("label", ": ".join(filter(None, (run.label, run.cause))) or "none"),
        *_few(run.metrics),
        *_few({hparam_title(name): value for name, value in hparams.items()}),
        *(("flag", flag.message) for flag in run.flags),
        *(("note", note) for note in run.notes),
    ]
    return _table(f"Run {run.name}", rows)


def _monitored(run: ShownRun) -> str:
    value = None if run.monitor is None else run.metrics.get(run.monitor)
    return "" if value is None else f"{run.monitor} {value:.4g}"


def _few(values: Mapping[str, object]) -> Iterable[tuple[object, ...]]:
    shown = list(values.items())[:MOST_VALUES]
    for name, value in shown:
        yield name, f"{value:.4g}" if isinstance(value, float) else value
    if len(values) > len(shown):
        yield "…", f"{len(values) - len(shown)} more"


def _table(caption: str, rows: Iterable[Sequence[object]], names: Sequence[str] = ()) -> str:
    head = "".join(f"<th>{_escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{_escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f"<table><caption>{_escape(caption)}</caption>{head}<tbody>{body}</tbody></table>"


def _escape(value: object) -> str:
    text = str(value)
    return html.escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
