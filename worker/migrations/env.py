"""Alembic environment: runs on the connection that ``worker.schema.migrate`` hands over."""

from alembic import context

from worker.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
