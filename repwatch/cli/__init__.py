"""The command line: reads the registry and shows it; what changes it does so only when asked.

repwatch demo | runs | show | label | suggest-labels | check | backtest | map | report | compare |
directions | atlas | export | import | prune | doctor, each with --help, those that read and tell
with --json.

drift.py      check, backtest            holdout.py     what backtest prints of a hold-out
landmarks.py  label, suggest-labels      directions.py  directions
terminal.py   printing, options, opening the registry
upkeep.py     export, import, prune, doctor
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from repwatch.cli import directions, drift, landmarks, upkeep
from repwatch.cli.terminal import (
    JsonOption,
    RegistryOption,
    as_text,
    console,
    counted,
    errors,
    number,
    open_registry,
    print_json,
    printable,
)
from repwatch.errors import RepWatchError

if TYPE_CHECKING:
    from repwatch.cli.demo import Watched
    from repwatch.registry import Run

__all__ = ["app", "main"]

app = typer.Typer(
    help="RepWatch: what is my network learning, and is this run going wrong?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ColumnOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="The column of META for this.", metavar="COLUMN"),
]


def main() -> None:
    """The `repwatch` command: an error of RepWatch's is one message, not a traceback."""
    try:
        app()
    except (RepWatchError, FileExistsError) as error:
        errors.print(Text(f"repwatch: {printable(error)}", style="red"))
        raise SystemExit(1) from None


@app.command()
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
    for each in result.watched:
        console.print(_whereabouts(each))
    console.print(f"The map:       {result.map}", soft_wrap=True, highlight=False)
    console.print(f"The registry:  {result.registry}", soft_wrap=True, highlight=False)
    console.print("The same live, in the RepWatch tab:", highlight=False)
    console.print(f"    tensorboard --logdir {result.logs}", soft_wrap=True, highlight=False)


@app.command()
def runs(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the runs of the registry, oldest first."""
    found = open_registry(registry).runs()
    if as_json:
        print_json([_summary(run) for run in found])
        return
    table = Table("run", "status", "label", "cause", "last step", "metrics", "started (UTC)")
    for run in found:
        row = (
            run.name,
            run.status,
            f"{run.label or ''}{' (automatic)' * run.automatic}",
            run.cause or "",
            str(run.last_step),
            _short(run.metrics),
            f"{run.started_at:%Y-%m-%d %H:%M}",
        )
        table.add_row(*map(as_text, row))
    console.print(table if found else "No runs yet: train with RepWatch() in the callbacks.")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Name or id of a run.")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: its outcome, hyperparameters, metrics, layers, flags and notes."""
    from repwatch.registry.hparams import split_own

    found = open_registry(registry).run(run)
    snapshots = found.snapshots()
    layers = {
        layer: [snapshot.step for snapshot in snapshots if snapshot.layer == layer]
        for layer in found.layers
    }
    if as_json:
        flags = [
            {"kind": flag.kind, "step": flag.step, "layer": flag.layer, "message": flag.message}
            for flag in found.flags
        ]
        details = {"hparams": found.hparams, "versions": found.versions, "layers": layers}
        print_json({**_summary(found), **details, "flags": flags, "notes": found.notes})
        return
    console.print(as_text(f"{found.name}  ({found.status}, id {found.id})", style="bold"))
    label = f"{found.label}: {found.cause}" if found.cause else found.label or "no label"
    console.print(as_text(f"label      {label}{' (automatic)' if found.automatic else ''}"))
    console.print(as_text(f"probe set  {found.probe}"))
    users, own = split_own(found.hparams)
    groups = {"Metrics": found.metrics, "Hyperparameters": users, "Seen by RepWatch": own}
    for title, values in groups.items():
        table = Table(title, "value")
        for name, value in values.items():
            table.add_row(as_text(name), as_text(number(value)))
        console.print(table)
    table = Table("layer", "snapshots", "at steps")
    for layer, steps in layers.items():
        table.add_row(as_text(layer), str(len(steps)), as_text(", ".join(map(str, steps))))
    console.print(table)
    for flag in found.flags:
        console.print(as_text(f"flag at step {flag.step}: {flag.message}", style="yellow"))
    if found.notes:
        console.print(as_text("Notes", style="bold"))
    for note in found.notes:
        console.print(as_text(f"- {note}"))


app.command()(landmarks.label)
app.command("suggest-labels")(landmarks.suggest_labels)
app.command()(drift.check)
app.command()(drift.backtest)
app.command()(directions.directions)
app.command()(upkeep.export)
app.command("import")(upkeep.import_runs)
app.command()(upkeep.prune)
app.command()(upkeep.doctor)


@app.command("map")
def draw_map(
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path(
        "map.html"
    ),
    run: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--run", help="The run to watch; without it all that are not landmarks."),
    ] = None,
    method: Annotated[str, typer.Option(help="tsne, pca or mds.")] = "tsne",
    distance: Annotated[
        str,
        typer.Option(
            help="euclidean, cosine, pearson, spearman, cka or cka_unbiased, of the RDMs."
        ),
    ] = "euclidean",
    layer: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A layer to map; may be given again. All layers if absent."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the map of representations as one self-contained HTML file."""
    from repwatch.integrations import plotly_figures as figures
    from repwatch.maps import MapSettings
    from repwatch.page import map_registry

    opened = open_registry(registry)
    chosen = opened.run(run) if run else None
    settings = MapSettings(distance, method, layers=tuple(layer) if layer else None)
    scene = map_registry(opened, run=chosen, settings=settings)
    if as_json:
        print_json(scene)
        return
    figures.write_html(scene, out, overwrite=overwrite)
    console.print(f"{out}: {len(scene['snapshots'])} snapshots", soft_wrap=True, highlight=False)


@app.command()
def report(
    runs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[RUN]...", help="Runs to watch; without any all that are not landmarks."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    distance: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Distance of the maps in it: euclidean, cosine, pearson, spearman, cka; may be "
            "given again. All if absent."
        ),
    ] = None,
    each_layer: Annotated[
        bool,
        typer.Option(
            help="Hold a map of each single layer too, by each distance. Without, the file is made "
            "sooner, and layers are hidden or shown on the maps of all."
        ),
    ] = True,
    title: Annotated[str, typer.Option(help="The page's title.")] = "RepWatch",
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    registry: RegistryOption = None,
) -> None:
    """Write the page of the registry as one self-contained HTML file.

    It shows the space of representations, the representation that is pointed at, and the probe
    point that is pointed at in it.
    """
    from repwatch.page import DISTANCES, write_report

    with counted(errors, transient=True) as bar:
        task = bar.add_task("Reading trajectories, making maps", total=None)
        write_report(
            open_registry(registry),
            out,
            runs=runs or (),
            distances=distance or DISTANCES,
            each_layer=each_layer,
            title=title,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    size = out.stat().st_size / 1e6
    console.print(f"{out}: {size:.1f} MB", soft_wrap=True, highlight=False)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="Name or id of a run.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="Name or id of another.")],
    similarity: Annotated[str, typer.Option(help="A similarity of repwatch.similarity.")] = "cka",
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Of the snapshots; without it the last that both runs have."),
    ] = None,
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What tells the outcome; without it labels, else what is monitored."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Write the heatmap to this HTML file."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether two runs ended alike, and do similar things inside, layer by layer."""
    from repwatch.analysis.compare import compare_runs

    opened = open_registry(registry)
    found = compare_runs(
        opened.run(first), opened.run(second), similarity, step=step, metric=metric
    )
    if out is not None:
        from repwatch.integrations import plotly_figures as figures

        figures.write_comparison(found, out, overwrite=overwrite)
    if as_json:
        print_json(found.to_dict())
        return
    name, other = found.runs
    table = Table()
    for heading in (name, other, found.similarity, "Mantel r", "p", "alike", "nearest"):
        table.add_column(as_text(heading))
    for match in found.matches:
        second_layer = match.second if match.by == "name" else f"{match.second} (by depth)"
        numbers = (f"{match.similarity:.3f}", f"{match.r:.3f}", f"{match.p:.3g}")
        row = (match.first, second_layer, *numbers, "yes" if match.alike else "no", match.nearest)
        table.add_row(*map(as_text, row))
    console.print(as_text(found.verdict, style="bold"))
    console.print(table)
    steps = " and ".join(f"{step:,}" for step in dict.fromkeys(found.steps))
    limit = f"alike: {found.similarity} at least {found.limit:g} and p at most 0.05"
    console.print(as_text(f"at step {steps}; {limit}"))
    for note in found.notes:
        console.print(as_text(note))
    if out is not None:
        console.print(f"The heatmap: {out}", soft_wrap=True, highlight=False)


@app.command("atlas")
def write_atlas(
    vectors: Annotated[Path, typer.Argument(help="A .npy file: one row for each point.")],
    meta: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--meta", help="CSV with a heading, or JSONL: one row for each point."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path(
        "atlas.html"
    ),
    label: ColumnOption = None,
    text: ColumnOption = None,
    image: ColumnOption = None,
    link: ColumnOption = None,
    color: ColumnOption = None,
    rank: ColumnOption = None,
    partner: ColumnOption = None,
    metric: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine",
    perplexity: Annotated[float, typer.Option(help="About how many neighbours count.")] = 30.0,
    layout: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Where the layout is kept; without it VECTORS.atlas.npz."),
    ] = None,
    title: Annotated[Optional[str], typer.Option(help="The page's title.")] = None,  # noqa: UP045
    overwrite: Annotated[bool, typer.Option(help="Replace the page if it is there.")] = False,
) -> None:
    """Write an atlas of one representation of very many points as one HTML file."""
    from repwatch import atlas

    columns = (TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Reading", total=1.0)
        written = atlas.write_atlas(
            vectors,
            meta,
            out,
            roles=atlas.Roles(label, text, image, link, color, rank, partner),
            settings=atlas.LayoutSettings(metric, perplexity),
            layout_path=layout,
            title=title or vectors.stem,
            overwrite=overwrite,
            progress=lambda share, what: bar.update(
                task, completed=share, description=what.capitalize()
            ),
        )
        bar.update(task, completed=1.0, description="Done")
    kept = ", its layout kept from before" if written.reused else ""
    console.print(
        as_text(f"{written.path}: {written.points:,} points{kept}"), soft_wrap=True, highlight=False
    )


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


def _summary(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "label": run.label,
        "cause": run.cause,
        "automatic": run.automatic,
        "last_step": run.last_step,
        "metrics": run.metrics,
        "probe": run.probe,
        "started_at": run.started_at.isoformat(),
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
    }


def _short(metrics: dict[str, float], most: int = 3) -> str:
    chosen: Sequence[str] = sorted(metrics, key=lambda name: (not name.startswith("val"), name))
    return "  ".join(f"{name} {number(metrics[name])}" for name in chosen[:most])
