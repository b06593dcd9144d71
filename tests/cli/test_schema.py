"""`adaptman schema`, beyond what the golden files show."""

from __future__ import annotations

import json

from tests.cli.conftest import Terminal
from tests.lifecycle.story import FIRST_TOOLS, SECOND_TOOLS, Story, document


def test_register_from_standard_input(terminal: Terminal, begun: Story) -> None:
    assert terminal.ok("schema", "register", "-", typed=document(FIRST_TOOLS)).startswith("schema 1  3 tools")


def test_the_authors_bytes_are_kept(terminal: Terminal, begun: Story) -> None:
    data = document(FIRST_TOOLS) + b"\n\n"
    terminal.ok("schema", "register", "-", typed=data)
    (row,) = terminal.json("schema", "list")
    assert begun.workspace.store.get_bytes(row["document_digest"]) == data


def test_json_of_a_registration(terminal: Terminal, begun: Story) -> None:
    terminal.ok("schema", "register", "-", typed=document(FIRST_TOOLS))
    found = json.loads(terminal.ok("schema", "register", "-", "--json", typed=document(SECOND_TOOLS)))
    assert (found["number"], found["created"], found["breaking"]) == (2, True, True)
    assert found["changes"]["counts"] == {
        "added": 0,
        "removed": 0,
        "renamed": 1,
        "changed": 1,
        "unchanged": 1,
    }


def test_the_same_again_is_not_recorded(terminal: Terminal, begun: Story) -> None:
    for created in (True, False):
        found = json.loads(terminal.ok("schema", "register", "-", "--json", typed=document(FIRST_TOOLS)))
        assert (found["number"], found["created"]) == (1, created)


def test_going_back_to_an_older_document_is_an_update(terminal: Terminal, begun: Story) -> None:
    for tools in (FIRST_TOOLS, SECOND_TOOLS, FIRST_TOOLS):
        terminal.ok("schema", "register", "-", typed=document(tools))
    assert [row["number"] for row in terminal.json("schema", "list")] == [1, 2, 3]


def test_a_rename_confirmed_and_denied(terminal: Terminal, begun: Story) -> None:
    terminal.ok("schema", "register", "-", typed=document(FIRST_TOOLS))
    confirmed = terminal.ok("schema", "register", "-", "--renamed", "search_flights=find_flights",
                            typed=document(SECOND_TOOLS))  # fmt: skip
    assert "renamed (confirmed)" in confirmed
    terminal.ok("schema", "register", "-", typed=document(FIRST_TOOLS))
    denied = terminal.ok(
        "schema", "register", "-", "--not-renamed", "search_flights", typed=document(SECOND_TOOLS)
    )
    assert "+ find_flights" in denied
    assert "- search_flights" in denied


def test_a_rename_that_is_none(terminal: Terminal, begun: Story) -> None:
    for words in (["--renamed", "nonsense"], ["--renamed", "a=b", "--renamed", "a=c"]):
        assert terminal.run("schema", "register", "-", *words, typed=b"[]").exit_code == 2


def test_not_json(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("schema", "register", "-", typed=b"{")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: standard input")


def test_a_document_that_is_far_too_large(terminal: Terminal, begun: Story) -> None:
    path = terminal.folder / "large.json"
    with path.open("wb") as file:
        file.truncate(50 << 20)
    result = terminal.run("schema", "register", str(path))
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_a_damaged_document_is_named(terminal: Terminal, begun: Story) -> None:
    terminal.ok("schema", "register", "-", typed=document(FIRST_TOOLS))
    (row,) = terminal.json("schema", "list")
    stored = begun.workspace.store.path_of(row["document_digest"])
    stored.chmod(0o644)
    stored.write_bytes(b"[]")
    result = terminal.run("schema", "show", "1")
    assert result.exit_code == 1
    assert row["document_digest"] in result.stderr


def test_an_empty_list_says_what_to_do(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("schema", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "adaptman schema register FILE" in result.stderr


def test_a_number_that_is_not_there(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("schema", "show", "7")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: no tool schema `7`")


def test_what_changed_as_markdown(terminal: Terminal, begun: Story) -> None:
    for number, tools in enumerate((FIRST_TOOLS, SECOND_TOOLS), start=1):
        (terminal.folder / f"tools-{number}.json").write_bytes(document(tools))
        text = terminal.ok("schema", "register", f"tools-{number}.json", "--markdown")
    assert text.startswith("### Tool schema 2 against schema 1\n\n2 breaking; 1 unchanged\n")
    assert "  ```diff\n  - get_weather(" in text
    again = terminal.ok("schema", "diff", "1", "2", "--markdown")
    assert again.partition("\n")[2] == text.partition("\n")[2]
    assert terminal.run("schema", "diff", "1", "2", "--markdown", "--json").exit_code == 2
