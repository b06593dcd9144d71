"""From two sets of results to a decision under the default policy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adaptman.errors import SuiteError
from adaptman.evaluation.runner import CaseOutcome, SuiteResult, summarize
from adaptman.evaluation.suites import Suite, SuiteKind
from adaptman.lifecycle.gate import judge
from policies.decide import Decision
from policies.policy import Policy, Rule, builtin

DEFAULT = builtin()
NATS = "nats_per_token"


def result(
    kind: SuiteKind, scores: list[float], *, revision: str = "1", metric: str = "accuracy"
) -> SuiteResult:
    """A run of the suite named after its kind; its digest says which revision it is."""
    one = Suite(kind.value, kind, (), f"{kind.value}-{revision}", kind.higher_is_better, metric)
    outcomes = [CaseOutcome(str(number), score, "", "") for number, score in enumerate(scores)]
    return summarize(one, outcomes, duration_s=1.0)


def flipped(n: int, right: int, broke: int = 0, mended: int = 0) -> list[float]:
    """0/1 scores of `n` cases of which the first `right` were right, after some broke and some mended."""
    scores = [1.0] * (right - broke) + [0.0] * broke + [1.0] * mended
    return scores + [0.0] * (n - len(scores))


LEARNT = result(SuiteKind.TARGET, flipped(48, 0, mended=30))
UNLEARNT = result(SuiteKind.TARGET, flipped(48, 0))


def judged(candidate: list[float], champion: list[float], policy: Policy = DEFAULT) -> Decision:
    """The default gate with the update learnt and these answers to the general suite."""
    return judge(
        policy,
        [LEARNT, result(SuiteKind.GENERAL, candidate)],
        [UNLEARNT, result(SuiteKind.GENERAL, champion)],
    )


@pytest.mark.parametrize("n", [100, 110, 120])
@pytest.mark.parametrize("share", [0.7, 0.84, 0.95])
@pytest.mark.parametrize("flips", [0, 2, 3])
def test_an_equal_candidate_passes(n: int, share: float, flips: int) -> None:
    right = round(n * share)
    decision = judged(flipped(n, right, flips, flips), flipped(n, right))
    assert decision.passed, decision.refusals


@pytest.mark.parametrize("n", [100, 110, 120])
@pytest.mark.parametrize("share", [0.7, 0.84, 0.95])
@pytest.mark.parametrize("mended", [0, 1, 3])
def test_a_drop_of_a_tenth_is_refused(n: int, share: float, mended: int) -> None:
    right, broke = round(n * share), round(n * 0.10) + mended
    decision = judged(flipped(n, right, broke, mended), flipped(n, right))
    assert not decision.passed
    assert [reason.rule for reason in decision.reasons if not reason.passed] == ["margin"]


def test_forgetting_is_refused_in_words() -> None:
    decision = judged(flipped(110, 92, broke=85), flipped(110, 92))
    assert decision.refusals == (
        "general: 0.84 → 0.06, difference −0.77 (95 % −0.84 … −0.67), margin −0.08: "
        "not shown to be non-inferior",
    )
    assert (decision.evidence[1].broke, decision.evidence[1].mended) == (85, 0)


def test_what_was_not_learnt_is_refused() -> None:
    general = result(SuiteKind.GENERAL, flipped(110, 92))
    poor = result(SuiteKind.TARGET, flipped(48, 0, mended=2))
    decision = judge(DEFAULT, [poor, general], [UNLEARNT, general])
    assert [text.rpartition(": ")[2] for text in decision.refusals] == ["below the floor", "too small a gain"]


def test_missing_suites_are_refused() -> None:
    assert [reason.suite for reason in judge(DEFAULT, [], []).reasons] == ["target", "general"]
    required = judge(DEFAULT, [], [], required_kinds=["drift"])
    assert [reason.suite for reason in required.reasons] == ["target", "general", "drift"]


def test_results_on_another_revision_are_not_compared() -> None:
    champion = result(SuiteKind.TARGET, flipped(48, 40), revision="2")
    general = result(SuiteKind.GENERAL, flipped(110, 92))
    decision = judge(DEFAULT, [LEARNT, general], [champion, general])
    assert decision.passed
    assert decision.evidence[0].champion is None
    assert decision.warnings == ("target: the champion has no result on this suite: gain not judged",)


def test_drift_is_judged_the_other_way_round() -> None:
    champion = [1.0 + 0.01 * (number % 7) for number in range(40)]
    near, far = [score + 0.04 for score in champion], [score + 0.3 + 0.001 * score for score in champion]
    general = result(SuiteKind.GENERAL, flipped(110, 92))
    others = [LEARNT, general]
    for scores, passed in ((near, True), (far, False)):
        decision = judge(
            DEFAULT,
            [*others, result(SuiteKind.DRIFT, scores, metric=NATS)],
            [UNLEARNT, general, result(SuiteKind.DRIFT, champion, metric=NATS)],
        )
        assert decision.passed == passed
        assert decision.reasons[-1].text.startswith("drift: 1.03 → ")
        assert "margin 0.10" in decision.reasons[-1].text


def test_too_few_cases_to_see_the_margin_are_told() -> None:
    tools = result(SuiteKind.TOOLS, flipped(30, 28, 1, 1))
    general = result(SuiteKind.GENERAL, flipped(110, 92))
    decision = judge(
        DEFAULT, [LEARNT, general, tools], [UNLEARNT, general, result(SuiteKind.TOOLS, flipped(30, 28))]
    )
    assert not decision.passed
    assert decision.warnings == (
        "tools: the smallest drop that 30 cases show with 80 % power is 0.24, larger than the margin 0.10; "
        "about 161 cases would do",
    )


def test_each_suite_is_compared_under_its_own_rule() -> None:
    scores = result(SuiteKind.TOOLS, flipped(100, 90, 5, 2)), result(SuiteKind.TOOLS, flipped(100, 90))
    found = {}
    for confidence in (0.8, 0.99):
        rules = {"tools": Rule(margin=0.08, confidence=confidence)}
        [found[confidence]] = judge(Policy(name="p", rules=rules), scores[:1], scores[1:]).evidence
    mild, strict = found[0.8], found[0.99]
    assert (mild.confidence, strict.confidence) == (0.8, 0.99)
    assert mild.low is not None
    assert strict.low is not None
    assert strict.low < -0.08 < mild.low
    assert mild.p_non_inferior == strict.p_non_inferior


def test_warnings_from_elsewhere_come_first() -> None:
    decision = judge(DEFAULT, [], [], warnings=["suite `target` is in the training set"])
    assert decision.warnings[0] == "suite `target` is in the training set"


def test_judging_loads_no_heavy_library() -> None:
    code = "import sys, adaptman.lifecycle.gate; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "peft", "mlflow", "scipy", "numpy"} & set(loaded.split())


def test_results_of_different_cases_cannot_be_compared() -> None:
    longer = result(SuiteKind.GENERAL, flipped(111, 92))
    with pytest.raises(SuiteError, match="suite `general`: candidate and champion cannot be compared"):
        judge(DEFAULT, [result(SuiteKind.GENERAL, flipped(110, 92))], [longer])


def restrained(candidate: list[float], champion: list[float]) -> Decision:
    """The default gate with the update learnt, the general suite kept, and these answers to irrelevance."""
    kept = result(SuiteKind.GENERAL, flipped(110, 90))
    return judge(
        DEFAULT,
        [LEARNT, kept, result(SuiteKind.IRRELEVANCE, candidate)],
        [UNLEARNT, kept, result(SuiteKind.IRRELEVANCE, champion)],
    )


@pytest.mark.parametrize(("n", "broke"), [(40, 2), (60, 5), (100, 5), (100, 10), (240, 24)])
def test_the_first_update_may_call_a_tool_now_and_then(n: int, broke: int) -> None:
    """The base calls no tool at all, which is no restraint to be held to."""
    decision = restrained(flipped(n, n, broke), flipped(n, n))
    assert decision.passed, decision.refusals


@pytest.mark.parametrize(
    ("n", "before", "after"),
    [(100, 100, 85), (100, 95, 80), (240, 240, 200), (100, 79, 79), (40, 40, 34)],
)
def test_a_model_that_calls_tools_at_any_request_is_refused(n: int, before: int, after: int) -> None:
    assert not restrained(flipped(n, before, before - after), flipped(n, before)).passed


def test_graded_scores_are_compared_by_a_bootstrap() -> None:
    kept = result(SuiteKind.GENERAL, flipped(110, 90))
    scores = [number / 40 for number in range(40)]
    worse = [max(0.0, score - 0.3) for score in scores]

    def custom(values: list[float]) -> SuiteResult:
        return result(SuiteKind.CUSTOM, values, metric="mean_score")

    def decision(values: list[float]) -> Decision:
        return judge(DEFAULT, [LEARNT, kept, custom(values)], [UNLEARNT, kept, custom(scores)])

    assert "bootstrap" in next(one.method or "" for one in decision(scores).evidence if one.kind == "custom")
    assert decision(scores).passed
    assert not decision(worse).passed
