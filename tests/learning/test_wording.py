"""How a user begins to ask for what a tool does."""

from __future__ import annotations

import pytest

from adaptman.learning.wording import asked_for, ended, purpose


@pytest.mark.parametrize(
    ("description", "wanted"),
    [
        ("Find it. Or not.", "Find it"),
        ("Find it! Or not.", "Find it"),
        ("Find v1.2 of it", "Find v1.2 of it"),
        (" Find it\nin a list", "Find it"),
        ("This function finds it.", "finds it"),
        ("The tool is used to find it", "find it"),
        ("Calls the tool of it", "Calls the tool of it"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_purpose_of_a_tool(description: str | None, wanted: str) -> None:
    assert purpose({"function": {"name": "a", "description": description}}) == wanted
    assert purpose({"name": "a"}) == ""


@pytest.mark.parametrize(
    ("description", "does", "finds"),
    [
        ("Find the sum of it. Or not.", "Can you find the sum of it", "What is the sum of it"),
        ("Finds the sum", "Can you find the sum", "What is the sum"),
        ("This function returns a sum", "Can you return a sum", "What is a sum"),
        ("Find sums", "Can you find sums", "Can you find sums"),
        ("Do a", "Can you do a", "Can you do a"),
        ("HTTP request", "Can you HTTP request", "Can you HTTP request"),
        ("", "", ""),
    ],
)
def test_a_user_asks_for_what_a_tool_does_or_finds(description: str, does: str, finds: str) -> None:
    tool = {"function": {"name": "a", "description": description}}
    assert asked_for(tool, 0) == does
    assert asked_for(tool, 0, tells=True) == finds


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("Retrieves", "retrieve"), ("Gets", "get"), ("Analyzes", "analyze"), ("Uses", "use"),
        ("Parses", "parse"), ("Copies", "copy"), ("Plays", "play"), ("Fetches", "fetch"),
        ("Refreshes", "refresh"), ("Fixes", "fix"), ("Does", "do"), ("Processes", "process"),
        ("Process", "process"), ("Status", "status"), ("Analysis", "analysis"), ("Alias", "alias"),
        ("Find", "find"), ("DNS", "DNS"), ("As", "as"),
    ],
)  # fmt: skip
def test_a_user_asks_a_tool_to_do_what_it_says_it_does(written: str, asked: str) -> None:
    assert asked_for({"name": "a", "description": f"{written} this"}, 2) == f"Please {asked} this"


def test_a_question_ends_with_a_question_mark() -> None:
    tool = {"name": "a", "description": "Find the sum"}
    found = [ended(asked_for(tool, at, tells=tells)) for at in range(35) for tells in (False, True)]
    asked = {one for one in found if one.endswith("?")}
    assert asked == {
        "Can you find the sum?", "Could you find the sum?", "How do I find the sum?",
        "What is the sum?", "Which is the sum?", "How much is the sum?",
    }  # fmt: skip
    assert all(one.endswith(".") for one in set(found) - asked)
