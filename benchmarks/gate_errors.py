"""How often the gate errs: simulated candidates, judged by the real policy from case outcome to verdict.

    python benchmarks/gate_errors.py [--trials N] [--seed N] [--policy NAME]

For each kind of suite with a margin, and for each share of cases on which candidate and champion disagree,
a suite has the number of cases that the tool itself calls sufficient (`cases_needed` in the evidence, asked
for again with the suite at that size, and never fewer than the policy's `min_cases`). Three candidates
answer it: an equal one, one truly worse by the margin, and one by twice the margin. A trial draws the outcome
of every case and asks `judge` for the verdict. `both` is one decision over a suite of each of two kinds, of
which only the general one gets worse.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptman import __version__
from adaptman.evaluation.runner import CaseOutcome, SuiteResult
from adaptman.evaluation.statistics import wilson
from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle.gate import judge, suite_evidence
from policies.policy import Policy, builtin

METRICS = {SuiteKind.GENERAL: "accuracy", SuiteKind.TOOLS: "call_accuracy", SuiteKind.DRIFT: "nats_per_token"}
CHAMPION = 0.85
DRIFT_DEVIATION = 0.15  # nats per token: the spread over cases that the demo's updates show
MOST = 5000


@dataclass(frozen=True)
class World:
    """How candidate and champion truly differ on one kind of suite."""

    kind: SuiteKind
    discordance: float
    """The share of cases on which an equal candidate disagrees; for drift the spread of the differences."""

    def outcomes(self, rng: np.random.Generator, n: int, worse: float) -> tuple[SuiteResult, SuiteResult]:
        """Candidate and champion on the same `n` cases, the candidate truly worse by `worse`."""
        if self.kind is SuiteKind.DRIFT:
            before = rng.normal(1.5, 0.4, n)
            after = before + rng.normal(worse, self.discordance, n)
            return _result(self.kind, after), _result(self.kind, before)
        mended = max(0.0, (self.discordance - worse) / 2)
        broke = mended + worse
        shares = [CHAMPION - broke, broke, mended, 1 - CHAMPION - mended]
        drawn = rng.choice(4, n, p=shares)
        return _result(self.kind, np.isin(drawn, [0, 2])), _result(self.kind, np.isin(drawn, [0, 1]))


def _result(kind: SuiteKind, scores: Sequence[float]) -> SuiteResult:
    values = [float(score) for score in scores]
    interval = wilson(0, len(values))
    return SuiteResult(
        suite_digest=kind.value,
        suite_name=kind.value,
        kind=kind,
        metric=METRICS[kind],
        higher_is_better=kind.higher_is_better,
        outcomes=tuple(CaseOutcome(str(at), value, "", "") for at, value in enumerate(values)),
        value=float(np.mean(values)),
        low=interval.low,
        high=interval.high,
        n=len(values),
        duration_s=0.0,
    )


def sufficient(policy: Policy, world: World, rng: np.random.Generator) -> int:
    """The suite size that the tool calls sufficient: enlarged until the median draw asks for no more."""
    rule = policy.rule_for(world.kind.value, world.kind.value)
    assert rule is not None
    n = max(rule.min_cases, 20)
    while n < MOST:
        asked = []
        for _ in range(9):
            candidate, champion = world.outcomes(rng, n, 0.0)
            asked.append(suite_evidence(candidate, champion, rule).cases_needed or MOST)
        if np.median(asked) <= n:
            return n
        n = max(n + 5, min(int(np.median(asked)), int(n * 1.3)))
    return MOST


def share_passed(
    policy: Policy,
    worlds: Sequence[World],
    sizes: Sequence[int],
    worse: Sequence[float],
    trials: int,
    seed: int,
) -> float:
    """The share of trials in which the gate lets the candidate pass."""
    rng = np.random.default_rng(seed)
    passed = 0
    for _ in range(trials):
        drawn = [world.outcomes(rng, n, drop) for world, n, drop in zip(worlds, sizes, worse, strict=True)]
        passed += judge(policy, [new for new, _ in drawn], [old for _, old in drawn]).passed
    return passed / trials


def alone(policy: Policy, kind: SuiteKind) -> Policy:
    """The policy with the rule of one kind only, so that its own error is seen; floors are another matter."""
    rule = policy.rules[kind.value].model_copy(update={"floor": None})
    return policy.model_copy(update={"rules": {kind.value: rule}, "overrides": {}})


WORLDS = [
    World(kind, share) for kind in (SuiteKind.TOOLS, SuiteKind.GENERAL) for share in (0.02, 0.05, 0.10, 0.20)
] + [World(SuiteKind.DRIFT, DRIFT_DEVIATION), World(SuiteKind.DRIFT, 2 * DRIFT_DEVIATION)]


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--trials", type=int, default=4000)
    words.add_argument("--graded-trials", type=int, default=400, help="for drift, whose bootstrap is slow")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--policy", default="default")
    asked = words.parse_args()
    policy = builtin(asked.policy)
    rng = np.random.default_rng(asked.seed)
    print(
        f"Measured with adaptman {__version__}, Python {platform.python_version()}, numpy {np.__version__}, ",
        end="",
    )
    print(f"policy {policy.name} {policy.digest[:12]}, seed {asked.seed}, {asked.trials} trials a cell ")
    print(f"({asked.graded_trials} for drift); `{' '.join(['python', *sys.argv])}`\n")
    columns = ["suite", "margin", "disagreement", "cases", "equal: refused"]
    print(f"| {' | '.join([*columns, 'worse by the margin: passes', 'by twice: passes'])} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for world in WORLDS:
        one = alone(policy, world.kind)
        margin, n = one.rules[world.kind.value].margin or 0.0, sufficient(one, world, rng)
        trials = asked.graded_trials if world.kind is SuiteKind.DRIFT else asked.trials
        rates = [
            share_passed(one, [world], [n], [drop], trials, asked.seed) for drop in (0.0, margin, 2 * margin)
        ]
        told = f"{1 - rates[0]:.1%} | {rates[1]:.1%} | {rates[2]:.1%}"
        print(f"| {world.kind} | {margin} | {world.discordance} | {n} | {told} |", flush=True)
    _both(policy, asked.trials // 4, asked.seed, rng)


def _both(policy: Policy, trials: int, seed: int, rng: np.random.Generator) -> None:
    kinds = (SuiteKind.TOOLS, SuiteKind.GENERAL)
    worlds = [World(kind, 0.05) for kind in kinds]
    rules = {kind.value: alone(policy, kind).rules[kind.value] for kind in kinds}
    both = policy.model_copy(update={"rules": rules, "overrides": {}})
    sizes = [sufficient(alone(policy, world.kind), world, rng) for world in worlds]
    margin = rules["general"].margin or 0.0
    rates = [
        share_passed(both, worlds, sizes, [0.0, drop], trials, seed) for drop in (0.0, margin, 2 * margin)
    ]
    told = f"{1 - rates[0]:.1%} | {rates[1]:.1%} | {rates[2]:.1%}"
    print(f"| both | {margin} | 0.05 | {' + '.join(map(str, sizes))} | {told} |")


if __name__ == "__main__":
    main()
