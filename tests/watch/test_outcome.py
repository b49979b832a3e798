"""A run labels itself by its outcome: only where asked, only at its end, never over a person."""

from __future__ import annotations

import logging

import pytest

from repwatch import Registry, Watcher
from repwatch.errors import ConfigurationError
from tests.watch.helpers import PROBE, network


def train(
    registry: Registry,
    name: str,
    loss: float,
    *,
    lr: float = 0.01,
    method: str = "plain",
    status: str = "finished",
    label: bool = True,
    group: str | None = None,
) -> None:
    watcher = Watcher(
        network(0),
        PROBE,
        registry=registry,
        run_name=name,
        hparams={"lr": lr, "method": method},
        monitor="val_loss",
        draw_map=False,
        auto_label=label,
        group=group,
    )
    watcher.start()
    watcher.metrics(1, 0, {"val_loss": loss})
    watcher.finish(status)  # type: ignore[arg-type]


def others(registry: Registry, count: int = 5) -> None:
    for index in range(count):
        train(registry, f"before-{index}", 0.1 + index / 1000, lr=0.01 + index / 1000, label=False)


def test_a_finished_run_is_labeled_by_its_outcome_and_marked_as_automatic(
    registry: Registry,
) -> None:
    others(registry)
    train(registry, "hot", 2.3, lr=3.0)
    train(registry, "fine", 0.1)
    hot, fine = registry.run("hot"), registry.run("fine")
    assert (hot.label, hot.cause, hot.automatic) == ("bad", "learning rate too high", True)
    assert (fine.label, fine.cause, fine.automatic) == ("good", None, True)
    assert registry.run("before-0").label is None, "other runs are left as they are"


def test_unasked_no_run_is_labeled(registry: Registry) -> None:
    others(registry, 7)
    assert registry.landmarks(PROBE.fingerprint) == []


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_a_run_that_did_not_finish_has_no_outcome(registry: Registry, status: str) -> None:
    others(registry)
    train(registry, "cut", 2.3, status=status)
    assert registry.run("cut").label is None


def test_with_too_few_runs_to_judge_by_it_stays_unlabeled_and_explains_why(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    others(registry, 4)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        train(registry, "own", 0.1)
    assert registry.run("own").label is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert "'own' gets no label" in message
    assert "5 or more other finished runs with 'val_loss'" in message


def test_a_person_s_label_stays_and_an_automatic_one_follows_the_outcome(
    registry: Registry,
) -> None:
    others(registry)
    for name in ("by hand", "automatic"):
        run = registry.start_run(name, probe=PROBE, hparams={"lr": 0.01}, monitor="val_loss")
        registry.label(run, "bad", "noisy labels", automatic=name == "automatic")
        watcher = Watcher(
            network(0),
            PROBE,
            registry=registry,
            run_id=run.id,
            monitor="val_loss",
            draw_map=False,
            auto_label=True,
        )
        watcher.start()
        watcher.metrics(1, 0, {"val_loss": 0.1})
        watcher.finish()
    manual, changed = registry.run("by hand"), registry.run("automatic")
    assert (manual.label, manual.cause, manual.automatic) == ("bad", "noisy labels", False)
    assert (changed.label, changed.cause, changed.automatic) == ("good", None, True)


def test_kinds_of_training_have_outcomes_of_their_own(registry: Registry) -> None:
    others(registry)
    for index in range(5):
        train(registry, f"vae-{index}", 5.0 + index / 10, method="VAE", label=False)
    train(registry, "own", 5.0, method="VAE", group="method")
    assert registry.run("own").label == "good"


def test_a_fault_of_the_labeling_costs_the_run_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a fault of the rule's")

    others(registry)
    monkeypatch.setattr("repwatch.watch.outcome.label_outcome", breaks)
    with caplog.at_level(logging.WARNING, logger="repwatch"):
        train(registry, "own", 0.1)
    assert registry.run("own").status == "finished"
    assert "a fault of the rule's" in caplog.text


def test_a_label_by_outcome_needs_a_metric(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match="monitor="):
        Watcher(network(0), PROBE, registry=registry, auto_label=True)
