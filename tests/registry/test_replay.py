"""The events tell of every row: folded again they give the tables, and a row that differs is named."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from registry.changes import OUTCOMES, UNTOLD
from registry.errors import InvalidRecordError
from registry.registry import Registry
from registry.replay import TABLES
from registry.tables import Adapter, CaseOutcome, EventRow, Record
from registry.values import ChainReport, RowProblem, TableReport
from registry.writer import Writer
from tests.registry.alterations import another, copy_row, edit, fill_all, first_row, unguarded
from tests.registry.line import Line, digest, everything, start

BY_ROW = [table for table in TABLES if table is not OUTCOMES]


def chain(registry: Registry) -> ChainReport:
    with registry.read() as reader:
        return reader.verify_chain()


def tables(registry: Registry) -> TableReport:
    with registry.read() as reader:
        return reader.verify_tables()


def problem(registry: Registry) -> RowProblem:
    (found,) = tables(registry).problems
    return found


def test_an_empty_record_has_nothing_to_compare(registry: Registry) -> None:
    assert tables(registry) == TableReport(0, ())


def test_every_row_of_every_table_is_told_by_an_event(registry: Registry, url: str, line: Line) -> None:
    fill_all(line)
    assert chain(registry).ok
    assert tables(registry).problems == ()
    told = {table.name for table in Record.metadata.sorted_tables} - UNTOLD
    assert {table.name for table in TABLES} == told
    with unguarded(url) as connection:
        counts = {
            table: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in BY_ROW
        }
        runs = connection.execute(select(func.count(OUTCOMES.c.suite_run_id.distinct()))).scalar_one()
    assert all(counts.values())
    assert runs > 0
    assert tables(registry).count == sum(counts.values()) + runs


def test_an_edited_column_of_any_table_is_named(registry: Registry, url: str, line: Line) -> None:
    fill_all(line)
    tried = 0
    with unguarded(url) as connection:
        for table in BY_ROW:
            row = first_row(connection, table)
            for column in set(row) - {one.name for one in table.primary_key}:
                value = another(row[column], column)
                if value == row[column]:
                    continue
                edit(connection, table, row, column, value)
                found = problem(registry)
                assert (found.table, found.column, found.kind) == (table.name, column, "edited")
                assert found.key == str(row["id"])
                assert f"event `{found.event}` wrote" in found.message
                edit(connection, table, row, column, row[column])
                tried += 1
    assert tried > 100
    assert tables(registry).ok


def test_an_added_row_of_any_table_is_named(registry: Registry, url: str, line: Line) -> None:
    fill_all(line)
    with unguarded(url) as connection:
        for table in BY_ROW:
            copy_row(connection, table, first_row(connection, table))
            assert problem(registry)[:5] == (table.name, "1000", None, None, "added")
            connection.execute(delete(table).where(table.c.id == 1000))
            connection.commit()
    assert tables(registry).ok


def test_a_deleted_row_of_any_table_is_named(registry: Registry, url: str, line: Line) -> None:
    fill_all(line)
    with registry.read() as reader:
        told = {event.seq: event.changes or [] for event in reader.events()}
    with unguarded(url) as connection:
        for table in BY_ROW:
            row = first_row(connection, table)
            connection.execute(delete(table).where(table.c.id == row["id"]))
            connection.commit()
            found = problem(registry)
            assert (found.table, found.key, found.kind) == (table.name, str(row["id"]), "deleted")
            assert any(
                (one["table"], one["key"]) == (table.name, {"id": row["id"]})
                for one in told[found.event or 0]
            )
            connection.execute(insert(table).values(row))
            connection.commit()
    assert tables(registry).ok


def test_altered_case_outcomes_name_their_run(registry: Registry, url: str, line: Line) -> None:
    fill_all(line)
    with unguarded(url) as connection:
        row = first_row(connection, OUTCOMES)
        edit(connection, OUTCOMES, row, "score", 0.5)
        found = problem(registry)
        assert (found.table, found.key, found.column) == (OUTCOMES.name, str(row["suite_run_id"]), "sha256")
        edit(connection, OUTCOMES, row, "score", row["score"])
        assert tables(registry).ok
        connection.execute(delete(OUTCOMES).where(OUTCOMES.c.position == 1))
        connection.commit()
        assert {one.column for one in tables(registry).problems} == {"count", "sha256"}
        connection.execute(delete(OUTCOMES))
    assert problem(registry).kind == "deleted"


def test_the_last_event_that_wrote_a_column_is_named(registry: Registry, url: str, line: Line) -> None:
    version = fill_all(line)  # champion and retired again
    with registry.read() as reader:
        moves = [event.seq for event in reader.events() if event.kind == "champion.moved"]
    with unguarded(url) as connection:
        connection.execute(text(f"UPDATE model_version SET state = 'passed' WHERE id = {version.id}"))
    found = problem(registry)
    assert found.event == moves[-1]
    assert found.message == (
        f'row `{version.id}` of `model_version` has state `"passed"`, '
        f'but event `{moves[-1]}` wrote `"retired"`'
    )


def test_an_edited_change_breaks_the_chain(registry: Registry, url: str, line: Line) -> None:
    with unguarded(url) as connection:
        connection.execute(text("UPDATE event SET changes = '[]' WHERE seq = 1"))
    assert [(one.seq, one.kind) for one in chain(registry).problems] == [(1, "edited")]
    assert [(one.table, one.kind) for one in tables(registry).problems] == [("model", "added")]


@pytest.mark.parametrize("changes", ["NULL", "'7'", "'[7]'", '\'[{"table": "nothing"}]\''])
def test_changes_that_cannot_be_read_are_told(registry: Registry, url: str, line: Line, changes: str) -> None:
    with unguarded(url) as connection:
        connection.execute(text(f"UPDATE event SET changes = {changes} WHERE seq = 1"))
    assert ("event", "untold") in {(one.table, one.kind) for one in tables(registry).problems}
    assert not chain(registry).ok


def test_values_that_cannot_be_read_are_told(registry: Registry, url: str, kind: str, line: Line) -> None:
    fill_all(line)
    edits = ["UPDATE model_version SET state = 'nonsense' WHERE id = 2"]
    if kind == "sqlite":  # PostgreSQL takes neither
        edits += ["UPDATE suite SET created_at = 'tomorrow'", "UPDATE decision SET evidence = '{broken'"]
        edits += ["UPDATE event SET at = 'yesterday', payload = '{broken', actor = x'00ff' WHERE seq = 2"]
    with unguarded(url) as connection:
        for one in edits:
            connection.execute(text(one))
    columns = {(one.table, one.column) for one in tables(registry).problems}
    assert ("model_version", "state") in columns
    if kind == "sqlite":
        assert {("suite", "created_at"), ("decision", "evidence")} < columns
        assert [(one.seq, one.kind) for one in chain(registry).problems] == [(2, "edited")]


def test_events_cut_off_at_the_end_show_in_the_rows(registry: Registry, url: str, line: Line) -> None:
    with registry.read() as reader:
        last = reader.events()[-1].seq
    line.judged()
    with unguarded(url) as connection:
        connection.execute(text(f"DELETE FROM event WHERE seq > {last}"))
        connection.execute(text(f"DELETE FROM outbox WHERE event_seq > {last}"))
    assert chain(registry).ok  # what is left is a whole chain
    assert {one.table for one in tables(registry).problems} == {"adapter", "decision", "model_version"}


# no way around the events


def test_rows_after_the_last_event_of_a_unit_are_refused(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        before = everything(reader)

    def work(writer: Writer) -> None:
        start(writer, line.id)
        writer._add(Adapter(tree_digest=digest("a"), size_bytes=1, created_at=line.clock()))

    with pytest.raises(InvalidRecordError, match="rows of `adapter` were written without an event"):
        registry.write(work)
    with registry.read() as reader:
        assert everything(reader) == before


def test_an_attribute_set_after_the_last_event_is_refused(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        start(writer, line.id).note = "by the way"

    with pytest.raises(InvalidRecordError, match="rows of `model_version`"):
        registry.write(work)


def test_statements_that_nobody_looks_at_are_refused(registry: Registry, line: Line) -> None:
    statements = (
        update(EventRow).values(actor="eve"),
        insert(Adapter).values(tree_digest="a"),
        delete(CaseOutcome),
    )
    for one in statements:
        with pytest.raises(InvalidRecordError, match="without its rows being looked at"):
            registry.write(lambda writer, one=one: writer._session.execute(one))  # type: ignore[misc]


def test_history_is_not_deleted_through_the_session(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        writer._session.delete(writer.model_by_id(line.id))
        writer._session.flush()

    with pytest.raises(InvalidRecordError, match="rows of model are never changed"):
        registry.write(work)
