"""What `repwatch backtest` prints, and what it gives as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from repwatch.cli.terminal import as_text, console

if TYPE_CHECKING:
    from repwatch.drift import Backtest, Calibration, MethodResult, SubsetResult

__all__ = ["backtest_json", "format_checkpoint", "json_dict", "print_backtest", "verdict"]

_HELD_OUT = {
    "run": "the run itself",
    "cause": "all runs of its cause",
    "group": "all runs of its group",
    "bad-of-group": "the bad runs of its group",
    "where": "the runs that are selected",
}
# The keys of the JSON output, where they differ from the attributes' names.
_JSON_KEYS = {
    "subsets": "rows",
    "gains": "above",
    "novel": "unlike",
    "by_loss": "by_guard",
    "predicted": "line",
    "observed": "bad",
    "base_rate_brier": "brier_of_share",
    "guarantee_text": "promise",
    "unavailable_reason": "silent",
    "novelty": "outside",
    "is_novel": "unlike",
}


def json_dict(result: Any) -> dict[str, Any]:
    """A result as a dictionary, by the keys that the JSON output has had from the start."""
    return asdict(
        result, dict_factory=lambda items: {_JSON_KEYS.get(key, key): value for key, value in items}
    )


def backtest_json(found: Backtest, restricted: bool) -> dict[str, Any]:
    """The tables of a backtest; `good` and `bad` count landmarks where these are restricted."""
    good, bad = (found.known_good, found.known_bad) if restricted else (found.good, found.bad)
    content = json_dict(found)
    return {**content, "good": good, "bad": bad, "methods": content["rows"][0]["methods"]}


def print_backtest(found: Backtest, false_alarms: float, restricted: bool) -> None:
    """Print the tables of a backtest.

    Args:
        found: The backtest.
        false_alarms: The share of good runs that was allowed to be flagged.
        restricted: Whether landmarks are left out besides the run itself; then each subset of the
            runs has a row; otherwise all runs have intervals, causes and calibration.
    """
    if restricted:
        rounds = "" if found.rounds == 1 else f", {found.rounds} rounds"
        console.print(
            f"Not known to the detector: {_HELD_OUT[found.hold_out]}. It has {found.known_good} "
            f"good and {found.known_bad} bad landmarks or more{rounds}."
        )
    console.print(_by_checkpoint(found, restricted))
    console.print(_gains(found) if restricted else _intervals(found))
    if restricted:
        for place in _shown_checkpoints(found):
            console.print(_by_subset(found, place))
    console.print(_legend(found, false_alarms, restricted))
    if not restricted and found.calibration_overall is not None:
        console.print(_calibration_text(found.calibration_overall))
    if not restricted:
        console.print(as_text(verdict(found), style="bold"))


def verdict(found: Backtest) -> str:
    """What representations add on these runs, and what to do next."""
    own, curves = found.methods[0], next(m for m in found.methods if m.name == "curves")
    last = max(min(epoch for epoch, _ in found.checkpoints), 1)
    early = max(k for k, (epoch, _) in enumerate(found.checkpoints) if epoch <= last)
    more = round((own.found[early] - curves.found[early]) * found.bad)
    count = f"{more:d} more" if more > 0 else f"{-more:d} fewer" if more < 0 else "no more"
    text = (
        f"On your runs, representations find {count} of {found.bad} by the end of epoch "
        f"{found.checkpoints[early][0]} than curves alone; {own.false_alarms[-1]:.0%} of good runs "
        "are flagged by the end."
    )
    if more > 0:
        return f"{text} Next: train with RepWatch(on_flag='stop') to end such runs there."
    return (
        f"{text} Next: label more runs (`repwatch label`), or take more snapshots in the first "
        "epoch, where representations show most."
    )


def _shown_checkpoints(found: Backtest) -> list[int]:
    """The end of the first epoch, and the end."""
    first = found.checkpoints[0][0]
    early = max(k for k, (epoch, _) in enumerate(found.checkpoints) if epoch == first)
    return sorted({early, len(found.checkpoints) - 1})


def _by_checkpoint(found: Backtest, restricted: bool) -> Table:
    """Each method on all runs; with causes and calibration where nothing is missing."""
    digits = (2, 2, 2) if restricted else (3, 2, 3)
    kind = "runs" if restricted else "landmarks"
    methods = [method for method in found.methods if method.auroc or not restricted]
    table = Table(title=f"{found.good} good and {found.bad} bad {kind}")
    table.add_column("epoch")
    for method in methods:
        table.add_column(as_text(f"{method.name}\nAUROC  found  false"), justify="right")
    if not restricted:
        table.add_column("cause\ntop 1  top 3")
        table.add_column("with settings\ntop 1  top 3")
        table.add_column("p bad\nerror")
    for k, checkpoint in enumerate(found.checkpoints):
        cells = ["   ".join(_method_cells(method, k, digits)) for method in methods]
        if not restricted:
            own = found.methods[0]
            cells += [_pair(own.top1, own.top3, k), _pair(own.top1_read, own.top3_read, k)]
            cells.append(_calibration_error(found.calibration[k]))
        table.add_row(format_checkpoint(checkpoint), *cells)
    return table


def _method_cells(method: MethodResult, k: int, digits: tuple[int, int, int]) -> list[str]:
    auroc = _number(method.auroc[k], digits[0]) if method.auroc else "    -"
    return [auroc, _number(method.found[k], digits[1]), _number(method.false_alarms[k], digits[2])]


def _gains(found: Backtest) -> Table:
    table = Table(title="AUROC above the others (95%)")
    table.add_column("epoch")
    for name in found.gains:
        table.add_column(name)
    for k, checkpoint in enumerate(found.checkpoints):
        gains = ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain[k]) for gain in found.gains.values()]
        table.add_row(format_checkpoint(checkpoint), *gains)
    return table


def _intervals(found: Backtest) -> Table:
    """How precise RepWatch's numbers are with this number of runs."""
    own = found.methods[0]
    columns = {
        "AUROC": (own.auroc, own.intervals["auroc"]),
        "found": (own.found, own.intervals["found"]),
        "false": (own.false_alarms, own.intervals["false_alarms"]),
        "cause\ntop 1": (own.top1, own.intervals["top1"]),
    }
    table = Table(title="RepWatch, with intervals of 95% over runs")
    for heading in ("epoch", "AUROC above\ncurves", *columns):
        table.add_column(heading)
    for k, checkpoint in enumerate(found.checkpoints):
        cells = [_interval(*own.gain[k], sign="+") if own.gain else "-"]
        for values, ends in columns.values():
            cells.append(_interval(values[k], *ends[k]) if values else "-")
        table.add_row(format_checkpoint(checkpoint), *map(as_text, cells))
    return table


def _by_subset(found: Backtest, k: int) -> Table:
    """Each subset of the runs at one checkpoint, by all methods that give scores."""
    names = "/".join(method.name for method in found.methods if method.auroc)
    title = f"By epoch {format_checkpoint(found.checkpoints[k])}: {names}"
    table = Table(title=title)
    for heading in ("", "good/bad", "AUROC", "found", "false", "unlike/loss"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for subset in found.subsets:
        own = subset.methods[0]
        table.add_row(
            as_text(subset.name),
            f"{subset.good}/{subset.bad}",
            *(_of_methods(subset, name, k) for name in ("auroc", "found", "false_alarms")),
            f"{_short(own.novel[k])}/{_short(own.by_loss[k])}",
        )
    return table


def _of_methods(subset: SubsetResult, name: str, k: int) -> str:
    return "/".join(_short(getattr(method, name)[k]) for method in subset.methods if method.auroc)


def _legend(found: Backtest, false_alarms: float, restricted: bool) -> str:
    text = (
        "found: share of bad runs flagged by then; false: share of good runs flagged by then, at "
        f"most {false_alarms:.0%} by guarantee"
    )
    text += _checkpoint_text(found)
    if restricted:
        text += (
            "; unlike and loss: share of bad runs that RepWatch flagged as unlike any landmark, "
            "and by the loss alone."
        )
        return text + (_spread_text(found.methods[0]) if found.rounds > 1 else "")
    lead, low, high = found.lead
    return (
        f"{text}. RepWatch flags {lead:+.1f} [{low:+.1f}, {high:+.1f}] epochs before the loss "
        "does, over bad runs that both find. cause: named first, or among the first three, by "
        "training alone and with the hyperparameters read."
    )


def _checkpoint_text(found: Backtest) -> str:
    """What the tables call the end of the first epoch, where it has several snapshots."""
    last = found.checkpoints[_shown_checkpoints(found)[0]]
    ordinal = "the first epoch" if last[0] == 0 else f"epoch {last[0]}"
    return f'; "{format_checkpoint(last)}": the end of {ordinal}' if last[1] else ""


def _spread_text(method: MethodResult) -> str:
    spread = ", ".join(
        f"{name.replace('_', ' ')} {_short(values[-1])}" for name, values in method.spread.items()
    )
    return f" Standard deviation over rounds, at the end: {spread}."


def _calibration_text(overall: Calibration) -> str:
    bins = ", ".join(
        f"{group.predicted:.2f} {group.observed:.2f} ({group.count})" for group in overall.bins
    )
    return (
        f"p bad: calibration error {overall.error:.3f}, Brier score {overall.brier:.3f} against "
        f"{overall.base_rate_brier:.3f} for always predicting the share of bad runs. Predicted "
        f"and observed: {bins}."
    )


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    """A value with its interval, which stays in one piece where the line is broken."""
    ends = ",".join(f"{end:{sign}.2f}".replace("0.", ".", 1) for end in (low, high))
    return f"{value:{sign}.2f} [{ends}]"


def _pair(first: list[float], second: list[float], k: int) -> str:
    return f"{first[k]:.2f}   {second[k]:.2f}" if first else "-"


def _calibration_error(calibration: Calibration | None) -> str:
    return "-" if calibration is None else f"{calibration.error:.3f}"


def _number(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _short(value: float) -> str:
    return _number(value).removeprefix("0")


def format_checkpoint(checkpoint: tuple[int, int]) -> str:
    """A checkpoint as tables name it."""
    epoch, place = checkpoint
    return f"{epoch}" if place == 0 else f"{epoch} ({place + 1})"
