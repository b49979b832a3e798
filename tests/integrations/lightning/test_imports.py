"""What a training with RepWatch imports, beside what it imports without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# No first run needs these: they take a good part of a short training's time to import.
UNUSED = {
    "alembic",
    "openTSNE",
    "pandas",
    "plotly",
    "repwatch.drift",
    "repwatch.maps",
    "repwatch.page",
    "sklearn",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
}

CODE = """
import json, sys
from tests.benchmarks.fits import train
train("MLP", sys.argv[1], False, 1, 2)
before = set(sys.modules)
train("MLP", sys.argv[1], True, 2, 2)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_a_training_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    pytest.importorskip("lightning.pytorch")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], check=True, capture_output=True, text=True
    )
    imported = json.loads(done.stdout.splitlines()[-1])
    assert "sqlalchemy.dialects.sqlite" in imported
    assert "repwatch.registry.recorder" in imported
    assert not [name for name in imported for part in UNUSED if f"{name}.".startswith(f"{part}.")]
