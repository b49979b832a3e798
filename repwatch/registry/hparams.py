"""Names of hyperparameters: the user's own, and those that RepWatch read from the training.

    "lr", "model.dropout"           the user's, nested ones flattened with dots
    "repwatch.optimizer.lr"         read by RepWatch; shown as "optimizer.lr"

RepWatch 0.1.0 stored what it read without the prefix. Such runs are given the prefix when they are
read from the registry, so that all other code sees one kind of name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "LEARNING_RATES",
    "PREFIX",
    "hparam_title",
    "is_own",
    "look_up",
    "name_order",
    "split_own",
    "with_prefix",
]

PREFIX = "repwatch."

# Names of a run's learning rate, best first.
LEARNING_RATES = (f"{PREFIX}optimizer.lr", "optimizer.lr", "lr", "learning_rate")

# Names that only the callback of 0.1.0 stored, and the other names that it stored with them.
_SIGNS = ("model.parameters", "trainer.accumulate_grad_batches")
_FORMER = re.compile(
    r"(optimizer|scheduler)(_\d+)?(\..+)?"
    r"|trainer\.(max_epochs|max_steps|precision|gradient_clip_val|accumulate_grad_batches)"
    r"|data\.(batch_size|probe)|model(\.parameters)?"
)


def is_own(name: str) -> bool:
    """Whether RepWatch itself read the hyperparameter from the training."""
    return name.startswith(PREFIX)


def hparam_title(name: str) -> str:
    """The name as a person should see it: without RepWatch's prefix."""
    return name.removeprefix(PREFIX)


def name_order(name: str) -> tuple[bool, bool, str]:
    """A key for sorting: the user's names before RepWatch's, those without dots first."""
    return is_own(name), "." in name, name


def look_up(hparams: Mapping[str, object], name: str, default: object = None) -> object:
    """The value of the hyperparameter: the user's own, else what RepWatch read under that name."""
    return hparams.get(name, hparams.get(f"{PREFIX}{name}", default))


def split_own(hparams: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the user's, RepWatch's by their titles)."""
    users = {name: value for name, value in hparams.items() if not is_own(name)}
    own = {hparam_title(name): value for name, value in hparams.items() if is_own(name)}
    return users, own


def with_prefix(hparams: dict[str, object]) -> dict[str, object]:
    """The stored hyperparameters of a run, with the prefix where RepWatch 0.1.0 left it out."""
    if any(map(is_own, hparams)) or not all(sign in hparams for sign in _SIGNS):
        return hparams
    names = {name: f"{PREFIX}{name}" for name in hparams if _FORMER.fullmatch(name)}
    return {names.get(name, name): value for name, value in hparams.items()}
