"""The internals of the registry.

engine.py     transactions on one file or server, over
  migrations.py  revisions    journal.py  WAL or not    forks.py  forks and connections
tables.py     the tables, as SQLAlchemy mappings; versions/ has their alembic revisions
queries.py    reading, over stacks.py: many RDMs as arrays
writes.py     writing, over incoming.py: checking and cleaning, and blobs.py: RDMs as bytes
"""
