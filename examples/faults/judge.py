"""How many faults are found, when, and under the right name; and the flags of healthy runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from rich.progress import track

from faults.accepted import ACCEPTED
from faults.loss_rules import Finding, check_guessing, check_loss
from faults.matrix import Cell, list_cells, registry_file
from repwatch import Registry
from repwatch.registry import Run
from repwatch.vitals import check_run


@dataclass(frozen=True)
class Judged:
    """What was found in one run: by vital signs, by rules on the loss alone, and by guessing."""

    healthy: bool
    kind: str
    architecture: str
    strong: bool
    held_out: bool
    vitals: tuple[Finding, ...]
    loss: tuple[Finding, ...]
    guessing: Finding | None

    @property
    def named(self) -> bool:
        """Whether one of the rules that fired belongs to the fault."""
        accepted = ACCEPTED[self.kind]
        return any(finding.rule in accepted for finding in self.vitals)


def judge(run: Run, cell: Cell) -> Judged:
    """Check a stored run of the matrix as if it were running."""
    return Judged(
        healthy=cell.healthy,
        kind=cell.kind,
        architecture=cell.architecture,
        strong=cell.strong,
        held_out=is_held_out(run.name),
        vitals=tuple(
            Finding(str(flag.evidence.get("rule", flag.kind)), flag.step, flag.epoch)
            for flag in check_run(run)
        ),
        loss=tuple(check_loss(run)),
        guessing=check_guessing(run),
    )


def is_held_out(name: str) -> bool:
    """Half of the runs, drawn by their names: thresholds are chosen on the other half."""
    return crc32(f"half {name}".encode()) % 2 == 1


def judge_all(folder: Path) -> list[Judged]:
    """All finished runs of the matrix in a folder of registries."""
    judged = []
    for cell in track(list_cells(), "checking", transient=True):
        if not registry_file(folder, cell).exists():
            continue
        registry = Registry(registry_file(folder, cell))
        try:
            judged += [judge(run, cell) for run in registry.runs(status="finished")]
        finally:
            registry.close()
    return judged


def rows(faulty: Sequence[Judged]) -> tuple[float, ...]:
    """Shares of faulty runs, in the order of `HEADER`."""
    found = [run for run in faulty if run.vitals]
    return (
        _share([any(f.step == 0 for f in run.vitals) for run in faulty]),
        _share([any(f.epoch == 0 for f in run.vitals) for run in faulty]),
        _share([bool(run.vitals) for run in faulty]),
        _share([run.named for run in found]),
        _share([any(f.epoch == 0 for f in run.loss) for run in faulty]),
        _share([bool(run.loss) for run in faulty]),
        _share([bool(run.loss or run.guessing) for run in faulty]),
    )


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else float("nan")


HEADER = (
    "runs",
    "first snapshot",
    "first epoch",
    "end",
    "named correctly",
    "loss: first epoch",
    "loss: end",
    "loss and guessing: end",
)


def report(judged: Sequence[Judged]) -> Iterator[str]:
    """Markdown tables of all runs, and of the half that no threshold was chosen on."""
    faulty = [run for run in judged if not run.healthy]
    healthy = [run for run in judged if run.healthy]
    groups: list[tuple[str, list[Judged]]] = [("all", faulty)]
    groups += [("held-out half", [run for run in faulty if run.held_out])]
    groups += [("mild", [run for run in faulty if not run.strong])]
    groups += [("strong", [run for run in faulty if run.strong])]
    groups += _by(faulty, lambda run: run.architecture)
    yield from _table("faulty runs", groups)
    yield ""
    yield from _table("fault", _by(faulty, lambda run: run.kind))
    yield ""
    yield from _false_alarms(healthy)


def _table(title: str, groups: Sequence[tuple[str, list[Judged]]]) -> Iterator[str]:
    yield f"| {title} | {' | '.join(HEADER)} |"
    yield "|---" * (len(HEADER) + 1) + "|"
    for name, runs in groups:
        if runs:
            cells = [f"{value:.2f}" for value in rows(runs)]
            yield f"| {name} | {len(runs)} | {' | '.join(cells)} |"


def _false_alarms(healthy: Sequence[Judged]) -> Iterator[str]:
    yield "| healthy runs | runs | vital signs | rules on the loss | raised |"
    yield "|---|---|---|---|---|"
    groups = [("all", list(healthy)), ("held-out half", [run for run in healthy if run.held_out])]
    for name, runs in [*groups, *_by(healthy, lambda run: run.kind)]:
        if runs:
            rules = Counter(rule for run in runs for rule in {f.rule for f in run.vitals})
            raised = ", ".join(f"{rule} ({count})" for rule, count in rules.most_common())
            flagged = sum(bool(run.vitals) for run in runs)
            by_loss = sum(bool(run.loss) for run in runs)
            yield f"| {name} | {len(runs)} | {flagged} | {by_loss} | {raised} |"


def _by(runs: Sequence[Judged], key: Callable[[Judged], str]) -> list[tuple[str, list[Judged]]]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return sorted(groups.items())
