"""What became of the watched run itself: its label by its own outcome, where that was asked for."""

from __future__ import annotations

from repwatch.errors import ConfigurationError
from repwatch.registry import Registry
from repwatch.registry.probing import with_probing
from repwatch.registry.suggestions import suggest_label

__all__ = ["check_auto_label", "label_outcome"]


def check_auto_label(auto_label: bool, monitor: str | None) -> None:
    """Refuse a label by an outcome that nothing tells. Raises ConfigurationError."""
    if auto_label and monitor is None:
        raise ConfigurationError(
            "Expected `monitor` beside auto_label=True, the metric that says how good a run is, "
            'such as monitor="val_loss".'
        )


def label_outcome(registry: Registry, run_id: str, group: str | None = None) -> str | None:
    """Label a run by its final monitored metric, marked as automatic.

    A person's label stays, whatever the outcome says.

    Args:
        registry: Written.
        run_id: A run that has ended by itself.
        group: A hyperparameter that tells kinds of training apart: each kind has outcomes of its
            own.

    Returns:
        Why the run got no label, or None.
    """
    run = registry.run(run_id)
    if run.label is not None and not run.automatic:
        return None
    try:
        runs = with_probing(registry, registry.runs(probe=run.probe), run.monitor)
        run = next(one for one in runs if one.id == run_id)
        found = suggest_label(run, runs, group=group)
    except ConfigurationError as error:
        return f"{run.name!r} gets no label from its outcome. {error}"
    registry.label(run, found.label, found.cause, automatic=True)
    return None
