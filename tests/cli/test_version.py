"""What `version show` says in words of a replay report."""

from __future__ import annotations

import pytest

from adaptman.cli.version import _covered_words


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({}, ""),
        ({"a": 1}, "of 1 of 1 earlier tools"),
        ({"a": 0, "b": 2, "c": 0}, "of 1 of 3 earlier tools, none of a, c"),
        (dict.fromkeys("abcde", 0), "of 0 of 5 earlier tools, none of a, b, c, d, e"),
        (dict.fromkeys("abcdefg", 0), "of 0 of 7 earlier tools, none of a, b, c, d, e and 2 more"),
    ],
)
def test_tools_of_which_no_call_is_replayed_are_named(tools: dict[str, int], words: str) -> None:
    assert _covered_words(tools) == words
