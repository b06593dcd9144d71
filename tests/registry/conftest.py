"""Every test that asks for `url`, `registry` or `line` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.registry import Registry
from tests.registry.databases import KINDS, MIGRATED, Postgres, Sqlite, postgres_server
from tests.registry.line import Clock, Line


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Sqlite:
    return Sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without rows. A test that changes its tables asks for `own_url`."""
    if kind == "sqlite":
        files: Sqlite = request.getfixturevalue("sqlite")
        return files.new_database(tmp_path, migrated=True)
    server: Postgres = request.getfixturevalue("postgres")
    return server.emptied()


@pytest.fixture
def own_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database that nobody else uses."""
    if kind == "sqlite":
        files: Sqlite = request.getfixturevalue("sqlite")
        yield files.new_database(tmp_path, migrated=True)
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database(MIGRATED) as made:
        yield made


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that was never migrated: an empty one, or for SQLite no file yet."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'registry.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database("template0") as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_registry(url: str, clock: Clock) -> Iterator[Callable[[], Registry]]:
    """Open the test's database as often as wanted."""
    opened: list[Registry] = []

    def open_one() -> Registry:
        opened.append(Registry.open(url, actor="ada", clock=clock))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def registry(open_registry: Callable[[], Registry]) -> Registry:
    return open_registry()


@pytest.fixture
def line(registry: Registry, clock: Clock) -> Line:
    return Line(registry, clock)
