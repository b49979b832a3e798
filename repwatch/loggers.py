"""Figures and scalars to whatever loggers the Trainer has.

A logger is known by the name of its class, so that none of them is imported here. Each is guarded
on its own: one that fails is told once, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from repwatch import figures
from repwatch.errors import LoggerError
from repwatch.scene import MapScene

__all__ = ["Loggers"]

TAG = "repwatch/map"

notices = logging.getLogger("repwatch")


class Loggers:
    """The loggers of one training.

    Args:
        loggers: Lightning loggers, of either namespace; those without a way to take figures get
            the scalars alone.
    """

    def __init__(self, loggers: Iterable[Any]) -> None:
        self._loggers = list(loggers)
        self._silent: set[int] = set()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log finite scalars at Lightning's own step axis."""
        if values:
            self._each(lambda logger: logger.log_metrics(dict(values), step=step))

    def text(self, tag: str, text: str, step: int) -> None:
        """Log a line of text where the logger has a place for it."""

        def log(logger: Any) -> None:
            if _kind(logger) == "TensorBoardLogger":
                logger.experiment.add_text(tag, text, step)

        self._each(log)

    def figure(self, scene: MapScene, step: int, *, last: bool = False) -> None:
        """Log the map of `scene`.

        Args:
            scene: The document of `repwatch.scene.build_map`.
            step: The step of its newest snapshot.
            last: Whether training ends here: loggers that keep one file, not one per step, write it
                now.
        """

        def log(logger: Any) -> None:
            write = _FIGURE_WRITERS.get(_kind(logger))
            if write is not None:
                write(logger, scene, step, last)

        self._each(log)

    def _each(self, log: Callable[[Any], None]) -> None:
        for logger in self._loggers:
            if id(logger) in self._silent:
                continue
            try:
                log(logger)
            except Exception as error:
                self._silent.add(id(logger))
                told = LoggerError(
                    f"{type(logger).__name__} did not take what RepWatch logged "
                    f"({type(error).__name__}: {error}); RepWatch stops logging to it. The "
                    "registry and the other loggers are not affected."
                )
                notices.warning(str(told))


def _kind(logger: Any) -> str:
    """The name of the logger's class, or of the nearest ancestor that is known here."""
    for ancestor in type(logger).__mro__:
        if ancestor.__name__ in _FIGURE_WRITERS:
            return ancestor.__name__
    return type(logger).__name__


def _to_tensorboard(logger: Any, scene: MapScene, step: int, last: bool) -> None:
    from repwatch.tensorboard.summary import figure_summary

    # The user's own writer: a second event file in the same directory would freeze their curves.
    summary = figure_summary(TAG, figures.payload(scene))
    logger.experiment._get_file_writer().add_summary(summary, step)


def _to_wandb(logger: Any, scene: MapScene, step: int, last: bool) -> None:
    import wandb

    logger.log_metrics({TAG: wandb.Plotly(figures.map_figure(scene))})


def _to_mlflow(logger: Any, scene: MapScene, step: int, last: bool) -> None:
    figure = figures.map_figure(scene)
    logger.experiment.log_figure(logger.run_id, figure, f"repwatch/map-{step:08d}.html")


def _to_comet(logger: Any, scene: MapScene, step: int, last: bool) -> None:
    figure = figures.map_figure(scene)
    logger.experiment.log_figure(figure_name=TAG, figure=figure, step=step)


def _to_csv(logger: Any, scene: MapScene, step: int, last: bool) -> None:
    if last:
        # A resumed run writes its map anew: the file is RepWatch's own.
        path = Path(logger.log_dir) / "repwatch-map.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.write_html(scene, path, overwrite=True)


_FIGURE_WRITERS: dict[str, Callable[[Any, MapScene, int, bool], None]] = {
    "TensorBoardLogger": _to_tensorboard,
    "WandbLogger": _to_wandb,
    "MLFlowLogger": _to_mlflow,
    "CometLogger": _to_comet,
    "CSVLogger": _to_csv,
}
