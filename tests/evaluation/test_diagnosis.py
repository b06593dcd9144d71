"""A failed case is put down to its form or to what the call says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from adaptman.evaluation.diagnosis import Cause, counted, diagnose, to_diagnose
from adaptman.evaluation.runner import CaseOutcome, Conversation
from adaptman.evaluation.suites import SuiteKind
from adaptman.toolspec.formats import ToolCall
from tests.evaluation.test_runner import HERMES, suite
from tests.toolspec.documents import closed, function

TOOLS = [function("weather", closed({"city": {"type": "string"}}, "city"))]


def case(city: str) -> dict[str, Any]:
    accept = [{"name": "weather", "arguments": {"city": [city]}}]
    return {"messages": [{"role": "user", "content": f"{city}?"}], "tools": TOOLS, "accept": accept}


def call(city: str) -> str:
    return HERMES.render([ToolCall("weather", {"city": city})])


class Guided:
    """Replies that a model would be held to."""

    def __init__(self, *replies: str | None) -> None:
        self.replies = replies
        self.counts: list[int] = []

    def answer_guided(
        self,
        conversations: Sequence[Conversation],
        counts: Sequence[int],
        *,
        max_new_tokens: int,
        on_done: Callable[[int], None],
    ) -> list[str | None]:
        self.counts = list(counts)
        return list(self.replies)


SUITE = suite(SuiteKind.TARGET, case("Oslo"), case("Rome"), case("Bonn"), case("Bern"))


def outcomes(*scores: float) -> list[CaseOutcome]:
    return [CaseOutcome(one.id, score, "", "") for one, score in zip(SUITE.cases, scores, strict=True)]


def test_form_knowledge_and_unknown() -> None:
    cases = to_diagnose(SUITE, outcomes(0, 0, 1, 0))
    answerer = Guided(call("Oslo"), call("Paris"), None)
    found = diagnose(SUITE, cases, answerer, HERMES, max_new_tokens=9, on_done=lambda count: None)
    assert found == {"case-0": Cause.FORM, "case-1": Cause.KNOWLEDGE, "case-3": Cause.UNKNOWN}
    assert answerer.counts == [1, 1, 1]
    assert counted(found) == {"form": 1, "knowledge": 1, "unknown": 1}
    assert json.dumps(found)


def test_what_no_call_would_mend_is_not_asked() -> None:
    restraint = suite(
        SuiteKind.IRRELEVANCE, {"messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS}
    )
    assert to_diagnose(restraint, [CaseOutcome("case-0", 0, "", "")]) == []
    assert to_diagnose(SUITE, outcomes(1, 1, 1, 1)) == []
