"""The guard around the callback's hooks: no fault of RepWatch's own reaches the training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, TypeVar

from repwatch.integrations.lightning.protocols import Trainer
from repwatch.integrations.lightning.session import Session

__all__ = ["Wanted", "always", "guarded", "in_fit", "wants_backward", "wants_batches"]

Hook = TypeVar("Hook", bound=Callable[..., None])
# Whether a hook has anything to do: asked before each batch, so that it must cost nothing.
Wanted = Callable[[Session, Trainer], bool]


class _Callback(Protocol):
    _session: Session | None


def always(session: Session, trainer: Trainer) -> bool:
    """For hooks that nothing but a training calls."""
    return True


def in_fit(session: Session, trainer: Trainer) -> bool:
    """For hooks that other stages of a Trainer call too."""
    return not trainer.sanity_checking and trainer.state.fn == "fit"


def wants_batches(session: Session, trainer: Trainer) -> bool:
    """For the hook that sees training batches: the first ones are enough."""
    return session.wants_batches


def wants_backward(session: Session, trainer: Trainer) -> bool:
    """For the hook before backward passes: the first ones are enough."""
    return session.wants_backward


def guarded(wanted: Wanted) -> Callable[[Hook], Hook]:
    """Isolate the training from RepWatch's own faults, and count the time that it takes.

    Args:
        wanted: Whether the hook is called, while there is a session.
    """

    def decorate(hook: Hook) -> Hook:
        @functools.wraps(hook)
        def guard(self: _Callback, trainer: Trainer, *args: object, **kwargs: object) -> None:
            session = self._session
            if session is None:
                return
            try:
                if wanted(session, trainer):
                    with session.pace.counted():
                        hook(self, trainer, *args, **kwargs)
            except Exception as error:
                session.sleep(trainer.global_step, error)

        return guard  # type: ignore[return-value]

    return decorate
