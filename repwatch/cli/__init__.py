"""The command line: `repwatch COMMAND`, or `python -m repwatch COMMAND`.

Commands read the registry and show it. Those that change it (label, import, flush, prune --apply,
suggest-labels --apply) do so only when asked. All have --help, and most that read have --json.

runs.py       runs                       pages.py         map, report, atlas
show.py       show
landmarks.py  label, suggest-labels      compare.py       compare
drift.py      check, backtest            directions.py    directions
                                         purity.py        purity
upkeep.py     export, import, flush, prune, doctor
demo.py       what `demo` trains         demo_command.py  demo
terminal.py   printing, options, opening the registry
"""

from __future__ import annotations

from typing import Annotated, Optional

import typer
from rich.text import Text

from repwatch.cli import compare as comparison
from repwatch.cli import (
    demo_command,
    directions,
    drift,
    landmarks,
    pages,
    purity,
    runs,
    show,
    upkeep,
)
from repwatch.cli.terminal import errors, printable, project_name
from repwatch.errors import RepWatchError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def choose_project(
    project: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time, on Python 3.10 too
        typer.Option(help="The project in the registry. By default $REPWATCH_PROJECT, else none."),
    ] = None,
) -> None:
    """RepWatch: what is my network learning, and is this run going wrong?"""
    project_name.set(project)


app.command()(demo_command.demo)
app.command()(runs.runs)
app.command()(show.show)
app.command()(landmarks.label)
app.command("suggest-labels")(landmarks.suggest_labels)
app.command()(drift.check)
app.command()(drift.backtest)
app.command()(directions.directions)
app.command()(purity.purity)
app.command()(upkeep.export)
app.command("import")(upkeep.import_runs)
app.command()(upkeep.flush)
app.command()(upkeep.prune)
app.command()(upkeep.doctor)
app.command("map")(pages.draw_map)
app.command()(pages.report)
app.command()(comparison.compare)
app.command("atlas")(pages.write_atlas)


def main() -> None:
    """The `repwatch` command: an error of RepWatch's own prints one message, not a traceback."""
    try:
        app()
    except (RepWatchError, FileExistsError) as error:
        errors.print(Text(f"repwatch: {printable(error)}", style="red"))
        raise SystemExit(1) from None
