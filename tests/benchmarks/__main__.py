"""Run all benchmarks, or those named, and print one table."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType

from rich.console import Console
from rich.table import Table

from tests import benchmarks
from tests.benchmarks.measure import Line, Skipped


def find_benchmarks() -> Iterator[tuple[str, ModuleType]]:
    """The modules of this package that have a `run`."""
    for found in pkgutil.iter_modules(benchmarks.__path__):
        if not found.name.startswith(("test_", "__")):
            module = importlib.import_module(f"{benchmarks.__name__}.{found.name}")
            if hasattr(module, "run"):
                yield found.name, module


def row(line: Line) -> list[str]:
    """One line of the table, as text."""
    value = f"{line.value:.4g} {line.unit}".rstrip()
    holds = {None: "", True: "holds", False: "MISSED"}[line.holds]
    return [line.what, value, line.goal, holds, line.detail]


def main(names: list[str]) -> int:
    """Run and print; returns 1 if a name is unknown."""
    known = dict(find_benchmarks())
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"No benchmark is called {unknown[0]!r}. Available: {', '.join(known)}.")
        return 1
    table = Table("what", "measured", "goal", "", "detail", title="RepWatch benchmarks")
    for name in names or known:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for line in known[name].run(smoke=False):
                table.add_row(*row(line))
        except Skipped as reason:
            table.add_row(name, "", "", "skipped", str(reason))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
