"""Run by Alembic, on the connection that `registry.migrate` hands over.

For writing a new migration there is `registry.migrate.revise`, so that no `alembic.ini` is needed.
"""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from registry.revision import VERSION_TABLE
from registry.tables import Record


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column types as what the database sees, so that a migration does not import the program."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
