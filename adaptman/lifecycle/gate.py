"""The gate: from two sets of suite results to a decision under a policy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adaptman.errors import SuiteError
from adaptman.evaluation.runner import SuiteResult
from adaptman.evaluation.statistics import PairedComparison, compare
from adaptman.lifecycle.early import cannot_pass
from policies.decide import Decision, decide
from policies.evidence import SuiteEvidence
from policies.policy import Policy, Rule

if TYPE_CHECKING:
    from registry.tables import ModelVersion


def policy_for(policy: Policy, version: ModelVersion, champion: ModelVersion | None) -> Policy:
    """The policy by which a version is judged: one that the champion itself was folded into can gain nothing
    over it, and is asked for everything else."""
    is_the_champion = champion is not None and version.is_folded and version.parent_id == champion.id
    return policy.without_gain() if is_the_champion else policy


def judge(
    policy: Policy,
    candidate: Sequence[SuiteResult],
    champion: Sequence[SuiteResult],
    *,
    required_kinds: Collection[str] = (),
    warnings: Sequence[str] = (),
) -> Decision:
    """Compare the candidate with the champion on each suite both answered, and decide.

    Results are matched by the suite's digest: a champion's result on another revision of a suite is none. A
    candidate's result that ended early is compared on the cases it holds, and never passes.

    Raises:
        SuiteError: two results of one suite do not hold the same cases.
    """
    by_digest = {result.suite_digest: result for result in champion}
    evidence = [_evidence(policy, result, by_digest.get(result.suite_digest)) for result in candidate]
    return decide(policy, evidence, required_kinds=required_kinds, warnings=warnings)


def _evidence(policy: Policy, candidate: SuiteResult, champion: SuiteResult | None) -> SuiteEvidence:
    rule = policy.rule_for(candidate.suite_name, candidate.kind.value)
    if not candidate.unanswered:
        return suite_evidence(candidate, champion, rule)
    is_settled = cannot_pass(policy, candidate, champion)
    early = {
        "unanswered": candidate.unanswered,
        "settled_under": policy.digest if is_settled else None,
    }
    return suite_evidence(candidate, _answered_too(candidate, champion), rule).model_copy(update=early)


def _answered_too(candidate: SuiteResult, champion: SuiteResult | None) -> SuiteResult | None:
    if champion is None:
        return None
    asked = {outcome.case_id for outcome in candidate.outcomes}
    shared = tuple(outcome for outcome in champion.outcomes if outcome.case_id in asked)
    return replace(champion, outcomes=shared)


def suite_evidence(candidate: SuiteResult, champion: SuiteResult | None, rule: Rule | None) -> SuiteEvidence:
    """What the two results show, at the rule's margin and confidence (0 and 95 % where there is no rule).

    Raises:
        SuiteError: the two results do not hold the same cases.
    """
    alone = SuiteEvidence(
        suite=candidate.suite_name,
        kind=candidate.kind.value,
        suite_digest=candidate.suite_digest,
        metric=candidate.metric,
        higher_is_better=candidate.higher_is_better,
        n=candidate.n,
        candidate=candidate.value,
        stale=_pairs(candidate.stale),
    )
    if champion is None:
        return alone
    found = _compared(candidate, champion, rule or Rule())
    return alone.model_copy(
        update={
            "champion": found.champion,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "confidence": found.confidence,
            "broke": found.broke,
            "mended": found.mended,
            "p_non_inferior": found.p_non_inferior,
            "p_superior": found.p_superior,
            "detectable_drop": found.detectable_drop,
            "cases_needed": found.cases_needed,
            "method": found.method,
            "champion_stale": _pairs(champion.stale),
        }
    )


def _pairs(stale: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]] | None:
    return {rule: (counts[0], counts[1]) for rule, counts in stale.items()} or None


def _compared(candidate: SuiteResult, champion: SuiteResult, rule: Rule) -> PairedComparison:
    try:
        return compare(
            candidate.outcomes,
            champion.outcomes,
            margin=rule.margin or 0.0,
            confidence=rule.confidence,
            higher_is_better=candidate.higher_is_better,
            binary=candidate.binary,
        )
    except ValueError as error:
        raise SuiteError(
            f"suite `{candidate.suite_name}`: candidate and champion cannot be compared: {error}",
            hint="run the suite again on both",
        ) from None
