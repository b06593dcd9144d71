"""Who must stand for a version: the conditions of a promotion as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import PolicyError
from policies.policy import builtin, load_policy
from policies.promotion import PromotionFacts, PromotionRule, conditions, digest_of, stored_rule

PEOPLE = st.sampled_from(["ada", "bob", "cy", "dee"])
FACTS = st.builds(
    PromotionFacts,
    promoter=PEOPLE,
    trainer=PEOPLE | st.just(""),
    approvers=st.lists(PEOPLE),
    signers=st.lists(st.sampled_from(["a" * 64, "b" * 64])),
)
RULES = st.builds(PromotionRule, approvals=st.integers(0, 4), four_eyes=st.booleans(), signed=st.booleans())


def holds(rule: PromotionRule, facts: PromotionFacts) -> bool:
    return all(one.passed for one in conditions(rule, facts))


@given(FACTS)
def test_the_default_asks_for_nothing(facts: PromotionFacts) -> None:
    assert conditions(PromotionRule(), facts) == ()
    assert builtin().promotion == PromotionRule()


@given(RULES, FACTS)
def test_the_rule_in_one_line(rule: PromotionRule, facts: PromotionFacts) -> None:
    others = set(facts.approvers) - ({facts.trainer} if rule.four_eyes else set())
    apart = facts.trainer not in {"", facts.promoter}
    expected = (
        len(others) >= rule.approvals and (apart or not rule.four_eyes) and (facts.signers or not rule.signed)
    )
    assert holds(rule, facts) == bool(expected)


@given(RULES, FACTS, PEOPLE)
def test_an_approval_never_does_harm(rule: PromotionRule, facts: PromotionFacts, more: str) -> None:
    if holds(rule, facts):
        assert holds(rule, facts._replace(approvers=[*facts.approvers, more]))


@given(RULES, FACTS)
def test_the_same_person_counts_once(rule: PromotionRule, facts: PromotionFacts) -> None:
    twice = facts._replace(approvers=[*facts.approvers, *facts.approvers])
    assert conditions(rule, twice) == conditions(rule, facts)


def test_the_sentences() -> None:
    facts = PromotionFacts("ada", "ada", ["ada", "bob"], [])
    said = [one.text for one in conditions(PromotionRule(approvals=2, four_eyes=True, signed=True), facts)]
    assert said == [
        "2 approvals needed, 1 given (bob); that of ada, who trained it, does not count",
        "trained by ada, promoted by ada: the same",
        "no valid signature by a trusted key",
    ]
    facts = PromotionFacts("bob", "", ["bob"], ["f" * 64])
    said = [one.text for one in conditions(PromotionRule(approvals=1, four_eyes=True, signed=True), facts)]
    assert said == [
        "1 approval needed, 1 given (bob)",
        "who promotes must not have trained it: nobody can tell who did",
        "signed by trusted key ffffffffffff",
    ]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("{approvals: -1}", "`promotion.approvals`: input should be greater than or equal to 0"),
        ("{approvals: '2'}", "`promotion.approvals`: input should be a valid integer"),
        ("{approvals: 1.5}", "`promotion.approvals`"),
        ("{four_eyes: 1}", "`promotion.four_eyes`: input should be a valid boolean"),
        ("{signed: 'yes'}", "`promotion.signed`: input should be a valid boolean"),
        ("{aprovals: 2}", "`promotion.aprovals` is not a known key"),
        ("2", "`promotion`"),
    ],
)
def test_a_wrong_section_is_named(section: str, told: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(f"name: x\nrules: {{}}\npromotion: {section}", "p.yaml")
    assert told in caught.value.message


def test_a_stored_policy_is_the_one_the_decision_names() -> None:
    policy = load_policy("name: x\nrules: {}\npromotion: {approvals: 2}", "p.yaml")
    stored = policy.model_dump(mode="json")
    assert stored_rule(stored, policy.digest) == PromotionRule(approvals=2)
    loosened = {**stored, "promotion": {**stored["promotion"], "approvals": 0}}
    with pytest.raises(PolicyError, match="is not"):
        stored_rule(loosened, policy.digest)


def test_a_stored_policy_of_another_age() -> None:
    old = {"name": "x", "rules": {}}
    assert stored_rule(old, digest_of(old)) == PromotionRule()
    new = {**old, "promotion": {"notary": True}}
    with pytest.raises(PolicyError, match=r"unknown at promotion: `notary`"):
        stored_rule(new, digest_of(new))
