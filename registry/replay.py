"""The tables as the events tell them, compared with the tables as they stand.

Each event holds the rows that were written with it (`registry.changes`), so all events together say what
every row of every table must be. `record.snapshot`, which a migration appends, says it of all rows and
starts anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table
from sqlmodel import Session

from registry.changes import OUTCOMES, UNTOLD, outcome_changes
from registry.rows import stored_rows, table_of
from registry.tables import EventRow, Record
from registry.values import RowProblem, TableReport

SNAPSHOT = "record.snapshot"
TABLES = tuple(one for one in Record.metadata.sorted_tables if one.name not in UNTOLD)

Key = tuple[Any, ...]
Place = tuple[str, Key]


@dataclass
class Expected:
    """What a row must hold, and which event said so last of each column."""

    event: int
    values: dict[str, Any]
    said_by: dict[str, int] = field(default_factory=dict)

    def update(self, event: int, values: dict[str, Any]) -> None:
        """A later event changed some columns."""
        self.values = {**self.values, **values}
        self.said_by.update(dict.fromkeys(values, event))


def verify(session: Session) -> TableReport:
    """Fold all events into tables, in memory, and compare each row. The chain is verified apart from this."""
    problems: list[RowProblem] = []
    expected = _fold(session, problems)
    count = 0
    for table in TABLES:
        for key, row in _rows(session, table):
            count += 1
            problems += _compare(table, key, row, expected.pop((table.name, key), None))
    problems += [_deleted(place, one) for place, one in expected.items()]
    return TableReport(count, tuple(problems))


def _fold(session: Session, problems: list[RowProblem]) -> dict[Place, Expected]:
    expected: dict[Place, Expected] = {}
    untold: list[int] = []
    for event in stored_rows(session, table_of(EventRow)):
        if event["kind"] == SNAPSHOT:
            expected, untold = {}, []
        try:
            for change in event["changes"] or ():
                _apply(expected, event["seq"], change)
        except (KeyError, TypeError, ValueError, AttributeError):
            untold.append(event["seq"])
        if event["changes"] is None:
            untold.append(event["seq"])
    problems += [_unreadable(seq) for seq in untold]
    return expected


_KEYS = {table.name: tuple(one.name for one in table.primary_key) for table in TABLES}
_KEYS[OUTCOMES.name] = ("suite_run_id",)  # told by run, not by case


def _apply(expected: dict[Place, Expected], seq: int, change: dict[str, Any]) -> None:
    table = change["table"]
    key = tuple(change["key"][name] for name in _KEYS[table])
    if change["op"] == "update":
        expected[table, key].update(seq, change["values"])
    else:
        expected[table, key] = Expected(seq, dict(change["values"]))


def _rows(session: Session, table: Table) -> Iterator[tuple[Key, dict[str, Any]]]:
    if table is OUTCOMES:
        for change in outcome_changes(stored_rows(session, table)):
            yield (change["key"]["suite_run_id"],), change["values"]
        return
    for row in stored_rows(session, table):
        yield tuple(row.pop(name) for name in _KEYS[table.name]), row


def _compare(
    table: Table, key: Key, found: dict[str, Any], expected: Expected | None
) -> Iterable[RowProblem]:
    if expected is None:
        text = f"{_named(table.name, key)}: found, but no event tells of it"
        return [RowProblem(table.name, _shown(key), None, None, "added", text)]
    return [
        _edited(table, key, column, value, expected)
        for column, value in found.items()
        # A column that a later revision added is empty where the event is older.
        if expected.values.get(column) != value
    ]


def _edited(table: Table, key: Key, column: str, found: Any, expected: Expected) -> RowProblem:
    event = expected.said_by.get(column, expected.event)
    wrote = _brief(expected.values[column]) if column in expected.values else "nothing"
    text = f"{_named(table.name, key)} has {column} {_brief(found)}, but event `{event}` wrote {wrote}"
    return RowProblem(table.name, _shown(key), column, event, "edited", text)


def _deleted(place: Place, expected: Expected) -> RowProblem:
    table, key = place
    text = f"{_named(table, key)} is missing, but event `{expected.event}` wrote it"
    return RowProblem(table, _shown(key), None, expected.event, "deleted", text)


def _unreadable(seq: int) -> RowProblem:
    text = f"event `{seq}` does not tell which rows were written with it, so that they cannot be compared"
    return RowProblem("event", str(seq), "changes", seq, "untold", text)


def _named(table: str, key: Key) -> str:
    if table == OUTCOMES.name:
        return f"the case outcomes of suite run `{_shown(key)}`"
    return f"row `{_shown(key)}` of `{table}`"


def _shown(key: Key) -> str:
    return "/".join(str(one) for one in key)


def _brief(value: Any, width: int = 80) -> str:
    text = json.dumps(value, sort_keys=True, default=repr)
    return f"`{text}`" if len(text) <= width else f"`{text[: width - 1]}…`"
