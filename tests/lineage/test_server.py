"""A real `mlflow server`: the same as on a database, and stopped in the middle."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adaptman.lifecycle.outbox import deliver_pending
from adaptman.lineage.errors import StoreDownError
from adaptman.lineage.mirror import Mirror
from tests.lineage import payloads
from tests.lineage.census import census
from tests.lineage.conftest import Objects, Server
from tests.lineage.line import workspace_with
from tests.lineage.payloads import Row

pytestmark = pytest.mark.slow

SECONDS_TO_GIVE_UP = 20


def story(objects: Objects) -> list[Row]:
    update = objects.trained(2, curves=objects.long_curves)
    return [payloads.base(), update, payloads.suite_run(2), payloads.decision(2), payloads.moved(2, 1)]


def tell(mirror: Mirror, rows: list[Row], line: str) -> dict[str, Any]:
    for row in rows:
        mirror.deliver(*row.of(line))
    return census(mirror.client, line)


def test_a_server_is_told_the_same_as_a_database(server: Server, mirror: Mirror, objects: Objects) -> None:
    served = tell(Mirror(server.uri, objects.store), story(objects), "line-same")
    assert served == tell(mirror, story(objects), "line-same")
    assert len(served["runs"]) == 5


def test_a_server_that_is_told_twice(server: Server, objects: Objects) -> None:
    mirror = Mirror(server.uri, objects.store)
    once = tell(mirror, story(objects), "line-twice")
    assert tell(mirror, story(objects), "line-twice") == once


def test_the_adapter_comes_back_whole(server: Server, objects: Objects, tmp_path: Path) -> None:
    mirror = Mirror(server.uri, objects.store)
    tell(mirror, story(objects), "line-whole")
    version = mirror.client.get_model_version_by_alias("adaptman.line-whole", "champion")
    uri = mirror.client.get_model_version_download_uri(version.name, version.version)
    assert uri.startswith("mlflow-artifacts:/")
    (folder,) = (server.folder / "artifacts").glob(f"*/{(version.source or '').replace(':', '')}/artifacts")
    for file in objects.store.checkout(objects.adapter).iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()


def test_a_server_that_goes_away_and_comes_back(
    server: Server, objects: Objects, tmp_path: Path, empty_database: Path
) -> None:
    mirror = Mirror(server.uri, objects.store)
    rows = story(objects)
    tell(mirror, rows[:2], "line-gone")
    with workspace_with(tmp_path / "home", empty_database, tracking_uri=server.uri) as workspace:
        server.stop()
        began = time.monotonic()
        try:
            with pytest.raises(StoreDownError, match="does not answer"):
                mirror.deliver(*rows[2].of("line-gone"))
            down = deliver_pending(workspace)
            assert time.monotonic() - began < SECONDS_TO_GIVE_UP
        finally:
            server.start()
        up = deliver_pending(workspace)
    assert (down.delivered, down.pending, up.delivered, up.pending) == (0, 6, 6, 0)
    assert down.error is not None
    assert "does not answer" in down.error
    assert len(census(mirror.client, "shop")["runs"]) == 4
    assert tell(mirror, rows[2:], "line-gone") == tell(Mirror(server.uri, objects.store), rows, "line-gone")


@contextmanager
def _silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_answers_is_given_up_within_seconds(objects: Objects) -> None:
    began = time.monotonic()
    with _silent_server() as uri, pytest.raises(StoreDownError, match="does not answer") as caught:
        Mirror(uri, objects.store).deliver(*payloads.base())
    assert time.monotonic() - began < SECONDS_TO_GIVE_UP
    assert "nothing is lost" in caught.value.hint
