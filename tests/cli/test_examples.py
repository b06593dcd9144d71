"""`adaptman examples` and `adaptman suite generate` at a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.lifecycle.story import FIRST_TOOLS, SECOND_TOOLS, Story, document
from tests.lifecycle.tiny_line import FIRST_EXAMPLES, example, lines


@pytest.fixture
def two(terminal: Terminal, begun: Story) -> Terminal:
    """Two tool documents, and examples for the first."""
    for number, tools in enumerate((FIRST_TOOLS, SECOND_TOOLS), start=1):
        (terminal.folder / f"tools-{number}.json").write_bytes(document(tools))
        terminal.ok("schema", "register", f"tools-{number}.json")
    (terminal.folder / "old.jsonl").write_text(lines(FIRST_EXAMPLES))
    return terminal


MIGRATE = ("examples", "migrate", "old.jsonl", "--schema", "2")


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_migrate_writes_what_is_sure_and_lists_the_rest(two: Terminal) -> None:
    done = two.run(*MIGRATE, "--out", "new.jsonl")
    assert done.exit_code == 1
    assert "old.jsonl:1: `get_weather`: `unit` is required" in done.stderr
    assert "hint: --fill get_weather.unit=VALUE" in done.stderr
    kept = two.run(*MIGRATE, "--out", "new.jsonl", "--needs", "rest.jsonl")
    assert kept.exit_code == 0
    assert ids(two.folder / "rest.jsonl") == ["rome"]
    assert two.json("examples", "check", "new.jsonl", "--schema", "2")["problems"] == []
    filled = two.run(*MIGRATE, "--out", "new.jsonl", "--fill", "get_weather.unit=celsius")
    assert filled.exit_code == 0
    assert ids(two.folder / "new.jsonl") == ["rome", "oslo", "mail"]


def test_migrate_to_standard_output_and_as_json(two: Terminal) -> None:
    done = two.run("examples", "migrate", "old.jsonl", "--schema", "2")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["oslo", "mail"]
    assert two.run("examples", "migrate", "old.jsonl", "--schema", "2", "--json").exit_code == 2
    report = json.loads(
        two.run("examples", "migrate", "old.jsonl", "--schema", "2", "--out", "n", "--json").stdout
    )
    assert (report["from"], report["to"], [one["line"] for one in report["needs"]]) == (1, 2, [1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--schema", "1"], "schema 1 is the first"),
        (["--schema", "9"], "9"),
        (["--schema", "2", "--map", "get_weather.unit:a=b"], "cannot be"),
        (["--schema", "2", "--fill", "nope.x=1"], "names no tool"),
        (["--schema", "2", "--renamed", "get_weather=nope"], "the new document has no such tool"),
    ],
)
def test_migrate_refuses_what_leads_nowhere(two: Terminal, words: list[str], told: str) -> None:
    done = two.run("examples", "migrate", "old.jsonl", *words)
    assert done.exit_code == 1
    assert told in done.stderr
    assert "Traceback" not in done.output


def test_import_from_a_log(two: Terminal) -> None:
    record = {key: FIRST_EXAMPLES[0][key] for key in ("messages", "tools")}
    half = {**record, "messages": record["messages"][:1]}
    (two.folder / "log.jsonl").write_text(lines([record, record, half]))
    done = two.run("examples", "import", "log.jsonl", "--schema", "1")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 1
    assert "1 example from log.jsonl, 1 repeated" in done.stderr
    assert "record 3: half a conversation" in done.stderr
    told = json.loads(two.run("examples", "import", "log.jsonl", "--out", "e.jsonl", "--json").stdout)
    assert (told["examples"], told["repeated"], told["left_out"][0]["record"]) == (1, 1, 3)
    (two.folder / "none.jsonl").write_text(lines([half, half]))
    assert "record 1: half a conversation" in two.run("examples", "import", "none.jsonl").stderr


def test_check_names_every_problem(two: Terminal) -> None:
    near = {**FIRST_EXAMPLES[0], "id": "near"}
    wrong = example("wrong", FIRST_TOOLS[:1], "get_weather", {"town": "Rome"}, "Rome?")
    text = lines([FIRST_EXAMPLES[0], near, wrong]) + "{\n"
    (two.folder / "mixed.jsonl").write_text(text)
    done = two.run("examples", "check", "mixed.jsonl", "--schema", "1")
    assert done.exit_code == 1
    assert "lines 1 and 2 (1.00)" in done.stderr
    assert "line 3" in done.stderr
    assert "line 4" in done.stderr
    assert "never called: " in done.stderr
    told = json.loads(two.run("examples", "check", "mixed.jsonl", "--schema", "1", "--json").stdout)
    assert [one["line"] for one in told["problems"]] == [3, 4]
    assert told["near_duplicates"] == [{"lines": [1, 2], "likeness": 1.0}]
    assert told["by_tool"] == {"get_weather": 2}


def test_check_needs_no_workspace(terminal: Terminal) -> None:
    (terminal.folder / "old.jsonl").write_text(lines(FIRST_EXAMPLES))
    assert "3 examples can be trained on" in terminal.ok("examples", "check", "old.jsonl")


def test_split_writes_two_sides_and_a_suite(two: Terminal) -> None:
    words = ["examples", "split", "old.jsonl", "--held-out", "0.4", "--training", "t.jsonl", "--schema", "1"]
    assert two.run(*words).exit_code == 2
    two.ok(*words, "--test", "h.jsonl", "--suite", "s.jsonl")
    sides = [
        [json.loads(line)["id"] for line in (two.folder / name).read_text().splitlines()]
        for name in ("t.jsonl", "h.jsonl", "s.jsonl")
    ]
    assert sorted(sides[0] + sides[1]) == ["mail", "oslo", "rome"]
    assert sides[1] == sides[2]
    two.ok("suite", "register", "s.jsonl", "--kind", "target")


def test_a_side_that_would_be_empty_is_refused(two: Terminal) -> None:
    (two.folder / "one.jsonl").write_text(lines(FIRST_EXAMPLES[:1]))
    done = two.run("examples", "split", "one.jsonl", "--training", "t", "--test", "h")
    assert done.exit_code == 1
    assert "leave one side empty" in done.stderr


def test_generate_registers_suites_of_the_changes(two: Terminal) -> None:
    found = two.json("suite", "generate", "--schema", "2", "--requests", "old.jsonl", "--per-tool", "2")
    assert (found["from"], found["to"]) == (1, 2)
    assert "changes-2" in [one["name"] for one in found["suites"]]
    listed = {row["name"]: row["kind"] for row in two.json("suite", "list")}
    assert listed["changes-2"] == "target"
    cases = two.json("suite", "show", "changes-2")["cases"]
    assert cases
    again = two.ok("suite", "generate", "--schema", "2", "--requests", "old.jsonl", "--per-tool", "2")
    assert "changes-2" in again
    assert [row["revision"] for row in two.json("suite", "list")] == [1] * len(listed)


def test_generate_into_a_folder_registers_nothing(two: Terminal) -> None:
    two.ok("suite", "generate", "--schema", "2", "--out", "made")
    assert (two.folder / "made" / "changes-2.jsonl").is_file()
    assert two.json("suite", "list") == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--schema", "1"], "schema 1 is the first"),
        (["--schema", "2", "--from", "2"], "no tool changed"),
        (["--schema", "7"], "7"),
    ],
)
def test_generate_says_where_there_is_nothing_to_ask(two: Terminal, words: list[str], told: str) -> None:
    done = two.run("suite", "generate", *words)
    assert done.exit_code == 1
    assert told in done.stderr
