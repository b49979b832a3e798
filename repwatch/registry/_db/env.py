"""Run by alembic, on the connection that `migrations.py` hands over, inside its transaction."""

from alembic import context

from repwatch.registry._db.migrations import VERSION_TABLE
from repwatch.registry._db.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
