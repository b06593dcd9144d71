"""The age of the database: bring it up to date, take it back, and compare it with the tables of this program.

The only module that loads Alembic. Everything happens in one transaction that no other writer shares.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import StatementError

from registry.engine import for_writing, lock_writers, open_engine, parse_url, translate
from registry.errors import RegistryError, SchemaAgeError, UnavailableError
from registry.registry import read_revision
from registry.revision import HEAD, KNOWN, VERSION_TABLE, triggers
from registry.tables import Record


def scripts() -> Path:
    """Where the migrations are: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def head() -> str:
    """The newest revision among the scripts."""
    return str(ScriptDirectory(str(scripts())).get_current_head())


def current(url: str) -> str | None:
    """The revision in the database; None when it is not there or was never migrated.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    if _missing_file(url):
        return None
    with _engine(url) as engine:
        return read_revision(engine)


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database up to date, making it where it is a SQLite file that is not there yet.

    Raises:
        SchemaAgeError: it was written by a newer program.
        UnavailableError: it cannot be reached or written.
    """
    with _engine(url, create=True) as engine:
        _refuse_newer(engine)
        _run(engine, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`; `base` takes away the tables with all that they hold.

    Raises:
        SchemaAgeError: it was written by a newer program.
        RegistryError: there is no such revision.
    """
    with _engine(url) as engine:
        _refuse_newer(engine)
        _run(engine, lambda config: command.downgrade(config, revision))


def check(url: str) -> list[str]:
    """What differs between the database and the tables of this program, a line each; empty when nothing does.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    with _engine(url) as engine:
        found = read_revision(engine)
        try:
            with engine.connect() as connection:
                revision = [] if found == HEAD else [f"revision is `{found}`, expected `{HEAD}`"]
                return [*revision, *_differences(connection), *_missing_triggers(connection)]
        except StatementError as error:
            raise translate(error, engine) from error


def revise(url: str, message: str, revision: str) -> Path:
    """Write a new migration script from the difference between an up-to-date database and the tables.

    Raises:
        RegistryError: the database is not up to date.
    """
    before = set((scripts() / "versions").glob("*.py"))
    with _engine(url) as engine:
        _run(engine, lambda config: command.revision(config, message, autogenerate=True, rev_id=revision))
    (written,) = set((scripts() / "versions").glob("*.py")) - before
    return written


@contextmanager
def _engine(url: str, *, create: bool = False) -> Iterator[Engine]:
    engine = open_engine(url, create=create, foreign_keys=False)
    try:
        yield engine
    finally:
        engine.dispose()


def _missing_file(url: str) -> bool:
    parsed = parse_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists()


def _refuse_newer(engine: Engine) -> None:
    found = read_revision(engine)
    if found is not None and found not in KNOWN:
        raise SchemaAgeError(found, HEAD, newer=True)


def _run(engine: Engine, step: Callable[[Config], Any]) -> None:
    try:
        with for_writing(engine).begin() as connection:
            lock_writers(connection)
            step(_config(connection))
            _check_keys(connection)
    except StatementError as error:
        raise translate(error, engine) from error
    except CommandError as error:
        known = ", ".join(f"`{one}`" for one in ("base", *KNOWN))
        raise RegistryError(f"migration failed: {error}", hint=f"known revisions: {known}") from error


def _config(connection: Connection) -> Config:
    config = Config(cmd_opts=Namespace(quiet=True))  # standard output belongs to the command line
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _check_keys(connection: Connection) -> None:
    # SQLite rebuilds tables with its foreign keys off: look whether a row was left without its target.
    if connection.dialect.name == "sqlite":
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        if broken:
            raise UnavailableError(f"the migration would leave `{len(broken)}` rows that refer to nothing")


def _differences(connection: Connection) -> list[str]:
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "include_name": _is_ours}
    )
    return [line for one in compare_metadata(context, Record.metadata) for line in _told(one)]


def _is_ours(name: str | None, kind: str, parents: Any) -> bool:
    # Other programs may keep tables in the same database.
    return kind != "table" or name in Record.metadata.tables


def _told(difference: Any) -> Iterator[str]:
    if isinstance(difference, list):
        for one in difference:
            yield from _told(one)
        return
    kind, *what = difference
    table = getattr(getattr(what[-1], "table", None), "name", None)
    named = [one if isinstance(one, str) else getattr(one, "name", None) for one in what]
    path = dict.fromkeys(str(one) for one in (table, *named) if one)  # each once, in order
    yield f"{kind.replace('_', ' ')}: {'.'.join(path)}"


def _missing_triggers(connection: Connection) -> list[str]:
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')"
    found = set(connection.execute(text(query)).scalars())
    wanted = triggers(connection.dialect.name)
    return [f"missing trigger: {one}" for one in sorted(wanted - found)]
