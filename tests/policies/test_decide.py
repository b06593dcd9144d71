"""A decision follows from the policy and the evidence, says why, and never rewards a worse candidate."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import Decision, Verdict, decide, number
from policies.errors import PolicyError
from policies.evidence import SuiteEvidence
from policies.policy import Policy, Rule, builtin

KINDS = ["target", "tools", "irrelevance", "format", "general", "drift", "custom"]


def evidence(**fields: Any) -> SuiteEvidence:
    known = {
        "suite": "tools",
        "kind": "tools",
        "suite_digest": "d",
        "metric": "call_accuracy",
        "higher_is_better": True,
        "n": 100,
        "candidate": 0.91,
        "champion": 0.94,
        "difference": -0.03,
        "low": -0.06,
        "high": 0.0,
        "confidence": 0.95,
        "p_non_inferior": 0.3,
        "p_superior": 0.9,
        "detectable_drop": 0.01,
    }
    return SuiteEvidence(**{**known, **fields})


def alone(**fields: Any) -> SuiteEvidence:
    compared = ("champion", "difference", "low", "high", "confidence", "p_non_inferior", "p_superior")
    return evidence(**{**dict.fromkeys((*compared, "detectable_drop")), **fields})


def policy(correction: str = "none", **rules: Rule) -> Policy:
    return Policy.model_validate({"name": "p", "correction": correction, "rules": rules})


def told(one: SuiteEvidence, rule: Rule) -> list[str]:
    return [reason.text for reason in decide(policy(tools=rule), [one]).reasons if reason.rule != "cases"]


def test_the_words_of_a_margin() -> None:
    assert told(evidence(), Rule(margin=0.02)) == [
        "tools: 0.94 → 0.91, difference −0.03 (95 % −0.06 … 0.00), margin −0.02: not shown to be non-inferior"
    ]
    assert told(evidence(), Rule(margin=0.08)) == [
        "tools: 0.94 → 0.91, difference −0.03 (95 % −0.06 … 0.00), margin −0.08: non-inferior"
    ]


def test_more_digits_where_two_would_hide_the_outcome() -> None:
    assert told(evidence(low=-0.0804), Rule(margin=0.08)) == [
        "tools: 0.9400 → 0.9100, difference −0.0300 (95 % −0.0804 … 0.0000), margin −0.0800: "
        "not shown to be non-inferior"
    ]


def test_the_words_of_a_drift() -> None:
    one = evidence(higher_is_better=False, champion=1.5, candidate=1.55, difference=0.05, low=0.04, high=0.06)
    assert told(one, Rule(margin=0.1, floor=2)) == [
        "tools: 1.55, ceiling 2.00: met",
        "tools: 1.50 → 1.55, difference 0.05 (95 % 0.04 … 0.06), margin 0.10: non-inferior",
    ]
    assert told(one, Rule(margin=0.05, floor=1)) == [
        "tools: 1.55, ceiling 1.00: above the ceiling",
        "tools: 1.50 → 1.55, difference 0.05 (95 % 0.04 … 0.06), margin 0.05: not shown to be non-inferior",
    ]


@pytest.mark.parametrize(
    ("difference", "low", "outcome"),
    [(0.6, 0.4, "improvement shown"), (0.3, -0.1, "no improvement shown"), (0.1, 0.05, "too small a gain")],
)
def test_the_words_of_a_gain(difference: float, low: float, outcome: str) -> None:
    one = evidence(champion=0.0, candidate=difference, difference=difference, low=low, high=0.8)
    [text] = told(one, Rule(gain=0.25))
    assert text.startswith(f"tools: 0.00 → {number(difference)}, difference {number(difference)} (95 % ")
    assert text.endswith(f"gain 0.25: {outcome}")


def test_the_words_of_floor_and_cases() -> None:
    reasons = decide(policy(tools=Rule(floor=0.92, min_cases=200)), [evidence()]).reasons
    assert [(reason.rule, reason.passed, reason.text) for reason in reasons] == [
        ("cases", False, "tools: 100 cases, at least 200 needed: too few"),
        ("floor", False, "tools: 0.91, floor 0.92: below the floor"),
    ]


def test_a_lower_confidence_than_asked_for_shows_nothing() -> None:
    [text] = told(evidence(confidence=0.9), Rule(margin=0.5))
    assert text.endswith("not shown to be non-inferior (the interval is at 90 %, the policy asks for 95 %)")


def test_without_a_champion_floor_and_cases_still_count() -> None:
    decision = decide(policy(tools=Rule(floor=0.5, margin=0.1, gain=0.1)), [alone()])
    assert decision.passed
    assert [reason.rule for reason in decision.reasons] == ["cases", "floor"]
    assert decision.warnings == (
        "tools: the champion has no result on this suite: margin and gain not judged",
    )
    assert not decide(policy(tools=Rule(floor=0.95, margin=0.1)), [alone()]).passed


def test_without_a_champion_and_without_a_floor_nothing_is_shown() -> None:
    decision = decide(policy(tools=Rule(margin=0.1)), [alone()])
    assert decision.refusals == ("tools: 0.91, no champion result to compare with and no floor: not shown",)


def test_a_suite_without_a_rule_is_shown_and_not_judged() -> None:
    decision = decide(policy(), [evidence()])
    assert decision.passed
    assert decision.warnings == ("tools: the policy has no rule for kind tools: shown, not judged",)
    assert decision.evidence == (evidence(),)


def test_a_suite_has_its_own_rule() -> None:
    own = Policy(name="p", rules={"tools": Rule(margin=0.5)}, overrides={"mail": Rule(margin=0.01)})
    passed = [reason.passed for reason in decide(own, [evidence(), evidence(suite="mail")]).reasons]
    assert passed == [True, True, True, False]
    assert decide(own, [evidence()]).refusals == ("mail: this suite was not run: missing",)


def test_a_blunt_suite_is_told() -> None:
    one = evidence(detectable_drop=0.12, cases_needed=250)
    assert decide(policy(tools=Rule(margin=0.1)), [one]).warnings == (
        "tools: the smallest drop that 100 cases show with 80 % power is 0.12, larger than the margin 0.10; "
        "about 250 cases would do",
    )
    assert decide(policy(tools=Rule(margin=0.12)), [one]).warnings == ()


def test_holm_asks_more_of_several_suites() -> None:
    pair = [evidence(suite=name, low=-0.05, p_non_inferior=0.02) for name in ("a", "b")]
    assert decide(policy(tools=Rule(margin=0.1)), pair).passed
    corrected = decide(policy("holm", tools=Rule(margin=0.1)), pair)
    assert [reason.passed for reason in corrected.reasons if reason.rule == "margin"] == [False, False]
    one_clear = [pair[0], pair[1].model_copy(update={"p_non_inferior": 0.001})]
    assert decide(policy("holm", tools=Rule(margin=0.1)), one_clear).passed


def test_a_decision_is_stored_and_read_back_whole() -> None:
    decision = decide(builtin(), [evidence()], warnings=["first"])
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision
    assert decision.warnings[0] == "first"
    assert (decision.policy_name, decision.policy_digest) == ("default", builtin().digest)


@pytest.mark.parametrize("record", [{}, {"verdict": "maybe"}, {"other": 1}])
def test_a_record_of_something_else_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="not the record of a decision"):
        Decision.from_dict(record)


@pytest.mark.parametrize(
    ("value", "text"), [(-0.031, "−0.03"), (-0.001, "0.00"), (0.0, "0.00"), (1.005, "1.00"), (None, "?")]
)
def test_figures(value: float | None, text: str) -> None:
    assert number(value) == text


shares = st.floats(0, 1)
maybe = st.none() | shares
rules = st.builds(
    Rule,
    floor=maybe,
    margin=maybe,
    gain=maybe,
    confidence=st.sampled_from([0.9, 0.95]),
    min_cases=st.integers(2, 200),
    missing=st.sampled_from(["refuse", "ignore"]),
)
policies = st.builds(
    Policy,
    name=st.just("p"),
    correction=st.sampled_from(["none", "holm"]),
    rules=st.dictionaries(st.sampled_from(KINDS), rules),
    overrides=st.dictionaries(st.sampled_from(["a", "b"]), rules, max_size=1),
)
figures = st.floats(-2, 2)
evidences = st.builds(
    SuiteEvidence,
    suite=st.sampled_from(["a", "b", "c"]),
    kind=st.sampled_from([*KINDS, "custom"]),
    suite_digest=st.just("d"),
    metric=st.just("m"),
    higher_is_better=st.booleans(),
    n=st.integers(0, 300),
    candidate=figures,
    champion=st.none() | figures,
    difference=st.none() | figures,
    low=st.none() | figures,
    high=st.none() | figures,
    confidence=st.none() | st.sampled_from([0.9, 0.95, 0.99]),
    p_non_inferior=maybe,
    p_superior=maybe,
    detectable_drop=maybe,
    cases_needed=st.none() | st.integers(1, 1000),
)


@given(policies, st.lists(evidences, max_size=5), st.lists(st.sampled_from(KINDS), max_size=2))
def test_any_evidence_is_decided(one: Policy, found: list[SuiteEvidence], required: list[str]) -> None:
    decision = decide(one, found, required_kinds=required)
    assert decision.passed == all(reason.passed for reason in decision.reasons)
    assert decision == decide(one, found, required_kinds=required)
    assert Decision.from_dict(decision.to_dict()) == decision
    assert "-0" not in " ".join(reason.text for reason in decision.reasons)


@given(policies, st.lists(evidences, max_size=4), st.sampled_from(KINDS))
def test_a_missing_kind_refuses(one: Policy, found: list[SuiteEvidence], kind: str) -> None:
    left = [item for item in found if item.kind != kind]
    requiring = one.model_copy(update={"rules": {**one.rules, kind: Rule(missing="refuse")}})
    assert decide(requiring, left).verdict is Verdict.REFUSE
    assert decide(one, left, required_kinds=[kind]).verdict is Verdict.REFUSE


def better(one: SuiteEvidence, by: float, sharper: float) -> SuiteEvidence:
    """The same suite with a better candidate: every figure moves the good way, or stays."""
    step = by if one.higher_is_better else -by

    def moved(value: float | None) -> float | None:
        return None if value is None else value + step

    def smaller(p: float | None) -> float | None:
        return None if p is None else p * sharper

    return one.model_copy(
        update={
            "candidate": one.candidate + step,
            "difference": moved(one.difference),
            "low": moved(one.low),
            "high": moved(one.high),
            "p_non_inferior": smaller(one.p_non_inferior),
            "p_superior": smaller(one.p_superior),
        }
    )


@given(policies, st.lists(evidences, min_size=1, max_size=4), st.data())
def test_a_better_candidate_is_never_refused_where_a_worse_one_passed(
    one: Policy, found: list[SuiteEvidence], data: st.DataObject
) -> None:
    improved = [better(item, data.draw(st.floats(0, 1)), data.draw(shares)) for item in found]
    worse, then = decide(one, found), decide(one, improved)
    for before, after in zip(worse.reasons, then.reasons, strict=True):
        assert after.passed or not before.passed
    assert then.passed or not worse.passed


@given(policies, st.lists(evidences, min_size=1, max_size=4))
def test_the_order_of_the_evidence_does_not_matter(one: Policy, found: list[SuiteEvidence]) -> None:
    assert decide(one, found).verdict is decide(one, found[::-1]).verdict
