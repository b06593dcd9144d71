"""A decision in words says what the figures say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import Decision, decide
from policies.evidence import SuiteEvidence
from policies.explain import Paragraph, explain
from policies.policy import Policy, Rule

POLICY = Policy(
    name="house",
    rules={
        "general": Rule(margin=0.05, min_cases=50),
        "target": Rule(floor=0.5, gain=0.05, missing="ignore"),
        "drift": Rule(margin=0.1, missing="ignore"),
    },
)


def evidence(kind: str = "general", **changes: Any) -> SuiteEvidence:
    """A candidate that is as good as the champion, and shown to be."""
    values: dict[str, Any] = {
        "suite": kind,
        "kind": kind,
        "suite_digest": "d",
        "metric": "accuracy",
        "higher_is_better": kind != "drift",
        "n": 100,
        "candidate": 0.9,
        "champion": 0.9,
        "difference": 0.0,
        "low": -0.02,
        "high": 0.02,
        "confidence": 0.95,
        "broke": 1,
        "mended": 1,
        "p_non_inferior": 0.001,
        "p_superior": 0.5,
        "detectable_drop": 0.04,
        "cases_needed": 80,
    }
    return SuiteEvidence(**{**values, **changes})


def words(*items: SuiteEvidence) -> tuple[Paragraph, ...]:
    return explain(decide(POLICY, items))


def text(paragraphs: Sequence[Paragraph]) -> str:
    return "\n".join(sentence for one in paragraphs for sentence in one.sentences)


def test_a_suite_that_passed() -> None:
    [found] = words(evidence())
    assert (found.title, found.passed) == ("general (general, accuracy, 100 cases)", True)
    assert found.sentences[0] == (
        "The champion has 0.90 and the candidate 0.90, on the same cases: "
        "1 case got worse and 1 case got better."
    )
    assert "Holds: 0.90 → 0.90, difference 0.00 (95 % −0.02 … 0.02), margin −0.05: non-inferior." in text(
        [found]
    )


@pytest.mark.parametrize(
    ("item", "told"),
    [
        pytest.param(
            evidence(low=-0.09, high=0.09, cases_needed=400),
            "Doubt refuses: with about 400 cases",
            id="doubt",
        ),
        pytest.param(
            evidence(difference=-0.3, low=-0.4, high=-0.2, cases_needed=400), "more replay", id="worse"
        ),
        pytest.param(evidence(n=10), "More cases are needed before anything is judged", id="too few"),
        pytest.param(
            evidence("target", candidate=0.2, difference=0.2, low=0.1, high=0.3),
            "the candidate itself",
            id="floor",
        ),
        pytest.param(
            evidence("target", candidate=0.6, difference=0.01, low=-0.1, high=0.1), "learnt better", id="gain"
        ),
        pytest.param(
            evidence("drift", difference=0.4, low=0.3, high=0.5, candidate=1.4), "more replay", id="drift"
        ),
        pytest.param(
            evidence("target", champion=None, difference=None), "no champion's result to compare", id="alone"
        ),
    ],
)
def test_what_would_help_is_said(item: SuiteEvidence, told: str) -> None:
    others = [] if item.kind == "general" else [evidence()]
    assert told in text(words(item, *others))


def test_a_kind_that_was_not_run_has_a_paragraph() -> None:
    found = words(evidence("target", candidate=0.9, difference=0.5, low=0.4, high=0.6))
    assert (found[0].title, found[0].passed) == ("general", False)
    assert found[0].sentences == ("Does not hold: no suite of this kind was run: missing.",)


@given(
    st.lists(
        st.builds(
            evidence,
            st.sampled_from(["general", "target", "drift", "format"]),
            candidate=st.floats(0, 1),
            difference=st.floats(-1, 1),
            low=st.floats(-1, 1),
            high=st.floats(-1, 1),
            n=st.integers(0, 300),
            cases_needed=st.none() | st.integers(2, 1000),
        ),
        max_size=5,
        unique_by=lambda item: item.suite,
    )
)
def test_every_reason_is_told_and_refusals_come_first(items: list[SuiteEvidence]) -> None:
    decision: Decision = decide(POLICY, items)
    found = explain(decision)
    assert all(one.passed for one in found) == decision.passed
    assert [one.passed for one in found] == sorted(one.passed for one in found)
    told = text(found)
    assert all(reason.text.removeprefix(f"{reason.suite}: ") in told for reason in decision.reasons)
