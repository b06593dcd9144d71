"""When the verdict on a suite cannot change any more, whatever the cases that are left would give."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from adaptman.evaluation.runner import SuiteResult
from adaptman.evaluation.statistics import PairedTable, newcombe_paired
from policies.decide import decide
from policies.evidence import SuiteEvidence
from policies.policy import Policy, Rule

MOST_TABLES = 100_000
"""Completions that are tried, some seconds' worth; a suite with more of them goes on until fewer are left."""


def cannot_pass(policy: Policy, candidate: SuiteResult, champion: SuiteResult | None) -> bool:
    """Whether `policy` refuses the suite of `candidate`, which ended early, whatever is answered to the rest.

    Only right-or-wrong suites that the champion has answered whole are judged early. The verdict on such a
    suite depends on four counts alone, so that every completion that differs in them is put to the policy;
    none is assumed to be the best. Correction for several suites is left out: it only ever refuses more.
    """
    rule = policy.rule_for(candidate.suite_name, candidate.kind.value)
    if rule is None or champion is None or champion.unanswered or not candidate.unanswered:
        return False
    if not (candidate.binary and candidate.higher_is_better):
        return False
    left = _left(candidate, champion)
    if left is None:
        return False
    alone = Policy(name=policy.name, rules={}, overrides={candidate.suite_name: rule})
    # The likeliest to pass comes first: while it passes, and it mostly does, nothing else is tried.
    return not any(_passes(alone, rule, candidate, table) for table in left.completions())


class _Left(NamedTuple):
    """What is answered by both, and how many of the other cases the champion had right and wrong."""

    answered: PairedTable
    right: int
    wrong: int

    def completions(self) -> Iterator[PairedTable]:
        """Every table that the whole suite may come to, the best for the candidate first."""
        both, broke, mended, neither = self.answered
        for kept, gained in product(range(self.right, -1, -1), range(self.wrong, -1, -1)):
            yield PairedTable(
                both + kept, broke + self.right - kept, mended + gained, neither + self.wrong - gained
            )


def _left(candidate: SuiteResult, champion: SuiteResult) -> _Left | None:
    """None where the two do not pair, a score is neither 0 nor 1, or there is too much to try."""
    old = {outcome.case_id: outcome.score for outcome in champion.outcomes}
    new = {outcome.case_id: outcome.score for outcome in candidate.outcomes}
    if not new.keys() <= old.keys() or len(old) != len(new) + candidate.unanswered:
        return None
    if not {*old.values(), *new.values()} <= {0.0, 1.0}:
        return None
    pairs = [(old[case_id], score) for case_id, score in new.items()]
    answered = PairedTable(*(pairs.count(pair) for pair in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))))
    right = sum(score == 1.0 for case_id, score in old.items() if case_id not in new)
    wrong = candidate.unanswered - right
    return _Left(answered, right, wrong) if (right + 1) * (wrong + 1) <= MOST_TABLES else None


def _passes(alone: Policy, rule: Rule, candidate: SuiteResult, table: PairedTable) -> bool:
    interval = newcombe_paired(table, rule.confidence)
    evidence = SuiteEvidence(
        suite=candidate.suite_name,
        kind=candidate.kind.value,
        suite_digest=candidate.suite_digest,
        metric=candidate.metric,
        higher_is_better=True,
        n=table.n,
        candidate=(table.both + table.mended) / table.n,
        champion=(table.both + table.broke) / table.n,
        difference=(table.mended - table.broke) / table.n,
        low=interval.low,
        high=interval.high,
        confidence=rule.confidence,
    )
    return decide(alone, [evidence]).passed
