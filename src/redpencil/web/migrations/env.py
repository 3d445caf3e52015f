"""The script that Alembic runs: it migrates inside the transaction that `redpencil.web.database` has begun."""

from alembic import context

from redpencil.web.database import VERSION_TABLE
from redpencil.web.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
