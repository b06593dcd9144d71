"""Leases and the outbox, on both databases."""

from __future__ import annotations

import pytest

from registry.errors import InvalidRecordError, LeaseHeldError, LeaseLostError, NotFoundError
from registry.registry import Registry
from registry.tables import Lease
from registry.values import Standing
from registry.writer_upkeep import lease_expires
from tests.registry.line import Clock, Line

ADA, BOB = "ada.example:100 adaptman update run", "bob.example:200 adaptman update run"


def acquire(line: Line, holder: str, ttl_s: float = 60.0) -> Lease:
    return line.registry.write(lambda writer: writer.acquire_lease(line.id, holder, ttl_s))


def test_a_lease_keeps_others_out(line: Line) -> None:
    lease = acquire(line, ADA)
    with pytest.raises(LeaseHeldError) as caught:
        acquire(line, BOB)
    since = lease.acquired_at.strftime("%Y-%m-%d %H:%M:%S")
    assert caught.value.message == f"model `default` is held by `{ADA}` since {since} UTC"
    assert f"{lease_expires(lease):%H:%M:%S}" in caught.value.hint
    with line.registry.read() as reader:
        assert [one.holder for one in reader.leases()] == [ADA]


def test_the_holder_has_no_second_lease(line: Line) -> None:
    acquire(line, ADA)
    with pytest.raises(LeaseHeldError):
        acquire(line, ADA)


def test_a_released_lease_is_free(line: Line) -> None:
    lease = acquire(line, ADA)
    for _ in range(2):
        line.registry.write(lambda writer: writer.release(lease.id))
    assert acquire(line, BOB).holder == BOB


def test_each_line_has_its_own_lease(registry: Registry, line: Line) -> None:
    acquire(line, ADA)
    assert acquire(Line(registry, line.clock, "other"), BOB).holder == BOB


def test_a_heartbeat_keeps_the_lease(line: Line) -> None:
    lease = acquire(line, ADA)
    for _ in range(3):
        line.clock.forward(40)
        line.registry.write(lambda writer: writer.heartbeat(lease.id))
    with pytest.raises(LeaseHeldError):
        acquire(line, BOB)


def test_an_expired_lease_is_taken_over_and_that_is_told(line: Line) -> None:
    lost = acquire(line, ADA)
    line.clock.forward(61)
    taken = acquire(line, BOB)
    with pytest.raises(LeaseLostError) as caught:
        line.registry.write(lambda writer: writer.heartbeat(lost.id))
    assert "stop this run" in caught.value.hint
    with line.registry.read() as reader:
        assert reader.leases() == [taken]
        event = reader.events()[-1]
        assert reader.verify_chain().ok
    assert event.kind == "lease.taken_over"
    assert (event.payload["from"], event.payload["to"]) == (ADA, BOB)


def test_the_id_of_a_released_lease_does_not_come_back(line: Line) -> None:
    first = acquire(line, ADA)
    line.registry.write(lambda writer: writer.release(first.id))
    second = acquire(line, BOB)
    assert second.id != first.id
    with pytest.raises(LeaseLostError):
        line.registry.write(lambda writer: writer.heartbeat(first.id))


def test_releasing_a_lost_lease_leaves_the_new_one(line: Line) -> None:
    lost = acquire(line, ADA)
    line.clock.forward(61)
    taken = acquire(line, BOB)
    line.registry.write(lambda writer: writer.release(lost.id))
    with line.registry.read() as reader:
        assert reader.leases() == [taken]


@pytest.mark.parametrize(("holder", "ttl_s"), [(" ", 60.0), (ADA, float("inf"))])
def test_a_lease_must_say_who_and_how_long(line: Line, holder: str, ttl_s: float) -> None:
    with pytest.raises(InvalidRecordError):
        acquire(line, holder, ttl_s)


def test_what_is_pending_comes_in_the_order_of_writing(registry: Registry, line: Line) -> None:
    line.promoted()
    with registry.read() as reader:
        pending = reader.outbox_pending()
        assert reader.outbox_pending(limit=2) == pending[:2]
    kinds = [one.kind for one in pending]
    assert kinds == [
        "version.base",
        "champion.moved",
        "version.trained",
        "decision.recorded",
        "champion.moved",
    ]
    assert len({one.key for one in pending}) == len(pending)


def test_what_was_delivered_is_pending_no_more(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        first, second = reader.outbox_pending()
    registry.write(lambda writer: writer.outbox_failed(first.id, "no answer"))
    registry.write(lambda writer: writer.outbox_done(first.id, {"model_id": "m-1"}))
    with registry.read() as reader:
        assert [one.id for one in reader.outbox_pending()] == [second.id]
        delivered = reader.outbox_rows()[0]
    assert (delivered.attempts, delivered.last_error, delivered.result) == (2, None, {"model_id": "m-1"})
    assert delivered.delivered_at is not None


def test_what_failed_stays_pending_with_the_error(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        row = reader.outbox_pending()[0]
    registry.write(lambda writer: writer.outbox_failed(row.id, "broken\x00 \ud800" + "x" * 5000))
    with registry.read() as reader:
        row = reader.outbox_pending()[0]
    assert row.attempts == 1
    assert row.last_error is not None
    assert row.last_error.startswith("broken")
    assert len(row.last_error) == 2000


def test_a_delivery_that_nobody_asked_for(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="no outbox row with id `7`"):
        registry.write(lambda writer: writer.outbox_done(7, {}))


def test_everything_can_be_made_pending_again(registry: Registry, line: Line) -> None:
    line.promoted()
    with registry.read() as reader:
        rows = reader.outbox_pending()
    for row in rows[:-1]:
        registry.write(lambda writer, row=row: writer.outbox_done(row.id, {"model_id": row.key}))  # type: ignore[misc]
    with registry.read() as reader:
        assert reader.outbox_count() == 1
    assert registry.write(lambda writer: writer.outbox_again()) == len(rows) - 1
    with registry.read() as reader:
        again = reader.outbox_pending()
        assert reader.outbox_count() == len(rows)
        assert reader.verify_chain().ok
    assert [row.key for row in again] == [row.key for row in rows]
    assert [row.result for row in again] == [*({"model_id": row.key} for row in rows[:-1]), None]


def test_a_line_stands_when_nothing_else_of_it_waits(registry: Registry, line: Line, clock: Clock) -> None:
    other = Line(registry, clock, "other")
    line.promoted()
    with registry.read() as reader:
        rows = reader.outbox_of(line.id)
        assert {row.payload["model"] for row in rows} == {"default"}
        assert all(reader.outbox_standing(row) is None for row in rows)
    for row in rows[:-1]:
        registry.write(lambda writer, row=row: writer.outbox_done(row.id, {}))  # type: ignore[misc]
    with registry.read() as reader:
        assert reader.outbox_standing(rows[-1]) == Standing(champion=2, previous=1, challenger=None)
        assert reader.outbox_standing(rows[0]) is None
        assert len(reader.outbox_of(other.id)) == 2
