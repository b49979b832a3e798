"""repwatch map, report, atlas: the commands that write one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from repwatch.cli.terminal import (
    JsonOption,
    RegistryOption,
    as_text,
    console,
    open_registry,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from repwatch.registry import Registry

__all__ = ["draw_map", "report", "write_atlas"]

ColumnOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="The column of META for this.", metavar="COLUMN"),
]


def draw_map(
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path(
        "map.html"
    ),
    run: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--run", help="The run to watch; by default all that are not landmarks."),
    ] = None,
    method: Annotated[str, typer.Option(help="tsne, pca or mds.")] = "tsne",
    distance: Annotated[
        str,
        typer.Option(help="euclidean, cosine, pearson, spearman or cka, of the RDMs."),
    ] = "euclidean",
    transform: Annotated[
        str, typer.Option(help="none, log1p or near: a non-linearity on the RDMs' distances.")
    ] = "none",
    layer: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A layer to map; may be given again. All layers if absent."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the page of the registry, with maps by one method, as one self-contained HTML file.

    There is one map of all layers and one of each.
    """
    opened = open_registry(registry)
    if transform != "none":
        distance = f"{distance}-{transform}"
    if as_json:
        from repwatch.maps import MapSettings
        from repwatch.page import map_registry

        settings = MapSettings(distance, method, layers=tuple(layer) if layer else None)
        print_json(map_registry(opened, run=opened.run(run) if run else None, settings=settings))
        return
    _write_page(
        opened,
        out,
        runs=[run] if run else (),
        distances=[distance],
        methods=(method,),
        layers=tuple(layer or ()),
        overwrite=overwrite,
    )


def report(
    runs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[RUN]...", help="Runs to watch; by default all that are not landmarks."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    distance: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Distance of the maps in it: euclidean, cosine, pearson, spearman, cka; may be "
            "given again. Euclidean if absent."
        ),
    ] = None,
    method: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Method of the maps in it: tsne, pca, mds; may be given again. "
            "t-SNE and PCA if absent."
        ),
    ] = None,
    each_layer: Annotated[
        bool,
        typer.Option(
            help="Include a map of each single layer too, by each distance. Without it the file is "
            "made sooner, and layers are hidden or shown on the maps of all."
        ),
    ] = True,
    title: Annotated[str, typer.Option(help="The page's title.")] = "RepWatch",
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    registry: RegistryOption = None,
) -> None:
    """Write the page of the registry as one self-contained HTML file.

    It shows the space of representations, the representation under the pointer, and the probe point
    under the pointer in it.
    """
    chosen = {"distances": distance, "methods": method}
    _write_page(
        open_registry(registry),
        out,
        **{name: given for name, given in chosen.items() if given},
        runs=runs or (),
        each_layer=each_layer,
        title=title,
        overwrite=overwrite,
    )


def _write_page(registry: Registry, out: Path, **options: Any) -> None:
    """Write the page with a progress bar, and print its size."""
    from repwatch.page import write_report

    with progress_bar("Reading trajectories, making maps") as progress:
        write_report(registry, out, progress=progress, **options)
    size = out.stat().st_size / 1e6
    console.print(f"{out}: {size:.1f} MB", soft_wrap=True, highlight=False)


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
    perplexity: Annotated[float, typer.Option(help="About how many neighbors count.")] = 30.0,
    layout: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The file that stores the layout; VECTORS.atlas.npz by default."),
    ] = None,
    hide_word: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A word that no label on the map may have; can be given several times."),
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
            hidden_words=hide_word or (),
            title=title or vectors.stem,
            overwrite=overwrite,
            progress=lambda share, what: bar.update(
                task, completed=share, description=what.capitalize()
            ),
        )
        bar.update(task, completed=1.0, description="Done")
    reused = ", with the stored layout" if written.reused else ""
    console.print(
        as_text(f"{written.path}: {written.points:,} points{reused}"),
        soft_wrap=True,
        highlight=False,
    )
