"""`adaptman schema check`, and documents from where tools really live."""

from __future__ import annotations

import copy
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Terminal
from tests.lifecycle.story import FIRST_TOOLS, Story, document

SERVER = Path(__file__).parents[1] / "sources" / "server.py"


def changed(**functions: Any) -> bytes:
    """The first document, its first tool's function changed."""
    tools = copy.deepcopy(FIRST_TOOLS)
    tools[0]["function"] |= functions
    return document(tools)


def check(terminal: Terminal, data: bytes, *words: str) -> Any:
    (terminal.folder / "now.json").write_bytes(data)
    return terminal.run("schema", "check", "now.json", *words)


def required(terminal: Terminal) -> bytes:
    schema = copy.deepcopy(FIRST_TOOLS[0]["function"]["parameters"])
    schema["required"] = list(schema["properties"])
    return changed(parameters=schema)


def test_the_same_and_other_bytes_are_clean(terminal: Terminal, told: Story) -> None:
    taught = terminal.json("version", "list")
    assert any(one["state"] == "champion" for one in taught)
    clean = check(terminal, document(FIRST_TOOLS), "--json")
    assert clean.exit_code == 0
    found = json.loads(clean.stdout)
    assert (found["drift"], found["worst"], found["schema"]) == (False, None, 1)
    turned = [dict(reversed(list(tool["function"].items()))) for tool in FIRST_TOOLS]
    tools = [{"function": one, "type": "function"} for one in turned]
    assert check(terminal, document(tools)).exit_code == 0


@pytest.mark.parametrize(
    ("fail_on", "words", "code"),
    [
        ("breaking", {"description": "In other words"}, 0),
        ("meaning", {"description": "In other words"}, 4),
        ("habit", {"description": "In other words"}, 4),
    ],
)
def test_the_threshold_decides(
    terminal: Terminal, told: Story, fail_on: str, words: dict[str, Any], code: int
) -> None:
    done = check(terminal, changed(**words), "--fail-on", fail_on)
    assert done.exit_code == code
    assert "meaning:" in done.stdout  # told, whatever it leads to


def test_a_break_is_drift_at_every_threshold(terminal: Terminal, told: Story) -> None:
    for fail_on in ("breaking", "meaning", "habit"):
        done = check(terminal, required(terminal), "--fail-on", fail_on, "--json")
        assert done.exit_code == 4
        found = json.loads(done.stdout)
        assert (found["drift"], found["worst"], found["fail_on"]) == (True, "breaking", fail_on)


def test_an_added_tool_is_a_habit(terminal: Terminal, told: Story) -> None:
    extra = {"type": "function", "function": {"name": "extra", "parameters": {"type": "object"}}}
    data = document([*FIRST_TOOLS, extra])
    assert check(terminal, data).exit_code == 0
    assert check(terminal, data, "--fail-on", "habit").exit_code == 4


@pytest.mark.parametrize("data", [b"nonsense", b"[]"])
def test_what_cannot_be_read_is_never_clean(terminal: Terminal, told: Story, data: bytes) -> None:
    assert check(terminal, data).exit_code == 1


def test_a_base_that_was_taught_nothing_cannot_be_checked(terminal: Terminal, begun: Story) -> None:
    done = check(terminal, document(FIRST_TOOLS))
    assert done.exit_code == 1
    assert "was taught no tools" in done.stderr
    assert "hint: " in done.stderr


def test_nothing_is_recorded(terminal: Terminal, told: Story) -> None:
    before = terminal.json("log")
    check(terminal, required(terminal))
    assert terminal.json("log") == before


def test_annotations_for_github(terminal: Terminal, told: Story) -> None:
    done = check(terminal, required(terminal), "--github")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert line.startswith("::error title=adaptman%3A get_weather::breaking: ")
    machine = check(terminal, required(terminal), "--github", "--json")
    assert json.loads(machine.stdout)["drift"]
    assert "::error " in machine.stderr


def test_one_source_and_no_other(terminal: Terminal, begun: Story) -> None:
    for words in (
        [],
        ["a.json", "--mcp", "x"],
        ["--mcp", "x", "--python", "m:f"],
        ["a.json", "--mcp-env", "X"],
        ["--mcp", "https://example.org/", "--mcp-env", "X"],
        ["--mcp", "server", "--mcp-header", "A=B"],
        ["--mcp", "https://example.org/", "--mcp-header", "Authorization"],
    ):
        assert terminal.run("schema", "register", *words).exit_code == 2, words


def test_a_live_server_is_registered_and_checked(terminal: Terminal, begun: Story) -> None:
    command = shlex.join([sys.executable, str(SERVER), "well"])
    found = terminal.json("schema", "register", "--mcp", command)
    assert (found["source_format"], found["tools_count"]) == ("mcp", 3)
    down = terminal.run("schema", "check", "--mcp", "/no/such/server")
    assert down.exit_code == 1
    assert "`server`: it ended before it had answered" in down.stderr


def test_a_secret_is_nowhere_kept(terminal: Terminal, begun: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "hunter2-hunter2")
    command = shlex.join([sys.executable, str(SERVER), "key"])
    done = terminal.run("schema", "register", "--mcp", command, "--mcp-env", "TEST_KEY")
    assert done.exit_code == 0
    assert "hunter2" not in done.output
    assert not [
        path for path in terminal.folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()
    ]


def test_functions_are_registered(terminal: Terminal, begun: Story) -> None:
    (terminal.folder / "own_tools.py").write_text('def greet(name: str):\n    """Says hello."""\n')
    done = terminal.run("schema", "register", "--python", "own_tools:greet")
    assert done.exit_code == 0
    assert "running the code of `own_tools`" in done.stderr
    assert "greet" in done.stdout
