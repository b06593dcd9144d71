"""What all writing methods share: an actor, a clock, events and the outbox."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast

from registry import events, outbox
from registry.changes import WritingSession, inserted, next_ids
from registry.errors import InvalidRecordError
from registry.reader import Reader
from registry.rows import table_of
from registry.states import VersionState, check_transition
from registry.tables import ChampionMove, DecisionRow, EventRow, Model, ModelVersion, OutboxRow, Record

Row = TypeVar("Row", bound=Record)


class Witnessed(NamedTuple, Generic[Row]):
    """Rows that name the event that they were written with."""

    event: EventRow
    rows: tuple[Row, ...]


class WriterBase(Reader):
    """A reader that may also write, inside one transaction that `Registry.write` opens and commits.

    Each event tells of the rows that were written since the event before. Rows after the last event of a unit
    are refused, so a row that names its event goes through `_record_with`.
    """

    _session: WritingSession

    def __init__(self, session: WritingSession, *, actor: str, clock: Callable[[], datetime]) -> None:
        super().__init__(session)
        self._actor = actor
        self._clock = clock

    def _add(self, row: Row) -> Row:
        self._session.add(row)
        self._session.flush()
        return row

    def _record(
        self, kind: str, subject: str, payload: dict[str, Any], *, model_id: int | None = None
    ) -> EventRow:
        """The event that tells of all rows since the event before."""
        event = self._draft(kind, subject, payload, model_id)
        return events.append(self._session, event, self._session.take_changes())

    def _record_with(
        self,
        kind: str,
        subject: str,
        payload: dict[str, Any],
        make: Callable[[EventRow], Sequence[Row]],
        *,
        model_id: int | None = None,
    ) -> Witnessed[Row]:
        """An event, then the rows of one table that name it: `make` gets the event's `seq` and `at`."""
        event = self._draft(kind, subject, payload, model_id)
        rows = tuple(make(event))
        for row, row_id in zip(rows, self._next_ids(rows), strict=True):
            cast(Any, row).id = row_id
        foretold = [inserted(row) for row in rows]
        events.append(self._session, event, [*self._session.take_changes(), *foretold])
        self._session.add_all(rows)
        self._session.flush()
        for one in foretold:
            self._session.changes.remove(one)
        return Witnessed(event, rows)

    def _next_ids(self, rows: Sequence[Record]) -> list[int]:
        return next_ids(self._session, table_of(rows[0]), len(rows)) if rows else []

    def _draft(self, kind: str, subject: str, payload: dict[str, Any], model_id: int | None) -> EventRow:
        return events.draft(
            self._session,
            at=self._clock(),
            actor=self._actor,
            kind=kind,
            subject=subject,
            payload=payload,
            model_id=model_id,
        )

    def _tell(self, event: EventRow, kind: str, payload: dict[str, Any]) -> OutboxRow:
        # The event's hash makes the key unique even where several registries tell one MLflow.
        key = f"{kind}:{event.subject}:{event.hash[:16]}"
        row = OutboxRow(key=key, kind=kind, payload=payload, event_seq=event.seq, created_at=event.at)
        return self._add(row)

    def _move(self, version: ModelVersion, state: VersionState) -> ModelVersion:
        check_transition(version.state, state)
        version.state = state
        return self._add(version)

    def _champion_moved(
        self,
        model: Model,
        version: ModelVersion,
        previous: ModelVersion | None,
        *,
        cause: str,
        decision: DecisionRow | None = None,
        waiver: str | None = None,
    ) -> None:
        told = {
            "number": version.number,
            "previous": previous.number if previous else None,
            "cause": cause,
            "decision_id": decision.id if decision else None,
            "waiver": waiver,
        }
        subject, decision_id = subject_of(model, version), decision.id if decision else None

        def move(event: EventRow) -> list[ChampionMove]:
            return [
                ChampionMove(
                    model_id=model.id,
                    version_id=version.id,
                    previous_id=previous.id if previous else None,
                    cause=cause,
                    decision_id=decision_id,
                    waiver=waiver,
                    actor=self._actor,
                    at=event.at,
                    event_seq=event.seq,
                )
            ]

        event, (moved,) = self._record_with("champion.moved", subject, told, move, model_id=model.id)
        self._tell(event, "champion.moved", outbox.moved_payload(model, version, previous, moved))


def subject_of(model: Model, version: ModelVersion) -> str:
    """How events name a version."""
    return f"version/{model.name}/{version.number}"


def finite(name: str, value: float) -> float:
    """The number, refused when it is NaN or infinite: SQLite would keep NaN as NULL.

    Raises:
        InvalidRecordError: it is not finite.
    """
    if not math.isfinite(value):
        raise InvalidRecordError(f"`{name}` is `{value}`, not a finite number")
    return float(value)


def at_least(name: str, value: int, least: int = 0, *, bits: int = 31) -> int:
    """The count, refused when it is below `least` or too large for its column.

    Raises:
        InvalidRecordError: it is.
    """
    if value < least:
        raise InvalidRecordError(f"`{name}` is `{value}`, less than {least}")
    if value >= 2**bits:
        raise InvalidRecordError(f"`{name}` is `{value}`, too large to be recorded")
    return value


def said(name: str, text: str) -> str:
    """The text without blanks around it, refused when nothing is left.

    Raises:
        InvalidRecordError: it is empty.
    """
    if not text.strip():
        raise InvalidRecordError(f"`{name}` must not be empty")
    return text.strip()
