from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from adaptman.errors import ModelError
from adaptman.evaluation.matching import matches
from adaptman.evaluation.suites import Suite, SuiteKind, read_suite
from adaptman.learning.models import convert, embedded_gguf

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def suite() -> Suite:
    data = files("adaptman.demo").joinpath("general.jsonl").read_bytes()
    return read_suite(data, name="general", kind=SuiteKind.GENERAL, origin="general.jsonl")


def test_most_of_at_least_120_questions_are_answered_by_the_base_model(suite: Suite) -> None:
    known_wrong = sum(case.known_wrong for case in suite.cases)
    assert len(suite.cases) >= 120
    assert known_wrong > 0
    assert known_wrong / len(suite.cases) <= 0.15


def test_no_question_is_asked_twice_or_gives_its_answer_away(suite: Suite) -> None:
    questions = [case.messages[-1]["content"] for case in suite.cases]
    assert len(set(questions)) == len(questions)
    for case, question in zip(suite.cases, questions, strict=True):
        assert not any(matches(question, answer, case.match) for answer in case.answers), case.id


@pytest.mark.slow
def test_the_flags_are_what_the_embedded_model_answers_and_hold_under_noise(tmp_path: Path) -> None:
    try:
        source = embedded_gguf()
    except ModelError as error:
        pytest.skip(error.message)
    convert(source, tmp_path / "base")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "check_general.py", tmp_path / "base", "--disturbed", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "128 questions, 12 of them known to be answered wrongly" in done.stdout
