"""The sizes of the code, read from its source; each function says what it counts.

`python -m tests.trace` prints them.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import repwatch

PACKAGE = Path(repwatch.__file__).parent
ROOT = PACKAGE.parent

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.ClassDef | Function


def parse_package() -> dict[str, ast.Module]:
    """Module name -> syntax tree, of every file of the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def count_lines() -> list[int]:
    return [len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")]


def functions(trees: Mapping[str, ast.Module]) -> list[Function]:
    return [n for tree in trees.values() for n in ast.walk(tree) if isinstance(n, Function)]


def share_of_long(trees: Mapping[str, ast.Module], limit: int = 40) -> float:
    """Share of all functions, methods and inner ones included, of more lines than the limit."""
    lengths = [
        (function.end_lineno or function.lineno) - function.lineno + 1
        for function in functions(trees)
    ]
    return sum(length > limit for length in lengths) / len(lengths)


def widest(trees: Mapping[str, ast.Module]) -> list[tuple[int, str]]:
    """(parameters, self included, name) of functions and constructors, most first."""
    found = []
    for tree in trees.values():
        for parent in ast.walk(tree):
            for child in ast.iter_child_nodes(parent):
                if isinstance(child, Function):
                    given = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
                    inside = isinstance(parent, ast.ClassDef)
                    name = parent.name if inside and child.name == "__init__" else child.name
                    found.append((len(given), name))
    return sorted(found, reverse=True)


def widest_record(trees: Mapping[str, ast.Module]) -> tuple[int, str]:
    """(fields, name) of the data class with the most fields."""
    classes = [n for t in trees.values() for n in ast.walk(t) if isinstance(n, ast.ClassDef)]
    records = [node for node in classes if "dataclass" in map(name_of, node.decorator_list)]
    return max(
        (sum(isinstance(n, ast.AnnAssign) for n in node.body), node.name) for node in records
    )


def name_of(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def public_definitions(trees: Mapping[str, ast.Module]) -> Iterator[tuple[str, Documented]]:
    """(full name, node) of public classes, functions and methods of public modules."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, Documented]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Documented) and not child.name.startswith("_"):
                name = f"{prefix}.{child.name}"
                yield name, child
                if isinstance(child, ast.ClassDef):
                    yield from visit(child, name)

    for module, tree in trees.items():
        if not any(part.startswith("_") and part != "__init__" for part in module.split(".")):
            yield from visit(tree, module)


def undocumented(trees: Mapping[str, ast.Module]) -> list[str]:
    """Full names of public classes, functions and methods without a docstring."""
    return [name for name, node in public_definitions(trees) if ast.get_docstring(node) is None]


def share_documented(trees: Mapping[str, ast.Module]) -> float:
    """Share of public classes, functions and methods of public modules with a docstring."""
    return 1 - len(undocumented(trees)) / sum(1 for _ in public_definitions(trees))


def any_per_thousand(trees: Mapping[str, ast.Module]) -> float:
    """Uses of the name Any, its imports not counted, per 1,000 lines."""
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    uses = sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)
    return 1000 * uses / sum(count_lines())


def bound_name(alias: ast.alias) -> str:
    return alias.asname or alias.name


def import_graph(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> modules that it imports anywhere, under `if TYPE_CHECKING` and in functions too.

    A name that a package re-exports counts as an import of the module where it lives.
    """
    homes = {name.removesuffix(".__init__"): name for name in trees}

    def resolve(module: str, name: str, depth: int = 0) -> str | None:
        if f"{module}.{name}" in homes:
            return homes[f"{module}.{name}"]
        home = homes.get(module)
        if home is None or depth > 5:
            return None
        for node in ast.walk(trees[home]):
            elsewhere = isinstance(node, ast.ImportFrom) and node.module not in (None, module)
            if elsewhere and node.module in homes and name in map(bound_name, node.names):
                return resolve(node.module, name, depth + 1)
        return home

    graph: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                found = {resolve(node.module, alias.name) for alias in node.names}
            elif isinstance(node, ast.Import):
                found = {homes.get(alias.name) for alias in node.names}
            else:
                continue
            graph[name] |= {
                name_found for name_found in found if name_found is not None and name_found != name
            }
    return {name: {target for target in graph[name] if "__init__" not in target} for name in graph}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules, each of which imports all others of its group, directly or not."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in graph[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    reached = {name: reach(name) for name in graph}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def measure() -> Iterator[tuple[str, str]]:
    """(what, how much) of the table."""
    trees = parse_package()
    lines = count_lines()
    yield "module size, median / largest", f"{statistics.median(lines):.0f} / {max(lines)}"
    yield "functions over 40 lines", f"{share_of_long(trees):.1%}"
    names = ", ".join(f"{name} {count}" for count, name in widest(trees)[:4])
    yield "parameters of the widest calls", names
    fields, name = widest_record(trees)
    yield "fields of the widest data class", f"{name} {fields}"
    yield "public names with a docstring", f"{share_documented(trees):.0%}"
    yield "`Any` per 1,000 lines", f"{any_per_thousand(trees):.1f}"
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    pages = len(list((ROOT / "docs").rglob("*.md")))
    yield "README words / pages of documentation", f"{words} / {pages}"
    found = circles(import_graph(trees))
    yield "import circles", f"{len(found)}"
    for group in found:
        yield "", " <-> ".join(module.removeprefix("repwatch.") for module in group)
    yield "modules / lines", f"{len(lines)} / {sum(lines):,}"
