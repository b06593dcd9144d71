"""Real MLflow stores: one SQLite database a test, and one tracking server a session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptman.artifacts.store import ObjectStore
from adaptman.lineage.client import connect
from adaptman.lineage.mirror import Mirror
from tests.lineage.payloads import Row, trained

CURVES = {"series": {"train/new_loss": [[0, 2.0], [1, 1.0]]}}
LONG_CURVES = {
    "series": {
        "train/new_loss": [[step, 2.0 / (step + 1)] for step in range(1_500)],
        "train/replay_kl": [[0, 0.0], [1, 0.01], [2, None]],
        "train/grad norm (max)": [[0, float("nan")]],
    }
}


class Objects:
    """An object store that holds what the payloads name."""

    def __init__(self, root: Path) -> None:
        self.store = ObjectStore(root / "objects")
        adapter = root / "adapter"
        adapter.mkdir(parents=True)
        (adapter / "adapter_model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
        (adapter / "adapter_config.json").write_text('{"r": 8}')
        self.adapter = self.store.put_tree(adapter)
        self.curves = self.store.put_bytes(json.dumps(CURVES).encode())
        self.long_curves = self.store.put_bytes(json.dumps(LONG_CURVES).encode())

    def trained(self, number: int, **changes: Any) -> Row:
        """`version.trained` of a version whose objects are there."""
        return trained(number, **{"adapter": self.adapter, "curves": self.curves} | changes)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return Objects(tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking_uri(tmp_path: Path, empty_database: Path) -> str:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def mirror(tmp_path: Path, tracking_uri: str, objects: Objects) -> Mirror:
    return Mirror(tracking_uri, objects.store, str(tmp_path / "mlartifacts"))


class Server:
    """`mlflow server` in a process group of its own, on one port for all its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        until(self._is_up, 60, f"the server did not start, see `{self.folder / 'server.log'}`")

    def _options(self) -> list[str]:
        options = {
            "host": "127.0.0.1",
            "port": self.port,
            "workers": 1,
            "backend-store-uri": f"sqlite:///{self.folder / 'server.db'}",
            "artifacts-destination": self.folder / "artifacts",
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def stop(self) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=20)
        self._process = None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Poll what another process does; there is nothing to be told by."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "server.db")
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
