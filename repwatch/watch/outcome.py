"""The label of the watched run by its own outcome, where that is asked for."""

from __future__ import annotations

from repwatch.analysis.knn_accuracy import with_knn_accuracy
from repwatch.analysis.labels import suggest_label
from repwatch.errors import ConfigurationError
from repwatch.registry import Registry
from repwatch.registry.records import EndStatus

__all__ = ["check_auto_label", "end_status", "label_outcome", "label_run"]


def check_auto_label(auto_label: bool, monitor: str | None) -> None:
    """Refuse to label by an outcome that no metric gives. Raises ConfigurationError."""
    if auto_label and monitor is None:
        raise ConfigurationError(
            "Expected `monitor` with auto_label=True, the metric that measures how good a run is, "
            'such as monitor="val_loss".'
        )


def end_status(error: BaseException) -> EndStatus:
    """How a training ended that an exception ended.

    Returns:
        "stopped" where a person, the system or Optuna ended it (Ctrl-C, SIGTERM, `sys.exit`, a
        pruned trial), so that it may be resumed; "failed" for every other exception.
    """
    # By name, so that Optuna is not imported to find out.
    names = {cls.__name__ for cls in type(error).__mro__}
    intended = {"KeyboardInterrupt", "SystemExit", "TrialPruned"}
    return "stopped" if names & intended else "failed"


def label_outcome(registry: Registry, run_id: str, group: str | None = None) -> str | None:
    """Label a run by its final monitored metric, marked as automatic.

    A label set by a person is never replaced, whatever the outcome.

    Args:
        registry: Written.
        run_id: A run that has finished.
        group: A hyperparameter that separates kinds of training: each kind has outcomes of its
            own.

    Returns:
        Why the run got no label, or None.
    """
    run = registry.run(run_id)
    if run.label is not None and not run.automatic:
        return None
    try:
        runs = with_knn_accuracy(registry, registry.runs(probe=run.probe), run.monitor)
        run = next(candidate for candidate in runs if candidate.id == run_id)
        found = suggest_label(run, runs, group=group)
    except ConfigurationError as error:
        return f"{run.name!r} gets no label from its outcome. {error}"
    registry.label(run, found.label, found.cause, automatic=True)
    return None


def label_run(run_id: str, group: str | None, reasons: list[str], registry: Registry) -> None:
    """Label an ended run by its outcome; why it cannot be is noted, and goes to `reasons`."""
    try:
        reason = label_outcome(registry, run_id, group)
    except Exception as error:
        # The run is stored all the same.
        reason = f"the run could not be labeled ({type(error).__name__}: {error})."
    if reason is not None:
        reasons.append(reason)
        registry.add_notes(run_id, [reason])
