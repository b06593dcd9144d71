"""Connections: what SQLite and PostgreSQL must be told so that both behave alike.

A read is one snapshot. A write is alone: SQLite begins it with `BEGIN IMMEDIATE`; PostgreSQL takes one
advisory lock for the length of the transaction. Both wait for the writer before them, so numbers have no gaps
and nothing that was read inside a write is stale.
"""

from __future__ import annotations

import random
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, StatementError

from registry.canonical import canonical_json
from registry.errors import ConflictError, InvalidRecordError, RegistryError, UnavailableError

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = "10"
WRITE_LOCK = 0x61646170  # "adap": the key of the advisory lock that writers of one database share
BEGIN = "adaptman_begin"

# serialization failure, deadlock, lock not available
RETRYABLE_SQLSTATES = frozenset({"40001", "40P01", "55P03"})


def parse_url(url: str) -> URL:
    """Read a database URL; `postgres://` and `postgresql://` mean psycopg.

    Raises:
        RegistryError: it is no URL, or names a database that is not supported.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise RegistryError(f"registry URL `{url}` cannot be read", hint=_SUPPORTED) from error
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise RegistryError(f"registry URL has scheme `{parsed.drivername}`", hint=_SUPPORTED)
    if parsed.database in {None, "", ":memory:"}:
        raise RegistryError("a registry in memory would be lost at once", hint=_SUPPORTED)
    return parsed


_SUPPORTED = "write `sqlite:///PATH/registry.db` or `postgresql+psycopg://USER@HOST/DATABASE`"


def shown(url: URL) -> str:
    """The URL for messages: without the password."""
    return url.render_as_string(hide_password=True)


def open_engine(url: str, *, create: bool = False, foreign_keys: bool = True) -> Engine:
    """An engine with the right settings. No connection is made yet.

    `create` makes a missing SQLite file; `foreign_keys` off lets a migration rebuild a SQLite table.

    Raises:
        UnavailableError: the SQLite file is not there (and `create` is off), or psycopg is not installed.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, create, foreign_keys)
    return _postgres(parsed)


def _sqlite(url: URL, create: bool, foreign_keys: bool) -> Engine:
    path = Path(str(url.database))
    if not create and not path.exists():
        raise UnavailableError(f"registry database `{path}` is not there", hint="run `adaptman init`")
    engine = create_engine(url, json_serializer=canonical_json)
    event.listen(engine, "connect", partial(_prepare_sqlite, foreign_keys=foreign_keys))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object, *, foreign_keys: bool) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}").close()
    _use_write_ahead_log(connection)
    for pragma in ("synchronous=FULL", f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Connections that do so at once in a new file collide, which SQLite tells without waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.02))  # so that they do not meet again
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))


def _postgres(url: URL) -> Engine:
    try:
        return create_engine(
            url.update_query_dict({"connect_timeout": CONNECT_TIMEOUT_S, **url.query}),
            json_serializer=canonical_json,
            pool_pre_ping=True,
        )
    except ImportError as error:
        raise UnavailableError(
            "PostgreSQL needs psycopg, which is not installed", hint="install `adaptman[postgres]`"
        ) from error


def for_reading(engine: Engine) -> Engine:
    """The same engine, whose transactions are snapshots."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose transactions are for `lock_writers`."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
    return engine.execution_options(isolation_level="READ COMMITTED")


def lock_writers(connection: Connection) -> None:
    """Wait until no other writer is at work. SQLite has done so with `BEGIN IMMEDIATE`."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT set_config('lock_timeout', :wait, true)"), {"wait": f"{int(BUSY_TIMEOUT_S)}s"}
        )
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})


def is_conflict(error: StatementError) -> bool:
    """True when nothing was written because of another writer, so that the whole unit may run again."""
    cause: Any = error.orig
    if isinstance(cause, sqlite3.OperationalError):
        return _is_busy(cause)
    return getattr(cause, "sqlstate", None) in RETRYABLE_SQLSTATES


def _is_busy(error: sqlite3.OperationalError) -> bool:
    # The lower eight bits say what, the rest why: BUSY_SNAPSHOT is BUSY too.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_missing_table(error: DBAPIError) -> bool:
    """True when the statement names a table that is not there."""
    return "no such table" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "42P01"


def translate(error: StatementError, engine: Engine) -> RegistryError:
    """The registry's own error for one of the database's."""
    if isinstance(error.orig, RegistryError):  # a column type or the JSON writer refused a value
        return error.orig
    reason = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
    where = shown(engine.url)
    if is_conflict(error):
        return ConflictError(f"registry `{where}` is busy: {reason}", hint="try again")
    if isinstance(error, IntegrityError | DataError) or isinstance(error.orig, OverflowError):
        return InvalidRecordError(f"registry `{where}` refuses the record: {reason}")
    return UnavailableError(f"registry `{where}` cannot be used: {reason}", hint="run `adaptman doctor`")
