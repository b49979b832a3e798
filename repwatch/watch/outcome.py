"""What becomes of runs once they end: labels by outcome, and RDMs that need not stay whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from repwatch.analysis.knn_accuracy import label_codes, with_knn_accuracy
from repwatch.analysis.labels import FEWEST_BESIDE, LabelSuggestions, suggest_labels
from repwatch.errors import ConfigurationError, RegistryUnavailableError
from repwatch.registry import Registry, Run
from repwatch.registry.hparams import look_up
from repwatch.registry.records import NO_LABEL, EndStatus
from repwatch.registry.retention import Retention, reduce_run
from repwatch.registry.worker import Task
from repwatch.watch.options import WatchOptions

__all__ = ["end_status", "label_outcomes", "tasks_after_end"]

log = logging.getLogger("repwatch")


def end_status(error: BaseException) -> EndStatus:
    """The end status of a training that ended with an exception.

    Returns:
        "stopped" where a person, the system or Optuna ended it (Ctrl-C, SIGTERM, `sys.exit`, a
        pruned trial), so that it may be resumed; "failed" for every other exception.
    """
    # By name, so that Optuna is not imported to find out.
    names = {cls.__name__ for cls in type(error).__mro__}
    intended = {"KeyboardInterrupt", "SystemExit", "TrialPruned"}
    return "stopped" if names & intended else "failed"


def label_outcomes(registry: Registry, run_id: str, group: str | None = None) -> str | None:
    """Label a run that has finished, and those before it, by their final metric.

    Earlier automatic labels are updated, since each run shows better what is good. Labels are
    marked as automatic; those that a person set or removed stay as they are.

    Args:
        registry: Where labels are read and written.
        run_id: A run that has finished.
        group: A hyperparameter that separates kinds of training: each kind has outcomes of its
            own.

    Returns:
        Why the run got no label, or None.
    """
    run = registry.run(run_id)
    metric = run.monitor
    if metric is None:
        return f"{run.name!r} gets no label from its outcome: no metric decides it. Give monitor=."
    kind = None if group is None else look_up(run.hparams, group)
    try:
        runs = with_knn_accuracy(registry, registry.runs(probe=run.probe), metric)
        alike = [other for other in runs if group is None or look_up(other.hparams, group) == kind]
        found = suggest_labels(
            alike,
            metric,
            run.mode,
            probe=run.probe,
            codes=label_codes(registry, run.probe),
            fewest=FEWEST_BESIDE + 1,
        )
    except ConfigurationError as error:
        return f"{run.name!r} gets no label from its outcome. {error}"
    _apply(registry, alike, found)
    if run.name in found.left_out:
        return " ".join(note for note in found.notes if run.name in note) or None
    return None


def _apply(registry: Registry, runs: Sequence[Run], found: LabelSuggestions) -> None:
    """Write the automatic labels that have changed."""
    suggested = {suggestion.run: suggestion for suggestion in found}
    for run in runs:
        if (run.label is not None and not run.automatic) or NO_LABEL in run.notes:
            continue
        new = suggested.get(run.name)
        if new is None and run.label is not None:
            registry.unlabel(run, automatic=True)
        elif new is not None and (new.label, new.cause) != (run.label, run.cause):
            registry.label(run, new.label, new.cause, automatic=True)


def tasks_after_end(
    run_id: str, options: WatchOptions, status: EndStatus, cache: Task | None = None
) -> Iterator[Task]:
    """What is done with a run once its end is stored, in this order.

    Args:
        run_id: The run.
        options: Whether runs are labeled, and which RDMs stay whole.
        status: How it ended: runs that finished are labeled.
        cache: Caches what drift detection has read from it, so that its RDMs are not read again.
    """
    if options.auto_label and status == "finished":
        yield partial(_label_run, run_id, options.group)
    if cache is not None:
        yield cache
    if isinstance(options.keep, Retention):
        yield partial(_reduce_run, run_id, options.keep)


def _reduce_run(run_id: str, keep: Retention, registry: Registry) -> None:
    """Reduce the RDMs of a run that has ended; drift detection's view of it is cached first."""
    from repwatch.drift import read_histories

    try:
        run = registry.run(run_id)
        read_histories(registry, [run])
        reduce_run(registry, run, keep)
    except Exception as error:
        log.warning(
            "RepWatch: RDMs could not be reduced (%s: %s); `repwatch prune --keep` does it later.",
            type(error).__name__,
            error,
        )


def _label_run(run_id: str, group: str | None, registry: Registry) -> None:
    """Label an ended run by its outcome, and those before it; why it gets none is noted."""
    try:
        reason = label_outcomes(registry, run_id, group)
    except Exception as error:
        # The run is stored all the same.
        reason = f"the run could not be labeled ({type(error).__name__}: {error})."
        log.warning("RepWatch: %s", reason)
    if reason is not None:
        # Where the registry does not answer, the log has the reason.
        with suppress(RegistryUnavailableError):
            registry.add_notes(run_id, [reason])
