"""Notes of a run.

Revision ID: 0002
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Sequence

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # With a default, since a training of an older RepWatch may go on writing to this registry.
    column = sa.Column("notes", sa.Text(), nullable=False, server_default="[]")
    op.add_column("runs", column)


def downgrade() -> None:
    op.drop_column("runs", "notes")
