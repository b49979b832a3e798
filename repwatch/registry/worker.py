"""Worker: a thread of its own that does tasks with a registry while the training continues.

    worker = Worker(registry)
    worker.call(lambda registry: registry.save_space(key, content))      # returns at once
    worker.close()

Tasks are done in the order they were given. A full queue makes the training wait rather than losing
a task. A failure never raises into the training: the first is stored in `error`, and the tasks
after it are dropped.
"""

from __future__ import annotations

import atexit
import copy
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from repwatch.errors import ConfigurationError
from repwatch.registry.registry import Registry

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


class Worker:
    """Does tasks on its own thread, with its own connection to the registry.

    Args:
        registry: The registry; copied, so that the thread shares no connection.
        capacity: The largest number of waiting tasks.
        idle_seconds: After this many seconds without a task, `idle` is called.

    When the process ends, even by an exception, waiting tasks are still done. A Worker can be
    copied and pickled (the copy starts empty) and used after a fork.

    Examples:
        >>> from repwatch import Registry
        >>> from repwatch.registry import Worker
        >>> registry = Registry("repwatch.db")
        >>> worker = Worker(registry)
        >>> worker.call(lambda own: own.save_space("key", b"content"))  # returns at once
        >>> worker.close()
        True
        >>> registry.load_space("key")
        b'content'
    """

    def __init__(
        self, registry: Registry, *, capacity: int = 64, idle_seconds: float = 30.0
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"capacity must be at least 1, got {capacity}.")
        if not idle_seconds > 0:
            raise ConfigurationError(f"idle_seconds must be above 0 seconds, got {idle_seconds}.")
        # Imported here and not on the thread: a fork while a module is half imported (a DataLoader
        # starts its workers) would leave it broken in the child.
        import repwatch.registry._db.blobs  # noqa: F401

        self.error: BaseException | None = None
        self._registry = copy.deepcopy(registry)
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._ending = False
        self._queue = _Queue()
        with self._queue.changed:
            self._ensure_thread(self._queue)

    def __getstate__(self) -> dict[str, object]:
        state = self.__dict__.copy()
        del state["_queue"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._queue = _Queue()

    def idle(self, registry: Registry) -> None:
        """What to do on the thread after `idle_seconds` without a task: nothing."""

    def call(self, task: Task) -> None:
        """Do a task on the thread, in its turn."""
        queue = self._own_queue()
        with queue.changed:
            self._ensure_thread(queue)
            # A task that adds tasks must not wait for itself.
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
        """Wait until everything given so far is committed; False after a failure or timeout."""
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
        """Flush, end the thread and close its connection; returns what `flush` returned.

        A later task starts the thread again.
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
            # From here on nothing would wait for a new thread: late tasks run in the thread that
            # adds them.
            self._ending = True
            self.close()

    def _ensure_thread(self, queue: _Queue) -> None:
        """Start the thread if none is running; the caller holds `queue.changed`."""
        if queue.is_worked or self._ending:
            return
        queue.closing = False
        # A daemon, so that a stuck disk cannot block the end of the process; the exit hook makes
        # sure that nothing is lost.
        thread = threading.Thread(
            target=self._work, args=(queue,), name="repwatch-worker", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending and takes no new threads: the caller does the task.
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
        """The next task, `idle` where none came for a while, None at the end."""
        deadline = time.monotonic() + self._idle_seconds
        with queue.changed:
            while not queue.tasks:
                if queue.closing:
                    queue.thread = None
                    return None
                left = deadline - time.monotonic()
                if left <= 0:
                    queue.given += 1
                    return self.idle
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
