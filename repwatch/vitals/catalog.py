"""RULES: all vital signs, in the order in which they are checked."""

from __future__ import annotations

from collections.abc import Sequence

from repwatch.errors import ConfigurationError
from repwatch.registry.names import nearest_names
from repwatch.vitals.activations import ACTIVATION_RULES
from repwatch.vitals.classifiers import CLASSIFIER_RULES
from repwatch.vitals.curves import CURVE_RULES
from repwatch.vitals.labels import LABEL_RULES, POINT_RULES
from repwatch.vitals.parameters import PARAMETER_RULES, SIZE_RULES
from repwatch.vitals.rule import Rule
from repwatch.vitals.setup import SETUP_RULES

__all__ = ["RULES", "choose_rules"]

# What points and layers show comes first: it explains what weights and labels show.
RULES: tuple[Rule, ...] = (
    *POINT_RULES,
    *SETUP_RULES,
    *SIZE_RULES,
    *ACTIVATION_RULES,
    *PARAMETER_RULES,
    *LABEL_RULES,
    *CLASSIFIER_RULES,
    *CURVE_RULES,
)


def choose_rules(vitals: bool | Sequence[str]) -> tuple[Rule, ...]:
    """The rules that `RepWatch(vitals=...)` asks for: all, none, or those of the names.

    Raises:
        ConfigurationError: A name that no rule has, or something that is no choice.
    """
    if isinstance(vitals, bool):
        return RULES if vitals else ()
    if isinstance(vitals, str) or not isinstance(vitals, Sequence):
        raise ConfigurationError(
            f"Expected `vitals` to be True, False or a list of names, but got {vitals!r}."
        )
    known = [rule.name for rule in RULES]
    for name in vitals:
        if name not in known:
            near = nearest_names(str(name), known) or known
            raise ConfigurationError(
                f"Expected names of rules in `vitals`, but got {name!r}. The nearest: "
                f"{', '.join(near)}."
            )
    return tuple(rule for rule in RULES if rule.name in vitals)
