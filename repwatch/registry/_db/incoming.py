"""What is recorded, on its way in: arguments are checked, and all text and values made plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from repwatch.registry import checks
from repwatch.registry.secrets import mask_secrets
from repwatch.registry.values import flatten, plain, plain_float, plain_int, plain_name, plain_text

if TYPE_CHECKING:
    from repwatch.probe import ProbeSet

__all__ = ["NewProbe", "NewRun", "flag_values", "metric_values", "new_probe", "new_run"]


@dataclass(frozen=True)
class NewProbe:
    """A probe set as its rows; `content` is None where it is known to be stored."""

    fingerprint: str
    name: str | None
    points: int
    content: bytes | None
    rows: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class NewRun:
    """What `start_run` was given, checked and plain; `started_at` None means now."""

    id: str
    name: str | None
    probe: str
    hparams: dict[str, object]
    versions: dict[str, str]
    monitor: str | None
    mode: str
    started_at: datetime | None = None
    notes: tuple[str, ...] = ()


def new_probe(probe: ProbeSet) -> NewProbe:
    """The probe set as its rows: the whole as bytes, and what a person sees of each point."""
    n = len(probe)
    columns, texts, links = probe.columns, probe.texts, probe.links
    rows = [
        {
            "point": i,
            "columns": {name: plain(values[i]) for name, values in columns.items()},
            "text": texts[i] if texts else None,
            "link": links[i] if links else None,
        }
        for i in range(n)
    ]
    return NewProbe(probe.fingerprint, probe.name, n, probe.to_bytes(), rows)


def new_run(
    run_id: str | None,
    name: str | None,
    probe: ProbeSet,
    hparams: Mapping[str, object] | None,
    versions: Mapping[str, str] | None,
    monitor: str | None,
    mode: str,
) -> NewRun:
    """The run as its columns, its hyperparameters flat and without secrets.

    Raises ConfigurationError.
    """
    masked, secret = mask_secrets(flatten(hparams or {}))
    return NewRun(
        id=checks.check_id(run_id),
        name=checks.check_name(name),
        probe=probe.fingerprint,
        hparams=masked,
        versions={
            plain_text(str(library)): plain_text(str(version))
            for library, version in (versions or {}).items()
        },
        monitor=None if monitor is None else plain_name(monitor),
        mode=checks.check_choice("mode", mode, ("min", "max")),
        notes=(f"Hyperparameters with secrets are stored masked: {', '.join(secret)}.",)
        if secret
        else (),
    )


def metric_values(values: Mapping[str, float]) -> dict[str, float]:
    """The metrics by their names. Raises ConfigurationError where one is not a number."""
    return {
        plain_name(str(name)): plain_float(value, f"metric {name!r}")
        for name, value in values.items()
    }


def flag_values(
    kind: str,
    step: int,
    epoch: int,
    message: str,
    layer: str | None,
    cause: str | None,
    probability: float | None,
    evidence: Mapping[str, object] | None,
) -> dict[str, Any]:
    """The flag as its columns, except for its run and time. Raises ConfigurationError."""
    return {
        "kind": plain(kind),
        "layer": plain(layer),
        "message": plain(message),
        "cause": plain(cause),
        "step": plain_int(step, "step"),
        "epoch": plain_int(epoch, "epoch"),
        "probability": None if probability is None else plain_float(probability, "probability"),
        "evidence": plain(dict(evidence or {})),
    }
