"""Maps, flags and scalars to whatever loggers the Trainer has.

    logger        map and strip of the run               flag, with the scalar repwatch/flag
    TensorBoard   none: its tab reads the registry       text
    W&B           wandb.Plotly                           alert, table of all flags
    MLflow        artifact repwatch/map.html             tag of the newest, artifact of all
    Comet         asset repwatch/map.html                text, "other" of the newest
    CSV           repwatch-map.html next to the scalars  repwatch-flags.txt next to the scalars

An HTML file is self-contained: it needs no network. There is one per training, replaced as the
training continues.

A logger is recognized by the name of its class, so that none of them is imported here. Scalars,
maps and flags are guarded separately for each logger: a failure is reported once, and the rest goes
on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from repwatch._files import write_atomically
from repwatch.errors import LoggerError
from repwatch.integrations.logger_adapters import adapt
from repwatch.integrations.logger_names import identify, introduce
from repwatch.watch.publisher import Taken

if TYPE_CHECKING:
    from repwatch.page import MapScene
    from repwatch.registry import Flag, Run

__all__ = ["Logger", "Loggers"]

TAG = "repwatch/map"
STRIP_TAG = "repwatch/strip"
FLAG_TAG = "repwatch/flag"
# MLflow's stores accept tag values up to this length.
_LONGEST_TAG = 5000

notices = logging.getLogger("repwatch")


class Logger(Protocol):
    """What all Lightning loggers have."""

    def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:
        """Log numbers by name, at a step of the logger's axis."""

    @property
    def experiment(self) -> Any:  # each service's own object
        """The service's own client: a SummaryWriter, a W&B run, an MlflowClient, ..."""


class RunLogger(Logger, Protocol):
    """A logger whose run has an id: MLflow's."""

    @property
    def run_id(self) -> str:
        """The id that the service gave the run."""


class FolderLogger(Logger, Protocol):
    """A logger that writes to a folder, local or remote: CSV."""

    @property
    def log_dir(self) -> str:
        """The folder of this training, as a path or an fsspec URL."""


class Loggers:
    """The loggers of one training.

    Args:
        loggers: Lightning loggers, of either namespace, and the services' own objects that
            `logger_adapters` knows. Loggers that cannot take maps and text get only the scalars.

    Raises:
        ConfigurationError: An object is not a logger.
    """

    def __init__(self, loggers: Iterable[Any]) -> None:
        self._loggers: list[Logger] = [adapt(logger) for logger in loggers]
        self._failed: set[tuple[int, str]] = set()
        self._flags: list[tuple[int, Flag]] = []
        self._maps = 0
        self._waiting: tuple[MapScene, int] | None = None

    @property
    def takes(self) -> Taken:
        """What they show of the map: maps and scalars, or scalars alone."""
        kinds = {_kind(logger) for logger in self._loggers}
        return "maps" if kinds & {*_FIGURE_WRITERS, *_FILE_WRITERS} else "scalars"

    def identify(self) -> dict[str, object]:
        """Hyperparameters of a run that name each logger's own run: its id, name, URL or folder."""
        found: dict[str, object] = {}
        self._each("names", lambda logger: found.update(identify(_kind(logger), logger)))
        return found

    def introduce(self, run: Run) -> None:
        """Give each logger the name and the id of the RepWatch run."""
        self._each("names", lambda logger: introduce(_kind(logger), logger, run))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log finite scalars on Lightning's own step axis."""
        if values:
            self._each("scalars", lambda logger: logger.log_metrics(dict(values), step=step))

    def flag(self, flag: Flag, step: int) -> None:
        """Log a flag: the scalar `repwatch/flag`, and its text where the logger can take it."""
        self.scalars({FLAG_TAG: 1.0}, step)
        self._flags.append((step, flag))

        def log(logger: Logger) -> None:
            write = _FLAG_WRITERS.get(_kind(logger))
            if write is not None:
                write(logger, self._flags)

        self._each("flags", log)

    def figure(self, scene: MapScene, step: int) -> None:
        """Log the map of `scene` and the strip of its run.

        Loggers that hold one file get the 1st, 2nd, 4th, 8th, ... map, since it is large, and
        `finish` gives them the last one.

        Args:
            scene: The document of `repwatch.page.build_map`.
            step: The step of its newest snapshot.
        """

        def log(logger: Logger) -> None:
            if _kind(logger) in _FIGURE_WRITERS:
                _FIGURE_WRITERS[_kind(logger)](logger, scene, step)

        self._each("maps", log)
        self._maps += 1
        self._waiting = scene, step
        if self._maps & (self._maps - 1) == 0:
            self.finish()

    def finish(self) -> None:
        """Give loggers that hold one file the newest map, if they do not have it yet."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        scene, step = waiting
        if not any(_kind(logger) in _FILE_WRITERS for logger in self._loggers):
            return
        from repwatch.integrations import plotly_figures as figures

        strips = [] if scene["strip"] is None else [figures.strip_figure(scene["strip"])]
        page = figures.render_html(*strips, scene)

        def log(logger: Logger) -> None:
            if _kind(logger) in _FILE_WRITERS:
                _FILE_WRITERS[_kind(logger)](logger, page, step)

        self._each("maps", log)

    def _each(self, what: str, log: Callable[[Logger], None]) -> None:
        for logger in self._loggers:
            if (id(logger), what) in self._failed:
                continue
            try:
                log(logger)
            except Exception as error:
                self._failed.add((id(logger), what))
                failure = LoggerError(
                    f"{type(logger).__name__} did not take RepWatch's {what} "
                    f"({type(error).__name__}: {error}), and gets no more of them. The registry "
                    "and the other loggers are not affected."
                )
                notices.warning(str(failure))


def _kind(logger: Logger) -> str:
    """The name of the logger's class, or of the nearest ancestor that is known here."""
    service = getattr(type(logger), "stands_for", None)
    if isinstance(service, str):
        return service
    for ancestor in type(logger).__mro__:
        if ancestor.__name__ in _FLAG_WRITERS:
            return ancestor.__name__
    return type(logger).__name__


# Maps


def _map_to_wandb(logger: Logger, scene: MapScene, step: int) -> None:
    import wandb

    from repwatch.integrations import plotly_figures as figures

    shown = {TAG: wandb.Plotly(figures.map_figure(scene))}
    if scene["strip"] is not None:
        shown[STRIP_TAG] = wandb.Plotly(figures.strip_figure(scene["strip"]))
    logger.log_metrics(shown)


def _map_to_mlflow(logger: RunLogger, page: str, step: int) -> None:
    # log_figure would write a page that loads plotly from the network.
    logger.experiment.log_text(logger.run_id, page, f"{TAG}.html")


def _map_to_comet(logger: Logger, page: str, step: int) -> None:
    # log_figure needs a renderer that is not installed with Comet, and drops the figure without it.
    logger.experiment.log_asset_data(page, name=f"{TAG}.html", overwrite=True, step=step)


def _map_to_csv(logger: FolderLogger, page: str, step: int) -> None:
    _write_to_folder(logger, "repwatch-map.html", page)


_FIGURE_WRITERS: dict[str, Callable[[Any, MapScene, int], None]] = {
    "WandbLogger": _map_to_wandb,
}
_FILE_WRITERS: dict[str, Callable[[Any, str, int], None]] = {
    "MLFlowLogger": _map_to_mlflow,
    "CometLogger": _map_to_comet,
    "CSVLogger": _map_to_csv,
}


# Flags: all so far, with their steps, the newest last


def _flag_to_tensorboard(logger: Logger, flags: list[tuple[int, Flag]]) -> None:
    step, flag = flags[-1]
    logger.experiment.add_text(FLAG_TAG, flag.message, step)


def _flag_to_wandb(logger: Logger, flags: list[tuple[int, Flag]]) -> None:
    import wandb

    step, flag = flags[-1]
    # W&B sends no second alert with the same title within a minute, so the title has the step.
    title = f"RepWatch: {flag.kind} at step {flag.step}"
    rows = [[at, flag.kind, flag.layer, flag.cause, flag.message] for at, flag in flags]
    table = wandb.Table(columns=["step", "kind", "layer", "cause", "message"], data=rows)
    logger.log_metrics({"repwatch/flags": table}, step=step)
    if hasattr(logger.experiment, "alert"):  # a disabled run has none
        logger.experiment.alert(title=title, text=flag.message, level="WARN")


def _flag_to_mlflow(logger: RunLogger, flags: list[tuple[int, Flag]]) -> None:
    client, run = logger.experiment, logger.run_id
    client.set_tag(run, "repwatch.flag", flags[-1][1].message[:_LONGEST_TAG])
    client.log_text(run, "".join(_line(*entry) for entry in flags), "repwatch/flags.txt")


def _flag_to_comet(logger: Logger, flags: list[tuple[int, Flag]]) -> None:
    step, flag = flags[-1]
    logger.experiment.log_text(flag.message, step=step)
    logger.experiment.log_other(FLAG_TAG, flag.message)


def _flag_to_csv(logger: FolderLogger, flags: list[tuple[int, Flag]]) -> None:
    _write_to_folder(logger, "repwatch-flags.txt", _line(*flags[-1]), append=True)


_FLAG_WRITERS: dict[str, Callable[[Any, list[tuple[int, Flag]]], None]] = {
    "TensorBoardLogger": _flag_to_tensorboard,
    "WandbLogger": _flag_to_wandb,
    "MLFlowLogger": _flag_to_mlflow,
    "CometLogger": _flag_to_comet,
    "CSVLogger": _flag_to_csv,
}


def _line(step: int, flag: Flag) -> str:
    return f"step {step}: {' '.join(flag.message.split())}\n"


def _write_to_folder(
    logger: FolderLogger, name: str, content: str, *, append: bool = False
) -> None:
    """Write a file of RepWatch's own into the folder of a CSVLogger, local or remote."""
    if "://" not in logger.log_dir:
        path = Path(logger.log_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if append:
            with path.open("a", encoding="utf-8") as file:
                file.write(content)
        else:
            write_atomically(path, content)
        return
    import fsspec

    address = f"{logger.log_dir.rstrip('/')}/{name}"
    files, path_there = fsspec.core.url_to_fs(address)
    # Object stores cannot append.
    before = files.cat_file(path_there).decode() if append and files.exists(path_there) else ""
    with fsspec.open(address, "w", encoding="utf-8") as file:
        file.write(before + content)
