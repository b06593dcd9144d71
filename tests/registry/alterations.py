"""A record with a row in every table, and its rows altered as the owner of the database could."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, create_engine, insert, select, text, update

from registry.tables import (
    Approval,
    CapacityAudit,
    Collected,
    EventRow,
    ModelVersion,
    Record,
    Signature,
    SuiteAudit,
)
from registry.writer import Writer
from tests.registry.line import Line, digest, fill


def fill_all(line: Line) -> ModelVersion:
    """At least one row in every table whose rows events tell of."""
    version = line.registry.write(lambda writer: fill(writer, line.id))
    line.promote(version.number)
    line.rollback()
    line.registry.write(lambda writer: stand_for(writer, version))
    return version


def stand_for(writer: Writer, version: ModelVersion) -> None:
    """An approval, a signature, two audits and two collected objects."""
    decision, suite = writer.decisions(version.id)[0], writer.suites(version.model_id)[0]

    def rows(event: EventRow) -> Iterator[Record]:
        named: dict[str, Any] = {"actor": "bob", "at": event.at, "event_seq": event.seq}
        yield Approval(version_id=version.id, decision_id=decision.id, note="seen", **named)
        yield Signature(version_id=version.id, key_id="k", envelope="{}", **named)
        yield SuiteAudit(
            suite_id=suite.id,
            version_id=version.id,
            suite_digest=suite.suite_digest,
            runs=2,
            cases=2,
            flaky=["first"],
            **named,
        )
        yield CapacityAudit(
            version_id=version.id,
            verdict="tight",
            room_bits=900.0,
            low=700.0,
            high=1_200.0,
            report_digest=digest("capacity"),
            **named,
        )

    for place in range(4):
        writer._record_with("stood.for", "s", {}, lambda event, place=place: [list(rows(event))[place]])

    def collected(event: EventRow) -> list[Collected]:
        named: dict[str, Any] = {"actor": "bob", "at": event.at, "event_seq": event.seq}
        return [
            Collected(object_digest=digest(name), size_bytes=9, reason="old", **named) for name in ("a", "b")
        ]

    writer._record_with("objects.collected", "s", {}, collected)


@contextmanager
def unguarded(url: str) -> Iterator[Connection]:
    """A connection without triggers and foreign keys; what it does is committed."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if url.startswith("sqlite"):
            found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
            for name in found.scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("SET session_replication_role = replica"))
        yield connection
        connection.commit()
    engine.dispose()


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in Record.metadata.sorted_tables
        }
    engine.dispose()
    return found


def another(value: Any, column: str) -> Any:
    """A value of the same kind that differs."""
    if column == "state":
        return "failed"
    if value is None:
        return {"edited": 1} if column in {"policy", "recipe", "summary"} else None
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "!"
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, int | float):
        return value + 1000  # not the number of another row
    return {"edited": 1}


def first_row(connection: Connection, table: Table) -> dict[str, Any]:
    """The row with the lowest key."""
    return dict(connection.execute(select(table).order_by(*table.primary_key).limit(1)).mappings().one())


def edit(connection: Connection, table: Table, row: dict[str, Any], column: str, value: Any) -> None:
    """Set one column of one row."""
    where = [one == row[one.name] for one in table.primary_key]
    connection.execute(update(table).where(*where).values({column: value}))
    connection.commit()


def copy_row(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Another row like it, with keys of its own."""
    unique = {"name", "tree_digest", "number", "case_id", "position"} & set(row)
    changed = {name: another(row[name], name) for name in unique if table.name != "suite"}
    fresh = {"id": 1000} if "id" in row else {}
    extra = {"revision": 77} if table.name == "suite" else {"state": "failed"} if "state" in row else {}
    connection.execute(insert(table).values({**row, **changed, **fresh, **extra}))
    connection.commit()
