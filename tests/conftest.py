"""What every test gets: no network, no settings of the person who runs it, one Hypothesis profile."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

for name in [name for name in os.environ if name.startswith(("ADAPTMAN_", "MLFLOW_"))]:
    del os.environ[name]
os.environ["DO_NOT_TRACK"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["NO_COLOR"] = "1"

# A shell that runs the tests in the background has them and their children ignore Ctrl-C, unlike a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Deadlines measure the machine, not the code. `HYPOTHESIS_PROFILE=thorough` looks further.
settings.register_profile("default", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost", "0.0.0.0"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come last, so that a quick one that fails is heard of at once."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """A test that reaches for another machine fails, saying for which."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOCAL_HOSTS:
            raise AssertionError(f"a test reaches for the network: `{address}`")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
