"""Cases of suites that are trained on: a suite that asks them measures memory, not skill.

A case has leaked where an example asks the same with the same tools shown, or where it asks nearly the same
(`toolspec.nearness`) and is answered by what the case accepts: nearly the same words about another city,
answered by another call, are another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from adaptman.errors import ExampleError
from adaptman.evaluation.bfcl_rules import check_calls
from adaptman.evaluation.matching import matches
from adaptman.evaluation.suites import Case, Suite, SuiteKind
from adaptman.lifecycle.examples import learned_examples
from adaptman.lifecycle.suites import load_suite
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.examples import Example
from adaptman.toolspec.nearness import near_pairs, question_text
from adaptman.toolspec.questions import calls_of

if TYPE_CHECKING:
    from registry import tables

_SHOWN = 5


class Leak(NamedTuple):
    """An example that is a case of a suite, exactly (likeness 1) or nearly."""

    suite: str
    case_id: str
    example_id: str
    likeness: float


def leaks(suite: Suite, examples: Sequence[Example]) -> list[Leak]:
    """The cases of `suite` that are among the examples."""
    if suite.kind is SuiteKind.DRIFT:  # texts of the model's own, that nobody is asked
        return []
    asked = [question_text(case.messages) for case in suite.cases]
    taught = [question_text(example.messages) for example in examples]
    return [
        Leak(suite.name, suite.cases[pair.left].id, examples[pair.right].id, pair.likeness)
        for pair in near_pairs(asked, taught)
        if (pair.likeness == 1 and _shown_alike(suite.cases[pair.left], examples[pair.right]))
        or _answered_alike(suite.cases[pair.left], examples[pair.right])
    ]


def _shown_alike(case: Case, example: Example) -> bool:
    case_tools, example_tools = (
        sorted(str(tool["function"]["name"]) for tool in tools) for tools in (case.tools, example.tools)
    )
    return case_tools == example_tools


def _answered_alike(case: Case, example: Example) -> bool:
    calls = calls_of(example.messages[-1])
    if case.accept:
        return bool(calls) and not check_calls(calls, case.accept, case.tools)
    right = [case.answer] if case.choices else case.answers
    said = str(example.messages[-1].get("content") or "")
    return not calls and (not right or any(matches(said, one, "contains") for one in right))


def check_leaks(
    workspace: Workspace, rows: Sequence[tables.Suite], examples: Sequence[Example], origin: str
) -> None:
    """Refuse examples that a suite also asks.

    Raises:
        ExampleError: there are some; the message counts them and names the first.
    """
    found = [leak for row in rows for leak in leaks(load_suite(workspace, row), examples)]
    if found:
        named = "; ".join(map(_named, found[:_SHOWN]))
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        several = len({leak.example_id for leak in found})
        count = "an example" if several == 1 else f"{several} examples"
        raise ExampleError(
            f"`{origin}`: {count} that suites also ask: {named}{more}",
            hint="take them out of the examples: a suite must ask what was not trained on; "
            "`adaptman examples split` holds questions out",
        )


def _named(one: Leak) -> str:
    nearly = "" if one.likeness == 1 else f" ({one.likeness:.2f} alike)"
    return f"`{one.example_id}` is case `{one.case_id}` of `{one.suite}`{nearly}"


def leak_warnings(
    workspace: Workspace, version: tables.ModelVersion, rows: Sequence[tables.Suite]
) -> list[str]:
    """For a decision: the suites that ask what the version, or one that it was made from, was trained on."""
    examples = [example for _, example in learned_examples(workspace, version)]
    warnings = []
    for row in rows:
        found = {leak.case_id for leak in leaks(load_suite(workspace, row), examples)}
        if found:
            named = ", ".join(f"`{case_id}`" for case_id in sorted(found)[:_SHOWN])
            warnings.append(
                f"{row.name}: {len(found)} of {row.case_count} cases were trained on ({named}"
                f"{', …' if len(found) > _SHOWN else ''}): they measure memory"
            )
    return warnings
