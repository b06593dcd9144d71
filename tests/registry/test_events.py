"""The chain of events: what it hashes, and what it finds, on both databases."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta, timezone

import pytest
from sqlalchemy import create_engine, text

from registry.errors import InvalidRecordError
from registry.events import GENESIS, append, draft
from registry.registry import Registry
from registry.rows import stamp
from registry.values import ChainReport
from tests.registry.line import START, Line, fill


def tamper(url: str, *statements: str) -> None:
    """Change events as the owner of the database could: with triggers and foreign keys out of the way."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if url.startswith("sqlite"):
            before = [f"DROP TRIGGER event_no_{one}" for one in ("update", "delete", "replace")]
            before.append("PRAGMA foreign_keys = OFF")
        else:
            before = ["SET session_replication_role = replica"]
        for one in (*before, *statements):
            connection.execute(text(one))
        connection.commit()
    engine.dispose()


def verify(registry: Registry) -> ChainReport:
    with registry.read() as reader:
        return reader.verify_chain()


def found(registry: Registry) -> list[tuple[int, str]]:
    return [(one.seq, one.kind) for one in verify(registry).problems]


def test_the_chain_of_an_empty_registry(registry: Registry) -> None:
    assert verify(registry) == ChainReport(0, GENESIS, ())


def test_the_chain_holds(registry: Registry, line: Line) -> None:
    line.promoted()
    line.rollback()
    report = verify(registry)
    with registry.read() as reader:
        events = reader.events()
    assert report.ok
    assert report.count == len(events)
    assert report.head_hash == events[-1].hash
    assert [one.seq for one in events] == list(range(1, len(events) + 1))


def test_the_hash_is_as_documented(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        first, second = reader.events()[:2]
    at = first.at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+00:00"
    told = [1, at, "ada", "model.added", "model/default", line.id, first.payload, first.changes, "0" * 64]
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    assert first.hash == hashlib.sha256(canonical.encode()).hexdigest()
    assert second.prev_hash == first.hash


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'eve'",
        "kind = 'model.removed'",
        "subject = 'model/other'",
        """payload = '{"model": "other"}'""",
        "prev_hash = 'ff'",
        "hash = 'ff'",
        "model_id = NULL",
        "at = '2020-01-01 00:00:00.000000'",
    ],
)
def test_an_edited_event_is_found(registry: Registry, url: str, line: Line, change: str) -> None:
    tamper(url, f"UPDATE event SET {change} WHERE seq = 2")
    problems = verify(registry).problems
    assert problems[0].seq == 2
    assert problems[0].kind == "edited"
    assert "`2`" in problems[0].message


def test_an_event_that_was_hashed_again_is_found_by_the_next_one(
    registry: Registry, url: str, line: Line
) -> None:
    with registry.read() as reader:
        event = reader.events()[1]
    told = [2, stamp(event.at), "eve", event.kind, event.subject, event.model_id, event.payload]
    canonical = json.dumps([*told, event.changes, event.prev_hash], sort_keys=True, separators=(",", ":"))
    forged = hashlib.sha256(canonical.encode()).hexdigest()
    tamper(url, f"UPDATE event SET actor = 'eve', hash = '{forged}' WHERE seq = 2")
    assert found(registry) == [(3, "edited")]


def test_a_dropped_event_is_found(registry: Registry, url: str, line: Line) -> None:
    tamper(url, "DELETE FROM event WHERE seq = 2")
    assert found(registry) == [(2, "dropped")]


def test_dropped_events_at_both_ends_are_found(registry: Registry, url: str, line: Line) -> None:
    last = verify(registry).count
    tamper(url, f"DELETE FROM event WHERE seq IN (1, {last})")
    assert found(registry) == [(1, "dropped"), (last, "dropped")]


def test_a_dropped_event_with_the_rest_moved_up_is_found(registry: Registry, url: str, line: Line) -> None:
    tamper(url, "DELETE FROM event WHERE seq = 2", "UPDATE event SET seq = 2 WHERE seq = 3")
    assert (2, "moved") in found(registry)
    assert (3, "dropped") in found(registry)


def test_two_events_that_changed_places_are_found(registry: Registry, url: str, line: Line) -> None:
    places = ((2, 90), (3, 2), (90, 3))
    tamper(url, *(f"UPDATE event SET seq = {new} WHERE seq = {old}" for old, new in places))
    assert found(registry) == [(2, "moved"), (3, "moved")]
    assert verify(registry).problems[0].message == "event `2` was moved: it was written as event `3`"


def test_events_can_be_paged_and_filtered(registry: Registry, line: Line) -> None:
    other = Line(registry, line.clock, "other")
    with registry.read() as reader:
        everything = reader.events()
        assert reader.events(since_seq=1, limit=2) == everything[1:3]
        assert {one.model_id for one in reader.events(model_id=other.id)} == {other.id}
        assert len(reader.events(model_id=line.id)) + len(reader.events(model_id=other.id)) == len(everything)


def test_every_change_is_an_event(registry: Registry, line: Line) -> None:
    version = registry.write(lambda writer: fill(writer, line.id))
    line.promote(version.number)
    with registry.read() as reader:
        kinds = [one.kind for one in reader.events(since_seq=3)]
    assert kinds == [
        "tool_schema.added",
        "example_set.added",
        "replay_set.added",
        "output_format.added",
        "version.started",
        "adapter.added",
        "version.trained",
        "suite.added",
        "suite_run.recorded",
        "suite.audited",
        "capacity.audited",
        "version.evaluated",
        "decision.recorded",
        "version.approved",
        "version.signed",
        "objects.collected",
        "champion.moved",
    ]


def test_times_are_kept_in_utc(registry: Registry, line: Line) -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=45)))
    event = registry.write(
        lambda writer: append(
            writer._session,
            draft(
                writer._session, at=elsewhere, actor="ada", kind="k", subject="s", payload={}, model_id=None
            ),
            [],
        )
    )
    with registry.read() as reader:
        stored = reader.events(since_seq=event.seq - 1)[0]
        assert reader.verify_chain().ok
    assert stored.at == START
    assert stored.at.utcoffset() == timedelta(0)


def test_a_payload_that_json_cannot_say_is_refused(registry: Registry, line: Line) -> None:
    with pytest.raises(InvalidRecordError, match="JSON"):
        registry.write(lambda writer: writer.add_model("other", "b" * 64, "here", {"loss": float("nan")}))
    with registry.read() as reader:
        assert [one.name for one in reader.models()] == ["default"]
