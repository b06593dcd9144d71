"""Move the champion: forward by the gate's decision or a waiver, back by a rollback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptman.errors import GateRefusedError
from adaptman.lifecycle.approve import check_conditions
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from registry.tables import DecisionRow
    from registry.values import Promotion
    from registry.writer import Writer


class RefusedPromotionError(GateRefusedError):
    """The gate refused the version; `decision` is what it said."""

    def __init__(self, number: int, decision: DecisionRow) -> None:
        self.number = number
        self.decision = decision
        against = f" under policy `{decision.policy_name}`"
        lines = [f"the gate refused version `{number}`{against}", "", *reason_lines(decision.reasons)]
        super().__init__(
            "\n".join(lines),
            hint=f'promote it in spite of this, on record, with `adaptman promote {number} --waive "REASON"`',
        )


def promote(workspace: Workspace, number: int, *, waiver: str | None = None) -> Promotion:
    """Make version `number` the champion, in one transaction. A `waiver` overrides a refusal, on record.

    What the policy asks for at the promotion itself (approvals, four eyes, a signature) no waiver overrides.

    Raises:
        RefusedPromotionError: the gate refused the version and there is no waiver.
        UnmetConditionsError: an approval, a second person or a signature is missing.
        PromotionError: the gate has not judged it yet, or judged it against another champion than today's.
        NotFoundError: there is no such version.
    """
    from registry.errors import NotPassedError

    model, in_force = workspace.model_row(), workspace.policy()

    def move(writer: Writer) -> Promotion:
        done = writer.promote(model.id, number, waiver=waiver)
        assert done.decision is not None, "nothing is promoted without one"
        check_conditions(workspace, writer, done.version, done.decision, in_force)
        return done

    try:
        return workspace.registry.write(move)
    except NotPassedError as error:
        refused = _refusal(workspace, model.id, number)
        if refused is None:
            raise
        raise refused from error


def rollback(workspace: Workspace) -> Promotion:
    """Make the former champion the champion again, in one transaction; no gate is asked, nor who agrees.

    Raises:
        NothingToRollBackError: there is no former champion.
    """
    model = workspace.model_row()

    def move(writer: Writer) -> Promotion:
        return writer.rollback(model.id)

    return workspace.registry.write(move)


def reason_lines(reasons: Sequence[Any]) -> list[str]:
    """A stored decision's reasons in words, the failed ones first."""
    ordered = sorted(reasons, key=lambda reason: bool(reason["passed"]))
    return [f"  {'✓' if reason['passed'] else '✗'} {reason['text']}" for reason in ordered]


def stale_lines(evidence: Sequence[Mapping[str, Any]]) -> list[str]:
    """A stored decision's stale calls by suite and rule: the champion's, then the candidate's."""
    lines = []
    for item in evidence:
        before = item.get("champion_stale") or {}
        for rule, (stale, cases) in sorted((item.get("stale") or {}).items()):
            counts = f"{before[rule][0]} → {stale}" if rule in before else str(stale)
            lines.append(f"  · {item['suite']}: stale calls, {rule.replace('-', ' ')}: {counts} of {cases}")
    return lines


def _refusal(workspace: Workspace, model_id: int, number: int) -> RefusedPromotionError | None:
    """What to tell when the last word about the version was a refusal; `None` when it was not."""
    from registry.states import VersionState

    with workspace.registry.read() as reader:
        version = reader.version(model_id, number)
        decision = reader.latest_decision(version.id)
    if version.state is not VersionState.REFUSED or decision is None:
        return None
    return RefusedPromotionError(number, decision)
