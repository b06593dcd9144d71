"""Which version broke a case: the search, and the search over a real line."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import SuiteError
from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle.bisect import Place, bisect, search
from adaptman.lifecycle.suites import register_suite
from registry.errors import NotFoundError
from tests.lifecycle.story import Story
from tests.lifecycle.tiny_line import CANDIDATE, TinyLine

TRUTHS = st.lists(st.booleans(), min_size=1, max_size=40)


@given(TRUTHS, st.data())
def test_the_search_finds_a_version_that_changed_it(truth: list[bool], data: st.DataObject) -> None:
    hidden = data.draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth)))
    answers = [None if hide else right for right, hide in zip(truth, hidden, strict=True)]
    asked: list[int] = []

    def ask(at: int) -> bool:
        asked.append(at)
        return truth[at]

    place = search(answers, ask)
    assert len(asked) == len(set(asked)) <= 2 + math.ceil(math.log2(len(truth) + 1))
    assert all(hidden[at] for at in asked)
    if place is None:
        assert truth[0] is truth[-1]
        return
    assert place.first_same == place.last_other + 1
    assert truth[place.last_other] is not truth[-1]
    assert truth[place.first_same] is truth[-1]


@given(st.lists(st.none() | st.booleans(), min_size=1, max_size=20))
def test_without_asking_the_gap_is_told(answers: list[bool | None]) -> None:
    known = [at for at, one in enumerate(answers) if one is not None]
    place = search(list(answers), None)
    if place is None:
        assert len({answers[at] for at in known}) < 2
        return
    assert answers[place.last_other] is not answers[known[-1]]
    assert set(answers[place.last_other + 1 : place.first_same]) <= {None}
    assert {answers[at] for at in known if at > place.last_other} == {answers[known[-1]]}


def test_one_asking_halves() -> None:
    answers: list[bool | None] = [True, *[None] * 6, False]
    asked: list[int] = []

    def ask(at: int) -> bool:
        asked.append(at)
        return at < 3

    assert search(answers, ask) == Place(2, 3)
    assert asked == [3, 1, 2]


def test_over_stored_results(told: Story) -> None:
    found = bisect(told.workspace, "irrelevance", "irrelevance-0", until=2, stored=True)
    assert (found.broke, found.changed, found.after, found.until) == (True, 2, 1, 2)
    assert [(one.number, one.right, one.asked) for one in found.steps] == [
        (1, True, False),
        (2, False, False),
    ]
    assert found.schema is not None
    assert (found.schema.number, found.schema.note) == (1, "first tools")


def test_a_version_without_a_result_is_left_out_when_nobody_is_asked(told: Story) -> None:
    found = bisect(told.workspace, "irrelevance", "irrelevance-0", until=4, stored=True)
    assert [(one.number, one.right) for one in found.steps] == [(1, True), (3, True), (4, None)]
    assert (found.broke, found.changed) == (None, None)


def test_what_cannot_be_searched(told: Story) -> None:
    with pytest.raises(SuiteError, match="no case `nothing`"):
        bisect(told.workspace, "general", "nothing")
    with pytest.raises(SuiteError, match="its cases are not right or wrong"):
        bisect(told.workspace, "drift", "drift-0")
    with pytest.raises(NotFoundError, match="no suite `mail`"):
        bisect(told.workspace, "mail", "mail-0")


@pytest.mark.slow
def test_versions_without_results_are_asked_and_nothing_is_recorded(updated: TinyLine) -> None:
    changed, wanted = changed_answer(updated)
    case = {
        "id": "letters", "messages": [{"role": "user", "content": f"Question {changed}?"}],
        "answers": [wanted], "match": "exact",
    }  # fmt: skip
    register_suite(
        updated.workspace, json.dumps(case).encode(), name="letters", kind=SuiteKind.GENERAL, origin="letters"
    )
    events = updated.events()
    found = bisect(updated.workspace, "letters", "letters", until=CANDIDATE)
    assert [(one.number, one.right, one.asked) for one in found.steps] == [(1, False, True), (2, True, True)]
    assert (found.broke, found.changed, found.after) == (False, 2, 1)
    assert updated.events() == events
    with updated.workspace.registry.read() as reader:
        assert len(reader.suite_runs(updated.version().id)) == 2


def changed_answer(line: TinyLine) -> tuple[int, str]:
    """A question of the suite `general` that versions 1 and 2 answer otherwise, and what version 2 says."""
    said = []
    with line.workspace.registry.read() as reader:
        for version in line.versions():
            run = next(one for one in reader.suite_runs(version.id) if one.metric == "accuracy")
            stored = json.loads(line.workspace.store.get_bytes(run.outputs_digest or ""))
            said.append([outcome["output"] for outcome in stored["outcomes"]])
    return next((at, after) for at, (before, after) in enumerate(zip(*said, strict=True)) if before != after)
