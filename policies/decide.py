"""From evidence to a decision. Pure: the same policy and evidence give the same decision, and nothing raises.

A candidate passes where every condition of every rule holds. This is an intersection-union test: the chance
that a candidate which is truly worse on some suite passes is at most that suite's own error, however many
suites there are, so correction for many suites is a choice and not a need.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.errors import PolicyError
from policies.evidence import SuiteEvidence
from policies.policy import Policy, Rule

RuleName = Literal["floor", "margin", "gain", "cases", "missing"]


class Verdict(StrEnum):
    """May the candidate be promoted?"""

    PASS = "pass"
    REFUSE = "refuse"


class Reason(BaseModel):
    """One condition, whether it holds, and the sentence that says so.

    `suite` is the name of the suite; of the kind, where no suite of the kind was run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    rule: RuleName
    passed: bool
    text: str


class Decision(BaseModel):
    """The verdict with everything it rests on; stored whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    policy_name: str
    policy_digest: str
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]
    evidence: tuple[SuiteEvidence, ...]

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASS

    @property
    def refusals(self) -> tuple[str, ...]:
        """The sentences of the conditions that do not hold."""
        return tuple(reason.text for reason in self.reasons if not reason.passed)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Decision:
        """What `to_dict` wrote.

        Raises:
            PolicyError: it is not the record of a decision.
        """
        try:
            return cls.model_validate(dict(record))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise PolicyError(f"not the record of a decision: `{path}`: {first['msg']}") from None


def decide(
    policy: Policy,
    evidence: Sequence[SuiteEvidence],
    *,
    required_kinds: Collection[str] = (),
    warnings: Sequence[str] = (),
) -> Decision:
    """Judge the evidence by the policy.

    `required_kinds` must be there besides those the policy itself requires; `warnings` found elsewhere are
    carried into the decision, before its own.
    """
    judged = [_Judged(item, policy.rule_for(item.suite, item.kind)) for item in evidence]
    significant = _significance(policy, judged)
    reasons = [
        *(
            reason
            for item in judged
            if item.rule
            for reason in _conditions(item.evidence, item.rule, significant, policy.digest)
        ),
        *_missing(policy, evidence, required_kinds),
    ]
    found = [warning for item in judged for warning in _warnings(item)]
    return Decision(
        verdict=Verdict.PASS if all(reason.passed for reason in reasons) else Verdict.REFUSE,
        policy_name=policy.name,
        policy_digest=policy.digest,
        reasons=tuple(reasons),
        warnings=(*warnings, *found),
        evidence=tuple(evidence),
    )


class _Judged(NamedTuple):
    evidence: SuiteEvidence
    rule: Rule | None


class _Test(NamedTuple):
    """One of the statistical conditions of the decision, by the evidence it is about."""

    evidence: int  # id of the evidence
    rule: RuleName


_Significance = Mapping[_Test, bool]


def _significance(policy: Policy, judged: Sequence[_Judged]) -> _Significance:
    """Which margins and gains stand after Holm's correction; empty where none is asked for."""
    if policy.correction == "none":
        return {}
    tests = [test for item in judged for test in _tests(item)]
    order = sorted(tests, key=lambda test: test.p)
    standing: dict[_Test, bool] = {}
    adjusted = 0.0
    for rank, test in enumerate(order):
        adjusted = max(adjusted, (len(order) - rank) * test.p)
        standing[test.name] = adjusted < test.alpha
    return standing


class _TestValue(NamedTuple):
    name: _Test
    p: float
    alpha: float


def _tests(item: _Judged) -> Iterator[_TestValue]:
    evidence, rule = item
    if rule is None or evidence.champion is None:
        return
    alpha = (1 - rule.confidence) / 2
    if rule.margin is not None:
        yield _TestValue(_Test(id(evidence), "margin"), _p(evidence, evidence.p_non_inferior), alpha)
    if rule.gain is not None:
        yield _TestValue(_Test(id(evidence), "gain"), _p(evidence, evidence.p_superior), alpha)


def _p(evidence: SuiteEvidence, value: float | None) -> float:
    return 1.0 if value is None or evidence.unanswered else value


def _conditions(
    evidence: SuiteEvidence, rule: Rule, significant: _Significance, policy_digest: str
) -> Iterator[Reason]:
    if evidence.unanswered:  # what passes rests on whole suites
        yield _ended_early(evidence, policy_digest)
        return
    yield _cases(evidence, rule)
    if rule.floor is not None:
        yield _floor(evidence, rule.floor)
    if evidence.champion is None:
        if rule.floor is None and (rule.margin is not None or rule.gain is not None):
            yield _incomparable(evidence)
        return
    if rule.margin is not None:
        yield _margin(evidence, rule, rule.margin, significant)
    if rule.gain is not None:
        yield _gain(evidence, rule, rule.gain, significant)


def _cases(evidence: SuiteEvidence, rule: Rule) -> Reason:
    passed = evidence.n >= rule.min_cases
    text = f"{evidence.suite}: {_cases_word(evidence.n)}, at least {rule.min_cases} needed: "
    return Reason(
        suite=evidence.suite, rule="cases", passed=passed, text=text + ("enough" if passed else "too few")
    )


def _ended_early(evidence: SuiteEvidence, policy_digest: str) -> Reason:
    old = "" if evidence.champion is None else f"{number(evidence.champion)} → "
    asked = f"{evidence.n} of {evidence.n + evidence.unanswered} cases"
    outcome = (
        f"refused whatever the remaining {evidence.unanswered} would have given"
        if evidence.settled_under == policy_digest
        else "ended early under another policy or champion: not shown"
    )
    text = f"{evidence.suite}: {old}{number(evidence.candidate)} on the first {asked}: {outcome}"
    return Reason(suite=evidence.suite, rule="cases", passed=False, text=text)


def _cases_word(n: int) -> str:
    return "1 case" if n == 1 else f"{n} cases"


def _floor(evidence: SuiteEvidence, floor: float) -> Reason:
    higher = evidence.higher_is_better
    passed = evidence.candidate >= floor if higher else evidence.candidate <= floor
    name, beyond = ("floor", "below") if higher else ("ceiling", "above")
    value, limit = _apart(evidence.candidate, floor)
    outcome = "met" if passed else f"{beyond} the {name}"
    return Reason(
        suite=evidence.suite,
        rule="floor",
        passed=passed,
        text=f"{evidence.suite}: {value}, {name} {limit}: {outcome}",
    )


def _incomparable(evidence: SuiteEvidence) -> Reason:
    value = number(evidence.candidate)
    text = f"{evidence.suite}: {value}, no champion result to compare with and no floor: not shown"
    return Reason(suite=evidence.suite, rule="missing", passed=False, text=text)


def _margin(evidence: SuiteEvidence, rule: Rule, margin: float, significant: _Significance) -> Reason:
    limit = -margin if evidence.higher_is_better else margin
    worst = _worst(evidence)
    sure = _sure(evidence, rule) and significant.get(_Test(id(evidence), "margin"), True)
    passed = sure and worst is not None and (worst > limit if evidence.higher_is_better else worst < limit)
    outcome = "non-inferior" if passed else "not shown to be non-inferior"
    text = (
        f"{_comparison(evidence, limit)}, margin {_apart(limit, worst)[0]}: {outcome}{_why(evidence, rule)}"
    )
    return Reason(suite=evidence.suite, rule="margin", passed=passed, text=text)


def _gain(evidence: SuiteEvidence, rule: Rule, gain: float, significant: _Significance) -> Reason:
    sign = 1.0 if evidence.higher_is_better else -1.0
    worst, difference = _worst(evidence), evidence.difference
    enough = difference is not None and sign * difference >= gain
    sure = _sure(evidence, rule) and significant.get(_Test(id(evidence), "gain"), True)
    shown = sure and worst is not None and sign * worst > 0
    outcome = (
        "improvement shown" if enough and shown else "no improvement shown" if enough else "too small a gain"
    )
    text = (
        f"{_comparison(evidence, sign * gain)}, gain {number(sign * gain)}: {outcome}{_why(evidence, rule)}"
    )
    return Reason(suite=evidence.suite, rule="gain", passed=enough and shown, text=text)


def _worst(evidence: SuiteEvidence) -> float | None:
    """The end of the interval on the side of a worsening."""
    return evidence.low if evidence.higher_is_better else evidence.high


def _sure(evidence: SuiteEvidence, rule: Rule) -> bool:
    return evidence.confidence is not None and evidence.confidence >= rule.confidence


def _why(evidence: SuiteEvidence, rule: Rule) -> str:
    if evidence.confidence is None or _sure(evidence, rule):
        return ""
    found, asked = percent(evidence.confidence), percent(rule.confidence)
    return f" (the interval is at {found}, the policy asks for {asked})"


def _comparison(evidence: SuiteEvidence, limit: float) -> str:
    """`tools: 0.94 → 0.91, difference −0.03 (95 % −0.06 … 0.00)`."""
    digits = _digits(limit, _worst(evidence))
    old, new = number(evidence.champion, digits), number(evidence.candidate, digits)
    low, high = number(evidence.low, digits), number(evidence.high, digits)
    interval = f"({percent(evidence.confidence)} {low} … {high})"
    return f"{evidence.suite}: {old} → {new}, difference {number(evidence.difference, digits)} {interval}"


def number(value: float | None, digits: int = 2) -> str:
    """A figure as decisions write it: a true minus sign, no negative zero, `?` for what is not known."""
    if value is None:
        return "?"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def percent(share: float | None) -> str:
    """`95 %`."""
    return "? %" if share is None else f"{share * 100:g} %"


def _apart(first: float, second: float | None) -> tuple[str, str]:
    digits = _digits(first, second)
    return number(first, digits), number(second, digits)


def _digits(first: float, second: float | None) -> int:
    """As many digits as show which of two unequal figures is the larger, at least two and at most four."""
    for digits in (2, 3):
        if second is None or first == second or number(first, digits) != number(second, digits):
            return digits
    return 4


def _missing(
    policy: Policy, evidence: Sequence[SuiteEvidence], required: Collection[str]
) -> Iterator[Reason]:
    kinds, suites = {item.kind for item in evidence}, {item.suite for item in evidence}
    needed = [kind for kind, rule in policy.rules.items() if rule.missing == "refuse"]
    for kind in dict.fromkeys([*needed, *sorted(required)]):
        if kind not in kinds:
            yield Reason(
                suite=kind,
                rule="missing",
                passed=False,
                text=f"{kind}: no suite of this kind was run: missing",
            )
    for suite, rule in policy.overrides.items():
        if rule.missing == "refuse" and suite not in suites:
            yield Reason(
                suite=suite, rule="missing", passed=False, text=f"{suite}: this suite was not run: missing"
            )


def _warnings(item: _Judged) -> Iterator[str]:
    evidence, rule = item
    if rule is None:
        yield f"{evidence.suite}: the policy has no rule for kind {evidence.kind}: shown, not judged"
    elif evidence.champion is None:
        asked = [name for name, value in (("margin", rule.margin), ("gain", rule.gain)) if value is not None]
        if asked:
            conditions = " and ".join(asked)
            yield f"{evidence.suite}: the champion has no result on this suite: {conditions} not judged"
    elif not evidence.unanswered and rule.margin is not None and evidence.detectable_drop is not None:
        yield from _blunt(evidence, rule.margin, evidence.detectable_drop)


def _blunt(evidence: SuiteEvidence, margin: float, detectable: float) -> Iterator[str]:
    """A suite that could not have seen what the margin is there to keep out."""
    if detectable <= margin:
        return
    seen, limit = _apart(detectable, margin)
    word = "drop" if evidence.higher_is_better else "rise"
    needed = f"; about {evidence.cases_needed} cases would do" if evidence.cases_needed else ""
    yield (
        f"{evidence.suite}: the smallest {word} that {_cases_word(evidence.n)} show with 80 % power "
        f"is {seen}, larger than the margin {limit}{needed}"
    )
