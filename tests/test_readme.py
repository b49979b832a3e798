"""The README's code and commands do what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repwatch import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split(" # ")[0].strip() for block in blocks("bash") for line in block.split("\n")]
    return [line for line in lines if line.startswith("repwatch ")]


def test_the_python_and_the_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning.pytorch")
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")), encoding="utf-8")
    environment = {**os.environ, "REPWATCH_REGISTRY": str(tmp_path / "repwatch.db")}
    run = [sys.executable, str(script)]
    process = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPWATCH_REGISTRY", str(tmp_path / "repwatch.db"))
    assert len(commands()) >= 4
    for command in commands():
        result = CliRunner().invoke(cli.app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}: {result.output}"
    assert (tmp_path / "map.html").is_file()


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len(README.split()) <= 800


def test_every_make_target_of_the_readme_is_in_the_makefile() -> None:
    targets = re.findall(r"make (\w+)", README)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test", "bench"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_test_that_the_promise_names_and_the_picture_are_there() -> None:
    assert (ROOT / "tests" / "test_no_harm.py").is_file()
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()
