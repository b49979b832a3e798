"""What a reader of the code has to go through, counted: `python -m tests.trace`, or `make trace`.

Two traces. A small training is run under a profiler: landmarks first, untraced, then one run that
is flagged, then `repwatch show` and `repwatch report` on it. A file of repwatch/ is on the way of

- a **probe input** if one of its functions receives, returns or yields a `ProbeSet`, or a tensor or
  array that contains the value MARKER, which exists in the first validation point only;
- a **flag** if one of its functions receives, returns or yields a `Flag`, or a text that contains
  the message of one. The message is known from a rehearsal of the run, so that the way begins where
  it is written; what is computed before is not on it.

A file is "direct" where that is handed over as it is, or in lists, tuples, dictionaries and queues
up to three levels deep. It is "in an object" where it is handed over only as an attribute of an
object of RepWatch's own (one level), `self` included, and the function names that attribute. What
exists in local variables only does not count. Files of the page (dashboards/ without the atlas)
count if they name the fields by which the page knows the thing, outside of comments and texts.

Below them the table of `tests/sizes.py`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import shutil
import sys
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from repwatch import ProbeSet, Registry, RepWatch
from repwatch.registry import Flag
from tests.sizes import PACKAGE, ROOT, measure

MARKER = 3.0078125
DEPTH = 3
LARGEST = 200_000

# By what fields the page knows what is traced.
PAGE_FIELDS = {
    "a probe input": r"\bprobe\b|\bpoints\.(?:texts|images|links|columns)\b",
    "a flag": r"\bflags?\b",
}

Check = Callable[[Any], bool]


# What is looked for


def contains(value: Any, is_wanted: Check, depth: int = DEPTH) -> bool:
    """Whether a value is wanted, or a plain container of one that is."""
    if is_wanted(value):
        return True
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        values: Any = list(value.values())
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        values = list(value)
    else:
        return False
    return any(contains(value, is_wanted, depth - 1) for value in values[:1000])


def holds(value: Any, is_wanted: Check, named: Sequence[str]) -> bool:
    """Whether a value is an object of RepWatch's own with something wanted in a named attribute."""
    if not type(value).__module__.startswith("repwatch"):
        return False
    attributes = list(getattr(value, "__dict__", {}).items())
    return any(name in named and contains(value, is_wanted) for name, value in attributes)


def is_probe_input(value: Any) -> bool:
    if isinstance(value, ProbeSet):
        return True
    if isinstance(value, torch.Tensor):
        dense = value.layout == torch.strided and not torch.nn.parameter.is_lazy(value)
        if not dense or not value.is_floating_point() or value.numel() > LARGEST:
            return False
        return bool((value.detach() == MARKER).any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and value.size <= LARGEST and bool((value == MARKER).any())
    return False


@dataclass
class FlagCheck:
    """Whether a value is a flag, or a text with the message of one."""

    messages: set[str] = field(default_factory=set)

    def __call__(self, value: Any) -> bool:
        if isinstance(value, Flag):
            self.messages.add(value.message)
            return True
        return isinstance(value, str) and any(message in value for message in self.messages)


class Trace:
    """Records, while it is entered, the files of the package to which something wanted is handed.

    Attributes:
        direct: Files by what is looked for, where it is handed over as it is, or in containers.
        in_object: The same, where it is an attribute of what is handed over.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.direct: dict[str, set[str]] = {name: set() for name in checks}
        self.in_object: dict[str, set[str]] = {name: set() for name in checks}
        self._checks = checks
        self._prefix = f"{PACKAGE}/"

    def __enter__(self) -> Trace:
        threading.setprofile(self._observe)
        sys.setprofile(self._observe)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _observe(self, frame: FrameType, event: str, value: Any) -> None:
        path = frame.f_code.co_filename
        if event not in ("call", "return") or not path.startswith(self._prefix):
            return
        handed = arguments(frame) if event == "call" else [value]
        name = path.removeprefix(self._prefix)
        for what, is_wanted in self._checks.items():
            if name in self.direct[what]:
                continue
            if contains(handed, is_wanted, DEPTH + 1):
                self.direct[what].add(name)
                self.in_object[what].discard(name)
            elif name not in self.in_object[what] and any(
                holds(argument, is_wanted, frame.f_code.co_names) for argument in handed
            ):
                self.in_object[what].add(name)


def arguments(frame: FrameType) -> list[Any]:
    """What a function was called with, `*args` and `**kwargs` included."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    values = frame.f_locals
    return [values[name] for name in code.co_varnames[:count] if name in values]


# The training that is traced


def trace_training(folder: Path) -> Trace:
    """Train landmarks and a run that is flagged, and show it."""
    registry = Registry(folder / "repwatch.db")
    for seed in range(6):
        train(registry, folder, f"good-{seed}", 0.02 + 0.002 * seed, seed)
        registry.label(f"good-{seed}", "good")
    for seed in range(3):
        train(registry, folder, f"bad-{seed}", 20.0 + seed, seed + 10)
        registry.label(f"bad-{seed}", "bad", "learning rate too high")
    # The same run twice, so that the message of its flag is known before there is a flag.
    registry.close()
    shutil.copy(folder / "repwatch.db", folder / "rehearsal.db")
    rehearsal = train(Registry(folder / "rehearsal.db"), folder, "traced", 25.0, 30)
    messages = {flag.message for flag in rehearsal.flags}
    loggers = importlib.import_module(f"{lightning().__name__}.loggers")
    made = [loggers.CSVLogger(folder / "csv"), loggers.TensorBoardLogger(folder / "events")]
    with Trace({"a probe input": is_probe_input, "a flag": FlagCheck({*messages})}) as trace:
        watch = train(registry, folder, "traced", 25.0, 30, loggers=made)
        show(folder)
    traced = {flag.message for flag in watch.flags}
    if not messages or traced != messages:
        raise RuntimeError(f"Expected flags as in the rehearsal, {messages}, but got {traced}.")
    return trace


def lightning() -> Any:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise SystemExit("Expected lightning or pytorch_lightning; run `pip install lightning`.")


def data(points: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(points, 6, generator=generator)
    return TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long())


def train(
    registry: Registry, folder: Path, name: str, lr: float, seed: int, loggers: Sequence[Any] = ()
) -> RepWatch:
    from tests.integrations.lightning.training import module

    torch.manual_seed(seed)
    pl = lightning()
    validation = data(48, seed=1)
    validation.tensors[0][0, 0] = MARKER
    # Under the profiler everything takes long, and no snapshot may be left out for that.
    options = {"monitor": "val_loss", "points": 32, "max_overhead": 1.0}
    watch = RepWatch(registry=registry, run_name=name, **options)
    trainer = pl.Trainer(
        max_epochs=2,
        callbacks=[watch],
        logger=list(loggers),
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    loaders = DataLoader(data(200, seed=0), 10, shuffle=True), DataLoader(validation, 16)
    trainer.fit(module(pl, lr=lr), *loaders)
    return watch


def show(folder: Path) -> None:
    """What a person does next: `repwatch show`, then `repwatch report`."""
    from typer.testing import CliRunner

    from repwatch import cli

    place = ["--registry", str(folder / "repwatch.db")]
    report = ["report", "--distance", "euclidean", "--no-each-layer", "-o", str(folder / "r.html")]
    for words in (["show", "traced"], report):
        result = CliRunner().invoke(cli.app, [*words, *place])
        if result.exit_code:
            raise RuntimeError(f"repwatch {words[0]} failed: {result.output}")


def page_files(fields: str) -> set[str]:
    """Files of the page in which the pattern occurs outside of comments and of texts in quotes."""
    comment = re.compile(r'/\*.*?\*/|"[^"\n]*"|(?<!:)//[^\n]*', flags=re.DOTALL)
    folder = ROOT / "dashboards"
    return {
        str(path.relative_to(ROOT))
        for path in folder.rglob("*.js")
        if path.relative_to(folder).parts[0] not in ("atlas", "built", "tests", "node_modules")
        and re.search(fields, comment.sub("", path.read_text(encoding="utf-8")))
    }


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        trace = trace_training(Path(folder))
    for what, direct in trace.direct.items():
        groups = {
            "direct": direct,
            "in an object": trace.in_object[what],
            "page": page_files(PAGE_FIELDS[what]),
        }
        counts = ", ".join(f"{len(found)} {name}" for name, found in groups.items())
        print(f"Files that {what} passes through: {sum(map(len, groups.values()))} ({counts})")
        for name, found in groups.items():
            for file in sorted(found):
                print(f"    {name:14}{file}")
    print()
    for what, value in measure():
        print(f"{what:40}{value}")


if __name__ == "__main__":
    main()
