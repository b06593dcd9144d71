"""What must hold at the promotion itself, after the decision: approvals, four eyes, a signature. Pure.

A decision is about what a candidate can do; these conditions are about who stands for it, and they can only
be asked when it is promoted. A waiver overrides the verdict and none of these; a rollback asks for none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.errors import PolicyError

ConditionName = Literal["approvals", "four_eyes", "signed"]


class PromotionRule(BaseModel):
    """Who must stand for a version before it becomes champion. The defaults ask for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    approvals: Annotated[int, Field(ge=0, le=100)] = 0
    """How many different people must have approved the decision that it is promoted by."""
    four_eyes: bool = False
    """The one who trained it neither promotes it nor counts among those who approved."""
    signed: bool = False
    """It bears a valid signature by a trusted key, over what it is now."""


class PromotionFacts(NamedTuple):
    """What is known at the moment of promotion. `trainer` is "" where nobody can tell any more."""

    promoter: str
    trainer: str
    approvers: Collection[str]
    signers: Collection[str]
    """Trusted keys whose signatures hold."""


class Condition(NamedTuple):
    """One condition, whether it holds, and the sentence that says so."""

    rule: ConditionName
    passed: bool
    text: str


def conditions(rule: PromotionRule, facts: PromotionFacts) -> tuple[Condition, ...]:
    """The conditions that the rule asks for, each with its answer; none where it asks for nothing."""
    return tuple(_asked(rule, facts))


def _asked(rule: PromotionRule, facts: PromotionFacts) -> Iterator[Condition]:
    if rule.approvals:
        yield _approvals(rule, facts)
    if rule.four_eyes:
        yield _four_eyes(facts)
    if rule.signed:
        yield _signed(facts)


def _approvals(rule: PromotionRule, facts: PromotionFacts) -> Condition:
    given = sorted(set(facts.approvers))
    counted = [one for one in given if not (rule.four_eyes and one == facts.trainer)]
    needed = "1 approval" if rule.approvals == 1 else f"{rule.approvals} approvals"
    by = f" ({', '.join(counted)})" if counted else ""
    left_out = f"; that of {facts.trainer}, who trained it, does not count" if counted != given else ""
    text = f"{needed} needed, {len(counted)} given{by}{left_out}"
    return Condition("approvals", len(counted) >= rule.approvals, text)


def _four_eyes(facts: PromotionFacts) -> Condition:
    if not facts.trainer:
        return Condition("four_eyes", False, "who promotes must not have trained it: nobody can tell who did")
    by = f"trained by {facts.trainer}, promoted by {facts.promoter}"
    other = facts.trainer != facts.promoter
    return Condition("four_eyes", other, f"{by}: {'two people' if other else 'the same'}")


def _signed(facts: PromotionFacts) -> Condition:
    keys = ", ".join(key[:12] for key in sorted(set(facts.signers)))
    text = f"signed by trusted key {keys}" if keys else "no valid signature by a trusted key"
    return Condition("signed", bool(keys), text)


def digest_of(policy: Mapping[str, Any]) -> str:
    """sha256 (hex) of a policy's canonical JSON: what `Policy.digest` is, and what a decision names."""
    text = json.dumps(policy, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stored_rule(policy: Mapping[str, Any], digest: str) -> PromotionRule:
    """The promotion rule of a policy that was stored with a decision, under the digest the decision names.

    Raises:
        PolicyError: the stored policy is not the one that the decision was made under.
    """
    hint = "judge the version again with `adaptman evaluate`"
    if digest_of(policy) != digest:
        raise PolicyError(f"the policy stored with the decision is not `{digest}`, which it names", hint=hint)
    try:
        return PromotionRule.model_validate(policy.get("promotion", {}))
    except ValidationError as error:
        path = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PolicyError(
            f"the policy stored with the decision asks for something unknown at promotion: `{path}`",
            hint=hint,
        ) from None
