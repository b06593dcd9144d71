"""Ask a version's failed cases once more under a grammar, and keep on record what each failed at.

Nothing of it is judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptman.evaluation.diagnosis import diagnose, to_diagnose
from adaptman.lifecycle import engine
from adaptman.lifecycle.progress import Progress
from adaptman.lifecycle.runs import diagnosis_of, record_run
from adaptman.lifecycle.suites import load_suite
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.evaluation.runner import SuiteResult
    from adaptman.learning.models import LoadedModel
    from registry.tables import ModelVersion, Suite

_MAX_NEW_TOKENS = 160
"""More than a free reply may take: JSON under a grammar may be longer than what the model would write."""


def check_can_diagnose() -> None:
    """Refuse early where it could not be done.

    Raises:
        ModelError: llguidance is not installed.
    """
    from adaptman.learning.guided import check_installed

    check_installed()


def diagnose_held(
    workspace: Workspace,
    version: ModelVersion,
    rows: Sequence[Suite],
    results: Sequence[SuiteResult],
    progress: Progress,
) -> dict[str, dict[str, str]]:
    """By suite and failed case, what it failed at: what is on record, or else found out now and recorded.

    `results` are the version's newest on `rows`. The caller holds the model line's lease.
    """
    loaded: LoadedModel | None = None
    fmt = engine.version_format(workspace, version)
    found: dict[str, dict[str, str]] = {}
    for row, result in zip(rows, results, strict=True):
        with workspace.registry.read() as reader:
            run = reader.latest_suite_run(version.id, row.suite_digest)
        suite = load_suite(workspace, row)
        cases = to_diagnose(suite, result.outcomes)
        if run is None or not cases:
            continue
        causes = diagnosis_of(run)
        if not causes:
            loaded = loaded or engine.load_version(workspace, version)
            progress.start(f"v{version.number} on {row.name}, under the grammar", len(cases))
            answerer = engine.answerer_of(loaded, fmt)
            told = diagnose(
                suite, cases, answerer, fmt, max_new_tokens=_MAX_NEW_TOKENS, on_done=progress.advance
            )
            causes = {case_id: cause.value for case_id, cause in told.items()}
            progress.finish()
            # Rows of the record are never changed: the run once more, with what was found out.
            record_run(
                workspace,
                version,
                row,
                run.cache_key,
                result,
                run.environment,
                stored=run.outputs_digest,
                diagnosis=causes,
            )
        found[row.name] = causes
    return found
