"""How the databases find what is asked for: by an index, however long the record grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, event, text

from registry.engine import open_engine
from registry.reader import Reader
from registry.registry import Registry
from registry.writer import Writer
from tests.registry.line import Line, add_suite, digest, judged, score

LARGE = {"case_outcome", "suite_run", "event", "champion_move", "decision", "model_version", "outbox"}


class Sent(NamedTuple):
    """A statement as the driver got it."""

    statement: str
    parameters: Any


@contextmanager
def heard(registry: Registry) -> Iterator[list[Sent]]:
    """The statements that are sent meanwhile and look for rows."""
    sent: list[Sent] = []

    def note(_c: object, _k: object, statement: str, parameters: Any, *_rest: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and "pg_" not in statement:
            sent.append(Sent(statement, parameters))

    event.listen(registry._engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(registry._engine, "before_cursor_execute", note)


@pytest.fixture
def long_line(line: Line) -> Line:
    """Two lines of five versions, four of which were champion, on two suites; version 6 is a candidate."""
    other = Line(line.registry, line.clock, "other")

    def work(writer: Writer) -> None:
        for model_id in (line.id, other.id):
            for _ in range(4):
                version = judged(writer, model_id)
                writer.promote(model_id, version.number)
                for name in ("general", "tools"):
                    score(writer, version, add_suite(writer, model_id, name))
        judged(writer, line.id)

    line.registry.write(work)
    return line


def asked(question: Callable[[Reader, int], object]) -> Callable[[Line], None]:
    def ask(line: Line) -> None:
        with line.registry.read() as reader:
            question(reader, line.id)

    return ask


QUESTIONS: dict[str, Callable[[Line], object]] = {
    "promote": lambda line: line.promote(6),
    "rollback": lambda line: line.rollback(),
    "champion": asked(lambda reader, model: reader.champion(model)),
    "latest run": asked(lambda reader, _: reader.latest_suite_run(3, digest("suite general"))),
    "latest decision": asked(lambda reader, _: reader.latest_decision(3)),
    "case scores": asked(lambda reader, model: reader.case_scores(model, digest("suite general"), "first")),
    "outcomes": asked(lambda reader, _: reader.outcomes(3)),
    "history": asked(lambda reader, model: reader.history(model)),
    "outbox": asked(lambda reader, _: reader.outbox_pending()),
    "events since": asked(lambda reader, _: reader.events(since_seq=10, limit=5)),
}


MEANT = {
    "promote": ["uq_model_version_champion", "ix_decision_version_id", "pk_event"],
    "rollback": ["uq_model_version_champion", "ix_champion_move_model_id", "pk_event"],
    "champion": ["uq_model_version_champion"],
    "case scores": ["ix_suite_run_version_suite", "uq_case_outcome_case_id"],
    "history": ["ix_suite_run_version_suite", "ix_champion_move_model_id"],
    "outbox": ["ix_outbox_pending"],
}
"""What each must make use of. The key of `event` has no name on SQLite."""


def test_nothing_is_looked_through_from_end_to_end(url: str, long_line: Line) -> None:
    sent: dict[str, list[Sent]] = {}
    for name, question in QUESTIONS.items():
        with heard(long_line.registry) as statements:
            question(long_line)
        sent[name] = statements
    engine = open_engine(url)
    with engine.connect() as connection:
        plans = {name: [plan(connection, one) for one in told] for name, told in sent.items()}
    engine.dispose()
    assert all(plans.values())
    assert {
        name: found for name, each in plans.items() if (found := [one for one in each if scans(one)])
    } == {}
    for name, indexes in MEANT.items():
        text = "\n".join(plans[name]).replace("SCAN event", "SCAN pk_event")
        assert [one for one in indexes if one not in text] == [], f"{name}\n{text}"


def plan(connection: Connection, sent: Sent) -> str:
    """What the database would do, whatever the parameters are.

    The tables are small here, so PostgreSQL is told that reading all of one is dear.
    """
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sent.statement}", sent.parameters)
        return "\n".join(row.detail for row in rows)
    connection.execute(text("SET enable_seqscan = off"))
    places = {name: f"${at}" for at, name in enumerate(sent.parameters or {}, start=1)}
    rows = connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {sent.statement % places}")
    return "\n".join(row[0] for row in rows)


def scans(found: str) -> list[str]:
    """The lines of a plan that read a large table, or all of an index of it, from end to end.

    To step along an index in its order is no scan where a limit ends it and no row is thrown away, and
    neither is it to read all of the index of what is still to be told.
    """
    lines = found.splitlines()
    return [
        line for at, line in enumerate(lines) if _reads_all(line, "\n".join(lines[at + 1 : at + 3]), found)
    ]


def _reads_all(line: str, below: str, found: str) -> bool:
    """`below`: the two lines after it, where PostgreSQL says what it looks for in an index."""
    named = re.search(
        r"SCAN (\w+)|(?:Seq Scan|Bitmap Heap Scan|Index Scan.*|Index Only Scan.*) on (\w+)", line
    )
    if named is None or (named[1] or named[2]) not in LARGE or "ix_outbox_pending" in line:
        return False
    if "Index Cond" in below or "Recheck Cond" in below:
        return False
    ends = found == "SCAN event" or (found.startswith("Limit") and "Filter" not in below)
    return "Seq Scan" in line or not ends


def test_a_scan_is_seen(url: str, long_line: Line) -> None:
    """The test above can fail."""
    engine = open_engine(url)
    with engine.connect() as connection:
        for statement in (
            "SELECT * FROM case_outcome WHERE score > 0.5",
            "SELECT * FROM suite_run WHERE metric = 'x' ORDER BY id DESC LIMIT 1",
            "SELECT * FROM decision WHERE verdict = 'pass'",
            "SELECT count(*) FROM event",
        ):
            assert scans(plan(connection, Sent(statement, ()))), statement
    engine.dispose()
