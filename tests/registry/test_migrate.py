"""The age of the database, on both databases: up, down, compared, and refused when it is another."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from registry import migrate
from registry.errors import InvalidRecordError, RegistryError, SchemaAgeError, UnavailableError
from registry.registry import Registry
from registry.revision import APPEND_ONLY, HEAD, KNOWN
from registry.tables import Record
from tests.registry.line import Clock, Line, fill

UNWRITTEN = {"approval", "collected", "signature"}  # nothing writes them yet


def run_sql(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for one in statements:
            connection.execute(text(one))
    engine.dispose()


def test_the_constants_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory(str(migrate.scripts()))
    assert migrate.head() == HEAD
    assert {one.revision for one in scripts.walk_revisions()} == set(KNOWN)


def test_up_and_down_and_up_again(empty_url: str) -> None:
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == HEAD
    migrate.downgrade(empty_url, "base")
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.check(empty_url) == []


def test_upgrading_twice_changes_nothing(url: str, line: Line) -> None:
    line.promoted()
    migrate.upgrade(url)
    assert line.champion() == 2


def test_two_upgrades_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate.upgrade(empty_url), range(4)))
    assert migrate.check(empty_url) == []


def test_the_tables_of_the_program_are_those_of_the_database(url: str) -> None:
    assert migrate.check(url) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("ALTER TABLE model ADD COLUMN colour VARCHAR", "remove column: model.colour"),
        ("DROP INDEX uq_case_outcome_case_id", "add index: case_outcome.uq_case_outcome_case_id"),
        ("ALTER TABLE lease RENAME COLUMN holder TO owner", "add column: lease.holder"),
        ("DROP TABLE lease", "add table: lease"),
    ],
)
def test_a_difference_is_told(own_url: str, statement: str, told: str) -> None:
    run_sql(own_url, statement)
    assert told in migrate.check(own_url)


def test_a_missing_trigger_is_told(own_url: str, kind: str) -> None:
    run_sql(own_url, "DROP TRIGGER event_no_delete" + (" ON event" if kind == "postgresql" else ""))
    assert migrate.check(own_url) == ["missing trigger: event_no_delete"]


def test_other_programs_may_keep_tables_in_the_same_database(own_url: str) -> None:
    run_sql(
        own_url, "CREATE TABLE alembic_version (version_num VARCHAR(32))", "CREATE TABLE runs (id INTEGER)"
    )
    assert migrate.check(own_url) == []


def test_checking_an_empty_database(empty_url: str, kind: str) -> None:
    if kind == "sqlite":
        Path(empty_url.removeprefix("sqlite:///")).touch()
    found = migrate.check(empty_url)
    assert found[0] == f"revision is `None`, expected `{HEAD}`"
    assert "add table: model_version" in found


def test_a_database_without_tables_is_too_old(empty_url: str, kind: str, clock: Clock) -> None:
    if kind == "sqlite":
        Path(empty_url.removeprefix("sqlite:///")).touch()
    with pytest.raises(SchemaAgeError) as caught:
        Registry.open(empty_url, actor="ada", clock=clock)
    assert (caught.value.found, caught.value.expected) == (None, HEAD)
    assert caught.value.command == "adaptman db upgrade"
    assert "`adaptman db upgrade`" in caught.value.hint


def test_a_database_of_a_newer_program(own_url: str, clock: Clock) -> None:
    run_sql(own_url, "UPDATE registry_version SET version_num = '9999'")
    for step in (
        lambda: Registry.open(own_url, actor="ada", clock=clock),
        lambda: migrate.upgrade(own_url),
        lambda: migrate.downgrade(own_url, "base"),
    ):
        with pytest.raises(SchemaAgeError) as caught:
            step()
        assert "`9999`" in caught.value.message
        assert f"`{HEAD}`" in caught.value.message
        assert "newer" in caught.value.hint


def test_an_unknown_revision_is_refused(own_url: str) -> None:
    with pytest.raises(RegistryError) as caught:
        migrate.downgrade(own_url, "nonsense")
    assert "`base`" in caught.value.hint
    assert migrate.current(own_url) == HEAD


def test_a_migration_that_fails_leaves_nothing(empty_url: str, kind: str) -> None:
    if kind == "sqlite":
        Path(empty_url.removeprefix("sqlite:///")).touch()
    run_sql(empty_url, "CREATE TABLE suite_run (id INTEGER)")
    with pytest.raises(UnavailableError):
        migrate.upgrade(empty_url)
    assert migrate.current(empty_url) is None
    run_sql(empty_url, "DROP TABLE suite_run")
    migrate.upgrade(empty_url)
    assert migrate.check(empty_url) == []


def test_a_missing_file_is_not_made_by_reading(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    with pytest.raises(UnavailableError) as caught:
        Registry.open(url, actor="ada", clock=clock)
    assert caught.value.hint == "run `adaptman init`"
    assert migrate.current(url) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_an_url_that_cannot_be_used(url: str, clock: Clock) -> None:
    with pytest.raises(RegistryError) as caught:
        Registry.open(url, actor="ada", clock=clock)
    assert "`sqlite:///PATH/registry.db`" in caught.value.hint


def test_a_server_that_does_not_answer(clock: Clock) -> None:
    url = "postgresql://ada:secret@127.0.0.1:1/registry"
    with pytest.raises(UnavailableError) as caught:
        Registry.open(url, actor="ada", clock=clock)
    assert "secret" not in caught.value.message
    assert "127.0.0.1" in caught.value.message


def test_a_file_that_is_no_database(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "registry.db"
    path.write_text("this is a letter, not a database\n" * 100)
    with pytest.raises(UnavailableError, match="not a database"):
        Registry.open(f"sqlite:///{path}", actor="ada", clock=clock)


def test_a_new_migration_is_written_from_the_difference(
    own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(migrate.scripts(), tmp_path / "migrations")
    monkeypatch.setattr(migrate, "scripts", lambda: tmp_path / "migrations")
    run_sql(own_url, "ALTER TABLE model_version DROP COLUMN curves_digest")
    written = migrate.revise(own_url, "add the curves", "9002")
    assert written.name == "9002_add_the_curves.py"
    assert "registry" not in written.read_text()
    assert capsys.readouterr().out == ""
    migrate.upgrade(own_url)
    assert migrate.check(own_url) == [f"revision is `9002`, expected `{HEAD}`"]


def test_the_triggers_protect_what_the_program_says() -> None:
    assert set(APPEND_ONLY) < set(Record.metadata.tables)


def test_history_cannot_be_changed(url: str, line: Line) -> None:
    line.registry.write(lambda writer: fill(writer, line.id))
    for table in set(APPEND_ONLY) - UNWRITTEN:
        column = next(iter(Record.metadata.tables[table].primary_key)).name
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(Exception, match=f"rows of {table} are never changed"):
                run_sql(url, statement)


def test_an_event_cannot_be_replaced(url: str, kind: str, line: Line) -> None:
    columns = "seq, at, actor, kind, subject, model_id, payload, prev_hash, hash"
    replace = "INSERT OR REPLACE" if kind == "sqlite" else "INSERT"
    with pytest.raises(Exception, match=r"never changed|duplicate key"):
        run_sql(url, f"{replace} INTO event ({columns}) SELECT {columns} FROM event WHERE seq = 2")


def test_history_cannot_be_emptied(url: str, kind: str, line: Line) -> None:
    if kind == "postgresql":
        with pytest.raises(Exception, match="never changed"):
            run_sql(url, "TRUNCATE event CASCADE")


def test_the_database_refuses_a_second_champion(registry: Registry, url: str, line: Line) -> None:
    line.judged()
    with pytest.raises(Exception, match=r"(?i)unique"):
        run_sql(url, "UPDATE model_version SET state = 'champion'")


def test_a_reference_to_nothing_is_refused(registry: Registry, line: Line) -> None:
    with pytest.raises(InvalidRecordError, match=r"(?i)foreign key"):
        registry.write(
            lambda writer: writer.add_example_set(line.id, object_digest="d", count=1, tool_schema_id=99)
        )
