"""alembic revisions, in order; `schema.HEAD` names the newest."""
