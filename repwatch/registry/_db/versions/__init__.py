"""alembic revisions, in order; `migrations.HEAD` names the newest."""
