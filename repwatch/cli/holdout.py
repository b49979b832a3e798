"""What `repwatch backtest` prints where landmarks are held out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

from repwatch.cli.terminal import as_text, console
from repwatch.errors import DriftError

if TYPE_CHECKING:
    from repwatch.drift import HoldOut, Row

__all__ = ["parse_where", "place_of", "print_hold_out"]

_WHAT = {
    "run": "the run itself",
    "cause": "all runs of its cause",
    "group": "all runs of its group",
    "bad-of-group": "the bad runs of its group",
    "where": "the runs that are marked",
}


def parse_where(text: str | None) -> tuple[str, str] | None:
    """NAME=VALUE in two."""
    if text is None:
        return None
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise DriftError(f"Expected --where NAME=VALUE, such as lr=0.1, but got {text!r}.")
    return name, value


def print_hold_out(found: HoldOut, false_alarms: float) -> None:
    """All runs by checkpoint, what RepWatch is above the others, and each kind of runs."""
    rounds = "" if found.rounds == 1 else f", {found.rounds} rounds"
    console.print(
        f"Not known to the detector: {_WHAT[found.hold_out]}. It has {found.good} good and "
        f"{found.bad} bad landmarks or more{rounds}."
    )
    console.print(_by_checkpoint(found))
    console.print(_gains(found))
    first = found.checkpoints[0][0]
    early = max(k for k, (epoch, _) in enumerate(found.checkpoints) if epoch == first)
    for place in sorted({early, len(found.checkpoints) - 1}):
        console.print(_by_row(found, place))
    console.print(
        f"found: share of bad runs flagged by then; false: share of good runs flagged by then, "
        f"promised at most {false_alarms:.0%}; unlike and loss: share of bad runs that RepWatch "
        "flagged as unlike any landmark, and by the loss alone."
        f"{_spread(found) if found.rounds > 1 else ''}"
    )


def _by_checkpoint(found: HoldOut) -> Table:
    own = found.rows[0]
    table = Table(title=f"{own.good} good and {own.bad} bad runs")
    table.add_column("epoch")
    for method in own.methods:
        table.add_column(as_text(f"{method.name}\nAUROC  found  false"), justify="right")
    for k, checkpoint in enumerate(found.checkpoints):
        cells = [
            f"{_number(one.auroc[k])}   {_number(one.found[k])}   {_number(one.false_alarms[k])}"
            for one in own.methods
        ]
        table.add_row(place_of(checkpoint), *cells)
    return table


def _gains(found: HoldOut) -> Table:
    table = Table(title="AUROC above the others (95 %)")
    table.add_column("epoch")
    for name in found.above:
        table.add_column(name)
    for k, checkpoint in enumerate(found.checkpoints):
        gains = ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain[k]) for gain in found.above.values()]
        table.add_row(place_of(checkpoint), *gains)
    return table


def _by_row(found: HoldOut, k: int) -> Table:
    names = "/".join(one.name for one in found.rows[0].methods)
    table = Table(title=f"By epoch {place_of(found.checkpoints[k])}: {names}")
    for heading in ("", "good/bad", "AUROC", "found", "false", "unlike/loss"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for row in found.rows:
        own = row.methods[0]
        table.add_row(
            as_text(row.name),
            f"{row.good}/{row.bad}",
            *(_of_all(row, name, k) for name in ("auroc", "found", "false_alarms")),
            f"{_short(own.unlike[k])}/{_short(own.by_guard[k])}",
        )
    return table


def _of_all(row: Row, name: str, k: int) -> str:
    return "/".join(_short(getattr(one, name)[k]) for one in row.methods)


def _spread(found: HoldOut) -> str:
    spread = found.rows[0].methods[0].spread
    told = (f"{name.replace('_', ' ')} {_short(values[-1])}" for name, values in spread.items())
    return f" Standard deviation over rounds, at the end: {', '.join(told)}."


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _short(value: float) -> str:
    return _number(value).removeprefix("0")


def place_of(checkpoint: tuple[int, int]) -> str:
    """A checkpoint as tables name it."""
    epoch, place = checkpoint
    return f"{epoch}" if place == 0 else f"{epoch} ({place + 1})"
