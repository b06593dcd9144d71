"""A record that an earlier revision wrote is brought up to date, taken back and brought up again.

`data/record-000N.sql` was written by the program of revision 000N, with rows in every table.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, create_engine, inspect, select

from registry import migrate
from registry.engine import open_engine
from registry.errors import InvalidRecordError, SchemaAgeError
from registry.registry import Registry
from registry.revision import HEAD, KNOWN, VERSION_TABLE
from tests.registry.alterations import fill_all
from tests.registry.line import Clock, Line

DATA = Path(__file__).parent / "data"
EVENTS = 40
KEPT = {"capacity_audit_kept", "event_changes", "model_version_rendering_digest", "suite_run_figures"}
"""Where downgrades keep what the events have told of what older revisions do not have."""


def run(url: str, *statements: str) -> None:
    """As the owner: PostgreSQL looks at no foreign key meanwhile."""
    engine = create_engine(url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET session_replication_role = replica")
            connection.exec_driver_sql("SET timezone = 'UTC'")
        for one in statements:
            connection.exec_driver_sql(one)
    engine.dispose()


def load(url: str, revision: str) -> None:
    """Fill a database of that revision."""
    migrate.upgrade(url, revision)
    run(url, *(DATA / f"record-{revision}.sql").read_text().strip().rstrip(";").split(";\n"))
    if url.startswith("postgresql"):
        serial = [name for name in tables_of(url) if name not in {"event", "case_outcome"}]
        run(url, *(f"SELECT setval('{one}_id_seq', (SELECT max(id) FROM {one}))" for one in serial))


def tables_of(url: str) -> list[str]:
    engine = create_engine(url)
    names = sorted(set(inspect(engine).get_table_names()) - {VERSION_TABLE})
    engine.dispose()
    return names


def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables that are there, times in UTC."""
    engine = open_engine(url)
    with engine.connect() as connection:
        found = {}
        for name in tables_of(url):
            table = Table(name, MetaData(), autoload_with=connection)
            query = select(table).order_by(*table.primary_key)
            found[name] = [dict(row) for row in connection.execute(query).mappings()]
    engine.dispose()
    return found


def without_what_is_new(
    new: dict[str, list[dict[str, Any]]], old: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The newer rows, in the tables and columns that the older ones have."""
    return {name: [{key: row[key] for key in old[name][0]} for row in new[name]] for name in old}


@pytest.fixture
def old_url(empty_url: str) -> str:
    load(empty_url, "0001")
    return empty_url


def test_the_old_record_has_rows_in_every_table(old_url: str) -> None:
    found = rows(old_url)
    assert all(found.values())
    assert len(found) == 15
    assert len(found["event"]) == EVENTS


@pytest.mark.parametrize("revision", [one for one in KNOWN if one != HEAD])
def test_every_earlier_revision_is_in_these_tests(revision: str) -> None:
    assert (DATA / f"record-{revision}.sql").is_file()


def test_data_of_0001_is_kept(old_url: str, clock: Clock) -> None:
    before = rows(old_url)
    migrate.upgrade(old_url)
    assert migrate.check(old_url) == []
    after = rows(old_url)
    snapshot = after["event"].pop()
    assert without_what_is_new(after, before) == before
    assert {row["author"] for row in after["model_version"] if row["model_id"] == 2} == {"bob"}
    assert all(row["author"] for row in after["model_version"])
    assert all(row["complete"] for row in after["suite_run"])
    assert all(row["changes"] is None for row in after["event"])
    assert (snapshot["kind"], snapshot["seq"]) == ("record.snapshot", EVENTS + 1)
    assert snapshot["changes"]
    with_registry(old_url, clock)


def with_registry(url: str, clock: Clock) -> None:
    """The record holds together, and goes on."""
    clock.now = datetime.now(UTC)
    registry = Registry.open(url, actor="ada", clock=clock)
    for _ in range(2):
        with registry.read() as reader:
            assert reader.verify_chain().ok
            assert reader.verify_tables().problems == ()
        fill_all(Line(registry, clock, f"line-{clock().microsecond}-{clock.now.second}"))
    with registry.read() as reader:
        assert reader.verify_tables().ok
    registry.close()


def test_a_row_from_before_the_upgrade_that_is_altered_is_found(old_url: str, clock: Clock) -> None:
    migrate.upgrade(old_url)
    run(old_url, "UPDATE model_version SET state = 'failed' WHERE id = 1")
    registry = Registry.open(old_url, actor="ada", clock=clock)
    with registry.read() as reader:
        (problem,) = reader.verify_tables().problems
    registry.close()
    assert (problem.table, problem.key, problem.column, problem.event) == (
        "model_version",
        "1",
        "state",
        EVENTS + 1,
    )


def test_down_and_up_again_with_data(old_url: str, clock: Clock) -> None:
    old = rows(old_url)
    migrate.upgrade(old_url)
    with_registry(old_url, clock)
    full = rows(old_url)
    migrate.downgrade(old_url, "0001")
    down = rows(old_url)
    assert set(down) == {*old, *KEPT}
    assert without_what_is_new(full, old) == {name: down[name] for name in old}
    with pytest.raises(SchemaAgeError) as caught:
        Registry.open(old_url, actor="ada", clock=clock)
    assert (caught.value.found, caught.value.expected) == ("0001", HEAD)
    migrate.upgrade(old_url)
    assert migrate.check(old_url) == []
    again = rows(old_url)
    assert set(again) == set(full)
    # The older events with their changes, so that their hashes fit; then what the upgrades say.
    assert again["event"][: len(full["event"])] == full["event"]
    assert [one["kind"] for one in again["event"][len(full["event"]) :]] == [
        "record.snapshot",
        "record.restored",
        "record.restored",
    ]
    assert again["capacity_audit"] == full["capacity_audit"]
    assert again["model_version"] == full["model_version"]
    assert again["suite_run"] == full["suite_run"]
    with_registry(old_url, clock)


def test_data_of_0002_goes_on_and_survives_going_back(empty_url: str, clock: Clock) -> None:
    load(empty_url, "0002")
    old = rows(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.check(empty_url) == []
    new = rows(empty_url)
    assert without_what_is_new(new, {name: found for name, found in old.items() if found}) == {
        name: found for name, found in old.items() if found
    }
    with_registry(empty_url, clock)
    full = rows(empty_url)
    migrate.downgrade(empty_url, "0002")
    migrate.upgrade(empty_url)
    again = rows(empty_url)
    assert [again["event"].pop()["kind"] for _ in range(2)] == ["record.restored"] * 2
    assert again == full
    with_registry(empty_url, clock)


def test_data_of_0003_goes_on_and_audits_survive_going_back(empty_url: str, clock: Clock) -> None:
    load(empty_url, "0003")
    old = rows(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.check(empty_url) == []
    assert without_what_is_new(rows(empty_url), old) == old
    with_registry(empty_url, clock)
    full = rows(empty_url)
    assert full["capacity_audit"]
    migrate.downgrade(empty_url, "0003")
    migrate.upgrade(empty_url)
    again = rows(empty_url)
    assert again["event"].pop()["kind"] == "record.restored"
    assert again == full
    with_registry(empty_url, clock)


def test_what_the_older_program_writes_in_between_is_kept(old_url: str, clock: Clock) -> None:
    migrate.upgrade(old_url)
    with_registry(old_url, clock)
    migrate.downgrade(old_url, "0001")
    run(old_url, "UPDATE model_version SET reason = 'written by the older program' WHERE id = 1")
    migrate.upgrade(old_url)
    with_registry(old_url, clock)


def test_down_to_the_base_leaves_nothing(old_url: str, clock: Clock) -> None:
    migrate.upgrade(old_url)
    migrate.downgrade(old_url, "base")
    assert tables_of(old_url) == []
    migrate.upgrade(old_url)
    with_registry(old_url, clock)


def test_a_case_that_occurs_twice_stops_the_upgrade_whole(old_url: str) -> None:
    """Revision 0001 never wrote one; somebody else may have."""
    run(old_url, "INSERT INTO case_outcome SELECT suite_run_id, 99, case_id, score FROM case_outcome LIMIT 1")
    before = rows(old_url)
    with pytest.raises(InvalidRecordError, match=r"(?i)unique"):
        migrate.upgrade(old_url)
    assert migrate.current(old_url) == "0001"
    assert rows(old_url) == before


def test_a_new_record_needs_no_snapshot(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    assert rows(empty_url)["event"] == []
