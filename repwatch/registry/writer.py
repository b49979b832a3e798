"""Writer: one thread that records while the training goes on.

    writer = Writer(registry, run.id)
    writer.snapshots([NewSnapshot(...), ...])      # returns at once
    writer.finish("finished")
    writer.close()

Tasks are done in the order they were given. Encoding and sketching happen here, not in the
training. A full queue holds the training back rather than losing a snapshot. A failure never
raises into the training: the first is kept in `error`, and what follows it is let go.
"""

from __future__ import annotations

import atexit
import copy
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repwatch.errors import ConfigurationError
from repwatch.registry.store import Registry

if TYPE_CHECKING:
    from repwatch.registry.records import EndStatus, NewSnapshot

Task = Callable[[Registry], object]

CLOSE_SECONDS = 120.0


class _Queue:
    """The waiting tasks of one process, and the thread that does them.

    After a fork the child starts with a new one: what was waiting belongs to the parent.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.changed = threading.Condition()
        self.tasks: deque[Task] = deque()
        self.given = 0
        self.done = 0
        self.closing = False
        self.thread: threading.Thread | None = None

    @property
    def is_worked(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Writer:
    """Records one run on a thread of its own, with a connection of its own.

    `capacity` bounds the waiting tasks; a sign of life is written every `heartbeat` seconds until
    the run is finished. When the process ends, also by an exception, what waits is still written.
    A Writer can be copied and pickled (the copy starts empty) and used after a fork.
    """

    def __init__(
        self, registry: Registry, run_id: str, *, capacity: int = 64, heartbeat: float = 30.0
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"capacity must be at least 1, got {capacity}.")
        if not heartbeat > 0:
            raise ConfigurationError(f"heartbeat must be above 0 seconds, got {heartbeat}.")
        # Imported here and not on the thread: a fork while a module is half imported (a DataLoader
        # starts its workers) would leave it broken in the child.
        import repwatch.registry.blobs  # noqa: F401

        self.run_id = run_id
        self.error: BaseException | None = None
        self._registry = copy.deepcopy(registry)
        self._capacity = capacity
        self._heartbeat = heartbeat
        self._finished = False
        self._ending = False
        self._queue = _Queue()
        with self._queue.changed:
            self._ensure_thread(self._queue)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_queue"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._queue = _Queue()

    def snapshots(self, new: Sequence[NewSnapshot]) -> None:
        """Record snapshots in one transaction. Their arrays must not change afterwards."""
        new = list(new)
        self.call(lambda registry: registry.add_snapshots(self.run_id, new))

    def metrics(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Record the metrics of a step."""
        values = dict(values)
        self.call(lambda registry: registry.add_metrics(self.run_id, step, epoch, values))

    def flag(self, **flag: Any) -> None:
        """Record a flag; the arguments are those of `Registry.add_flag`."""
        self.call(lambda registry: registry.add_flag(self.run_id, **flag))

    def notes(self, notes: Sequence[str]) -> None:
        """Record what a person should know of how the run is watched."""
        notes = list(notes)
        self.call(lambda registry: registry.add_notes(self.run_id, notes))

    def finish(self, status: EndStatus) -> None:
        """Record how the run ended."""

        def finish(registry: Registry) -> None:
            registry.finish_run(self.run_id, status)
            self._finished = True

        self.call(finish)

    def call(self, task: Task) -> None:
        """Do anything else with the registry on the writer's thread, in its turn."""
        queue = self._own_queue()
        with queue.changed:
            self._ensure_thread(queue)
            # A task that gives tasks must not wait for itself.
            while queue.is_worked and threading.current_thread() is not queue.thread:
                if len(queue.tasks) < self._capacity or self.error is not None:
                    break
                queue.changed.wait(1.0)
            if self.error is not None:
                return
            queue.tasks.append(task)
            queue.given += 1
            queue.changed.notify_all()
        if not queue.is_worked:
            self._work_off(queue)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was given so far is committed; False after a failure or timeout."""
        queue = self._own_queue()
        if threading.current_thread() is queue.thread:
            return self.error is None
        deadline = None if timeout is None else time.monotonic() + timeout
        with queue.changed:
            goal = queue.given
            while queue.done < goal and self.error is None and queue.is_worked:
                left = 1.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    break
                queue.changed.wait(min(left, 1.0))
            return queue.done >= goal and self.error is None

    def close(self, timeout: float | None = CLOSE_SECONDS) -> bool:
        """Flush, end the thread and close its connection; gives what `flush` gave.

        A later task opens the writer again.
        """
        queue = self._own_queue()
        flushed = self.flush(timeout)
        atexit.unregister(self._close_at_exit)
        with queue.changed:
            thread, queue.closing = queue.thread, True
            queue.changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout if flushed else 1.0)
        return flushed

    def _own_queue(self) -> _Queue:
        if self._queue.pid != os.getpid():
            self._queue = _Queue()
        return self._queue

    def _close_at_exit(self) -> None:
        if self._queue.pid == os.getpid():
            # From here on a new thread would not be waited for: late tasks are done by who gives
            # them.
            self._ending = True
            self.close()

    def _ensure_thread(self, queue: _Queue) -> None:
        """Start the thread where none runs; the caller holds `queue.changed`."""
        if queue.is_worked or self._ending:
            return
        queue.closing = False
        # A daemon, so that a stuck disk cannot keep the process alive for ever; the exit hook
        # sees to it that nothing is lost.
        thread = threading.Thread(
            target=self._work, args=(queue,), name="repwatch-writer", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending and takes no new threads: the caller works by itself.
            queue.thread = None
            return
        queue.thread = thread
        atexit.register(self._close_at_exit)

    def _work(self, queue: _Queue) -> None:
        try:
            while (task := self._next(queue)) is not None:
                self._do(queue, task)
        finally:
            self._registry.close()

    def _work_off(self, queue: _Queue) -> None:
        while queue.tasks:
            self._do(queue, queue.tasks.popleft())
        self._registry.close()

    def _next(self, queue: _Queue) -> Task | None:
        """The next task, a sign of life when none came for a while, None at the end."""
        deadline = time.monotonic() + self._heartbeat
        with queue.changed:
            while not queue.tasks:
                if queue.closing:
                    queue.thread = None
                    return None
                left = deadline - time.monotonic()
                if left <= 0:
                    queue.given += 1
                    return self._beat
                queue.changed.wait(left)
            queue.changed.notify_all()
            return queue.tasks.popleft()

    def _do(self, queue: _Queue, task: Task) -> None:
        failure: BaseException | None = None
        try:
            task(self._registry)
        except BaseException as error:
            failure = error
        with queue.changed:
            queue.done += 1
            if failure is not None and self.error is None:
                self.error = failure
            if self.error is not None:
                queue.tasks.clear()
                queue.done = queue.given
            queue.changed.notify_all()

    def _beat(self, registry: Registry) -> None:
        if not self._finished and self.error is None:
            registry.heartbeat(self.run_id)
