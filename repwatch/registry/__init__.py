"""The run registry: the one home of runs, snapshots, landmarks, flags and probe sets.

records.py    what goes in and comes out: frozen dataclasses
registry.py   Registry: all reads (reading.py) and writes, over _db/
recorder.py   RunRecorder: records one run while the training continues, over
  worker.py     Worker: a thread that does tasks with a registry
  entries.py    what is recorded, as data that can wait
  spool.py      where it waits while the registry does not answer
transfer.py   runs from one registry into another
retention.py  which RDMs stay whole
health.py     what is wrong with a registry
values.py     plain values and clean text    hparams.py    names of hyperparameters
location.py   paths and URLs                 names.py      names of runs      checks.py    arguments
secrets.py    hyperparameters that are masked
_db/          the inside: tables, queries, writes, the engine, forks, the journal, migrations
"""

from repwatch.registry.recorder import RunRecorder
from repwatch.registry.records import (
    Flag,
    NewSnapshot,
    ProbeInfo,
    ProbePoint,
    Run,
    Snapshot,
)
from repwatch.registry.registry import Registry
from repwatch.registry.retention import Retention
from repwatch.registry.worker import Worker

__all__ = [
    "Flag",
    "NewSnapshot",
    "ProbeInfo",
    "ProbePoint",
    "Registry",
    "Retention",
    "Run",
    "RunRecorder",
    "Snapshot",
    "Worker",
]
