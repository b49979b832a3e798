"""The commands of drift detection: replay a run, and test the detector on the user's own runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.progress import track
from rich.table import Table

from repwatch.cli.backtest_tables import (
    backtest_json,
    format_checkpoint,
    json_dict,
    print_backtest,
)
from repwatch.cli.terminal import (
    JsonOption,
    ProbeOption,
    RegistryOption,
    as_text,
    console,
    errors,
    open_registry,
    print_json,
    progress_bar,
)
from repwatch.errors import DriftError, RegistryUnwritableError

if TYPE_CHECKING:
    from repwatch.drift import Assessment
    from repwatch.registry import Registry

__all__ = ["backtest", "check"]

# Bootstrap draws: fewer where the rounds take their time.
_DRAWS, _FEW_DRAWS = 1000, 500

FalseAlarmsOption = Annotated[
    float,
    typer.Option(help="Share of good runs that may be flagged over their whole length."),
]
GroupOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="A hyperparameter that names kinds of training, such as method."),
]
HoldOutOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Landmarks to leave out besides the run itself: those of its cause, of its group "
        "(a kind of training, see --group), bad-of-group, or where (those that --where selects)."
    ),
]
WhereOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="NAME=VALUE of a hyperparameter: these runs are listed separately."),
]
WithoutOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="What RepWatch does not use, to see what it adds: curves, representations, signs or "
        "loss."
    ),
]
GoodOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Use this many good landmarks, at random, and bad ones in proportion."),
]
BadOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Use this many bad landmarks, at random; by default in proportion."),
]
RoundsOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="How often to repeat the test, each time with other draws."),
]


def check(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    false_alarms: FalseAlarmsOption = 0.05,
    group: GroupOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a run against its probe set's landmarks: when it would have been flagged, and why."""
    from repwatch.drift import DriftDetector

    opened = _open(registry)
    found = opened.run(run)
    detector = DriftDetector.fit(
        opened, found.probe, without=found.id, false_alarms=false_alarms, group=group
    )
    assessments = detector.replay(found)
    if as_json:
        print_json(
            [
                {
                    **json_dict(assessment),
                    "advice": assessment.advice,
                    "message": assessment.message,
                }
                for assessment in assessments
            ]
        )
        return
    _print_assessments(assessments)
    _warn_without_labels(opened, found.probe)


def _print_assessments(assessments: list[Assessment]) -> None:
    """A run checkpoint by checkpoint, and its first alarm or else its end in words."""
    table = Table()
    for heading in ("epoch", "step", "score", "p bad", "first cause", "layer", "nearest"):
        table.add_column(heading)
    for assessment in assessments:
        table.add_row(*map(as_text, _row(assessment)), style="red" if assessment.alarm else "")
    console.print(table)
    first = next((assessment for assessment in assessments if assessment.alarm), assessments[-1])
    console.print(as_text(first.message, style="bold"))
    if first.points:
        points = ", ".join(point.description for point in first.points)
        console.print(as_text(f"Probe points that differ most there: {points}."))
    if first.matched_text and not first.alarm:
        console.print(as_text(f"{first.matched_text.capitalize()}."))
    missing = ", ".join(assessments[-1].layers_missing)
    if missing:
        console.print(as_text(f"Layers that landmarks have and this run does not have: {missing}."))
    console.print(as_text(first.guarantee_text))


def _warn_without_labels(registry: Registry, probe: str) -> None:
    """Say what is missing where the probe points have no labels."""
    from repwatch.drift import has_labels

    if not has_labels(registry, probe):
        console.print(
            "The probe set has no labels that separate classes, so class separation is not "
            "measured: in supervised training it is much of the evidence before the first epoch "
            "ends. Give labels with ProbeSet(..., columns={'label': [...]}).",
            markup=False,
            highlight=False,
        )


def _open(location: str | None) -> Registry:
    """The registry, writable where it can be, so that the landmarks' histories are cached in it."""
    reading = open_registry(location)
    reading.runs()  # a missing registry is an error, and is not created
    try:
        writing = open_registry(location, read_only=False)
        writing.runs()
    except RegistryUnwritableError:
        return reading
    return writing


def _row(assessment: Assessment) -> list[str]:
    where = format_checkpoint(assessment.checkpoint)
    if assessment.unavailable_reason:
        return [where, f"{assessment.step:,}", "-", "-", "-", "-", "-"]
    bad = sum(neighbor.label == "bad" for neighbor in assessment.nearest)
    return [
        where,
        f"{assessment.step:,}",
        f"{assessment.score:.2f}",
        "-" if assessment.p_bad is None else f"{assessment.p_bad:.2f}",
        assessment.cause or "-",
        assessment.layer or "-",
        f"{bad} of {len(assessment.nearest)} bad",
    ]


def backtest(
    false_alarms: FalseAlarmsOption = 0.05,
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation over runs.")] = 5,
    group: GroupOption = None,
    hold_out: HoldOutOption = None,
    where: WhereOption = None,
    good: GoodOption = None,
    bad: BadOption = None,
    rounds: RoundsOption = None,
    without: WithoutOption = None,
    probe: ProbeOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how reliable flags are here: each landmark by a detector that has not seen it.

    With --hold-out, --where, --good, --bad or --rounds it is measured where landmarks are missing,
    and for runs of a kind.
    """
    from repwatch import drift

    selected = _parse_where(where)
    opened = _open(registry)
    runs = opened.runs()
    if not runs:
        raise DriftError(f"Expected labeled runs to test on, but {opened!r} has no run at all.")
    landmarks = opened.landmarks(probe or runs[-1].probe)
    reading = track(landmarks, "reading landmarks", console=errors, transient=True)
    histories = [drift.read_histories(opened, [run])[0] for run in reading]
    restricted = bool(hold_out or selected or good or bad is not None or rounds)
    with progress_bar("Training detectors") as progress:
        progress(0, folds)
        found = drift.backtest(
            histories,
            hold_out or "run",
            folds=folds,
            good=good,
            bad=bad,
            where=selected,
            rounds=1 if rounds is None else rounds,
            without=without,
            false_alarms=false_alarms,
            group=group,
            causes=not restricted,
            draws=_FEW_DRAWS if restricted else _DRAWS,
            progress=progress,
        )
    if as_json:
        print_json(backtest_json(found, restricted))
        return
    print_backtest(found, false_alarms, restricted)
    if not restricted:
        _warn_without_labels(opened, landmarks[0].probe)


def _parse_where(text: str | None) -> tuple[str, str] | None:
    """NAME=VALUE in two."""
    if text is None:
        return None
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise DriftError(f"Expected --where NAME=VALUE, such as lr=0.1, but got {text!r}.")
    return name, value
