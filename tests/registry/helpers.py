"""Shared by the registry's tests and by the processes that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import repwatch
from repwatch.registry import Flag, NewSnapshot, Run

POINTS = 6
PAIRS = POINTS * (POINTS - 1) // 2


class LightProbe:
    """A probe set as the registry sees one, without torch: child processes start faster."""

    fingerprint = "0123456789abcdef"
    name = None
    columns = {"label": list(range(POINTS))}  # noqa: RUF012
    texts = None
    links = None

    def __len__(self) -> int:
        return POINTS

    def to_bytes(self) -> bytes:
        return b"light"


def rdm_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2.0, PAIRS).astype(np.float32)


def snapshot_of(layer: str = "fc", step: int = 0, depth: int = 1, **changes: object) -> NewSnapshot:
    fields = {"layer": layer, "step": step, "epoch": 0, "depth": depth, "rdm": rdm_of(step)}
    return NewSnapshot(**{**fields, "scalars": {"norm": 1.5}, **changes})


def flag_of(run: Run, **changes: object) -> Flag:
    fields = {"id": None, "run_id": run.id, "kind": "drift", "step": 3, "epoch": 0, "layer": None}
    reasons = {"message": "m", "cause": None, "probability": None, "evidence": {}}
    return Flag(**{**fields, **reasons, "raised_at": datetime.now(timezone.utc), **changes})


def run_script(script: str, *arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def script_environment() -> dict[str, str]:
    root = Path(repwatch.__file__).parent.parent
    return {**os.environ, "PYTHONPATH": str(root)}
