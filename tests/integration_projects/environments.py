"""An environment for each project, on top of the one that the tests run in.

PyTorch and all else that is there already is reused through a `.pth` file and held at its version,
so that no other PyTorch is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from tests.integration_projects.catalog import Project

__all__ = ["make_environment"]


def make_environment(project: Project, root: Path) -> Path:
    """The Python of an environment below `root` with what the project requires.

    Made where it is not there; without requirements, the Python that runs this.

    Raises:
        RuntimeError: The requirements cannot be installed; the message is pip's.
    """
    if not project.requirements:
        return Path(sys.executable)
    folder = root / project.environment
    python, installed = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join(project.requirements)
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return python
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    _reuse_own_packages(folder)
    held = folder / "constraints.txt"
    held.write_text(f"torch=={version('torch').split('+')[0]}\n", encoding="utf-8")
    install = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*install, "--constraint", str(held), *project.requirements)
    installed.write_text(wanted, encoding="utf-8")
    return python


def _reuse_own_packages(folder: Path) -> None:
    own = sysconfig.get_paths()["purelib"]
    theirs = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(theirs, "_tests.pth").write_text(f"import site; site.addsitedir({own!r})\n", "utf-8")


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr.strip() or f"{command} failed")
