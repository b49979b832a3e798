"""Vital signs: flags that one run's own snapshots raise, without any other run.

    snapshots, metrics --SignReader--> Signs --Rule.check--> Finding --VitalMonitor--> Flag

- `catalog`: RULES, all of them. They are in `activations`, `parameters`, `labels`,
  `classifiers`, `curves` and `setup`.
- `rule`: what a rule is. `signs`: what it reads.
- `monitor`: VitalMonitor for a run that is watched, `check_run` for one that is stored.

Rules are quiet rather than complete: each has a wide margin between what it fires at and what
healthy networks show.
"""

from __future__ import annotations

from repwatch.vitals.catalog import RULES, choose_rules
from repwatch.vitals.monitor import VitalMonitor, check_run, newest_signs
from repwatch.vitals.rule import Finding, Rule

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "VitalMonitor",
    "check_run",
    "choose_rules",
    "newest_signs",
]
