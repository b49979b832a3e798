"""Forks wait for transactions, and find no connection open.

SQLite tracks its locks in the process. A child that is forked while a connection is open believes
that it holds locks that only its parent has: it waits forever, or writes into a journal that the
parent deletes. So before a fork (a DataLoader starts its workers) transactions of other threads
come to their end and all connections are closed; parent and child each open their own again.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 10.0


class ForkGate:
    """Counts the threads that use a database, and closes connections when a fork begins."""

    def __init__(self, close_all: Callable[[], None], forget_all: Callable[[], None]) -> None:
        self._close_all = close_all
        self._forget_all = forget_all
        self._is_clean = True
        self.is_usable = True
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.before_fork,
                after_in_parent=self.after_fork_in_parent,
                after_in_child=self.after_fork_in_child,
            )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """While inside, no fork happens; never nested, or the two would wait for each other."""
        with self._changed:
            while self._forks:
                self._changed.wait()
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._forks = 0

    def before_fork(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            self._forks += 1
            while self._inside and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._is_clean = self._inside == 0
        if self._is_clean:
            self._close_all()

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        # A transaction that did not end in time stays half done in this process, for good.
        self.is_usable = self.is_usable and self._is_clean
        self._reset()
        self._forget_all()
