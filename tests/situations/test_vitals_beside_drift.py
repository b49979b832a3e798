"""Drift detection and vital signs: one flag for a step, and good landmarks count for both."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import torch

from repwatch import Registry, Watcher
from repwatch.registry import Flag
from repwatch.watch.drift_monitor import join_flags
from tests.watch.helpers import PROBE, network, watch


def flag(kind: str, message: str, **evidence: object) -> Flag:
    return Flag(
        id=None,
        run_id="run",
        kind=kind,
        step=10,
        epoch=0,
        layer="a",
        message=message,
        cause=None,
        probability=0.9 if kind == "drift" else None,
        evidence=evidence,
        raised_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )


def test_a_drift_flag_has_the_vital_signs_of_its_step_in_its_message_and_evidence() -> None:
    drift = flag("drift", "It deviates.", score=1.2)
    joined = join_flags(drift, [flag("vital", "All units are dead.", rule="dead-units")])
    assert (joined.kind, joined.probability) == ("drift", 0.9)
    assert joined.message == "It deviates. All units are dead."
    assert joined.evidence == {"score": 1.2, "vitals": [{"rule": "dead-units"}]}
    assert join_flags(drift, []) is drift


def live(registry: Registry, name: str, *, growth: float = 12.0) -> list[Flag]:
    """The flags of a run whose weights grow by a factor in each step."""
    model = network(seed=3)
    with Watcher(
        model, PROBE, registry=registry, run_name=name, draw_map=False, auto_label=False
    ) as watcher:
        for step in range(4):
            watcher.metrics(step, step, {"val_loss": 1.0 / (step + 1)})
            watcher.snapshot(step, epoch=step)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(growth)
    return list(registry.run(name).flags)


def put_flag(registry: Registry, run: str, evidence: dict[str, object] | None = None) -> None:
    run_id = registry.run(run).id
    registry.add_flag(run_id, kind="drift", step=3, epoch=0, message="m", evidence=evidence or {})


def landmarks(registry: Registry) -> None:
    for k in range(6):
        registry.label(watch(registry, f"calm-{k}", scale=1.05), "good")
        registry.label(watch(registry, f"wild-{k}", scale=3.0), "bad", "weights explode")


def test_a_step_that_both_flag_gives_one_message(registry: Registry) -> None:
    landmarks(registry)
    found = live(registry, "live")
    (first,) = (flag for flag in found if flag.kind == "drift")
    assert [vital["rule"] for vital in first.evidence["vitals"]] == ["exploding-weights"]
    assert [flag for flag in found if flag.step == first.step] == [first]
    assert live(registry, "calm", growth=1.05) == []


def test_a_rule_that_has_flagged_a_good_run_is_silent_from_then_on(registry: Registry) -> None:
    before = live(registry, "before")
    rules = {flag.evidence["rule"] for flag in before if flag.kind == "vital"}
    assert rules
    registry.label("before", "bad")
    assert {flag.evidence["rule"] for flag in live(registry, "again")} == rules
    registry.label("before", "good")
    assert live(registry, "since") == []


@pytest.mark.parametrize("joined", [False, True])
def test_a_run_that_a_vital_sign_has_flagged_is_not_labeled_good(
    registry: Registry, joined: bool
) -> None:
    names = [watch(registry, f"run-{k}") for k in range(7)]
    evidence = {"rule": "dead-units", "layers": ["0"]}
    changes = {"evidence": {"vitals": [evidence]}} if joined else {"evidence": evidence}
    put_flag(registry, names[2], **changes)
    found = registry.suggest_labels("val_loss", "min")
    assert names[2] in found.left_out
    assert names[2] not in {suggestion.run for suggestion in found}
    assert any("dead-units" in note for note in found.notes)
    # A drift flag alone is no reason: it is what labels are for.
    put_flag(registry, names[3])
    assert names[3] in {s.run for s in registry.suggest_labels("val_loss", "min")}
