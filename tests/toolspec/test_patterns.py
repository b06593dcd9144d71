"""Patterns in linear time: they agree with a backtracking engine where that one ends."""

from __future__ import annotations

import re
import time
from itertools import islice

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adaptman.toolspec.patterns import UnsupportedPatternError, compile_pattern, example_texts

_atoms = st.sampled_from(
    [
        "a",
        "b",
        ".",
        "[a-c]",
        "[^a]",
        r"\d",
        r"\w",
        r"\s",
        "(?:ab)",
        "(a|b)",
        "(?:a|)",
        r"\.",
        "-",
        r"[\d-]",
        r"\x61",
    ]
)
_pieces = st.builds(
    str.__add__, _atoms, st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}", "{0,}", "*?"])
)
_bodies = st.lists(_pieces, max_size=5).map("".join)
_patterns = st.builds(
    lambda start, body, other, end: f"{start}{body}{other}{end}",
    st.sampled_from(["", "^", r"\b"]),
    _bodies,
    st.one_of(st.just(""), _bodies.map("|".__add__)),
    st.sampled_from(["", "$", r"\b", r"\B"]),
)
_texts = st.text(st.sampled_from("ab c1.-_"), max_size=8)


@given(_patterns, _texts)
def test_it_agrees_with_the_engine_of_python(pattern: str, text: str) -> None:
    assume(text or r"\B" not in pattern)  # before Python 3.14, `\B` does not match in an empty text
    expected = re.compile(pattern.replace("$", r"\Z"), re.ASCII).search(text)
    assert compile_pattern(pattern).search(text) == (expected is not None)


@given(_patterns)
def test_examples_match(pattern: str) -> None:
    for text in islice(example_texts(compile_pattern(pattern), None), 5):
        assert compile_pattern(pattern).search(text)


@given(_patterns, _patterns)
def test_examples_of_a_difference_match_one_and_not_the_other(one: str, other: str) -> None:
    for text in islice(example_texts(compile_pattern(one), compile_pattern(other)), 5):
        assert compile_pattern(one).search(text)
        assert not compile_pattern(other).search(text)


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_patterns_that_blow_up_elsewhere_end_here(pattern: str) -> None:
    started = time.perf_counter()
    assert not compile_pattern(pattern).search("a" * 20_000 + "!")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"^\u00e4$", "ä", True),
        (r"^\u{1F600}$", "\U0001f600", True),
        (r"^\ud83d\ude00$", "\U0001f600", True),
        (r"^[^\n]$", "\n", False),
        ("^.$", "\u2028", False),
        (r"^\s$", "\u00a0", True),
        (r"^\d$", "٣", False),
        ("^{$", "{", True),
        ("^a{,2}$", "a{,2}", True),
        (r"^[\]\\]$", "]", True),
        ("^[]$", "", False),
        ("^(?<year>[0-9]{4})-x$", "2024-x", True),
        ("", "anything", True),
        ("^$", "", True),
        (r"\Aab\Z", "ab", True),
    ],
)
def test_the_dialect(pattern: str, text: str, expected: bool) -> None:
    assert compile_pattern(pattern).search(text) is expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)", "look-around"),
        ("(?<!a)b", "look-around"),
        ("(?i)a", "flags"),
        (r"(a)\1", r"`\\1` is not supported"),
        (r"\p{L}", r"`\\p` is not supported"),
        ("(", "a group does not end"),
        (")", "closes nothing"),
        ("[a", r"a `\[` does not end"),
        ("a**", "repeats a repetition"),
        ("*", "repeats nothing"),
        ("[b-a]", "runs backwards"),
        ("a{3,2}", "counts backwards"),
        ("a\\", "ends in a backslash"),
        ("(?:a{100}){100}", "more than 1000 states"),
        ("(?:(?:(?:a{999999}){999999}){999999})", "more than 1000 states"),
        ("a" * 5_000, "longer than 4096"),
        ("(" * 100 + ")" * 100, "deeper than 50"),
        ("(?<name", "name does not end"),
    ],
)
def test_what_it_cannot_do_is_said(pattern: str, reason: str) -> None:
    with pytest.raises(UnsupportedPatternError, match=reason):
        compile_pattern(pattern)


def test_a_text_that_is_too_long_is_not_searched() -> None:
    with pytest.raises(UnsupportedPatternError, match="too long"):
        compile_pattern("a{500}b").search("a" * 100_000)
