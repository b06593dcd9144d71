"""The hash-chained list of what happened.

    hash = sha256(canonical JSON of [seq, at, actor, kind, subject, model_id, payload, hash before])

The first event names `GENESIS` as the one before. Triggers refuse UPDATE and DELETE, so the chain matters
against somebody who can take the triggers away: it tells which row was edited, dropped or moved. Rows of
`outbox` and `champion_move` name the event that they were written with, so that a cut at the end shows as
long as those stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from registry.canonical import canonical_json, plain, sha256
from registry.tables import ChampionMove, EventRow, OutboxRow
from registry.values import ChainProblem, ChainReport

GENESIS = "0" * 64
BATCH = 1000


def stamp(at: datetime) -> str:
    """The time as it is hashed and told: UTC, always with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def event_hash(event: EventRow, *, seq: int | None = None) -> str:
    """The hash that this row must have; `seq` asks what it would be at another place."""
    place = event.seq if seq is None else seq
    told = [place, stamp(event.at), event.actor, event.kind, event.subject, event.model_id, event.payload]
    return sha256(canonical_json([*told, event.prev_hash]))


def append(
    session: Session,
    *,
    at: datetime,
    actor: str,
    kind: str,
    subject: str,
    payload: dict[str, Any],
    model_id: int | None,
) -> EventRow:
    """Add one event at the end. The caller holds the write lock, so `seq` has no gap and no double."""
    last = session.exec(select(EventRow).order_by(col(EventRow.seq).desc()).limit(1)).one_or_none()
    event = EventRow(
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
    event.hash = event_hash(event)
    session.add(event)
    session.flush()
    return event


def verify(session: Session) -> ChainReport:
    """Compute the chain again, in batches."""
    problems: list[ChainProblem] = []
    expected, before, count = 1, GENESIS, 0
    for event in _all_events(session):
        problems += _gap(expected, event.seq)
        problems += _check(event, before, after_gap=event.seq != expected)
        expected, before, count = event.seq + 1, event.hash, count + 1
    problems += _gap(expected, _last_named(session) + 1)
    return ChainReport(count, before, tuple(problems))


def _all_events(session: Session) -> Iterator[EventRow]:
    query = select(EventRow).order_by(col(EventRow.seq))
    yield from session.exec(query.execution_options(yield_per=BATCH, populate_existing=True))


def _last_named(session: Session) -> int:
    moved = session.exec(select(func.coalesce(func.max(ChampionMove.event_seq), 0))).one()
    told = session.exec(select(func.coalesce(func.max(OutboxRow.event_seq), 0))).one()
    return max(moved, told)


def _gap(expected: int, found: int) -> Iterable[ChainProblem]:
    return [ChainProblem(seq, "dropped", f"event `{seq}` is missing") for seq in range(expected, found)]


def _check(event: EventRow, before: str, *, after_gap: bool) -> Iterable[ChainProblem]:
    if event_hash(event) != event.hash:
        return [_wrong_hash(event)]
    if event.prev_hash != before and not after_gap:
        text = f"event `{event.seq}` does not follow event `{event.seq - 1}` as it stands"
        return [ChainProblem(event.seq, "edited", text + ": one of the two was written anew")]
    return []


def _wrong_hash(event: EventRow) -> ChainProblem:
    written = next((k for k in _near(event.seq) if event_hash(event, seq=k) == event.hash), None)
    if written is not None:
        text = f"event `{event.seq}` was moved: it was written as event `{written}`"
        return ChainProblem(event.seq, "moved", text)
    text = f"event `{event.seq}` was edited: its hash does not fit its content"
    return ChainProblem(event.seq, "edited", text)


def _near(seq: int, reach: int = 5000) -> Iterator[int]:
    for step in range(1, reach):
        yield seq + step
        if seq - step > 0:
            yield seq - step
