"""The hash-chained list of what happened.

    hash = sha256(canonical JSON of [seq, at, actor, kind, subject, model_id, payload, changes, hash before])

`changes` are the rows that were written with the event (`registry.changes`). Events from before schema
revision 0002 have none, and their hash leaves that place out. The first event names `GENESIS` as the one
before. Triggers refuse UPDATE and DELETE, so the chain matters against somebody who can take the triggers
away: it tells which event was edited, dropped or moved. Rows that name the event that they were written
with show a cut at the end as long as they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from registry.canonical import canonical_json, plain, sha256
from registry.errors import InvalidRecordError
from registry.rows import stored_rows, table_of, told
from registry.tables import EventRow, Record
from registry.values import ChainProblem, ChainReport

GENESIS = "0" * 64

Stored = Mapping[str, Any]
"""The columns of an event as they stand in the database."""


def event_hash(event: EventRow) -> str:
    """The hash that this row must have."""
    return _hash({one.name: told(getattr(event, one.name)) for one in table_of(EventRow).columns})


def _hash(event: Stored, *, seq: int | None = None) -> str:
    """The hash that belongs to this content; `seq` asks what it would be at another place."""
    place = event["seq"] if seq is None else seq
    names = ("at", "actor", "kind", "subject", "model_id", "payload")
    changes = [] if event["changes"] is None else [event["changes"]]
    return sha256(canonical_json([place, *(event[name] for name in names), *changes, event["prev_hash"]]))


def draft(
    session: Session,
    *,
    at: datetime,
    actor: str,
    kind: str,
    subject: str,
    payload: dict[str, Any],
    model_id: int | None,
) -> EventRow:
    """The next event, not written yet. The caller holds the write lock, so `seq` has no gap and no double."""
    query = select(col(EventRow.seq), col(EventRow.hash)).order_by(col(EventRow.seq).desc()).limit(1)
    last = session.execute(query).one_or_none()
    return EventRow(
        seq=last.seq + 1 if last else 1,
        at=at.astimezone(UTC),
        actor=actor,
        kind=kind,
        subject=subject,
        model_id=model_id,
        payload=plain(payload),
        prev_hash=last.hash if last else GENESIS,
        hash="",
    )


def append(session: Session, event: EventRow, changes: list[dict[str, Any]]) -> EventRow:
    """Add a drafted event at the end, with the rows that it tells of."""
    event.changes = plain(changes)
    event.hash = event_hash(event)
    session.add(event)
    session.flush()
    return event


def verify(session: Session) -> ChainReport:
    """Compute the chain again, in batches."""
    problems: list[ChainProblem] = []
    expected, before, count = 1, GENESIS, 0
    for event in stored_rows(session, table_of(EventRow)):
        seq = event["seq"]
        problems += _gap(expected, seq)
        problems += _check(event, before, after_gap=seq != expected)
        expected, before, count = seq + 1, event["hash"], count + 1
    problems += _gap(expected, _last_named(session) + 1)
    return ChainReport(count, before, tuple(problems))


def _last_named(session: Session) -> int:
    """The highest event that any row says it was written with."""
    named = [table.c.event_seq for table in Record.metadata.sorted_tables if "event_seq" in table.c]
    return max(int(session.execute(select(func.coalesce(func.max(one), 0))).scalar_one()) for one in named)


def _gap(expected: int, found: int) -> Iterable[ChainProblem]:
    return [ChainProblem(seq, "dropped", f"event `{seq}` is missing") for seq in range(expected, found)]


def _check(event: Stored, before: str, *, after_gap: bool) -> Iterable[ChainProblem]:
    seq = event["seq"]
    if not _fits(event):
        return [_wrong_hash(event)]
    if event["prev_hash"] != before and not after_gap:
        text = f"event `{seq}` does not follow event `{seq - 1}` as it stands"
        return [ChainProblem(seq, "edited", text + ": one of the two was written anew")]
    return []


def _fits(event: Stored, *, seq: int | None = None) -> bool:
    try:
        return bool(_hash(event, seq=seq) == event["hash"])
    except InvalidRecordError:  # JSON cannot say what somebody wrote there
        return False


def _wrong_hash(event: Stored) -> ChainProblem:
    seq = event["seq"]
    written = next((k for k in _near(seq) if _fits(event, seq=k)), None)
    if written is not None:
        text = f"event `{seq}` was moved: it was written as event `{written}`"
        return ChainProblem(seq, "moved", text)
    text = f"event `{seq}` was edited: its hash does not fit its content"
    return ChainProblem(seq, "edited", text)


def _near(seq: int, reach: int = 5000) -> Iterator[int]:
    for step in range(1, reach):
        yield seq + step
        if seq - step > 0:
            yield seq - step
