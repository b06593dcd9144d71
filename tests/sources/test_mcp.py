"""Live servers: a good one is kept to the letter; no bad one is believed, waited for or leaked to."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adaptman.errors import SourceError
from adaptman.sources.mcp import Server, list_tools
from adaptman.toolspec.readers import read_document
from tests.sources.server import tool

SCRIPT = Path(__file__).with_name("server.py")
SECRET = "hunter2-hunter2"


def command(how: str) -> str:
    return shlex.join([sys.executable, str(SCRIPT), how])


def ask(how: str, **options: Any) -> list[Any]:
    found = json.loads(list_tools(Server(command(how), **options)))["tools"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("how", ["well", "noise"])
def test_all_pages_come_as_they_were_sent(how: str) -> None:
    found = ask(how)
    assert json.dumps(found) == json.dumps([tool(0), tool(1), tool(2)])
    document = read_document(list_tools(Server(command(how))), "server")
    assert document.names == ("tool0", "tool1", "tool2")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("dies", "it ended before it had answered; it says:\nno database"),
        ("floods", "more output than is read"),
        ("large", "its tools take more than 8 MiB"),
        ("circle", "its pages go round in a circle, at the cursor `1`"),
        ("refuses", "it answers with an error: the tools are asleep"),
    ],
)
def test_a_bad_server_is_one_clear_error(how: str, told: str) -> None:
    with pytest.raises(SourceError) as found:
        ask(how)
    assert told in found.value.message
    assert found.value.hint


def test_pages_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptman.sources.mcp.MAX_PAGES", 20)
    with pytest.raises(SourceError, match="does not end within 20 pages"):
        ask("forever")


@pytest.mark.parametrize("how", ["silent", "mute"])
def test_a_server_that_never_answers_is_not_waited_for(how: str) -> None:
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"has not answered within 1 s") as found:
        ask(how, seconds=1.0)
    assert time.monotonic() - began < 15
    assert "--timeout" in found.value.hint


def test_no_process_is_left_behind() -> None:
    mark = f"silent-{os.getpid()}"
    with pytest.raises(SourceError):
        list_tools(Server(f"{command('silent')} {mark}", seconds=0.5))
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert mark not in listed


def test_two_tools_of_one_name_are_refused_as_in_a_file() -> None:
    from adaptman.errors import ToolDocumentError

    with pytest.raises(ToolDocumentError, match="two tools are called `tool1`"):
        read_document(list_tools(Server(command("twice"))), "server")


def test_a_variable_reaches_the_server_and_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", SECRET)
    assert ask("key")[0]["description"] == "not set"
    assert ask("key", environment=["TEST_KEY"])[0]["description"] == "set"
    with pytest.raises(SourceError) as found:
        ask("dies", environment=["TEST_KEY"])
    assert "the key is …" in found.value.message
    assert SECRET not in found.value.message


@pytest.mark.parametrize(
    ("target", "environment", "told"),
    [
        ("server", ["TEST_KEY=x"], "`TEST_KEY` is given with a value"),
        ("server", ["NOT_SET_ANYWHERE"], "`NOT_SET_ANYWHERE` is not set"),
        ("", [], "there is no command"),
        ("'open", [], "cannot be read as a command"),
        ("/no/such/program here", [], "No such file or directory"),
    ],
)
def test_what_cannot_be_started(target: str, environment: list[str], told: str) -> None:
    with pytest.raises(SourceError) as found:
        list_tools(Server(target, environment))
    assert told in found.value.message
    assert "=x" not in found.value.message


# HTTP


class Handler(BaseHTTPRequestHandler):
    """Answers every POST with what `how` says."""

    how = "404"
    seen: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        if self.how == "elsewhere":
            self.send_response(307)
            self.send_header("Location", "http://other.invalid/mcp")
            self.end_headers()
            return
        if self.how == "flood":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            chunk = b"x" * (1 << 20)
            try:
                for _ in range(100):
                    self.wfile.write(chunk)
            except OSError:
                return
            return
        body = b"not json" if self.how == "garbage" else b"{}"
        self.send_response(200 if self.how == "garbage" else int(self.how))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Quiet."""


@pytest.fixture
def web() -> Iterator[str]:
    Handler.seen = []
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/mcp"
        server.shutdown()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("401", "status 401"),
        ("404", "status 404"),
        ("500", "status 500"),
        ("elsewhere", "status 307 and points to `http://other.invalid/mcp`"),
        ("flood", "sends more than 16 MiB"),
        ("garbage", "127.0.0.1"),
    ],
)
def test_a_bad_answer_over_http(web: str, how: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "how", how)
    monkeypatch.setenv("TEST_KEY", SECRET)
    with pytest.raises(SourceError) as found:
        list_tools(Server(web, headers={"Authorization": "TEST_KEY"}, seconds=5))
    assert told in found.value.message
    assert SECRET not in found.value.message
    assert set(Handler.seen) == {SECRET}


def test_an_address_shows_neither_password_nor_query() -> None:
    name = Server("https://ada:hunter2@example.org:8443/mcp?token=hunter2").name
    assert name == "https://example.org:8443/mcp"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_there(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SourceError, match="cannot be reached"):
            list_tools(Server(f"{scheme}://127.0.0.1:{port}/mcp", seconds=5))


def test_https_to_a_server_that_speaks_http(web: str) -> None:
    with pytest.raises(SourceError, match="cannot be reached"):
        list_tools(Server(web.replace("http:", "https:"), seconds=5))


SDK_SERVER = '''
import sys
from mcp.server import MCPServer

server = MCPServer("sdk")


@server.tool()
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run("streamable-http", port=int(sys.argv[1]))
'''


@pytest.fixture(scope="module")
def sdk_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sdk") / "server.py"
    path.write_text(SDK_SERVER)
    return path


def check(found: bytes) -> None:
    (one,) = read_document(found, "server").tools
    assert (one.name, one.description) == ("add", "Adds two numbers.")
    assert one.parameters["required"] == ["a"]


def test_the_sdks_own_server_over_stdio(sdk_script: Path) -> None:
    check(list_tools(Server(shlex.join([sys.executable, str(sdk_script), "stdio"]))))


def test_the_sdks_own_server_over_http(sdk_script: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = subprocess.Popen(
        [sys.executable, str(sdk_script), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 20
        while True:
            try:
                check(list_tools(Server(f"http://127.0.0.1:{port}/mcp", seconds=10)))
                return
            except SourceError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
    finally:
        running.terminate()
        running.wait(10)
