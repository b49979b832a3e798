"""Progress of reading the probe set, shown where it takes more than a moment."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("repwatch")

SHOW_AFTER_SECONDS = 1.0


@contextmanager
def reading_progress(total: int, show: bool = True) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of points read so far.

    After a second it shows a progress bar on stderr, or writes one line to the log where stderr is
    no terminal. The bar disappears at the end.
    """
    bar = _Bar(total)
    try:
        yield bar.update if show else lambda count: None
    finally:
        bar.close()


class _Bar:
    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._close: Callable[[], None] | None = None
        self._show: Callable[[int], None] | None = None

    def update(self, count: int) -> None:
        if self._show is None:
            if time.monotonic() - self._began < SHOW_AFTER_SECONDS or count >= self._total:
                return
            terminal = sys.stderr is not None and sys.stderr.isatty()
            self._show = self._open() if terminal else self._write(count)
        self._show(count)

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def _write(self, count: int) -> Callable[[int], None]:
        _log.info("RepWatch reads its probe set: %d of %d points so far", count, self._total)
        return lambda count: None

    def _open(self) -> Callable[[int], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        # No thread that refreshes it: workers may still be forked.
        progress = Progress(*columns, console=console, transient=True, auto_refresh=False)
        task = progress.add_task("RepWatch reads its probe set", total=self._total)
        progress.start()
        self._close = progress.stop

        def show(count: int) -> None:
            progress.update(task, completed=count, refresh=True)

        return show
