"""What all Trainers here have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["trainer_options"]


def trainer_options(callbacks: list[Any], root: Path, **more: Any) -> dict[str, Any]:
    """Options of a quiet Trainer on the CPU that writes into `root` alone."""
    return {
        "accelerator": "cpu",
        "callbacks": callbacks,
        "default_root_dir": str(root),
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **more,
    }
