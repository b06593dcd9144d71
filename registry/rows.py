"""Rows as they are told: in events, in digests and in messages, the same on both databases.

A row is read leniently here. Somebody may have written into the database what the program never would, and
that must be reported, not fallen over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Column, Dialect, Table, column, select
from sqlmodel import Session

from registry.tables import Record

BATCH = 1000


def table_of(row: Record | type[Record]) -> Table:
    """The table that a row, or a class of rows, belongs to."""
    return cast(Table, cast(Any, row).__table__)


def stamp(at: datetime) -> str:
    """The time as it is hashed and told: UTC, always with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def told(value: Any) -> Any:
    """A column's value as JSON can say it."""
    return stamp(value) if isinstance(value, datetime) else value


def stored_rows(session: Session, table: Table) -> Iterator[dict[str, Any]]:
    """All rows in the order of their key, as told. A value that cannot be read stays as it was found."""
    dialect = session.get_bind().dialect
    # Columns without a type, so that the values come raw and each is converted with care.
    columns: list[Any] = [column(one.name) for one in table.columns]
    query = select(*columns).select_from(table).order_by(*(column(one.name) for one in table.primary_key))
    readers = [(one.name, _reader(one, dialect)) for one in table.columns]
    for row in session.connection().execute(query, execution_options={"yield_per": BATCH}):
        yield {name: read(value) for (name, read), value in zip(readers, row, strict=True)}


def _reader(one: Column[Any], dialect: Dialect) -> Callable[[Any], Any]:
    if dialect.name == "postgresql":  # its driver hands out times and JSON, and the server checks both
        return told
    process = cast(Any, one.type).dialect_impl(dialect).result_processor(dialect, None)

    def read(value: Any) -> Any:
        try:
            return told(value if process is None else process(value))
        except (ValueError, TypeError):
            return value

    return told if process is None else read
