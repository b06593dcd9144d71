"""Run the suites on a version and on the champion, and let the gate decide."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ArtifactError, WorkspaceError
from adaptman.evaluation.breakdown import ToolFigure
from adaptman.evaluation.checks import scorer_versions
from adaptman.evaluation.runner import (
    EVALUATION_VERSION,
    NOTHING_YET,
    Batch,
    SuiteResult,
    run_suite,
    whole_batches,
)
from adaptman.evaluation.suites import Suite, SuiteKind
from adaptman.lifecycle import engine
from adaptman.lifecycle.diagnose import check_can_diagnose, diagnose_held
from adaptman.lifecycle.early import cannot_pass
from adaptman.lifecycle.environment import environment
from adaptman.lifecycle.gate import judge, policy_for
from adaptman.lifecycle.journal import Journal
from adaptman.lifecycle.leaks import leak_warnings
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.rendering import RenderingCheck, check_rendering
from adaptman.lifecycle.runs import record_run
from adaptman.lifecycle.suites import OF_ONE_UPDATE, load_suite, tool_figures
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.jsontext import canonical_json, sha256_of
from policies.decide import Decision
from policies.policy import Policy

if TYPE_CHECKING:
    from adaptman.learning.models import LoadedModel
    from adaptman.toolspec.formats import OutputFormat
    from policies.policy import Policy
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
    diagnosis: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By suite and failed case what it failed at, `form`, `knowledge` or `unknown`, where that was asked."""


def evaluate(
    workspace: Workspace,
    number: int,
    *,
    again: bool = False,
    stop_early: bool = False,
    accept_rendering: bool = False,
    with_diagnosis: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score version `number` on every suite, and judge it against the champion.

    The champion is scored first. A result that stands for the same weights, suite, output format and
    generation settings is taken and not computed again, whichever version it was computed for; `again`
    computes those of version `number` anew. With `stop_early` a suite ends as soon as no answer to come
    could save the version from being refused on it. An evaluation that was killed goes on where it was. The
    champion itself and former champions are scored and not judged. With `accept_rendering` a version is asked
    that was trained to read other bytes than are rendered today; the decision says so. `with_diagnosis` asks
    the version's failed cases once more under a grammar, when all else is done.

    Raises:
        RenderingError: there is such a version, and that is not accepted.
        WorkspaceError: no suite is registered that the version is judged by.
        ModelError: the version has no weights; or nothing is installed to diagnose with.
        NotFoundError: there is no such version.
        PolicyError: the policy cannot be read.
        TrainingError: memory ran out.
        BusyError: somebody else is at work on the model line.
        ArtifactError: an artifact is missing or damaged.
    """
    if with_diagnosis:
        check_can_diagnose()
    model = workspace.model_row()
    with held(workspace, model, f"evaluate {number}") as hold:
        watched = Watched(progress or Silent(), hold)
        done = evaluate_held(
            workspace,
            number,
            again=again,
            stop_early=stop_early,
            accept_rendering=accept_rendering,
            progress=watched,
        )
        if not with_diagnosis:
            return done
        with workspace.registry.read() as reader:
            rows = suites_for(reader.suites(model.id), done.version)
        found = diagnose_held(workspace, done.version, rows, done.results, watched)
        return dataclasses.replace(done, diagnosis=found)


def evaluate_held(
    workspace: Workspace,
    number: int,
    *,
    again: bool = False,
    stop_early: bool = False,
    accept_rendering: bool = False,
    progress: Progress,
) -> Evaluation:
    """`evaluate`, by a caller who holds the model line's lease."""
    model, policy = workspace.model_row(), workspace.policy()
    with workspace.registry.read() as reader:
        version, champion = reader.version(model.id, number), reader.champion(model.id)
        rows = suites_for(reader.suites(model.id), version)
    engine.adapter_digest(workspace, version)  # what cannot be asked is told before the champion is asked
    if not rows:
        raise WorkspaceError(
            "no suite is registered, so there is nothing to judge by",
            hint="register one with `adaptman suite register FILE --kind KIND`",
        )
    reads = check_rendering(workspace, version, accept=accept_rendering)
    if champion is None or version.state not in _JUDGED:
        results = score(workspace, version, rows, progress, again=again, reads=reads)
        return Evaluation(version, None, None, results, _by_tool(workspace, rows, results))
    champion_reads = check_rendering(workspace, champion, accept=accept_rendering)
    policy = policy_for(policy, version, champion)
    before = score(workspace, champion, rows, progress, reads=champion_reads)
    is_settled = _refusal(policy, before) if stop_early else _never
    results = score(workspace, version, rows, progress, again=again, reads=reads, is_settled=is_settled)
    tools = _by_tool(workspace, rows, results)
    told = [found.told for found in (champion_reads, reads) if found.told]
    leaked = leak_warnings(workspace, version, rows)
    warnings = [*told, *leaked, *_flaky_warnings(workspace, model.id, rows)]
    decision = judge(policy, results, before, warnings=warnings)
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


def _refusal(policy: Policy, before: Sequence[SuiteResult]) -> Callable[[SuiteResult], bool]:
    """Tells whether a result with cases left is refused whatever they would give."""
    champion = {result.suite_digest: result for result in before}
    return lambda result: cannot_pass(policy, result, champion.get(result.suite_digest))


def _never(result: SuiteResult) -> bool:
    return False


def _flaky_warnings(workspace: Workspace, model_id: int, rows: Sequence[tables.Suite]) -> list[str]:
    """What the newest audit of each suite found."""
    with workspace.registry.read() as reader:
        audits = [(row.name, reader.latest_suite_audit(model_id, row.suite_digest)) for row in rows]
        return [
            f"{name}: {len(audit.flaky)} of {audit.cases} cases are flaky ({_named(audit.flaky)}): version "
            f"{reader.version_by_id(audit.version_id).number} disagrees with itself in an audit; "
            "a difference of that size is noise"
            for name, audit in audits
            if audit is not None and audit.flaky
        ]


def _named(flaky: Sequence[str], most: int = 5) -> str:
    more = f" and {len(flaky) - most} more" if len(flaky) > most else ""
    return ", ".join(f"`{case_id}`" for case_id in flaky[:most]) + more


def suites_for(rows: Sequence[tables.Suite], version: ModelVersion) -> list[tables.Suite]:
    """The suites that a version is judged by: of the target and context suites only those of its own update.

    A target suite asks whether an update was learned; it belongs to the tool schema that was the newest when
    it was registered, and to every update if there was none. What later updates must keep is of kind `tools`.
    """
    return [row for row in rows if row.kind not in OF_ONE_UPDATE or _asks_about(row, version)]


def _asks_about(row: tables.Suite, version: ModelVersion) -> bool:
    return (
        None in (row.tool_schema_id, version.tool_schema_id) or row.tool_schema_id == version.tool_schema_id
    )


def score(
    workspace: Workspace,
    version: ModelVersion,
    rows: Sequence[tables.Suite],
    progress: Progress,
    *,
    again: bool = False,
    reads: RenderingCheck | None = None,
    is_settled: Callable[[SuiteResult], bool] = _never,
) -> tuple[SuiteResult, ...]:
    """Stored results, and new ones where there are none; the model is loaded only if it must be asked.

    A suite ends early where `is_settled` says so of what is answered. `reads` is what the caller found about
    the version's rendering.

    Raises:
        RenderingError: no `reads`, and it was trained to read other bytes than are rendered today.
    """
    loaded: LoadedModel | None = None
    reads = reads or check_rendering(workspace, version)
    fmt = engine.version_format(workspace, version)
    results: list[SuiteResult] = []
    for row in rows:
        scorers = _scorers(workspace, row)
        key = _cache_key(workspace, version, row, fmt, {**_named_scorers(scorers), **reads.key})
        journal = Journal(workspace.settings.home / "runs" / f"{key}-v{version.id}.jsonl")
        found = _Found(None, NOTHING_YET) if again else _stored(workspace, version, row, key, is_settled)
        result = found.result
        if result is None:
            loaded = loaded or engine.load_version(workspace, version)
            suite = load_suite(workspace, row)
            begun = max(whole_batches(suite, found.begun), whole_batches(suite, journal.read()), key=_size)
            progress.start(*_phase(workspace, version, row, begun))
            result = _run(
                suite, loaded, fmt, progress.advance, begun=begun, journal=journal, is_settled=is_settled
            )
            progress.finish(f"{suite.metric} {result.value:.2f}{_where_it_ended(result)}")
            where = {**environment(), "device": engine.device(), **_named_scorers(scorers)}
            record_run(workspace, version, row, key, result, where)
        journal.remove()
        results.append(result)
    return tuple(results)


class _Found(NamedTuple):
    """A stored result that can be taken as it is, or else what a run that ended early has answered."""

    result: SuiteResult | None
    begun: Batch


class _Phase(NamedTuple):
    name: str
    total: int


def _size(batch: Batch) -> int:
    return len(batch.outcomes)


def _phase(workspace: Workspace, version: ModelVersion, row: tables.Suite, begun: Batch) -> _Phase:
    """How the work is announced: that it goes on, or that a result which stands is not taken."""
    with workspace.registry.read() as reader:
        standing = reader.latest_suite_run(version.id, row.suite_digest)
    again = " again" if standing is not None and standing.complete else ""
    start = f" from case {_size(begun) + 1}" if begun.outcomes else ""
    return _Phase(f"v{version.number} on {row.name}{again}{start}", row.case_count - _size(begun))


def _where_it_ended(result: SuiteResult) -> str:
    return f", ended early with {result.unanswered} cases left" if result.unanswered else ""


def _scorers(workspace: Workspace, row: tables.Suite) -> dict[str, str]:
    """The installed scorers that a suite asks for: the distribution of each and its version."""
    return scorer_versions(load_suite(workspace, row)) if row.kind == SuiteKind.CUSTOM else {}


def _named_scorers(scorers: Mapping[str, str]) -> dict[str, Any]:
    return {"scorers": dict(scorers)} if scorers else {}


def _cache_key(
    workspace: Workspace,
    version: ModelVersion,
    row: tables.Suite,
    fmt: OutputFormat,
    more: Mapping[str, Any],
) -> str:
    """What an answer depends on. Tokenizer and chat template are files of the base checkpoint.

    `more` names scorers, since another one is another yardstick, and a rendering other than the recorded one.
    """
    asked = {
        "evaluation": EVALUATION_VERSION,
        "base": version.base_digest,
        "adapter": engine.adapter_digest(workspace, version),
        "suite": row.suite_digest,
        "output_format": fmt.digest,
        "decoding": "greedy",
        "max_new_tokens": new_tokens(SuiteKind(row.kind)),
        **more,
    }
    if workspace.settings.device != "cpu":  # it rounds otherwise, and a tie falls otherwise
        asked["device"] = workspace.settings.device
    return sha256_of(canonical_json(asked))


def new_tokens(kind: SuiteKind) -> int:
    """The tokens that a reply may take in a suite of that kind."""
    return _MAX_NEW_TOKENS.get(kind, _MAX_NEW_TOKENS_CALL)


def _run(
    suite: Suite,
    loaded: LoadedModel,
    fmt: OutputFormat,
    on_done: Callable[[int], None],
    *,
    begun: Batch,
    journal: Journal,
    is_settled: Callable[[SuiteResult], bool],
) -> SuiteResult:
    from adaptman.learning.limits import memory_told

    with memory_told(f"while suite `{suite.name}` was asked", "free some, then go on: `adaptman evaluate`"):
        return run_suite(
            suite,
            engine.answerer_of(loaded, fmt),
            fmt,
            max_new_tokens=new_tokens(suite.kind),
            clock=time.monotonic,
            on_done=on_done,
            begun=begun,
            on_batch=journal.append,
            is_settled=is_settled,
        )


def _stored(
    workspace: Workspace,
    version: ModelVersion,
    row: tables.Suite,
    key: str,
    is_settled: Callable[[SuiteResult], bool],
) -> _Found:
    """What runs of the same key have answered, the version's own first; another's goes on record as its own.

    A run that ended early stands only where it would end there today; else it is gone on with.
    """
    with workspace.registry.read() as reader:
        runs = reader.runs_of_key(key)
    own = {run.id for run in runs if (run.version_id, run.suite_id) == (version.id, row.id)}
    begun = NOTHING_YET
    for run in sorted(runs, key=lambda run: (not run.complete, run.id not in own)):
        result = _read(workspace, run, row)
        if result is None:
            continue
        if run.complete or is_settled(result):
            if run.id not in own:
                record_run(workspace, version, row, key, result, run.environment, stored=run.outputs_digest)
            return _Found(result, begun)
        begun = max(begun, Batch(result.outcomes, result.duration_s), key=_size)
    return _Found(None, begun)


def _read(workspace: Workspace, run: tables.SuiteRun, row: tables.Suite) -> SuiteResult | None:
    if run.outputs_digest is None:
        return None
    try:
        stored = workspace.store.get_bytes(run.outputs_digest)
    except ArtifactError:  # nothing is lost but time: the suite is run again, on record
        return None
    # The same cases may have been registered under another name since: the policy's rules go by today's.
    return dataclasses.replace(SuiteResult.from_dict(json.loads(stored)), suite_name=row.name)


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
        standing.warnings,
    )
    said = (told[name] for name in ("policy_digest", "verdict", "reasons", "evidence", "warnings"))
    return found == (champion.id, *said)
