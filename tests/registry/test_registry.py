"""Snapshots and transactions, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy.exc import OperationalError

from registry.errors import ConflictError, InvalidRecordError, UnavailableError
from registry.registry import ATTEMPTS, Registry
from registry.writer import Writer
from tests.registry.line import Clock, Line, digest, everything, start


class StoppedError(Exception):
    """Something went wrong that is not the registry's."""


def busy() -> OperationalError:
    """What the driver raises when PostgreSQL breaks a deadlock."""
    error = Exception("deadlock detected")
    error.sqlstate = "40P01"  # type: ignore[attr-defined]
    return OperationalError("UPDATE model", {}, error)


def test_rows_are_usable_after_the_session(registry: Registry, line: Line) -> None:
    promotion = line.promoted()
    assert promotion.version.recipe == {"rank": 8, "learning_rate": 1e-4}
    with registry.read() as reader:
        version, model = reader.version(line.id, 2), reader.model("default")
    registry.close()
    assert (version.number, version.created_at.tzinfo is not None, model.name) == (2, True, "default")


def test_a_unit_that_fails_leaves_nothing(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        before = everything(reader)

    def work(writer: Writer) -> None:
        start(writer, line.id)
        writer.add_model("other", digest("base"), "here", {})
        raise StoppedError

    with pytest.raises(StoppedError):
        registry.write(work)
    with registry.read() as reader:
        assert everything(reader) == before
        assert [one.name for one in reader.models()] == ["default"]
    assert registry.write(lambda writer: start(writer, line.id)).number == 2


def test_a_read_is_a_snapshot(open_registry: Callable[[], Registry], line: Line) -> None:
    other = open_registry()
    with other.read() as reader:
        assert len(reader.versions(line.id)) == 1
        line.judged()
        assert len(reader.versions(line.id)) == 1
        assert reader.verify_chain().count == 3
    with other.read() as reader:
        assert len(reader.versions(line.id)) == 2


def test_a_conflict_runs_the_whole_unit_again(registry: Registry, line: Line) -> None:
    waits: list[float] = []
    patient = Registry(
        registry._engine, actor="ada", clock=line.clock, sleep=waits.append, jitter=lambda: 0.5
    )
    runs = 0

    def work(writer: Writer) -> int:
        nonlocal runs
        runs += 1
        version = start(writer, line.id)
        if runs < 3:
            raise busy()
        return version.number

    assert patient.write(work) == 2
    assert runs == 3
    assert waits == [0.02, 0.04]


def test_conflicts_without_end_are_told(registry: Registry, line: Line) -> None:
    waits: list[float] = []
    patient = Registry(registry._engine, actor="ada", clock=line.clock, sleep=waits.append)

    def work(writer: Writer) -> None:
        raise busy()

    with pytest.raises(ConflictError, match="busy: deadlock detected"):
        patient.write(work)
    assert len(waits) == ATTEMPTS - 1


def test_a_database_that_went_away(registry: Registry, line: Line, kind: str) -> None:
    def work(writer: Writer) -> None:
        raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    with pytest.raises(UnavailableError, match="server closed the connection"):
        registry.write(work)


def test_a_naive_time_is_refused(registry: Registry, line: Line) -> None:
    careless = Registry(registry._engine, actor="ada", clock=lambda: line.clock().replace(tzinfo=None))
    with pytest.raises(InvalidRecordError, match="no time zone"):
        careless.write(lambda writer: writer.add_model("other", digest("base"), "here", {}))


def test_the_password_is_not_shown(registry: Registry) -> None:
    assert registry.url.startswith(("sqlite:///", "postgresql+psycopg://"))


def test_an_unwritable_database_is_told(url: str, kind: str, clock: Clock, line: Line) -> None:
    """A transaction that may not write is refused with the database's reason."""
    if kind == "sqlite":
        return
    reading = Registry.open(
        f"{url}&options=-c%20default_transaction_read_only%3Don", actor="ada", clock=clock
    )
    with pytest.raises(UnavailableError, match="read-only"):
        reading.write(lambda writer: writer.add_model("other", digest("base"), "here", {}))
    reading.close()


def test_opening_loads_no_more_than_it_needs() -> None:
    script = "import sys, registry.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"alembic", "psycopg", "click", "torch", "mlflow", "numpy"} & set(loaded.stdout.split())
