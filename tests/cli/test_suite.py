"""`adaptman suite`, beyond what the golden files show."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from adaptman.cli.suite import KINDS
from adaptman.evaluation.suites import SuiteKind
from tests.cli.conftest import Terminal
from tests.cli.tiny import line_at
from tests.lifecycle.story import CASES, Story, suite_lines
from tests.lifecycle.tiny_line import TinyLine, tiny_lines


def test_the_kinds_are_those_of_the_evaluation() -> None:
    assert tuple(kind.value for kind in SuiteKind) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_register_each_kind(kind: str, terminal: Terminal, begun: Story) -> None:
    (terminal.folder / "mine.jsonl").write_bytes(suite_lines(kind))
    found = terminal.json("suite", "register", "mine.jsonl", "--kind", kind)
    assert (found["name"], found["kind"], found["revision"], found["case_count"]) == ("mine", kind, 1, CASES)
    shown = terminal.json("suite", "show", "mine")
    assert [case["id"] for case in shown["cases"]] == [f"{kind}-{at}" for at in range(CASES)]


def test_a_changed_suite_is_a_revision_and_the_same_again_is_not(terminal: Terminal, begun: Story) -> None:
    def register(salt: str) -> tuple[int, bool]:
        words = ["suite", "register", "-", "--kind", "general", "--name", "general", "--json"]
        found = json.loads(terminal.ok(*words, typed=suite_lines("general", salt=salt)))
        return found["revision"], found["created"]

    assert [register(""), register(""), register("!")] == [(1, True), (1, False), (2, True)]
    assert [row["revision"] for row in terminal.json("suite", "list")] == [2]
    assert [row["revision"] for row in terminal.json("suite", "list", "--all")] == [1, 2]


def test_standard_input_needs_a_name(terminal: Terminal, begun: Story) -> None:
    assert terminal.run("suite", "register", "-", "--kind", "general", typed=b"").exit_code == 2


def test_a_broken_line_is_named(terminal: Terminal, begun: Story) -> None:
    (terminal.folder / "mine.jsonl").write_bytes(suite_lines("general") + b"{\n")
    result = terminal.run("suite", "register", "mine.jsonl", "--kind", "general")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: `mine.jsonl`, line {CASES + 1}")


def test_an_unknown_suite(terminal: Terminal, told: Story) -> None:
    result = terminal.run("suite", "show", "nothing")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: no suite `nothing`\n\nhint: known: `drift`, `general`, `irrelevance`, `new-tools`\n"
    )


@pytest.fixture
def _bfcl() -> None:
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")


@pytest.mark.usefixtures("_bfcl")
def test_import_bfcl(terminal: Terminal, begun: Story) -> None:
    words = ["suite", "import", "bfcl", "--category", "live_simple", "--category", "live_relevance"]
    result = terminal.run(*words, "--limit", "10")
    assert (result.exit_code, result.stdout.splitlines()[1].split()[:5]) == (
        0,
        ["bfcl-live_simple", "tools", "1", "10", "2"],
    )
    assert "left out `live_simple_106-63-0`: `accept[0].arguments." in result.stderr
    rows = terminal.json("suite", "list")
    assert [(row["name"], row["kind"], row["case_count"]) for row in rows] == [
        ("bfcl-live_relevance", "format", 10),
        ("bfcl-live_simple", "tools", 10),
    ]
    assert "Apache-2.0" in rows[1]["note"]
    again = terminal.json(*words, "--limit", "10")
    assert [(one["created"], len(one["left_out"])) for one in again] == [(False, 2), (False, 0)]


def test_import_bfcl_from_a_folder_without_it(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("suite", "import", "bfcl", "--from", ".", "--category", "parallel")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "error: `.` has no file `possible_answer/BFCL_v4_parallel.json`\n\nhint: "
    )
    assert terminal.json("suite", "list") == []


@pytest.mark.usefixtures("_bfcl")
def test_import_of_an_unknown_category(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("suite", "import", "bfcl", "--category", "parallel", "--category", "memory")
    assert (result.exit_code, "`memory` is not a category" in result.stderr) == (1, True)
    assert terminal.json("suite", "list") == []


def test_import_of_a_task_without_the_harness(
    terminal: Terminal, begun: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    result = terminal.run("suite", "import", "lm-eval", "hellaswag")
    assert result.exit_code == 1
    assert result.stderr.endswith("\n\nhint: `pip install 'adaptman[lm-eval]'` installs it\n")


def test_show_tells_tools_choices_and_checks(terminal: Terminal, begun: Story) -> None:
    (terminal.folder / "new.jsonl").write_bytes(suite_lines("tools"))
    terminal.ok("suite", "register", "new.jsonl", "--kind", "tools")
    shown = terminal.ok("suite", "show", "new")
    assert "tool         cases  right\nget_weather      4" in shown
    assert terminal.json("suite", "show", "new")["by_tool"] == [
        {"tool": "get_weather", "n": 4, "value": None, "low": None, "high": None}
    ]
    ask = [{"role": "user", "content": "?"}]
    lines = [
        {"suite": {"check": {"regex": "^a"}}},
        {"id": "x", "messages": ask},
        {"id": "y", "messages": ask, "check": {"equals": [1]}},
    ]
    (terminal.folder / "team.jsonl").write_text("\n".join(map(json.dumps, lines)))
    terminal.ok("suite", "register", "team.jsonl", "--kind", "custom")
    assert 'regex "^a"' in terminal.ok("suite", "show", "team")
    assert [case["check"] for case in terminal.json("suite", "show", "team")["cases"]] == [
        {"regex": "^a"},
        {"equals": [1]},
    ]


@pytest.fixture
def updated(terminal: Terminal) -> Iterator[TinyLine]:
    """A line with a tiny model, whose version 1 is champion."""
    line = line_at(terminal, tiny_lines().updated)
    yield line
    line.workspace.close()


def test_an_audit_that_finds_nothing(terminal: Terminal, updated: TinyLine) -> None:
    assert terminal.ok("suite", "audit", "new-tools").startswith("0 of 4 cases are flaky")
    found = terminal.json("suite", "audit", "new-tools", "--runs", "3")
    assert (found["version"], found["runs"], found["noise"], found["cases"]) == (1, 3, 0.0, 4)
    assert (found["flaky"], len(found["report_digest"])) == ([], 64)


def test_an_audit_shows_both_answers(terminal: Terminal, updated: TinyLine) -> None:
    updated.suite("drift", "drift")
    told = terminal.ok("suite", "audit", "drift", "--noise", "1").splitlines()
    assert told[:2] == ["4 of 4 cases are flaky", ""]
    assert told[2].split() == ["case", "run", "1", "run", "2"]
    assert told[3].split()[0] == "drift-0"
    assert len(told[3].split()) == 3


@pytest.mark.parametrize(("words", "code"), [(["nothing"], 1), (["general", "--runs", "1"], 2)])
def test_an_audit_that_cannot_be_made(
    terminal: Terminal, updated: TinyLine, words: list[str], code: int
) -> None:
    assert terminal.run("suite", "audit", *words).exit_code == code
