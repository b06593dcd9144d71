"""The record of one database: open it, read a snapshot, write in one transaction."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlmodel import Session

from registry.changes import WritingSession
from registry.engine import (
    for_reading,
    for_writing,
    is_conflict,
    is_missing_table,
    lock_writers,
    open_engine,
    shown,
    translate,
)
from registry.errors import InvalidRecordError, SchemaAgeError
from registry.reader import Reader
from registry.revision import HEAD, KNOWN, VERSION_TABLE
from registry.writer import Writer

T = TypeVar("T")

ATTEMPTS = 6
FIRST_WAIT_S = 0.02


class Registry:
    """Use `Registry.open`. Safe to share between threads; each process opens its own."""

    def __init__(
        self,
        engine: Engine,
        *,
        actor: str,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._actor = actor
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    @classmethod
    def open(cls, url: str, *, actor: str, clock: Callable[[], datetime]) -> Registry:
        """Open a migrated database. One SELECT asks for its schema revision.

        Raises:
            SchemaAgeError: it has another revision than this program, or none.
            UnavailableError: it is not there, or cannot be reached.
            RegistryError: the URL cannot be read.
        """
        engine = open_engine(url)
        try:
            check_age(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, actor=actor, clock=clock)

    @property
    def url(self) -> str:
        """The database's URL without its password."""
        return shown(self._engine.url)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """One snapshot. Rows stay usable afterwards.

        Raises:
            UnavailableError: the database cannot be read.
        """
        with Session(for_reading(self._engine), expire_on_commit=False) as session:
            try:
                yield Reader(session)
            except StatementError as error:
                raise translate(error, self._engine) from error
            except OverflowError as error:
                raise _too_large(error) from error

    def write(self, work: Callable[[Writer], T]) -> T:
        """Run `work` in one transaction: all of it is recorded, or nothing. Rows stay usable afterwards.

        `work` runs again from its start when another writer came between: it must do nothing but write here.

        Raises:
            InvalidRecordError: `work` wrote rows that no event tells of.
            ConflictError: other writers kept coming between.
            UnavailableError: the database cannot be written.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._write_once(work)
            except StatementError as error:
                if not is_conflict(error) or attempt == ATTEMPTS - 1:
                    raise translate(error, self._engine) from error
            except OverflowError as error:
                raise _too_large(error) from error
            self._sleep(FIRST_WAIT_S * 2**attempt * (0.5 + self._jitter()))
        raise AssertionError("the last attempt returns or raises")

    def _write_once(self, work: Callable[[Writer], T]) -> T:
        with WritingSession(for_writing(self._engine)) as session, session.begin():
            lock_writers(session.connection())
            done = work(Writer(session, actor=self._actor, clock=self._clock))
            session.check_all_told()
            return done

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _too_large(error: OverflowError) -> InvalidRecordError:
    """What SQLite's driver says of a number beyond 64 bits, which SQLAlchemy hands on as it is."""
    return InvalidRecordError(
        f"a number is too large for the registry: {error}", hint="numbers of versions and the like are small"
    )


def check_age(engine: Engine) -> None:
    """Compare the revision in the database with the one that this program expects.

    Raises:
        SchemaAgeError: they differ, or there is none.
        UnavailableError: the database cannot be reached.
    """
    found = read_revision(engine)
    if found != HEAD:
        raise SchemaAgeError(found, HEAD, newer=found is not None and found not in KNOWN)


def read_revision(engine: Engine) -> str | None:
    """The schema revision in the database; None when it was never migrated.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    try:
        with engine.connect() as connection:
            found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
            return found
    except DBAPIError as error:
        if is_missing_table(error):
            return None
        raise translate(error, engine) from error
