"""A real `mlflow server`: the same as on a database, and stopped in the middle."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adaptman.lifecycle.mirror import verify_mirror
from adaptman.lifecycle.outbox import deliver_pending
from adaptman.lineage.client import connect
from adaptman.lineage.errors import StoreDownError
from adaptman.lineage.mirror import Mirror
from tests.lineage import payloads
from tests.lineage.census import census
from tests.lineage.conftest import Objects, Server
from tests.lineage.line import add_challenger, record, workspace_with
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
    mirror.point("line-whole", payloads.standing(2, 1))
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


def test_a_server_that_lost_its_database_is_filled_again(
    server: Server, objects: Objects, tmp_path: Path, empty_database: Path
) -> None:
    with workspace_with(
        tmp_path / "home", empty_database, tracking_uri=server.uri, model="lost"
    ) as workspace:
        record(workspace, "lost")
        deliver_pending(workspace)
        before = census(connect(server.uri), "lost")
        add_challenger(workspace, "lost")
        server.stop()
        shutil.copyfile(empty_database, server.folder / "server.db")
        server.start()
        deliver_pending(workspace)  # goes on where it was, and knows nothing of the loss
        found = verify_mirror(workspace).differences
        assert (2, "registered version", "READY", "none") in [one[1:5] for one in found]
        report = deliver_pending(workspace, full=True)
        assert (report.pending, report.error) == (0, None)
        assert verify_mirror(workspace, deep=True).same
        filled = census(connect(server.uri), "lost")
        with workspace.registry.read() as reader:
            rows = reader.outbox_of(reader.model("lost").id)
    assert [one["key"] for one in filled["models"]] == ["version/1", "version/2", "version/3"]
    assert filled["registered"][0]["aliases"].keys() == {"champion", "previous", "challenger"}
    known = {run["key"] for run in before["runs"]}
    assert [run for run in filled["runs"] if run["key"] in known] == before["runs"]
    client = connect(server.uri)
    for row in rows:
        assert row.result is not None
        if "run_id" in row.result:
            assert client.get_run(row.result["run_id"]).info.status == "FINISHED"


KILLED = """
import os, signal, sys
from pathlib import Path
from adaptman.config import Settings
from adaptman.lifecycle.outbox import deliver_pending, open_mirror
from adaptman.lifecycle.workspace import Workspace
from adaptman.lineage.client import connect

lives, after = int(sys.argv[2]), sys.argv[3] == "after"

class Mortal:
    def __init__(self, client):
        self.client = client
    def __getattr__(self, name):
        made = getattr(self.client, name)
        def call(*arguments, **options):
            global lives
            lives -= 1
            if lives < 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = made(*arguments, **options)
            if lives < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer
        return call

with Workspace.open(Settings(home=Path(sys.argv[1]), tracking_uri=sys.argv[4])) as workspace:
    mirror = open_mirror(workspace)
    mirror._connect = lambda uri: Mortal(connect(uri))
    deliver_pending(workspace, messenger=mirror)
"""


def test_the_process_is_killed_and_another_goes_on(
    server: Server, tmp_path: Path, empty_database: Path
) -> None:
    """A few points; every point is tried in process, in `test_twice`."""
    with workspace_with(tmp_path / "home", empty_database, tracking_uri=server.uri) as workspace:
        record(workspace, "line-killed")
        record(workspace, "line-calm")
        for lives, when in ((9, "after"), (31, "before"), (60, "after")):
            words = [str(tmp_path / "home"), str(lives), when, server.uri]
            done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True)
            assert done.returncode == -signal.SIGKILL, done.stderr
        assert deliver_pending(workspace).pending == 0
        assert verify_mirror(workspace).same
    client = connect(server.uri)
    killed, calm = (census(client, line) for line in ("line-killed", "line-calm"))
    for found in (killed, calm):
        assert sorted(run["name"] for run in found["runs"]) == [
            "base",
            "suite: target",
            "training",
            "update → v2",
        ]
        assert [one["key"] for one in found["models"]] == ["version/1", "version/2"]
        assert len(found["registered"][0]["versions"]) == 2
        assert found["registered"][0]["aliases"] == {"champion": "2", "previous": "1"}


class Refusing(BaseHTTPRequestHandler):
    """Lists experiments, and has no time for anything else."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path.rpartition("/")[2])
        listing = self.path.endswith("experiments/search")
        self.send_response(200 if listing else 503)
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def test_no_call_is_repeated_behind_our_back(objects: Objects) -> None:
    """MLflow's own client would repeat it eight times; after a lost answer that makes a second of each."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as busy:
        threading.Thread(target=busy.serve_forever, daemon=True).start()
        with pytest.raises(StoreDownError):
            Mirror(f"http://127.0.0.1:{busy.server_port}", objects.store).deliver(*payloads.base())
        busy.shutdown()
    assert [path for path in Refusing.asked if "search" not in path] == [
        "get-by-name?experiment_name=adaptman.shop"
    ]


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
