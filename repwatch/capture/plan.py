"""The plan of a Capturer: what its first pass found out, and notes on it for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repwatch._names import INPUT
from repwatch.capture._call import CallStrategy
from repwatch.capture._cut_points import Graph
from repwatch.capture._default_layers import choose_layers
from repwatch.capture._layers import Modules, base, innermost, is_candidate
from repwatch.capture._recorder import Recorder
from repwatch.errors import CaptureError

__all__ = ["Plan", "list_names", "make_plan", "note_hooks", "note_scripted"]

# Notes are read in a terminal: they list this many names, and count the others.
NAMES_IN_NOTE = 3


@dataclass(frozen=True)
class Plan:
    """What the first pass found out.

    strategy: how the model is called; None while only the host's own passes were recorded. keys:
    the layers to watch, in order of execution. notes: what is left out and why. called: all modules
    that were called, in the order in which they were first done. odd: how many layers are left out
    because their rows are not the probe's points.
    """

    strategy: CallStrategy | None
    keys: tuple[str, ...]
    notes: tuple[str, ...]
    called: tuple[str, ...] = ()
    odd: int = 0


def make_plan(
    strategy: CallStrategy | None,
    recorder: Recorder,
    modules: Modules,
    chosen: frozenset[str] | None,
    max_layers: int | None,
    held: Sequence[str] | None = None,
    graph: Graph | str | None = None,
) -> Plan:
    """Choose the layers among those that fired (and are held, where only some are).

    By default up to `max_layers` (None for all) of the ends of blocks, by the cut points of `graph`
    (see `choose_layers`).

    Raises CaptureError if none can be used.
    """
    fired = recorder.fired
    if chosen is None:
        inner = [key for key in innermost(fired) if is_candidate(modules.named[base(key)])]
        usable = frozenset(fired if held is None else held) - recorder.left_out.keys()
        choice = choose_layers(fired, usable, modules, graph, max_layers)
        keys, notes = list(choice.keys), [choice.note] if choice.keys else []
    else:
        inner = [key for key in fired if base(key) in chosen]
        keys = [key for key in inner if key not in recorder.left_out]
        notes = [f"watches {list_names(keys)}, as named"] if keys else []
    notes += _note_aliases(modules)
    if modules.scripted:
        notes.append(note_scripted(modules))
    odd = [f"{key} ({recorder.left_out[key]})" for key in inner if key in recorder.left_out]
    if odd:
        notes.append(f"left out, because their rows are not the probe's points: {list_names(odd)}")
    silent = [] if chosen is None else sorted(chosen - {INPUT} - {base(key) for key in fired})
    if silent:
        notes.append(f"left out, because the model did not call them: {list_names(silent)}")
    if not keys and chosen != frozenset({INPUT}):
        raise _no_layer(notes, any_fired=bool(fired), compiled=bool(modules.compiled))
    called = tuple(dict.fromkeys(map(base, fired)))
    return Plan(strategy, tuple(keys), tuple(notes), called, len(odd))


def _no_layer(notes: Sequence[str], *, any_fired: bool, compiled: bool) -> CaptureError:
    reasons = [*notes]
    if not any_fired:
        reasons.append("none of its modules fired")
    if compiled:
        reasons.append("code made by torch.compile ignores hooks that came after it")
    return CaptureError(
        f"The model ran, but no layer could be captured: {'; '.join(reasons)}. Name other "
        "layers, or pass reduce=(layer, module, output) -> one row for each probe point."
    )


def note_scripted(modules: Modules) -> str:
    """The note on ScriptModules."""
    return f"left out, because ScriptModules take no hooks: {list_names(modules.scripted)}"


def note_hooks(names: Sequence[str]) -> str:
    """The note on forward hooks that were set aside."""
    return (
        "forward hooks that are not part of the model did not run with the probe set: those of "
        f"{list_names(names)}"
    )


def list_names(names: Sequence[str], most: int = NAMES_IN_NOTE) -> str:
    """Up to `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _note_aliases(modules: Modules) -> list[str]:
    pairs = [f"{alias} = {name}" for alias, name in modules.aliases.items()]
    if not pairs:
        return []
    subject = "1 module is" if len(pairs) == 1 else f"{len(pairs)} modules are"
    return [f"{subject} also known by another name: {list_names(pairs)}"]
