"""Projects: names of runs are unique within each.

Revision ID: 0003
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Sequence

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        # With a default, since a training of an older RepWatch may go on writing to this registry.
        runs.add_column(sa.Column("project", sa.Text(), nullable=False, server_default=""))
        runs.drop_constraint(op.f("uq_runs_name"), type_="unique")
        runs.create_unique_constraint(op.f("uq_runs_project"), ["project", "name"])
        runs.drop_index(op.f("ix_runs_probe"))
        runs.create_index(op.f("ix_runs_probe"), ["probe", "project"])


def downgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.drop_index(op.f("ix_runs_probe"))
        runs.create_index(op.f("ix_runs_probe"), ["probe"])
        runs.drop_constraint(op.f("uq_runs_project"), type_="unique")
        runs.create_unique_constraint(op.f("uq_runs_name"), ["name"])
        runs.drop_column("project")
