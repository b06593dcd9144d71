"""The answers of an evaluation that is under way: kept line by line, torn lines dropped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptman.evaluation.runner import NOTHING_YET, Batch, CaseOutcome
from adaptman.lifecycle.journal import Journal

FIRST = Batch((CaseOutcome("a", 1.0, "é \ud800\n\u2028", ""), CaseOutcome("b", 0.1 + 0.2, "", "why")), 0.1)
SECOND = Batch((CaseOutcome("c", 0.0, "{", "x"),), 0.2)
BOTH = Batch(FIRST.outcomes + SECOND.outcomes, FIRST.seconds + SECOND.seconds)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "evaluation.jsonl"


def test_what_is_appended_is_read_to_the_last_digit(path: Path) -> None:
    assert Journal(path).read() == NOTHING_YET
    Journal(path).append(FIRST)
    assert Journal(path).read() == FIRST
    Journal(path).append(SECOND)
    assert Journal(path).read() == BOTH
    Journal(path).remove()
    assert Journal(path).read() == NOTHING_YET
    Journal(path).remove()


def test_a_file_that_is_cut_anywhere_goes_on_from_the_last_whole_line(path: Path) -> None:
    Journal(path).append(FIRST)
    first = path.stat().st_size
    Journal(path).append(SECOND)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        journal = Journal(path)
        assert journal.read() == (FIRST if length >= first else NOTHING_YET)
        journal.append(SECOND)  # not glued to what was torn
        expected = BOTH if length >= first else SECOND
        assert Journal(path).read() == expected


@pytest.mark.parametrize(
    "line", [b"null\n", b"[]\n", b"\xff\n", b'{"seconds": 1}\n', b'{"seconds": 1, "outcomes": [["a", 1]]}\n']
)
def test_what_nobody_appended_is_dropped_with_all_that_follows(path: Path, line: bytes) -> None:
    Journal(path).append(FIRST)
    with path.open("ab") as stream:
        stream.write(line)
    Journal(path).append(SECOND)
    assert Journal(path).read() == FIRST


def test_a_batch_is_durable_before_it_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    Journal(path).append(FIRST)
    assert synced == [path.stat().st_size]
