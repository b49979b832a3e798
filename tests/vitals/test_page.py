"""docs/vital-signs.md says of each rule what the rule says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import repwatch
from repwatch.vitals import RULES, Rule

PAGE = Path(repwatch.__file__).parent.parent / "docs" / "vital-signs.md"


def rows(rules: Sequence[Rule]) -> tuple[str, str]:
    """The lines of both tables."""
    first = [
        f"| `{rule.name}` | {rule.reads} | {rule.when} | {', '.join(rule.counterparts)} |"
        for rule in rules
    ]
    second = [
        f"| `{rule.name}` | {'; '.join(rule.causes)} | {rule.advice} | {rule.unseen} |"
        for rule in rules
    ]
    return "\n".join(first), "\n".join(second)


def test_the_page_has_the_rules_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in rows(RULES):
        assert table in page


def test_rules_name_rules_that_there_are() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert {name for rule in RULES for name in rule.unless} <= set(names)
