"""Tables and JSON."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from json.encoder import encode_basestring, encode_basestring_ascii
from pathlib import Path

import numpy as np
import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st

from adaptman.cli._output import (
    indented,
    jsonable,
    pairs,
    plain,
    print_json,
    short_time,
    table,
    timestamp,
    width,
)
from adaptman.cli.version import size


class Colour(StrEnum):
    RED = "red"


def test_json_of_what_is_printed() -> None:
    moment = datetime(2026, 1, 5, 10, 0, tzinfo=timezone(timedelta(hours=1)))
    value = {
        "at": moment,
        "path": Path("a/b"),
        "kind": Colour.RED,
        "all": (1, 2.5, None, True),
        "no": float("nan"),
    }
    assert jsonable(value) == {
        "at": "2026-01-05T09:00:00Z", "path": "a/b", "kind": "red", "all": [1, 2.5, None, True], "no": None,
    }  # fmt: skip


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(Colour)
    | st.datetimes(timezones=st.just(UTC)) | st.dates() | st.just(Path("a/b"))
)  # fmt: skip


@given(
    st.recursive(LEAVES, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner))
)
def test_json_is_indented_as_the_standard_library_does(value: object) -> None:
    for quoted, ascii_only in ((encode_basestring, False), (encode_basestring_ascii, True)):
        expected = json.dumps(jsonable(value), indent=2, ensure_ascii=ascii_only, allow_nan=False)
        assert indented(value, quoted) == expected


def test_json_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        jsonable(object())


@given(st.recursive(st.none() | st.booleans() | st.text() | st.floats(), st.lists))
def test_jsonable_is_always_json(value: object) -> None:
    json.dumps(jsonable(value), allow_nan=False)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_json_for_terminals_of_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_json({"mark": "★ 😀"})
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode(encoding)) == {"mark": "★ 😀"}


def test_times() -> None:
    assert timestamp(datetime(2026, 1, 5, 9, 0)) == "2026-01-05T09:00:00Z"
    assert short_time(datetime(2026, 1, 5, 9, 0, tzinfo=UTC)) == "2026-01-05 09:00"
    assert short_time(None) == ""


@given(st.text())
def test_plain_text_cannot_steer_a_terminal(text: str) -> None:
    assert not any((ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160 for char in plain(text))


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Mn", "Me", "Cf"]), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_columns_are_aligned_and_nothing_is_cut(rows: list[tuple[str, str, str]]) -> None:
    lines = table(["a", "b", "c"], rows, right=(1,)).split("\n")
    assert len(lines) == len(rows) + 1
    for line, row in zip(lines[1:], rows, strict=True):
        assert all(cell.replace("\t", " ").rstrip() in line for cell in row)


def test_a_table() -> None:
    assert unstyle(table(["name", "n"], [["日本", "5"], ["tool\nx", "12"]], right=(1,))) == (
        "name     n\n"
        "日本     5\n"
        "tool x  12"
    )  # fmt: skip


def test_the_last_column_wraps_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows = [["a", "word " * 20]]
    assert len(table(["k", "text"], rows).split("\n")) == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = table(["k", "text"], rows).split("\n")
    assert max(width(line) for line in lines) <= 40
    assert " ".join(lines[1:]).split().count("word") == 20


def test_data_in_a_table_cannot_steer_a_terminal() -> None:
    title = "\x1b]0;owned\x07\x1b[2J"
    for shown in (table(["note"], [[title]]), pairs([("note", title)])):
        assert "\\x1b]0;owned\\x07\\x1b[2J" in shown
        assert "\x07" not in shown


def test_pairs_leave_out_what_is_empty() -> None:
    assert unstyle(pairs([("a", "1"), ("note", ""), ("long", "2")])) == "a     1\nlong  2"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_782_000, "9.8 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


class Word(str):
    """A kind of text, such as SQLAlchemy's names of columns are."""


def test_kinds_of_texts_and_numbers_are_printed_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": Word("x"), "share": np.float64(0.5), "yes": True, "none": None})
    assert json.loads(capsys.readouterr().out) == {"name": "x", "share": 0.5, "yes": True, "none": None}
