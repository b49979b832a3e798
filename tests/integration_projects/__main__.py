"""`python -m tests.integration_projects [NAME ...]`: try the projects, and write the table of all.

Ends with 1 where something is not as it should be: other weights with RepWatch than without, a
scheduled step without a snapshot of three layers, no map.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration_projects.catalog import PROJECTS, Project
from tests.integration_projects.environments import make_environment
from tests.integration_projects.outcome import MARK, Outcome
from tests.integration_projects.table import write_table

_ROOT = Path(__file__).parents[2]
_MINUTES = 10


def main() -> int:
    options = _parse()
    chosen = [project for project in PROJECTS if not options.names or project.name in options.names]
    outcomes = [_try(project, options.folder) for project in chosen]
    if options.page is not None:
        write_table(options.page, outcomes)
    failed = [outcome.name for outcome in outcomes if outcome.faults]
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".strip())
    return bool(failed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.integration_projects")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all where none is named")
    parser.add_argument(
        "--folder", type=Path, default=_ROOT / ".venv-projects", help="where the environments are"
    )
    parser.add_argument("--page", type=Path, help="the page to write the table into")
    options = parser.parse_args()
    unknown = set(options.names) - {project.name for project in PROJECTS}
    if unknown:
        parser.error(f"no such project: {', '.join(sorted(unknown))}")
    if options.page is not None and options.names:
        parser.error("the table is of all projects: name none, or leave --page away")
    return options


def _try(project: Project, folder: Path) -> Outcome:
    try:
        outcome = _run(project, make_environment(project, folder))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        outcome = Outcome(project.name, faults=[str(error)])
    result = "; ".join(outcome.faults) or f"{len(outcome.steps)} snapshots, {outcome.call}"
    print(f"{project.name}: {result}", flush=True)
    return outcome


def _run(project: Project, python: Path) -> Outcome:
    result = subprocess.run(
        [python, "-W", "ignore", "-m", "tests.integration_projects.trial", project.name],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60 * _MINUTES,
        check=False,
    )
    for line in result.stdout.splitlines():
        if line.startswith(MARK):
            return Outcome(**json.loads(line.removeprefix(MARK)))
    raise RuntimeError(f"the trial ended with {result.returncode}: {result.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
