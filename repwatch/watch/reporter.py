"""Reporter: what the user should know about how a run is watched, in the log and as notes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from repwatch.registry import RunRecorder

__all__ = ["Reporter"]

log = logging.getLogger("repwatch")


class Reporter:
    """Logs messages once each, and stores notes with the run; until it is open, they wait."""

    def __init__(self) -> None:
        self._recorder: RunRecorder | None = None
        self._waiting: list[str] = []
        self._reported: set[str] = set()
        self._stored: set[str] = set()

    def open(self, recorder: RunRecorder) -> list[str]:
        """Store the notes that waited for the run, and later ones; return those that waited."""
        self._recorder, self._stored = recorder, set()
        notes, self._waiting = self._waiting, []
        self.add_notes(notes)
        return notes

    def close(self) -> None:
        """Store nothing more with the run."""
        self._recorder = None

    def add_notes(self, notes: Sequence[str]) -> None:
        """Store notes with the run; each once."""
        if self._recorder is None:
            self._waiting += [note for note in notes if note not in self._waiting]
            return
        new = [note for note in notes if note not in self._stored]
        if new and self._recorder.error is None:
            self._recorder.notes(new)
            self._stored.update(new)

    def report(self, message: str) -> None:
        """Log a message, and store it with the run; each once."""
        if message not in self._reported:
            self._reported.add(message)
            log.warning("RepWatch: %s", message)
            self.add_notes([message])

    @staticmethod
    def relay(recorder: RunRecorder) -> None:
        """Log what a recorder has to say about a registry that does not answer."""
        while recorder.messages:
            log.warning("RepWatch: %s", recorder.messages.pop(0))
