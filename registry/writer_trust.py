"""Writing down who agreed to a decision, and who signed a version."""

from __future__ import annotations

from typing import Any

from registry.errors import InvalidRecordError, NotPassedError
from registry.states import RUNNABLE, VersionState
from registry.tables import Approval, ModelVersion, Signature
from registry.values import Registered
from registry.writer_base import WriterBase, said, subject_of

APPROVABLE = frozenset({VersionState.PASSED, VersionState.REFUSED})


class TrustWriter(WriterBase):
    """Approvals and signatures. Neither is ever taken back: a new decision asks for new ones."""

    def approve(self, version_id: int, note: str) -> Registered[Approval]:
        """The actor agrees to the newest decision about a version; a second time returns what stands.

        Raises:
            NotPassedError: the version awaits no promotion: it was not judged, or is on its way past it.
            InvalidRecordError: the note is empty.
        """
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        note = said("note", note)
        decision = self.latest_decision(version_id)
        if decision is None or version.state not in APPROVABLE:
            raise _nothing_to_approve(version, judged=decision is not None)
        for standing in self.approvals(decision):
            if standing.actor == self._actor:
                return Registered(standing, created=False)
        told = {"decision_id": decision.id, "verdict": decision.verdict, "note": note}
        named: dict[str, Any] = {"decision_id": decision.id, "note": note, "actor": self._actor}
        _, (row,) = self._record_with(
            "version.approved",
            subject_of(model, version),
            told,
            lambda event: [Approval(version_id=version_id, **named, at=event.at, event_seq=event.seq)],
            model_id=model.id,
        )
        return Registered(row, created=True)

    def add_signature(self, version_id: int, *, key_id: str, envelope: str) -> Registered[Signature]:
        """A signature over the version's manifest; the very same envelope again returns what stands.

        Whether the signature holds is not asked here: the registry knows no keys.

        Raises:
            InvalidRecordError: the version has no weights, or a text is empty.
        """
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        key_id, envelope = said("key_id", key_id), said("envelope", envelope)
        if version.state not in RUNNABLE:
            raise InvalidRecordError(
                f"version `{version.number}` is `{version.state}`, so it cannot be signed"
            )
        for standing in self.signatures(version_id):
            if standing.envelope == envelope:
                return Registered(standing, created=False)
        told = {"key": key_id}
        named: dict[str, Any] = {"key_id": key_id, "envelope": envelope, "actor": self._actor}
        _, (row,) = self._record_with(
            "version.signed",
            subject_of(model, version),
            told,
            lambda event: [Signature(version_id=version_id, **named, at=event.at, event_seq=event.seq)],
            model_id=model.id,
        )
        return Registered(row, created=True)


def _nothing_to_approve(version: ModelVersion, *, judged: bool) -> NotPassedError:
    number, state = version.number, version.state
    run_the_gate = f"run `adaptman evaluate {number}`"
    if state is VersionState.EVALUATED and judged:
        return NotPassedError(f"the decision about version `{number}` is being made anew", hint=run_the_gate)
    if state in {VersionState.TRAINED, VersionState.EVALUATED}:
        return NotPassedError(f"version `{number}` has no decision to approve", hint=run_the_gate)
    return NotPassedError(
        f"version `{number}` is `{state}`: there is nothing to approve",
        hint="approvals come after the gate's decision and before the promotion",
    )
