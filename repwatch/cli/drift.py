"""The commands of drift detection: replay a run, and test the detector on the user's own runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.progress import track
from rich.table import Table

from repwatch.cli.holdout import parse_where, place_of, print_hold_out
from repwatch.cli.terminal import (
    JsonOption,
    ProbeOption,
    RegistryOption,
    as_text,
    console,
    counted,
    errors,
    open_registry,
    print_json,
)
from repwatch.errors import DriftError, RegistryUnwritableError

if TYPE_CHECKING:
    from repwatch.drift import Assessment, Backtest, Calibration, HoldOut
    from repwatch.registry import Registry

__all__ = ["backtest", "check"]

FalseAlarmsOption = Annotated[
    float,
    typer.Option(help="Share of good runs that may be flagged over their whole length."),
]
GroupOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="A hyperparameter that tells kinds of training apart, such as method."),
]
HoldOutOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Landmarks that are missing beside the run itself: those of its cause, of its group "
        "(a kind of training, see --group), the bad-of-group, or those that --where marks: where."
    ),
]
WhereOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="NAME=VALUE of a hyperparameter: these runs are told apart."),
]
GoodOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Keep so many good landmarks, by a draw, and bad ones in proportion."),
]
RoundsOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="How often all is done, each time with other draws."),
]


def check(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    false_alarms: FalseAlarmsOption = 0.05,
    group: GroupOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a run by the landmarks of its probe set: when it would have been flagged, and why."""
    from repwatch.drift import DriftDetector

    opened = _open(registry)
    found = opened.run(run)
    detector = DriftDetector.fit(
        opened, found.probe, without=found.id, false_alarms=false_alarms, group=group
    )
    told = detector.replay(found)
    if as_json:
        print_json([{**asdict(one), "message": one.message} for one in told])
        return
    table = Table()
    for heading in ("epoch", "step", "score", "p bad", "first cause", "layer", "nearest"):
        table.add_column(heading)
    for one in told:
        table.add_row(*map(as_text, _row(one)), style="red" if one.alarm else "")
    console.print(table)
    first = next((one for one in told if one.alarm), told[-1])
    console.print(as_text(first.message, style="bold"))
    if first.points:
        points = ", ".join(point.words for point in first.points)
        console.print(as_text(f"Probe points that differ most there: {points}."))
    if first.matching and not first.alarm:
        console.print(as_text(f"{first.matching.capitalize()}."))
    missing = told[-1].layers_missing
    if missing:
        console.print(as_text(f"Layers that landmarks have and this run has not: {missing}."))
    console.print(as_text(first.promise))
    _tell_cost(opened, found.probe)


def _tell_cost(registry: Registry, probe: str) -> None:
    """Say what is missing where the probe points have no labels."""
    from repwatch.drift import has_labels

    if not has_labels(registry, probe):
        console.print(
            "The probe set has no labels that tell classes apart, so how classes separate is not "
            "looked at: in supervised training that is much of what representations say before "
            "the first epoch ends. ProbeSet(..., columns={'label': [...]}) gives them.",
            markup=False,
            highlight=False,
        )


def _open(location: str | None) -> Registry:
    """The registry, writable where it can be, so that what is read of landmarks is kept in it."""
    reading = open_registry(location)
    reading.runs()  # a registry that is not there is an error, and is not made
    try:
        writing = open_registry(location, read_only=False)
        writing.runs()
    except RegistryUnwritableError:
        return reading
    return writing


def _row(one: Assessment) -> list[str]:
    where = place_of(one.checkpoint)
    if one.silent:
        return [where, f"{one.step:,}", "-", "-", "-", "-", "-"]
    bad = sum(near.label == "bad" for near in one.nearest)
    return [
        where,
        f"{one.step:,}",
        f"{one.score:.2f}",
        "-" if one.p_bad is None else f"{one.p_bad:.2f}",
        one.cause or "-",
        one.layer or "-",
        f"{bad} of {len(one.nearest)} bad",
    ]


def backtest(
    false_alarms: FalseAlarmsOption = 0.05,
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation over runs.")] = 5,
    group: GroupOption = None,
    hold_out: HoldOutOption = None,
    where: WhereOption = None,
    good: GoodOption = None,
    rounds: RoundsOption = None,
    probe: ProbeOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what a flag is worth here: each landmark judged by a detector that has not seen it.

    With --hold-out, --where, --good or --rounds it tells what it is worth where landmarks are
    missing, and for runs of a kind.
    """
    from repwatch import drift

    marked = parse_where(where)
    opened = _open(registry)
    runs = opened.runs()
    if not runs:
        raise DriftError(f"Expected labelled runs to test on, but {opened!r} has no run at all.")
    landmarks = opened.landmarks(probe or runs[-1].probe)
    reading = track(landmarks, "reading landmarks", console=errors, transient=True)
    histories = [drift.read_histories(opened, [run])[0] for run in reading]
    with counted(errors, transient=True) as bar:
        task = bar.add_task("Training detectors", total=folds)
        settings: dict[str, Any] = {
            "folds": folds,
            "false_alarms": false_alarms,
            "group": group,
            "progress": lambda done, total: bar.update(task, completed=done, total=total),
        }
        found: Backtest | HoldOut
        if hold_out or marked or good or rounds:
            found = drift.backtest_without(
                histories,
                hold_out or "run",
                where=marked,
                good=good,
                rounds=rounds or 1,
                **settings,
            )
        else:
            found = drift.backtest(histories, **settings)
    if as_json:
        print_json(asdict(found))
    elif isinstance(found, drift.HoldOut):
        print_hold_out(found, false_alarms)
    else:
        _print(found, false_alarms)
        _tell_cost(opened, landmarks[0].probe)


def _print(found: Backtest, false_alarms: float) -> None:
    table = Table(title=f"{found.good} good and {found.bad} bad landmarks")
    table.add_column("epoch")
    for method in found.methods:
        table.add_column(as_text(f"{method.name}\nAUROC  found  false"), justify="right")
    table.add_column("cause\ntop 1  top 3")
    table.add_column("with settings\ntop 1  top 3")
    table.add_column("p bad\nerror")
    own = found.methods[0]
    for k, checkpoint in enumerate(found.checkpoints):
        cells = []
        for method in found.methods:
            auroc = f"{method.auroc[k]:.3f}" if method.auroc else "    -"
            cells.append(f"{auroc}   {method.found[k]:.2f}   {method.false_alarms[k]:.3f}")
        table.add_row(
            place_of(checkpoint),
            *cells,
            _pair(own.top1, own.top3, k),
            _pair(own.top1_read, own.top3_read, k),
            _error(found.calibration[k]),
        )
    console.print(table)
    console.print(_intervals(found))
    lead, low, high = found.lead
    console.print(
        f"found: share of bad runs flagged by then; false: share of good runs flagged by then, "
        f"promised at most {false_alarms:.0%}. RepWatch flags {lead:+.1f} "
        f"[{low:+.1f}, {high:+.1f}] epochs before the loss does, over bad runs that both find. "
        "cause: named first, or among the first three, by training alone and with the "
        "hyperparameters read."
    )
    kept = found.calibration_overall
    if kept is not None:
        console.print(
            f"p bad: calibration error {kept.error:.3f}, Brier score {kept.brier:.3f} against "
            f"{kept.brier_of_share:.3f} for always telling the share of bad runs. Told and true: "
            + ", ".join(f"{one.told:.2f} {one.bad:.2f} ({one.count})" for one in kept.bins)
            + "."
        )


def _intervals(found: Backtest) -> Table:
    """How far RepWatch's numbers can be told from so many runs."""
    own = found.methods[0]
    columns = {
        "AUROC": (own.auroc, own.intervals["auroc"]),
        "found": (own.found, own.intervals["found"]),
        "false": (own.false_alarms, own.intervals["false_alarms"]),
        "cause\ntop 1": (own.top1, own.intervals["top1"]),
    }
    table = Table(title="RepWatch, with intervals of 95 % over runs")
    for heading in ("epoch", "AUROC above\ncurves", *columns):
        table.add_column(heading)
    for k, checkpoint in enumerate(found.checkpoints):
        cells = [_between(*own.gain[k], sign="+")]
        for values, ends in columns.values():
            cells.append(_between(values[k], *ends[k]) if values else "-")
        table.add_row(place_of(checkpoint), *map(as_text, cells))
    return table


def _between(value: float, low: float, high: float, sign: str = "") -> str:
    """A value with its interval, which stays in one piece where the line is broken."""
    ends = ",".join(f"{end:{sign}.2f}".replace("0.", ".", 1) for end in (low, high))
    return f"{value:{sign}.2f} [{ends}]"


def _pair(first: list[float], second: list[float], k: int) -> str:
    return f"{first[k]:.2f}   {second[k]:.2f}" if first else "-"


def _error(kept: Calibration | None) -> str:
    return "-" if kept is None else f"{kept.error:.3f}"
