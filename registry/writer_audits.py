"""Writing down how far a version agrees with itself, and what it can still take in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from registry import outbox
from registry.errors import InvalidRecordError
from registry.tables import CapacityAudit, EventRow, SuiteAudit
from registry.writer_base import WriterBase, at_least, subject_of

CAPACITY_VERDICTS = ("room", "tight", "saturated")


class AuditsWriter(WriterBase):
    """Audits of suites and of capacity."""

    def record_suite_audit(
        self, version_id: int, suite_id: int, *, runs: int, flaky: Sequence[str], report_digest: str | None
    ) -> SuiteAudit:
        """A version answered a suite `runs` times; `flaky` are the ids of the cases whose scores differ.

        Raises:
            InvalidRecordError: fewer than two runs, a case named twice, more flaky cases than the suite has,
                or version and suite are of two model lines.
        """
        version, suite = self.version_by_id(version_id), self.suite_by_id(suite_id)
        model = self.model_by_id(version.model_id)
        if suite.model_id != model.id:
            raise InvalidRecordError(
                f"suite `{suite.name}` belongs to another model line than `{model.name}`"
            )
        named = list(flaky)
        if len(set(named)) != len(named) or len(named) > suite.case_count:
            raise InvalidRecordError(
                f"`{len(named)}` flaky cases of `{suite.case_count}`: each is named once"
            )
        told = {
            "suite": suite.name,
            "suite_digest": suite.suite_digest,
            "runs": at_least("runs", runs, 2),
            "cases": suite.case_count,
            "flaky": named,
            "report_digest": report_digest,
        }

        def audit(event: EventRow) -> list[SuiteAudit]:
            return [
                SuiteAudit(
                    suite_id=suite_id,
                    version_id=version_id,
                    suite_digest=suite.suite_digest,
                    runs=runs,
                    cases=suite.case_count,
                    flaky=named,
                    report_digest=report_digest,
                    actor=self._actor,
                    at=event.at,
                    event_seq=event.seq,
                )
            ]

        subject = subject_of(model, version)
        return self._record_with("suite.audited", subject, told, audit, model_id=model.id).rows[0]

    def record_capacity_audit(
        self,
        version_id: int,
        *,
        verdict: str,
        room_bits: float,
        low: float,
        high: float,
        figures: Mapping[str, float],
        report_digest: str,
    ) -> CapacityAudit:
        """What a version can still take in, in bits; `figures` are told to MLflow beside it.

        Raises:
            InvalidRecordError: an unknown verdict, a figure that is not finite, or an interval that is none.
        """
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        if verdict not in CAPACITY_VERDICTS:
            known = ", ".join(f"`{one}`" for one in CAPACITY_VERDICTS)
            raise InvalidRecordError(f"`{verdict}` is no verdict about capacity; there are {known}")
        numbers = (room_bits, low, high, *figures.values())
        if not all(map(math.isfinite, numbers)) or not 0 <= low <= high:
            raise InvalidRecordError(f"room of {room_bits} bits, {low} to {high}: not an interval")
        told = {
            "verdict": verdict,
            "room_bits": room_bits,
            "low": low,
            "high": high,
            "report_digest": report_digest,
        }

        def audit(event: EventRow) -> list[CapacityAudit]:
            named = {"actor": self._actor, "at": event.at, "event_seq": event.seq}
            return [CapacityAudit(version_id=version_id, **told, **named)]

        subject = subject_of(model, version)
        recorded = self._record_with("capacity.audited", subject, told, audit, model_id=model.id)
        payload = outbox.capacity_payload(model, version, recorded.rows[0], figures)
        self._tell(recorded.event, "capacity.audited", payload)
        return recorded.rows[0]
