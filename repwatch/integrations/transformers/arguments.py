"""TrainingArguments as hyperparameters: what was changed, and nothing that is secret."""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import TYPE_CHECKING

from repwatch.registry.secrets import is_secret
from repwatch.registry.values import flatten

if TYPE_CHECKING:
    from transformers import TrainingArguments

__all__ = ["read_arguments"]

# Where things are written, what is shown, and what the arguments derive from the machine.
_NOT_HYPERPARAMETERS = re.compile(
    r"(output_dir|run_name|project|report_to|disable_tqdm|local_rank|ddp_backend"
    r"|do_train|do_eval|do_predict|dataloader_pin_memory"
    r"|(hub|push_to_hub|trackio|log|logging|save)_.*)$"
)
_PLAIN = (bool, int, float, str)


def read_arguments(arguments: TrainingArguments) -> dict[str, object]:
    """The TrainingArguments that differ from their defaults, as plain values.

    Arguments that set where things are written and how they are logged, arguments named like a
    secret (`hub_token`, `api_key`), and objects are left out.

    Args:
        arguments: TrainingArguments, or an instance of a user's subclass.
    """
    found: dict[str, object] = {}
    for field in dataclasses.fields(arguments):
        value, default = _plain(getattr(arguments, field.name, None)), _plain(_default(field))
        # Many are None until the arguments set them to False.
        if value is not None and value != (False if default is None else default):
            found[field.name] = value
    return {
        name: value
        for name, value in flatten(found).items()
        if not _NOT_HYPERPARAMETERS.match(name)
        and not any(is_secret(part) for part in name.split("."))
    }


def _default(field: dataclasses.Field[object]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def _plain(value: object) -> object:
    """The value as it can be stored; None for objects, and for what is empty."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        opened = {str(key): _plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in opened.items() if inner is not None} or None
    if isinstance(value, (list, tuple)):
        plain = [_plain(inner) for inner in value]
        return plain if plain and None not in plain else None
    return value if isinstance(value, _PLAIN) and value != "" else None
