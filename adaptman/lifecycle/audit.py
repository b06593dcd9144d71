"""Does the champion agree with itself? Where it does not, a difference is no evidence."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptman.errors import WorkspaceError
from adaptman.evaluation.runner import CaseOutcome, run_suite
from adaptman.lifecycle import engine
from adaptman.lifecycle.evaluate import new_tokens, score
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.suites import load_suite
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adaptman.evaluation.suites import Suite
    from registry import tables
    from registry.tables import ModelVersion
    from registry.writer import Writer

SAME = 1e-3
"""Graded scores that differ by no more than this, such as the last digits of a likelihood, agree."""

_BATCH_SIZES = (1, 7, 3, 16)


@dataclass(frozen=True)
class AuditedCase:
    """One case as the runs went, the ordinary run first."""

    case_id: str
    scores: tuple[float, ...]
    outputs: tuple[str, ...]

    @property
    def is_flaky(self) -> bool:
        """The runs disagree about how right the answer is."""
        return max(self.scores) - min(self.scores) > SAME

    @property
    def is_reworded(self) -> bool:
        """The runs are scored alike, and yet say different things."""
        return not self.is_flaky and len(set(self.outputs)) > 1


@dataclass(frozen=True)
class Audit:
    """What an audit of a suite found, and its row."""

    row: tables.SuiteAudit
    suite: str
    version: int
    noise: float
    cases: tuple[AuditedCase, ...]

    @property
    def flaky(self) -> tuple[AuditedCase, ...]:
        return tuple(case for case in self.cases if case.is_flaky)

    @property
    def reworded(self) -> tuple[AuditedCase, ...]:
        return tuple(case for case in self.cases if case.is_reworded)


def audit_suite(
    workspace: Workspace, name: str, *, runs: int = 2, noise: float = 0.0, progress: Progress | None = None
) -> Audit:
    """Let the champion answer the suite `name` several times, and put on record where it disagrees.

    The first run is the one that evaluations use. Each other one asks the cases in another order and in
    batches of another size, which changes nothing but how sums are rounded, and with `noise`, a share of the
    standard deviation of each weight matrix, of weights that are disturbed by so much.

    Raises:
        NotFoundError: there is no suite of that name.
        WorkspaceError: there is no champion, or fewer than two runs are asked for.
        BusyError: somebody else is at work on the model line.
        ArtifactError: an artifact is missing or damaged.
    """
    if runs < 2:
        raise WorkspaceError(f"`{runs}` run cannot disagree with itself", hint="ask for two runs or more")
    model = workspace.model_row()
    with held(workspace, model, f"audit of {name}") as hold:
        watched = Watched(progress or Silent(), hold)
        with workspace.registry.read() as reader:
            row, champion = reader.suite(model.id, name), reader.champion(model.id)
        if champion is None:
            raise WorkspaceError("there is no champion to audit the suite with", hint="run `adaptman init`")
        suite = load_suite(workspace, row)
        told = [score(workspace, champion, [row], watched)[0].outcomes]
        for seed in range(1, runs):
            told.append(_disturbed(workspace, champion, suite, seed, noise, watched))
        cases = _cases(told)
        return Audit(_record(workspace, champion, row, cases, noise), row.name, champion.number, noise, cases)


def _disturbed(
    workspace: Workspace, version: ModelVersion, suite: Suite, seed: int, noise: float, progress: Progress
) -> tuple[CaseOutcome, ...]:
    """The suite in another order, in other batches and, with noise, of other weights."""
    fmt = engine.version_format(workspace, version)
    loaded = engine.load_version(workspace, version)
    if noise:
        engine.disturb(loaded, seed, noise)
    cases = list(suite.cases)
    random.Random(seed).shuffle(cases)
    progress.start(f"v{version.number} on {suite.name}, run {seed + 1}", len(cases))
    result = run_suite(
        dataclasses.replace(suite, cases=tuple(cases)),
        engine.answerer_of(loaded, fmt, batch_size=_BATCH_SIZES[(seed - 1) % len(_BATCH_SIZES)]),
        fmt,
        max_new_tokens=new_tokens(suite.kind),
        clock=time.monotonic,
        on_done=progress.advance,
    )
    progress.finish(f"{suite.metric} {result.value:.2f}")
    return result.outcomes


def _cases(told: Sequence[Sequence[CaseOutcome]]) -> tuple[AuditedCase, ...]:
    by_id: list[Mapping[str, CaseOutcome]] = [{one.case_id: one for one in outcomes} for outcomes in told]
    return tuple(
        AuditedCase(
            first.case_id,
            tuple(run[first.case_id].score for run in by_id),
            tuple(run[first.case_id].output for run in by_id),
        )
        for first in told[0]
    )


def _record(
    workspace: Workspace,
    version: ModelVersion,
    row: tables.Suite,
    cases: Sequence[AuditedCase],
    noise: float,
) -> tables.SuiteAudit:
    report: dict[str, Any] = {
        "suite": row.name,
        "suite_digest": row.suite_digest,
        "version": version.number,
        "noise": noise,
        "cases": [dataclasses.asdict(case) for case in cases],
    }
    digest = workspace.store.put_bytes(json.dumps(report, ensure_ascii=False, sort_keys=True).encode())
    flaky = [case.case_id for case in cases if case.is_flaky]

    def record(writer: Writer) -> tables.SuiteAudit:
        return writer.record_suite_audit(
            version.id, row.id, runs=len(cases[0].scores), flaky=flaky, report_digest=digest
        )

    return workspace.registry.write(record)
