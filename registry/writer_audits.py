"""Writing down how far a version agrees with itself."""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import InvalidRecordError
from registry.tables import EventRow, SuiteAudit
from registry.writer_base import WriterBase, at_least, subject_of


class AuditsWriter(WriterBase):
    """Audits of suites."""

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
