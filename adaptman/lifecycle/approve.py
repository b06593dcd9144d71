"""Agree to a decision, and ask at the promotion whether enough people did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptman.errors import GateRefusedError
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from policies.policy import Policy
    from policies.promotion import Condition, PromotionRule
    from registry.reader import Reader
    from registry.tables import DecisionRow, ModelVersion


class UnmetConditionsError(GateRefusedError):
    """What the policy asks for at the promotion itself is not there; `conditions` has every answer."""

    def __init__(self, number: int, conditions: Sequence[Condition], hint: str) -> None:
        self.number = number
        self.conditions = tuple(conditions)
        ordered = sorted(conditions, key=lambda one: one.passed)
        lines = [f"  {'✓' if one.passed else '✗'} {one.text}" for one in ordered]
        super().__init__("\n".join([f"version `{number}` may not be promoted yet", "", *lines]), hint=hint)


@dataclass(frozen=True)
class Approved:
    """The actor's approval of the newest decision; `created` is False where it stood already."""

    number: int
    actor: str
    created: bool
    verdict: str
    policy_name: str
    approvers: tuple[str, ...]
    trained_it: bool
    """Whether the one who approved trained the version, so that it counts for nothing under four eyes."""


def approve(workspace: Workspace, number: int, note: str) -> Approved:
    """Approve the newest decision about version `number`, as the actor in the settings.

    Raises:
        NotPassedError: there is no decision, or the version awaits no promotion.
        NotFoundError: there is no such version.
    """
    model, actor = workspace.model_row(), workspace.settings.actor
    with workspace.registry.read() as reader:
        version = reader.version(model.id, number)
    done = workspace.registry.write(lambda writer: writer.approve(version.id, note))
    with workspace.registry.read() as reader:
        decision = reader.decision_by_id(done.row.decision_id)
        approvers = tuple(one.actor for one in reader.approvals(decision))
    return Approved(
        number,
        actor,
        done.created,
        decision.verdict,
        decision.policy_name,
        approvers,
        trained_it=version.author == actor,
    )


def check_conditions(
    workspace: Workspace, reader: Reader, version: ModelVersion, decision: DecisionRow, in_force: Policy
) -> None:
    """Hold a promotion to the policy in force and to the one that the decision was made under.

    So neither a looser file at the promotion nor one at the evaluation is enough. Called inside the
    promotion's own transaction: no approval or decision can come between the question and the move.

    Raises:
        UnmetConditionsError: something is missing; says what, and the way to it.
        PolicyError: the policy stored with the decision was edited.
        SignatureError: a signature is asked for, and a trusted key cannot be read.
    """
    from policies.promotion import PromotionFacts, conditions, stored_rule

    rules = [in_force.promotion]
    if decision.policy is not None:
        rules.append(stored_rule(decision.policy, decision.policy_digest))
    facts = PromotionFacts(
        promoter=workspace.settings.actor,
        trainer=version.author,
        approvers=[one.actor for one in reader.approvals(decision)],
        signers=_signers(workspace, reader, version) if any(rule.signed for rule in rules) else (),
    )
    found = list(dict.fromkeys(one for rule in rules for one in conditions(rule, facts)))
    if all(one.passed for one in found):
        return
    raise UnmetConditionsError(version.number, found, _hint(version, decision, reader, rules, found))


def _signers(workspace: Workspace, reader: Reader, version: ModelVersion) -> Sequence[str]:
    from adaptman.lifecycle.signing import signers, trusted_keys

    return signers(reader, version, trusted_keys(workspace.settings.trusted_keys))


def _hint(
    version: ModelVersion,
    decision: DecisionRow,
    reader: Reader,
    rules: Sequence[PromotionRule],
    found: Sequence[Condition],
) -> str:
    missing = {one.rule for one in found if not one.passed}
    trainer = version.author
    ways = []
    if "approvals" in missing:
        barred = {one.actor for one in reader.approvals(decision)}
        barred |= {trainer} if trainer and any(rule.four_eyes for rule in rules) else set()
        others = (
            f" by somebody other than {', '.join(f'`{one}`' for one in sorted(barred))}" if barred else ""
        )
        ways.append(f"`adaptman approve {version.number} --note TEXT`{others}")
    if "four_eyes" in missing:
        ways.append(f"let somebody other than `{trainer}` promote it" if trainer else "train the update anew")
    if "signed" in missing:
        ways.append(f"`adaptman version sign {version.number} --key FILE` with a key among `trusted_keys`")
    return "; ".join(ways)
