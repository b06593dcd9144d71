"""`adaptman version render` at a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from adaptman.lifecycle.rendering import show_rendering
from tests.architecture.source import ROOT
from tests.cli.conftest import Terminal
from tests.cli.tiny import line_at, update_words
from tests.lifecycle.test_rendering import one_more_blank
from tests.lifecycle.tiny_line import TinyLine, tiny_lines


@pytest.fixture
def updated(terminal: Terminal) -> Iterator[TinyLine]:
    """A tiny model after its first update."""
    line = line_at(terminal, tiny_lines().updated)
    yield line
    line.workspace.close()


def test_stdout_is_what_the_model_reads_and_nothing_else(terminal: Terminal, updated: TinyLine) -> None:
    result = terminal.run("version", "render", "2")
    shown = show_rendering(updated.workspace, 2).rendering
    assert result.stdout_bytes == shown.text.encode()
    assert result.stderr == (
        f"\n{len(shown.ids)} tokens, the last {len(shown.answer_ids)} of them learned; "
        f"render digest {shown.digest[:12]}, version 2 reads what it was trained to read\n"
    )


def test_the_base_and_an_example(terminal: Terminal, updated: TinyLine) -> None:
    assert "none is on record" in terminal.run("version", "render", "1").stderr
    text = terminal.ok("version", "render", "2", "--example", "examples.jsonl:2")
    assert text.endswith(
        '{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "kelvin"}}\n</tool_call><|im_end|>'
    )
    told = terminal.json("version", "render", "2", "--example", "examples.jsonl:2")
    assert (told["example"], told["text"]) == ("oslo", text)
    assert text.endswith(told["learned"])


def test_the_same_as_json(terminal: Terminal, updated: TinyLine) -> None:
    told = terminal.json("version", "render", "2")
    shown = terminal.json("version", "show", "2")
    assert list(told) == [
        "version", "example", "text", "learned", "tokens", "learned_tokens", "render_digest",
        "contract_digest", "recorded_digest", "same", "difference", "libraries",
    ]  # fmt: skip
    assert told["render_digest"] == told["recorded_digest"] == shown["rendering_digest"]
    assert (told["contract_digest"], told["same"]) == (shown["tool_schema"]["digest"], True)
    assert f"rendering    {told['render_digest']}\n" in terminal.ok("version", "show", "2")


def test_where_other_bytes_are_rendered(
    terminal: Terminal, updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_more_blank(monkeypatch)
    told = terminal.json("version", "render", "2")
    assert (told["same"], told["difference"]["part"]) == (False, "text")
    then = terminal.ok("version", "render", "2", "--recorded")
    assert (
        terminal.ok("version", "render", "2")
        == told["text"]
        == then.replace("<|im_end|>\n", "<|im_end|>\n\n")
    )
    result = terminal.run("evaluate", "2")
    assert result.exit_code == 1
    assert "error: version 2 was trained to read other bytes than are rendered today" in result.stderr
    assert "--accept-rendering" in result.stderr
    assert "was trained to read other bytes" in terminal.ok("evaluate", "2", "--accept-rendering")
    updated.second_tools()
    assert terminal.run(*update_words("plan")).exit_code == 1
    assert "rendering  accepted: version 2 was" in terminal.ok(*update_words("plan", "--accept-rendering"))


@pytest.mark.parametrize(
    "place", ["examples.jsonl", ":1", "examples.jsonl:", "examples.jsonl:0", "a:²", "a:-1"]
)
def test_a_place_that_is_none(place: str, terminal: Terminal, updated: TinyLine) -> None:
    result = terminal.run("version", "render", "2", "--example", place)
    assert (result.exit_code, f"`{place}` is not of the form FILE:LINE" in result.stderr) == (2, True)


def test_an_example_and_the_record_at_once(terminal: Terminal, updated: TinyLine) -> None:
    words = ("version", "render", "2", "--recorded", "--example", "examples.jsonl:1")
    assert terminal.run(*words).exit_code == 2


@pytest.mark.slow
def test_on_a_terminal_control_characters_are_shown(terminal: Terminal, updated: TinyLine) -> None:
    path = updated.folder / "examples.jsonl"
    example = json.loads(path.read_text().splitlines()[0])
    example["messages"][0]["content"] = "\x1b[31mred"
    path.write_text(json.dumps(example))
    main, terminal_end = pty.openpty()
    words = ["--home", str(terminal.home), "version", "render", "2", "--example", f"{path}:1"]
    done = subprocess.run(
        [sys.executable, "-m", "adaptman", *words],
        stdout=terminal_end,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "", "TERM": "xterm"},
    )
    os.close(terminal_end)
    shown = os.read(main, 1 << 16).decode()
    assert done.returncode == 0
    assert "\\x1b[31mred<|im_end|>" in shown
    assert "\x1b[32m<tool_call>" in shown
