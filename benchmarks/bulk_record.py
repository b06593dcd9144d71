"""A record with as many versions, suite runs and outcomes as wanted, written straight into the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from record import DIGEST
from sqlalchemy import Connection, Table, insert, text

from registry.canonical import sha256
from registry.engine import open_engine
from registry.events import event_hash
from registry.registry import Registry
from registry.tables import EventRow, Record

BATCH = 5_000
START = datetime(2020, 1, 1, tzinfo=UTC)
Row = dict[str, Any]

# A run's score of a case depends on both, and eight in ten are right.
SCORE = "CASE WHEN (run.id * 7 + place.n * 13) % 10 < 8 THEN 1.0 ELSE 0.0 END"
OUTCOMES = f"""
INSERT INTO case_outcome (suite_run_id, position, case_id, score)
WITH RECURSIVE place(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM place WHERE n + 1 < :cases)
SELECT run.id, place.n, 'case-' || place.n, {SCORE} FROM suite_run AS run CROSS JOIN place
"""


@dataclass(frozen=True)
class Shape:
    """So many versions, each scored on so many suites of so many cases, judged, and promoted in turn."""

    versions: int
    suites: int
    cases: int

    def __str__(self) -> str:
        return f"{self.versions:,} versions, {self.versions * self.suites * self.cases:,} outcomes"

    @property
    def some_version(self) -> int:
        """The id of a version in the middle."""
        return self.versions // 2

    @property
    def some_run(self) -> int:
        """The id of one of its runs."""
        return self.some_version * self.suites

    def suite_digest(self, at: int) -> str:
        """The digest of one suite."""
        return sha256(f"suite {at}")

    def case_id(self, at: int) -> str:
        """The id of one case, the same in every suite."""
        return f"case-{at}"


class _Chain:
    """Events that follow one another, with the outbox rows that tell of them."""

    def __init__(self, model_id: int, last: EventRow) -> None:
        self._model_id = model_id
        self._seq, self._hash = last.seq, last.hash

    def event(self, at: datetime, kind: str, number: int, payload: Row) -> Row:
        event = EventRow(
            seq=self._seq + 1, at=at, actor="bulk", kind=kind, subject=f"version/default/{number}",
            model_id=self._model_id, payload=payload, prev_hash=self._hash, hash="",
        )  # fmt: skip
        event.hash = event_hash(event)
        self._seq, self._hash = event.seq, event.hash
        return event.model_dump()


def told(event: Row) -> Row:
    """The event's outbox row, delivered long ago."""
    return {
        "key": f"{event['kind']}:{event['subject']}:{event['hash'][:16]}", "kind": event["kind"],
        "payload": event["payload"], "event_seq": event["seq"], "created_at": event["at"],
        "delivered_at": event["at"], "attempts": 1, "last_error": None, "result": {},
    }  # fmt: skip


def fill(registry: Registry, url: str, model_id: int, shape: Shape) -> None:
    """Add what `shape` says to a line that has its base version only."""
    with registry.read() as reader:
        last = reader.events()[-1]
    engine = open_engine(url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # keys are right by construction
            connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text("UPDATE model_version SET state = 'retired'"))
        _insert(connection, "suite", _suites(model_id, shape))
        _insert(connection, "adapter", _adapters(shape))
        for start in range(2, shape.versions + 1, BATCH // shape.suites):
            stop = min(start + BATCH // shape.suites, shape.versions + 1)
            last = _block(connection, model_id, shape, range(start, stop), last)
        connection.execute(text(OUTCOMES), {"cases": shape.cases})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _settle(connection)
    engine.dispose()


def _block(connection: Connection, model_id: int, shape: Shape, numbers: range, last: EventRow) -> EventRow:
    chain_ = _Chain(model_id, last)
    rows: dict[str, list[Row]] = {
        name: [] for name in ("model_version", "suite_run", "decision", "event", "outbox", "champion_move")
    }
    for number in numbers:
        _version(rows, chain_, model_id, shape, number)
    for name in rows:
        _insert(connection, name, iter(rows[name]))
    return EventRow(**rows["event"][-1])


def _version(rows: dict[str, list[Row]], chain_: _Chain, model_id: int, shape: Shape, number: int) -> None:
    at = START + timedelta(hours=number)
    names = {"model": "default", "version": number, "version_id": number}
    events = [
        chain_.event(at, "version.started", number, {"number": number, "parent_id": number - 1}),
        chain_.event(at, "version.trained", number, {**names, "adapter_digest": f"{number:064x}"}),
    ]
    rows["model_version"].append(_version_row(model_id, number, number == shape.versions, at))
    for suite in range(1, shape.suites + 1):
        run = _run_row(shape, number, suite, at)
        rows["suite_run"].append(run)
        told_of = {key: run[key] for key in ("suite_digest", "metric", "value", "low", "high", "n")}
        events.append(chain_.event(at, "suite_run.recorded", number, {**names, **told_of}))
    events.append(chain_.event(at, "version.evaluated", number, {"from": "trained"}))
    rows["decision"].append(_decision_row(number, at))
    events.append(chain_.event(at, "decision.recorded", number, {**names, "verdict": "pass"}))
    moved = chain_.event(at, "champion.moved", number, {**names, "previous": number - 1, "cause": "promote"})
    rows["champion_move"].append(
        {
            "model_id": model_id, "version_id": number, "previous_id": number - 1, "cause": "promote",
            "decision_id": None, "waiver": None, "actor": "bulk", "at": at, "event_seq": moved["seq"],
        }
    )  # fmt: skip
    rows["event"] += [*events, moved]
    rows["outbox"] += [
        told(event)
        for event in (*events, moved)
        if event["kind"] not in {"version.started", "version.evaluated"}
    ]


def _version_row(model_id: int, number: int, is_champion: bool, at: datetime) -> Row:
    recipe = {
        "steps": 40,
        "learning_rate": 2e-4,
        "lora": {"rank": 16, "alpha": 32},
        "replay": {"kind": "self"},
    }
    return {
        "id": number, "model_id": model_id, "number": number, "parent_id": number - 1,
        "state": "champion" if is_champion else "retired", "base_digest": DIGEST, "recipe": recipe,
        "recipe_digest": DIGEST, "adapter_id": number, "curves_digest": DIGEST,
        "summary": {"minutes": 3.5, "loss": [1.0, 0.5, 0.25]}, "note": f"update {number}", "author": "bulk",
        "reason": "", "created_at": at, "finished_at": at,
    }  # fmt: skip


def _run_row(shape: Shape, number: int, suite: int, at: datetime) -> Row:
    run_id = (number - 2) * shape.suites + suite
    right = sum((run_id * 7 + case * 13) % 10 < 8 for case in range(shape.cases)) / shape.cases
    packages = {"torch": "2.13.0", "transformers": "5.1.0", "peft": "0.19.0"}
    return {
        "id": run_id, "version_id": number, "suite_id": suite, "suite_digest": shape.suite_digest(suite - 1),
        "metric": "accuracy", "value": right, "low": right - 0.1, "high": right + 0.1, "n": shape.cases,
        "duration_s": 12.5, "complete": True, "cache_key": None, "environment": {"packages": packages},
        "outputs_digest": f"{run_id:064x}", "created_at": at,
    }  # fmt: skip


def _decision_row(number: int, at: datetime) -> Row:
    reasons = [
        {"suite": "general", "rule": "margin", "passed": True, "text": "general: 0.80 → 0.80: not worse"}
    ]
    return {
        "version_id": number, "champion_id": number - 1, "policy_name": "default", "policy_digest": DIGEST,
        "policy": None, "verdict": "pass", "reasons": reasons, "evidence": [], "warnings": [],
        "actor": "bulk", "created_at": at,
    }  # fmt: skip


def _suites(model_id: int, shape: Shape) -> Iterator[Row]:
    for at in range(shape.suites):
        yield {
            "id": at + 1, "model_id": model_id, "name": f"suite-{at:02d}", "revision": 1, "kind": "general",
            "object_digest": DIGEST, "suite_digest": shape.suite_digest(at), "case_count": shape.cases,
            "metric": "accuracy", "higher_is_better": True, "note": "", "author": "bulk", "created_at": START,
        }  # fmt: skip


def _adapters(shape: Shape) -> Iterator[Row]:
    for number in range(2, shape.versions + 1):
        yield {
            "id": number, "tree_digest": f"{number:064x}", "size_bytes": 10_000_000, "created_at": START,
        }  # fmt: skip


def _insert(connection: Connection, name: str, rows: Iterator[Row]) -> None:
    table: Table = Record.metadata.tables[name]
    while batch := list(islice(rows, BATCH)):
        connection.execute(insert(table), batch)


def _settle(connection: Connection) -> None:
    """What happens by itself on PostgreSQL as a record grows: counters that go on, and statistics."""
    if connection.dialect.name != "postgresql":
        return
    for name, table in Record.metadata.tables.items():
        if "id" in table.columns:
            latest = f"(SELECT max(id) FROM {name})"
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), {latest})"))
    connection.execute(text("VACUUM ANALYZE"))
