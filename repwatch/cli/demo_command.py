"""repwatch demo: the whole tool on a small example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

from repwatch.cli.terminal import console, counted

if TYPE_CHECKING:
    from repwatch.cli.demo import Watched

__all__ = ["demo"]


def demo(
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Where to put it; a new folder repwatch-demo if absent."),
    ] = None,
    size: Annotated[int, typer.Option(min=2, max=50, help="Landmark runs of each kind.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Epochs of each run.")] = 8,
) -> None:
    """Train landmark runs and two runs to watch on scikit-learn's digits, and map them."""
    from repwatch.cli.demo import Setting, run_demo

    folder = folder or _free_folder(Path("repwatch-demo"))
    with counted(console, width=42) as bar:
        task = bar.add_task("Preparing", total=None)

        def show(setting: Setting, done: int, total: int) -> None:
            doing = "Watching" if setting.name.startswith("current") else "Training landmark"
            bar.update(task, description=f"{doing} {setting.name}", completed=done, total=total)

        result = run_demo(folder, size=size, epochs=epochs, progress=show)
        bar.update(task, description="Done", completed=4 * size + 2, total=4 * size + 2)
    for run in result.watched:
        console.print(_whereabouts(run))
    console.print(f"The map:       {result.map}", soft_wrap=True, highlight=False)
    console.print(f"The registry:  {result.registry}", soft_wrap=True, highlight=False)
    console.print("The same live, in the RepWatch tab:", highlight=False)
    words = f"    tensorboard --logdir {result.logs} --repwatch_registry {result.registry}"
    console.print(words, soft_wrap=True, highlight=False)


def _free_folder(folder: Path) -> Path:
    """The folder, or its name with the first number that makes it new."""
    if not folder.exists():
        return folder
    numbers = range(2, 10_000)
    return next(free for n in numbers if not (free := Path(f"{folder}-{n}")).exists())


def _whereabouts(watched: Watched) -> Table:
    total = sum(watched.near.values())
    table = Table(title=f"{watched.run.name}: the landmarks nearest to its last snapshots")
    table.add_column("outcome of the landmark")
    table.add_column("share", justify="right")
    for outcome, count in watched.near.most_common():
        style = "green" if outcome == "good" else "red"
        table.add_row(Text(outcome, style=style), f"{count / total:.0%}")
    return table
