"""An evaluation that ends early is refused exactly where the whole one would be."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptman.evaluation.runner import CaseOutcome, SuiteResult, summarize
from adaptman.evaluation.suites import Suite, SuiteKind
from adaptman.lifecycle import early
from adaptman.lifecycle.early import cannot_pass
from adaptman.lifecycle.gate import judge
from policies.decide import Decision, decide
from policies.policy import Policy, Rule, builtin

GENERAL = SuiteKind.GENERAL
METRICS = {SuiteKind.GENERAL: "accuracy", SuiteKind.TOOLS: "call_accuracy", SuiteKind.DRIFT: "nats_per_token"}


def result(scores: Sequence[float], *, of: int = 0, kind: SuiteKind = GENERAL, name: str = "") -> SuiteResult:
    """The run of a suite of `of` cases that ended after these."""
    suite = Suite(name or kind.value, kind, (), name or kind.value, kind.higher_is_better, METRICS[kind])
    outcomes = [CaseOutcome(str(at), score, "", "") for at, score in enumerate(scores)]
    return summarize(suite, outcomes, duration_s=1.0, unanswered=max(0, of - len(scores)))


class Replay(NamedTuple):
    """Recorded answers of candidate and champion to one suite, and the cases that are asked together."""

    name: str
    candidate: list[float]
    champion: list[float]
    step: int

    def until_settled(self, policy: Policy) -> SuiteResult:
        """As an evaluation that may end early goes: batch by batch."""
        champion = result(self.champion, name=self.name)
        for end in range(self.step, len(self.candidate), self.step):
            partial = result(self.candidate[:end], of=len(self.candidate), name=self.name)
            if cannot_pass(policy, partial, champion):
                return partial
        return result(self.candidate, name=self.name)


@st.composite
def replays(draw: st.DrawFn, name: str = "general") -> Replay:
    """Champions and candidates good and bad, alike and unlike, the bad cases anywhere."""
    n = draw(st.integers(2, 48))
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 0.9, 1.0]))
    champion = [float(one < share) for one in draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))]
    turned = draw(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]))
    flips = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    mends = draw(st.booleans())
    candidate = [
        1.0 - old if flip < turned and (mends or old) else old
        for old, flip in zip(champion, flips, strict=True)
    ]
    return Replay(name, candidate, champion, draw(st.integers(1, n)))


RULES = st.builds(
    Rule,
    floor=st.none() | st.sampled_from([0.0, 0.4, 0.8, 1.0]),
    margin=st.none() | st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    gain=st.none() | st.sampled_from([0.0, 0.05, 0.2]),
    confidence=st.sampled_from([0.5, 0.8, 0.95, 0.99]),
    min_cases=st.integers(2, 40),
)
SUITES = ("general", "more", "most")


@st.composite
def gates(draw: st.DrawFn) -> tuple[Policy, list[Replay]]:
    names = SUITES[: draw(st.integers(1, 3))]
    policy = Policy(
        name="p",
        correction=draw(st.sampled_from(["none", "holm"])),
        rules={"general": draw(RULES)},
        overrides={name: draw(RULES) for name in names[1:]},
    )
    return policy, [draw(replays(name)) for name in names]


@settings(max_examples=100, deadline=None)
@given(gates())
def test_the_verdict_is_that_of_the_whole(gate: tuple[Policy, list[Replay]]) -> None:
    policy, suites = gate
    champion = [result(one.champion, name=one.name) for one in suites]
    whole = judge(policy, [result(one.candidate, name=one.name) for one in suites], champion)
    found = [one.until_settled(policy) for one in suites]
    decision = judge(policy, found, champion)
    assert decision.verdict == whole.verdict
    for one in found:
        if one.unanswered:  # this very suite is refused by the whole, too
            mine = [reason.passed for reason in whole.reasons if reason.suite == one.suite_name]
            assert not all(mine)
            [reason] = [reason for reason in decision.reasons if reason.suite == one.suite_name]
            assert (reason.rule, reason.passed) == ("cases", False)
            assert reason.text.endswith(f"whatever the remaining {one.unanswered} would have given")


@pytest.mark.slow
def test_thousands_of_replayed_suites_end_in_the_same_verdict() -> None:
    """Champion and candidate answer as their true rates say, in any order."""
    chance = random.Random(4)
    rule = Policy(name="p", rules={"general": Rule(margin=0.15, min_cases=20)})
    stopped = saved = asked = 0
    for _ in range(1000):
        n, rate, kept = chance.choice((24, 40, 56)), chance.uniform(0.3, 1), chance.uniform(0.5, 1)
        champion = [float(chance.random() < rate) for _ in range(n)]
        candidate = [float(chance.random() < (kept if old else 0.1)) for old in champion]
        replay = Replay("general", candidate, champion, chance.choice((1, 3, 8, 16)))
        found = replay.until_settled(rule)
        whole = judge(rule, [result(candidate)], [result(champion)])
        assert judge(rule, [found], [result(champion)]).verdict == whole.verdict
        assert not (whole.passed and found.unanswered)
        stopped, saved, asked = stopped + bool(found.unanswered), saved + found.unanswered, asked + n
    print(f"{stopped} of 1000 ended early, {saved / asked:.0%} of the cases saved")
    assert stopped > 400


def bad(n: int = 40) -> Replay:
    return Replay("general", [0.0] * n, [1.0] * n, 1)


def test_a_hopeless_candidate_is_stopped_soon() -> None:
    policy = Policy(name="p", rules={"general": Rule(margin=0.1)})
    found = bad(100).until_settled(policy)
    assert (found.n, found.unanswered) == (5, 95)
    [text] = judge(policy, [found], [result([1.0] * 100)]).refusals
    assert text == (
        "general: 1.00 → 0.00 on the first 5 of 100 cases: refused whatever the remaining 95 would have given"
    )


def test_it_is_not_stopped_a_case_too_soon() -> None:
    """At the case before, some completion passes: shown by one that does."""
    policy = Policy(name="p", rules={"general": Rule(margin=0.1)})
    champion = result([1.0] * 100)
    assert judge(policy, [result([0.0] * 4 + [1.0] * 96)], [champion]).passed
    assert not cannot_pass(policy, result([0.0] * 4, of=100), champion)


def test_a_passing_candidate_is_asked_to_the_end() -> None:
    replay = Replay("general", [1.0] * 120, [1.0] * 120, 1)
    assert replay.until_settled(builtin()).unanswered == 0


def undecidable() -> Iterator[tuple[str, SuiteResult, SuiteResult | None]]:
    champion = result([1.0] * 40)
    partial = result([0.0] * 20, of=40)
    yield "no champion", partial, None
    yield "the champion ended early", partial, result([1.0] * 30, of=40)
    yield "other cases", partial, result([1.0] * 41)
    yield "graded", result([0.5] * 20, of=40), champion
    yield "drift", result([9.0] * 20, of=40, kind=SuiteKind.DRIFT), result([1.0] * 40, kind=SuiteKind.DRIFT)
    yield "whole", result([0.0] * 40), champion


@pytest.mark.parametrize(
    ("why", "partial", "champion"), list(undecidable()), ids=lambda value: str(value)[:20]
)
def test_what_is_not_judged_early(why: str, partial: SuiteResult, champion: SuiteResult | None) -> None:
    rule = Rule(margin=0.1)
    assert not cannot_pass(Policy(name="p", rules={"general": rule, "drift": rule}), partial, champion)


def test_a_suite_without_a_rule_is_not_judged_early() -> None:
    assert not cannot_pass(Policy(name="p", rules={}), result([0.0] * 20, of=40), result([1.0] * 40))


def test_too_many_completions_are_left_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(name="p", rules={"general": Rule(margin=0.1)})
    monkeypatch.setattr(early, "MOST_TABLES", 20)
    assert [bad().until_settled(policy).unanswered] == [19]


def ended_early() -> Decision:
    policy = Policy(name="p", rules={"general": Rule(margin=0.1)})
    return judge(policy, [bad().until_settled(policy)], [result([1.0] * 40)])


def test_another_policy_does_not_pass_it_either() -> None:
    """Recorded evidence of some of the cases is none for a policy under which it might have passed."""
    kind = Policy(name="kind", rules={"general": Rule(floor=0.0)})
    told = decide(kind, ended_early().evidence)
    assert told.refusals == (
        "general: 1.00 → 0.00 on the first 1 of 40 cases: "
        "ended early under another policy or champion: not shown",
    )


def test_a_result_that_might_have_passed_is_not_said_to_be_settled() -> None:
    policy = Policy(name="p", rules={"general": Rule(margin=0.1)})
    decision = judge(policy, [result([1.0] * 20, of=40)], [result([1.0] * 40)])
    assert not decision.passed
    assert "whatever" not in decision.refusals[0]
