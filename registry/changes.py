"""What a unit of work wrote, seen where the session writes it, so that no method can forget a row.

    {"table": "model_version", "op": "insert", "key": {"id": 3}, "values": {"number": 3, "state": ...}}
    {"table": "model_version", "op": "update", "key": {"id": 3}, "values": {"state": "trained", ...}}
    {"table": "case_outcome", "op": "insert", "key": {"suite_run_id": 7}, "values": {"sha256": ..., ...}}

An insert holds every column, an update those that changed. Case outcomes are many and told by their digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, Table, event, func, inspect, select, text
from sqlalchemy.orm import ORMExecuteState
from sqlmodel import Session

from registry.canonical import canonical_json, sha256
from registry.errors import InvalidRecordError
from registry.rows import table_of, told
from registry.tables import CaseOutcome, EventRow, Lease, OutboxRow, Record

Change = dict[str, Any]

# Events tell of the others; delivery marks and leases are no history.
UNTOLD = frozenset(table_of(one).name for one in (EventRow, OutboxRow, Lease))
OUTCOMES = table_of(CaseOutcome)


class WritingSession(Session):
    """A session that knows which rows it has written since an event told of them."""

    def __init__(self, bind: Engine | Connection) -> None:
        super().__init__(bind, expire_on_commit=False)
        self.changes: list[Change] = []

    def take_changes(self) -> list[Change]:
        """The changes that no event has told yet; it is the caller who tells them now."""
        self.flush()
        taken, self.changes = self.changes, []
        return taken

    def check_all_told(self) -> None:
        """Refuse rows that were written after the last event of the unit.

        Raises:
            InvalidRecordError: there are some.
        """
        tables = {change["table"] for change in self.take_changes()}
        if tables:
            listed = ", ".join(f"`{name}`" for name in sorted(tables))
            raise InvalidRecordError(f"rows of {listed} were written without an event that tells of them")


@event.listens_for(WritingSession, "after_flush")
def _note_rows(session: WritingSession, _context: object) -> None:
    session.changes += [inserted(row) for row in _told_by_events(session.new)]
    updates = [updated(row) for row in _told_by_events(session.dirty)]
    # The session keeps what it must write in no order.
    session.changes += sorted((one for one in updates if one["values"]), key=canonical_json)


@event.listens_for(WritingSession, "do_orm_execute")
def _note_statements(state: ORMExecuteState) -> None:
    if not (state.is_insert or state.is_update or state.is_delete):
        return
    session, rows = state.session, state.parameters
    target = getattr(getattr(state.statement, "table", None), "name", None)
    if target != OUTCOMES.name or not state.is_insert or not isinstance(rows, list):
        raise InvalidRecordError(f"only `{OUTCOMES.name}` is written without its rows being looked at")
    assert isinstance(session, WritingSession)
    session.changes += outcome_changes(rows)


def _told_by_events(rows: Iterable[Any]) -> list[Any]:
    return [row for row in rows if table_of(row).name not in UNTOLD]


def inserted(row: Record) -> Change:
    """The whole row."""
    table = table_of(row)
    values = {one.name: told(getattr(row, one.name)) for one in table.columns if not one.primary_key}
    return {"table": table.name, "op": "insert", "key": _key(table, row), "values": values}


def updated(row: Record) -> Change:
    """The columns that differ from what was loaded."""
    table, attributes = table_of(row), inspect(row).attrs
    changed = [one.name for one in table.columns if attributes[one.name].history.has_changes()]
    values = {name: told(getattr(row, name)) for name in changed}
    return {"table": table.name, "op": "update", "key": _key(table, row), "values": values}


def _key(table: Table, row: Record) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in table.primary_key}


def outcome_changes(rows: Iterable[dict[str, Any]]) -> Iterator[Change]:
    """One change for each suite run; the rows of a run must stand together, in the order of their position.

    The digest is the sha256 of the canonical JSON of `[[position, case_id, score], ...]`.
    """
    for run, some in groupby(rows, key=lambda one: one["suite_run_id"]):
        listed = [[one["position"], one["case_id"], one["score"]] for one in some]
        values = {"count": len(listed), "sha256": sha256(canonical_json(listed))}
        yield {"table": OUTCOMES.name, "op": "insert", "key": {"suite_run_id": run}, "values": values}


def next_ids(session: Session, table: Table, count: int) -> list[int]:
    """The ids of the next rows. The caller holds the write lock."""
    if session.get_bind().dialect.name == "postgresql":
        query = text("SELECT nextval(pg_get_serial_sequence(:table, 'id')) FROM generate_series(1, :count)")
        return list(session.execute(query, {"table": table.name, "count": count}).scalars())
    first = session.execute(select(func.coalesce(func.max(table.c.id), 0) + 1)).scalar_one()
    return list(range(first, first + count))
