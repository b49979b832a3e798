"""Arguments of the registry, checked where they are given."""

from __future__ import annotations

import uuid

from repwatch.errors import ConfigurationError, LabelError
from repwatch.registry.values import plain_name


def check_label(label: str, cause: str | None) -> None:
    """Raises LabelError where the two are empty, or contradict each other."""
    if label not in ("good", "bad"):
        raise LabelError(f"A label is 'good' or 'bad', got {label!r}.")
    if cause is None:
        return
    if label == "good":
        raise LabelError(
            f"A good run has no cause, got {cause!r}. Leave it out, or label it 'bad'."
        )
    if not isinstance(cause, str) or not cause.strip():
        raise LabelError(
            f"A cause is a few words, got {cause!r}. Say what went wrong, or leave it out."
        )


def check_name(name: str | None) -> str | None:
    """The run name as it will be stored; None stays None."""
    if name is None:
        return None
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(
            f"run_name must be some text, got {name!r}. Leave it out to get a readable one."
        )
    return plain_name(name)


def check_run(run: str) -> str:
    """The name or id of a run as it is stored."""
    if not isinstance(run, str):
        raise ConfigurationError(f"A run is a Run, its name or its id, got {type(run).__name__}.")
    return plain_name(run)


def check_id(run_id: str | None) -> str:
    """The run id, or a new one for None."""
    if run_id is None:
        return uuid.uuid4().hex[:16]
    if not isinstance(run_id, str) or not run_id.strip():
        raise ConfigurationError(f"run_id must be the id of a run, got {run_id!r}.")
    return plain_name(run_id)


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> str:
    """The value, which must be one of the choices."""
    if value not in choices:
        allowed = ", ".join(map(repr, choices))
        raise ConfigurationError(f"{what} must be one of {allowed}, got {value!r}.")
    return value
