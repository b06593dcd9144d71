"""Tasks of lm-evaluation-harness as cases of a `general` suite, read by the harness itself.

A task of multiple choice becomes cases with `choices`; one that generates becomes cases with `answers`, if it
is scored by exact match. The question is the task's, asked as one message of a chat and without examples
before it (zero-shot), so that figures compare between versions of a model and not with a leaderboard's.

Source: Gao et al., *The Language Model Evaluation Harness*, https://github.com/EleutherAI/lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl import ImportedCases, LeftOut, sort_out
from adaptman.evaluation.matching import Match
from adaptman.evaluation.suites import SuiteKind

EXTRA = "lm-eval"
_OUTPUT_TYPES = ("multiple_choice", "generate_until")


class ImportedTask(NamedTuple):
    """A task's cases, and where they come from: versions of harness and task, and the data."""

    cases: ImportedCases
    origin: str


def read_task(name: str, *, folder: Path | None = None) -> ImportedTask:
    """The cases of the task `name`: one of the harness's own, or of the YAML files in `folder`.

    A task's data may be fetched from the Hugging Face hub, and a YAML file may name Python code to run: both
    are the harness's doing.

    Raises:
        SuiteError: the harness is not installed, there is no such task, its data cannot be had, or it is
            scored in a way that a suite has no counterpart for.
    """
    task, version = _load(name, folder)
    _check_task(name, task)
    match = _match(name, task)
    found = [_case(task, doc, f"{name}-{at}", match) for at, doc in enumerate(_documents(name, task))]
    data = task.config.dataset_path or "its own data"
    return ImportedTask(
        sort_out(SuiteKind.GENERAL, found), f"{EXTRA} {version}, task version {task.VERSION}, data `{data}`"
    )


def _load(name: str, folder: Path | None) -> tuple[Any, str]:
    try:
        from importlib.metadata import version

        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise SuiteError(
            f"lm-evaluation-harness cannot be loaded: {error}",
            hint="`pip install 'adaptman[lm-eval]'` installs it",
        ) from None
    try:
        manager = TaskManager(
            include_path=None if folder is None else str(folder), include_defaults=folder is None
        )
    except Exception as error:  # whatever a file in the folder makes it raise
        raise SuiteError(f"the tasks in `{folder}` cannot be read: {_brief(error)}") from error
    if name not in manager.all_subtasks:
        raise SuiteError(*_unknown(name, manager, folder))
    try:
        return manager.load(name)["tasks"][name], version("lm-eval")
    except Exception as error:  # the hub, the data's files, the task's own code
        raise SuiteError(
            f"the task `{name}` cannot be loaded: {_brief(error)}",
            hint="without the internet only tasks with data on this machine can be read",
        ) from error


def _unknown(name: str, manager: Any, folder: Path | None) -> tuple[str]:
    if name in manager.all_groups or name in manager.all_tags:
        return (f"`{name}` names several tasks of lm-evaluation-harness; import them one by one",)
    where = "lm-evaluation-harness" if folder is None else f"`{folder}`"
    return (f"there is no task `{name}` in {where}",)


def _check_task(name: str, task: Any) -> None:
    kind = task.OUTPUT_TYPE
    if kind not in _OUTPUT_TYPES:
        raise SuiteError(
            f"the task `{name}` is of the type `{kind}`, which a suite has no counterpart for",
            hint="tasks of the types `multiple_choice` and `generate_until` can be imported",
        )
    filters = [part["function"] for one in task.config.filter_list or () for part in one["filter"]]
    if kind == "generate_until" and set(filters) - {"take_first"}:
        raise SuiteError(
            f"the task `{name}` takes its answer out of the reply by filters ({', '.join(filters)}), "
            "which a suite has no counterpart for",
            hint="write its cases as a suite of kind `custom`, with a check of kind `regex`",
        )


def _match(name: str, task: Any) -> Match:
    """How a generated answer is compared; every task of the type must be scored by exact match."""
    if task.OUTPUT_TYPE == "multiple_choice":
        return "exact"
    metrics: Sequence[Mapping[str, Any]] = task.config.metric_list or ()
    exact = next((metric for metric in metrics if metric["metric"] == "exact_match"), None)
    if exact is None:
        scored_by = ", ".join(f"`{metric['metric']}`" for metric in metrics) or "its own code"
        raise SuiteError(
            f"the task `{name}` is scored by {scored_by}, which a suite has no counterpart for",
            hint="tasks that are scored by `exact_match` can be imported",
        )
    relaxed = any(exact.get(key) for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore"))
    return "normalized" if relaxed else "exact"


def _documents(name: str, task: Any) -> list[Any]:
    if task.has_test_docs():
        return list(task.test_docs())
    if task.has_validation_docs():
        return list(task.validation_docs())
    raise SuiteError(f"the task `{name}` has neither a test split nor a validation split")


def _case(task: Any, doc: Any, id_: str, match: Match) -> dict[str, Any] | LeftOut:
    try:
        text, target = task.doc_to_text(doc), task.doc_to_target(doc)
        choices = list(task.doc_to_choice(doc)) if task.OUTPUT_TYPE == "multiple_choice" else []
    except Exception as error:  # the task's own template or code
        return LeftOut(id_, f"the task cannot tell it: {_brief(error)}")
    if not isinstance(text, str):
        return LeftOut(id_, "it asks which question fits an answer, and not which answer fits a question")
    question = f"{task.config.description or ''}{text}"
    case = {"id": id_, "messages": [{"role": "user", "content": question}]}
    if choices:
        return _choice(case, id_, [str(choice).strip() for choice in choices], target)
    answers = [str(one) for one in target] if isinstance(target, list) else [str(target)]
    return {**case, "answers": [answer.strip() for answer in answers], "match": match}


def _choice(case: dict[str, Any], id_: str, choices: list[str], target: Any) -> dict[str, Any] | LeftOut:
    if isinstance(target, list):
        return LeftOut(id_, f"{len(target)} of its choices are right, and a case has one")
    if isinstance(target, str):
        return {**case, "choices": choices, "answer": target.strip()}
    if not 0 <= target < len(choices):
        return LeftOut(id_, f"its answer is number {target} of {len(choices)} choices")
    return {**case, "choices": choices, "answer": choices[target]}


def _brief(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
