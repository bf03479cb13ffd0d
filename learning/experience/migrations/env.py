"""Alembic's entry: migrate over the connection that `store.migrate` hands in."""

from alembic import context

from learning.experience.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
