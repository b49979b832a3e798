"""Projects that need no further library, watched with `RepWatch()`; `make integration` has all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration_projects.catalog import PROJECTS, Project
from tests.integration_projects.outcome import Outcome
from tests.integration_projects.table import write_table
from tests.integration_projects.trial import try_project

SMALL = [project for project in PROJECTS if not project.requirements]


@pytest.mark.filterwarnings("ignore")  # those of the projects
@pytest.mark.parametrize("project", SMALL, ids=lambda project: project.name)
def test_repwatch_without_arguments_watches_it_and_changes_nothing(
    project: Project, tmp_path: Path
) -> None:
    outcome = try_project(project, tmp_path)
    assert outcome.faults == []
    assert outcome.call
    assert outcome.overhead is not None


def test_the_table_replaces_what_stands_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    marks = [
        f"<!-- {name}: {end} -->" for name in ("projects", "layers") for end in ("start", "end")
    ]
    page.write_text("\n".join(["# Title", marks[0], "old", *marks[1:], "The end."]), "utf-8")
    outcome = Outcome("gan", "1.2", call="model(x)", layers=["a", "b"], steps=[0, 5], overhead=1.25)
    for _ in range(2):
        write_table(page, [outcome])
    text = page.read_text("utf-8")
    assert "old" not in text
    assert text.startswith("# Title")
    assert text.endswith("The end.")
    assert text.count("| Lightning: its GAN example | 1.2 | `RepWatch()` | `model(x)` |") == 1
    assert text.count("`a`, `b`") == 1
