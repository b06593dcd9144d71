"""Run the suites on a version and on the champion, and let the gate decide."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptman import __version__
from adaptman.errors import ArtifactError, WorkspaceError
from adaptman.evaluation.breakdown import ToolFigure
from adaptman.evaluation.checks import scorer_versions
from adaptman.evaluation.runner import SuiteResult, run_suite
from adaptman.evaluation.suites import Suite, SuiteKind
from adaptman.lifecycle import engine
from adaptman.lifecycle.gate import judge
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.suites import load_suite, tool_figures
from adaptman.lifecycle.workspace import Workspace
from policies.decide import Decision
from policies.policy import Policy

if TYPE_CHECKING:
    from adaptman.learning.models import LoadedModel
    from adaptman.toolspec.formats import OutputFormat
    from registry import tables
    from registry.tables import DecisionRow, ModelVersion
    from registry.writer import Writer

# New tokens a reply may take. A call is as long as its arguments; a general answer is short or it is wrong.
_MAX_NEW_TOKENS = {SuiteKind.GENERAL: 24}
_MAX_NEW_TOKENS_CALL = 96


# A champion and a former one got where they are by a promotion: they are scored, and not judged again.
_JUDGED = ("trained", "evaluated", "passed", "refused")


@dataclass(frozen=True)
class Evaluation:
    """The gate's word on `version`, judged against `champion`; both None where it was only scored."""

    version: ModelVersion
    champion: ModelVersion | None
    decision: Decision | None
    results: tuple[SuiteResult, ...]
    by_tool: Mapping[str, tuple[ToolFigure, ...]]
    """By suite, the figures of each tool that its cases expect, the worst first."""


def evaluate(workspace: Workspace, number: int, *, progress: Progress | None = None) -> Evaluation:
    """Run every suite of version `number` that has not been run, and judge it against the champion.

    Results are kept for each version and suite digest, so that the champion is scored once. The champion
    itself and former champions are scored and not judged.

    Raises:
        WorkspaceError: no suite is registered that the version is judged by.
        ModelError: the version has no weights.
        NotFoundError: there is no such version.
        PolicyError: the policy cannot be read.
        BusyError: somebody else is at work on the model line.
        ArtifactError: an artifact is missing or damaged.
    """
    model = workspace.model_row()
    with held(workspace, model, f"evaluate {number}") as hold:
        return evaluate_held(workspace, number, progress=Watched(progress or Silent(), hold))


def evaluate_held(workspace: Workspace, number: int, *, progress: Progress) -> Evaluation:
    """`evaluate`, by a caller who holds the model line's lease."""
    model, policy = workspace.model_row(), workspace.policy()
    with workspace.registry.read() as reader:
        version, champion = reader.version(model.id, number), reader.champion(model.id)
        rows = suites_for(reader.suites(model.id), version)
    engine.check_weights(version)
    if not rows:
        raise WorkspaceError(
            "no suite is registered, so there is nothing to judge by",
            hint="register one with `adaptman suite register FILE --kind KIND`",
        )
    results = _results(workspace, version, rows, progress)
    tools = _by_tool(workspace, rows, results)
    if champion is None or version.state not in _JUDGED:
        return Evaluation(version, None, None, results, tools)
    before = _results(workspace, champion, rows, progress)
    decision = judge(policy, results, before)
    _record_decision(workspace, version, champion, decision, policy)
    with workspace.registry.read() as reader:
        return Evaluation(reader.version(model.id, number), champion, decision, results, tools)


def _by_tool(
    workspace: Workspace, rows: Sequence[tables.Suite], results: Sequence[SuiteResult]
) -> dict[str, tuple[ToolFigure, ...]]:
    found = {
        row.name: tool_figures(workspace, row, {one.case_id: one.score for one in result.outcomes})
        for row, result in zip(rows, results, strict=True)
    }
    return {name: figures for name, figures in found.items() if figures}


def suites_for(rows: Sequence[tables.Suite], version: ModelVersion) -> list[tables.Suite]:
    """The suites that a version is judged by: of the target suites only those of its own update.

    A target suite asks whether an update was learned; it belongs to the tool schema that was the newest when
    it was registered, and to every update if there was none. What later updates must keep is of kind `tools`.
    """
    return [row for row in rows if row.kind != SuiteKind.TARGET or _asks_about(row, version)]


def _asks_about(row: tables.Suite, version: ModelVersion) -> bool:
    return (
        None in (row.tool_schema_id, version.tool_schema_id) or row.tool_schema_id == version.tool_schema_id
    )


def _results(
    workspace: Workspace, version: ModelVersion, rows: Sequence[tables.Suite], progress: Progress
) -> tuple[SuiteResult, ...]:
    """Stored results, and new ones where there are none; the model is loaded only if it must be asked."""
    loaded: LoadedModel | None = None
    fmt = engine.version_format(workspace, version)
    results: list[SuiteResult] = []
    for row in rows:
        scorers = _scorers(workspace, row)
        result = _stored(workspace, version, row, scorers)
        if result is None:
            loaded = loaded or engine.load_version(workspace, version)
            suite = load_suite(workspace, row)
            progress.start(f"v{version.number} on {row.name}", len(suite.cases))
            result = _run(suite, loaded, fmt, progress.advance)
            progress.finish(f"{suite.metric} {result.value:.2f}")
            _record_run(workspace, version, row, result, scorers)
        results.append(result)
    return tuple(results)


def new_tokens(kind: SuiteKind) -> int:
    """The tokens that a reply may take in a suite of that kind."""
    return _MAX_NEW_TOKENS.get(kind, _MAX_NEW_TOKENS_CALL)


def _run(suite: Suite, loaded: LoadedModel, fmt: OutputFormat, on_done: Callable[[int], None]) -> SuiteResult:
    return run_suite(
        suite,
        engine.answerer_of(loaded, fmt),
        fmt,
        max_new_tokens=new_tokens(suite.kind),
        clock=time.monotonic,
        on_done=on_done,
    )


def _scorers(workspace: Workspace, row: tables.Suite) -> dict[str, str]:
    """The installed scorers that a suite asks for: the distribution of each and its version."""
    return scorer_versions(load_suite(workspace, row)) if row.kind == SuiteKind.CUSTOM else {}


def _stored(
    workspace: Workspace, version: ModelVersion, row: tables.Suite, scorers: Mapping[str, str]
) -> SuiteResult | None:
    with workspace.registry.read() as reader:
        run = reader.latest_suite_run(version.id, row.suite_digest)
    if run is None or run.outputs_digest is None:
        return None
    if run.environment.get("scorers", {}) != scorers:  # another scorer is another yardstick
        return None
    try:
        stored = workspace.store.get_bytes(run.outputs_digest)
    except ArtifactError:  # nothing is lost but time: the suite is run again, on record
        return None
    # The same cases may have been registered under another name since: the policy's rules go by today's.
    return dataclasses.replace(SuiteResult.from_dict(json.loads(stored)), suite_name=row.name)


def _record_run(
    workspace: Workspace,
    version: ModelVersion,
    row: tables.Suite,
    result: SuiteResult,
    scorers: Mapping[str, str],
) -> None:
    from registry.values import Outcome

    outputs = json.dumps(result.to_dict(), ensure_ascii=False, sort_keys=True).encode()
    digest = workspace.store.put_bytes(outputs)

    def record(writer: Writer) -> None:
        writer.record_suite_run(
            version.id,
            row.id,
            metric=result.metric,
            value=result.value,
            low=result.low,
            high=result.high,
            n=result.n,
            duration_s=result.duration_s,
            environment={**environment(), **({"scorers": scorers} if scorers else {})},
            outcomes=[Outcome(outcome.case_id, outcome.score) for outcome in result.outcomes],
            outputs_digest=digest,
        )

    workspace.registry.write(record)


def _record_decision(
    workspace: Workspace, version: ModelVersion, champion: ModelVersion, decision: Decision, policy: Policy
) -> DecisionRow:
    told = decision.to_dict()

    def record(writer: Writer) -> DecisionRow:
        standing = writer.latest_decision(version.id)
        is_judged = writer.version_by_id(version.id).state in ("passed", "refused")
        if standing is not None and is_judged and _says_the_same(standing, champion, told):
            return standing
        writer.mark_evaluated(version.id)
        return writer.record_decision(
            version.id,
            champion_id=champion.id,
            policy_name=decision.policy_name,
            policy_digest=decision.policy_digest,
            policy=policy.model_dump(mode="json"),
            verdict=decision.verdict.value,
            reasons=told["reasons"],
            evidence=told["evidence"],
            warnings=told["warnings"],
        )

    return workspace.registry.write(record)


def _says_the_same(standing: DecisionRow, champion: ModelVersion, told: dict[str, Any]) -> bool:
    """Whether a decision was made on the same evidence; judging once more would only repeat it."""
    found = (
        standing.champion_id,
        standing.policy_digest,
        standing.verdict,
        standing.reasons,
        standing.evidence,
    )
    return found == (champion.id, told["policy_digest"], told["verdict"], told["reasons"], told["evidence"])


def environment() -> dict[str, Any]:
    """What a figure depends on beside model and suite."""
    from importlib.metadata import version

    packages = {"adaptman": __version__} | {name: version(name) for name in ("torch", "transformers", "peft")}
    return {"python": platform.python_version(), "machine": platform.machine(), "packages": packages}
