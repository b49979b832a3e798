"""What drift detection and vital signs find at one step is one flag."""

from __future__ import annotations

from datetime import datetime, timezone

from repwatch.registry import Flag
from repwatch.watch.drift_monitor import join_flags


def flag(kind: str, message: str, **evidence: object) -> Flag:
    return Flag(
        id=None,
        run_id="run",
        kind=kind,
        step=10,
        epoch=0,
        layer="a",
        message=message,
        cause=None,
        probability=0.9 if kind == "drift" else None,
        evidence=evidence,
        raised_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )


def test_a_drift_flag_has_the_vital_signs_of_its_step_in_its_message_and_evidence() -> None:
    drift = flag("drift", "It deviates.", score=1.2)
    joined = join_flags(drift, [flag("vital", "All units are dead.", rule="dead-units")])
    assert (joined.kind, joined.probability) == ("drift", 0.9)
    assert joined.message == "It deviates. All units are dead."
    assert joined.evidence == {"score": 1.2, "vitals": [{"rule": "dead-units"}]}
    assert join_flags(drift, []) is drift
