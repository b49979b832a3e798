"""The run registry: the one home of runs, snapshots, landmarks, flags and probe sets.

records.py    what goes in and comes out: frozen dataclasses
store.py      Registry: all reads and writes, over
  incoming.py   checking and cleaning what is recorded, over values.py
  queries.py    reading        changes.py    writing       blobs.py    RDMs and sketches as bytes
                                                        stacks.py   and many of them as arrays
hparams.py    names of hyperparameters: the user's, and RepWatch's own
suggestions.py  LabelSuggestion: labels from outcomes, over
  causes.py       the hyperparameter that sets a bad run apart
transfer.py   runs from one registry into another    health.py     what is wrong with one
worker.py     Worker: a thread that does tasks while the training goes on
recorder.py   RunRecorder: a Worker that records one run
database.py   engine and transactions, over
  location.py   paths and URLs    schema.py     revisions    journal.py   WAL or not
  fork_gate.py  forks and connections
tables.py     the tables, as SQLAlchemy mappings; versions/ has their alembic revisions
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
from repwatch.registry.store import Registry
from repwatch.registry.suggestions import LabelSuggestion, LabelSuggestions
from repwatch.registry.worker import Worker

__all__ = [
    "Flag",
    "LabelSuggestion",
    "LabelSuggestions",
    "NewSnapshot",
    "ProbeInfo",
    "ProbePoint",
    "Registry",
    "Run",
    "RunRecorder",
    "Snapshot",
    "Worker",
]
