"""`adaptman fold` at a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from adaptman.lifecycle import fold
from adaptman.lifecycle.promote import promote
from tests.cli.conftest import Terminal
from tests.cli.tiny import line_at
from tests.lifecycle.story import document
from tests.lifecycle.tiny_line import (
    CANDIDATE,
    RECIPE_WORDS,
    SECOND_EXAMPLES,
    SECOND_TOOLS,
    TinyLine,
    lines,
    tiny_lines,
)


@pytest.fixture
def promoted(terminal: Terminal) -> TinyLine:
    """Version 2 is champion."""
    line = line_at(terminal, tiny_lines().updated)
    promote(line.workspace, CANDIDATE, waiver="to go on")
    line.workspace.close()
    return line


def test_the_champion(terminal: Terminal, promoted: TinyLine) -> None:
    told = terminal.ok("fold")
    assert re.fullmatch(
        r"version 3 is version 2 folded, trained\ncheckpoint  \w{12}\n"
        r"proof       logits differ by at most \de-\d\d over 288 tokens\n\n"
        r"judge it with `adaptman evaluate 3`\n",
        re.sub(r"\d\.(\de)", r"\1", told),
    )
    again = terminal.run("fold", "2")
    assert again.stderr.endswith("version 2 was folded before; nothing was recorded\n")
    shown = terminal.json("fold", "2")
    assert (shown["version"], shown["source"], shown["created"], shown["probes"]) == (3, 2, False, 3)
    assert "folded       from version 2; logits differ by at most " in terminal.ok("version", "show", "3")
    assert "folded       from version 2" in terminal.ok("version", "lineage", "3")
    assert re.search(r"3  trained +2 +1 +\S+ \S+ +version 2 folded\n", terminal.ok("version", "list"))
    assert re.search(r"○ +3 +trained", terminal.ok("history"))
    assert "version.folded" in terminal.ok("log")
    assert terminal.ok("log", "--verify")


def test_nothing_to_fold(terminal: Terminal, promoted: TinyLine) -> None:
    result = terminal.run("fold", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: version 1 has no adapter: there is nothing to fold\n\nhint: " in result.stderr


def test_refused(terminal: Terminal, promoted: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "TOLERANCE", -1.0)
    result = terminal.run("fold")
    assert result.exit_code == 1
    assert "error: version 2, folded, differs by" in result.stderr
    assert "hint: nothing was recorded" in result.stderr
    assert len(terminal.json("version", "list")) == 2


def test_an_adapter_says_which_checkpoint_it_stands_on(terminal: Terminal, promoted: TinyLine) -> None:
    terminal.ok("fold", "--note", "room for more")
    terminal.ok("evaluate", "3")
    terminal.ok("promote", "3", "--waive", "the tiny model is no good")
    Path("tools-2.json").write_bytes(document(SECOND_TOOLS))
    terminal.ok("schema", "register", "tools-2.json")
    Path("examples-2.jsonl").write_text(lines(SECOND_EXAMPLES))
    terminal.ok("update", "run", "--schema", "2", "--examples", "examples-2.jsonl", *RECIPE_WORDS)
    told = terminal.ok("version", "export", "4", "--to", "out")
    assert told.endswith("\nthe adapter's base is version 3, which `--merged` exports whole\n")
    assert json.loads(Path("out/adapter_config.json").read_text())["r"] == 2
    assert terminal.json("version", "show", "3")["note"] == "room for more"
