"""SQLite after a loss of power: what was committed is there, in the order in which it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from registry.engine import for_reading, for_writing, open_engine
from registry.registry import Registry
from tests.registry.databases import Sqlite
from tests.registry.line import Clock, Line


def test_every_connection_waits_for_the_disk(own_url: str) -> None:
    """`synchronous=FULL`: a commit returns when its log is on the disk; PostgreSQL does so unasked."""
    engine = open_engine(own_url)
    asked = ["PRAGMA synchronous", "PRAGMA journal_mode", "PRAGMA foreign_keys"]
    if engine.dialect.name == "postgresql":
        asked = ["SHOW synchronous_commit"]
    with for_reading(engine).connect() as one, for_writing(engine).connect() as two:
        told = [[connection.execute(text(sql)).scalar() for sql in asked] for connection in (one, two)]
    engine.dispose()
    assert told == [["on"]] * 2 if engine.dialect.name == "postgresql" else [[2, "wal", 1]] * 2


def test_a_write_ahead_log_that_was_cut_keeps_what_was_committed_before(
    sqlite: Sqlite, tmp_path: Path
) -> None:
    """Wherever the log is cut, whole commits are left, and none is missing that was synced before the cut."""
    url = sqlite.new_database(tmp_path, migrated=True)
    database, log = tmp_path / "registry.db", tmp_path / "registry.db-wal"
    registry = Registry.open(url, actor="ada", clock=Clock())
    acknowledged = [(0, 0)]  # bytes of the log, events

    def note() -> None:
        with registry.read() as reader:
            acknowledged.append((log.stat().st_size, len(reader.events())))

    line = Line(registry, Clock())
    note()
    for step in (line.judged, lambda: line.promote(2), line.rollback, line.judged):  # a commit each
        step()
        note()
    whole = log.read_bytes()
    before = database.read_bytes()
    seen = set()
    # SQLite repeats the end of a commit up to the end of a sector: a little less may still be all of it.
    places = {size + by for size, _ in acknowledged for by in (-9000, -1, 0, 7)} | {1, 31, 32}
    for cut in sorted(place for place in places if 0 <= place <= len(whole)):
        seen.add(_events_after_loss(tmp_path / f"cut-{cut}", before, whole[:cut], acknowledged, cut))
    registry.close()
    assert seen == {events for _, events in acknowledged}


def _events_after_loss(
    folder: Path, database: bytes, log: bytes, acknowledged: list[tuple[int, int]], cut: int
) -> int:
    folder.mkdir()
    (folder / "registry.db").write_bytes(database)
    (folder / "registry.db-wal").write_bytes(log)
    registry = Registry.open(f"sqlite:///{folder / 'registry.db'}", actor="ada", clock=Clock())
    with registry.read() as reader:
        events = len(reader.events())
        assert reader.verify_chain().ok
        assert reader.verify_chain().count == events
        for model in reader.models():
            assert len([one for one in reader.versions(model.id) if one.state == "champion"]) == 1
    registry.close()
    assert events in {count for _, count in acknowledged}
    assert events >= max(count for size, count in acknowledged if size <= cut)
    shutil.rmtree(folder)
    return events


@pytest.mark.parametrize("cut", [0, 100, 4096, 5000])
def test_a_database_file_that_was_cut_is_told(sqlite: Sqlite, tmp_path: Path, cut: int) -> None:
    """No loss of power does this; a copy that was broken off does."""
    from registry.errors import RegistryError

    url = sqlite.new_database(tmp_path, migrated=True)
    path = tmp_path / "registry.db"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RegistryError):
        Registry.open(url, actor="ada", clock=Clock()).write(lambda writer: writer.models())
