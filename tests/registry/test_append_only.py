"""What was recorded stays as it is, whoever asks and by whichever statement, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Table, UniqueConstraint, create_engine

from registry.errors import InvalidRecordError
from registry.registry import Registry
from registry.revision import APPEND_ONLY
from registry.tables import Record
from tests.registry.alterations import contents, fill_all
from tests.registry.line import Line


def uniques(table: Table) -> list[list[str]]:
    """The columns of each constraint or index that allows a value once."""
    found = [[one.name for one in table.primary_key]]
    found += [[one.name for one in c.columns] for c in table.constraints if isinstance(c, UniqueConstraint)]
    whole = [one for one in table.indexes if one.unique and one.dialect_options["sqlite"]["where"] is None]
    return found + [[one.name for one in index.columns] for index in whole]


def inserts(table: Table, kind: str) -> Iterator[str]:
    """Statements that insert a row over one that is there: the same in one unique key, new in all others."""
    for unique in uniques(table):
        taken = ", ".join(
            one.name
            if one.name in unique or one.foreign_keys or not one.primary_key
            else f"{one.name} + 1000"
            for one in table.columns
        )
        rows = f"SELECT {taken} FROM {table.name} WHERE true ORDER BY 1 LIMIT 1"
        key, into = ", ".join(unique), f"{table.name} ({', '.join(one.name for one in table.columns)})"
        update = f"ON CONFLICT ({key}) DO UPDATE SET {unique[0]} = excluded.{unique[0]}"
        yield f"INSERT INTO {into} {rows} {update}"
        if kind == "sqlite":
            yield f"INSERT OR REPLACE INTO {into} {rows}"


def changes(table: Table, kind: str) -> Iterator[str]:
    """Every way to alter the rows of a table."""
    column = next(iter(table.primary_key)).name
    yield f"UPDATE {table.name} SET {column} = {column}"
    yield f"DELETE FROM {table.name}"
    yield from inserts(table, kind)
    if kind == "sqlite":
        yield f"UPDATE OR REPLACE {table.name} SET {column} = {column}"
    else:
        yield f"TRUNCATE {table.name} CASCADE"


def test_history_cannot_be_changed(url: str, kind: str, line: Line) -> None:
    fill_all(line)
    before = contents(url)
    engine = create_engine(url)
    for name in APPEND_ONLY:
        assert before[name], name
        for statement in changes(Record.metadata.tables[name], kind):
            with pytest.raises(Exception, match=r"rows of \w+ are never changed"), engine.begin() as one:
                one.exec_driver_sql(statement)
    engine.dispose()
    assert contents(url) == before


def test_a_version_neither_goes_nor_moves(url: str, kind: str, line: Line) -> None:
    fill_all(line)
    before = contents(url)
    statements = ["DELETE FROM model_version", "UPDATE model_version SET number = number + 1 WHERE id = 2"]
    statements += list(inserts(Record.metadata.tables["model_version"], kind))
    if kind == "sqlite":
        statements.append("UPDATE OR REPLACE model_version SET id = 1 WHERE id = 2")
        statements.append("UPDATE OR REPLACE model_version SET state = 'champion' WHERE id = 2")
        columns = [one.name for one in Record.metadata.tables["model_version"].columns]
        taken = ["9" if one in {"id", "number"} else one for one in columns]
        statements.append(
            f"INSERT OR REPLACE INTO model_version ({', '.join(columns)}) "
            f"SELECT {', '.join(taken)} FROM model_version WHERE state = 'champion'"
        )
    else:
        statements.append("TRUNCATE model_version CASCADE")
    engine = create_engine(url)
    for statement in statements:
        with pytest.raises(Exception, match=r"never changed|one champion"), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    engine.dispose()
    assert contents(url) == before


def test_the_program_tells_it_as_a_refusal(registry: Registry, url: str, line: Line) -> None:
    with pytest.raises(InvalidRecordError, match="rows of model are never changed"):
        registry.write(lambda writer: setattr(writer.model_by_id(line.id), "name", "other"))
