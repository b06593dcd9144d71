"""How right a reply is: one scorer a kind of suite, each a pure function of the case and the reply's text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl_rules import check_calls
from adaptman.evaluation.checks import check_problem, scorer_score
from adaptman.evaluation.matching import matches
from adaptman.evaluation.suites import Case, StaleCall, SuiteKind
from adaptman.toolspec.formats import OutputFormat, Reply, ToolCall
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.readers import document_from_openai
from adaptman.toolspec.validate import validate_call


class Score(NamedTuple):
    """1.0 right, 0.0 wrong or in between, and in words what is wrong ("" where nothing is)."""

    value: float
    detail: str


def score_reply(kind: SuiteKind, case: Case, reply_text: str, fmt: OutputFormat) -> Score:
    """Score one reply, read by the output format.

    Raises:
        SuiteError: a case that is scored by likelihood and not by a reply, or an installed scorer failed.
    """
    if kind is SuiteKind.CUSTOM:
        return _custom_score(case, reply_text, fmt)
    if case.choices:
        raise SuiteError(f"the case `{case.id}` is scored by the likelihood of its choices, not by a reply")
    scorer = _SCORERS.get(kind)
    if scorer is None:
        raise SuiteError(f"a case of kind `{kind}` is not scored by a reply")
    problem = scorer(case, fmt.parse(reply_text))
    return Score(0.0 if problem else 1.0, problem)


def is_stale(case: Case, reply_text: str, fmt: OutputFormat) -> bool:
    """Whether a reply, which is wrong, makes one of the calls of before."""
    calls = fmt.parse(reply_text).calls if case.stale else ()
    return any(_is_of_before(call, stale) for call in calls for stale in case.stale)


def _is_of_before(call: ToolCall, stale: StaleCall) -> bool:
    return call.name == stale.name and all(
        _was(call.arguments, name, values) for name, values in stale.arguments.items()
    )


def _was(arguments: Mapping[str, Any], name: str, values: Sequence[Any]) -> bool:
    if name not in arguments:
        return "" in values
    return not values or canonical_json(arguments[name]) in {
        canonical_json(one) for one in values if one != ""
    }


def score_choices(case: Case, totals: Sequence[float]) -> Score:
    """Whether the right choice is the likeliest. `totals`: the log-likelihood of each choice in nats.

    Choices of different lengths are compared per character, as lm-evaluation-harness does for `acc_norm`
    (for choices of one length, such as letters, `acc` is the same); of equal ones the first counts.
    """
    per_character = [total / len(choice) for total, choice in zip(totals, case.choices, strict=True)]
    chosen = case.choices[per_character.index(max(per_character))]
    return (
        Score(1.0, "") if chosen == case.answer else Score(0.0, f"chose `{chosen}`, expected `{case.answer}`")
    )


def _custom_score(case: Case, text: str, fmt: OutputFormat) -> Score:
    if "scorer" not in case.check:
        problem = check_problem(case.check, text)
        return Score(0.0 if problem else 1.0, problem)
    value = scorer_score(case, text, fmt.parse(text).calls)
    return Score(value, "" if value == 1 else f"`{case.check['scorer']}`: {value:.2f}")


def _call_problem(case: Case, reply: Reply) -> str:
    return _malformed(reply) or check_calls(reply.calls, case.accept, case.tools)


def _restraint_problem(case: Case, reply: Reply) -> str:
    shown = {tool["function"]["name"] for tool in case.tools}
    for call in reply.calls:
        if case.calls == "shown" and call.name in shown:
            continue
        where = "which does not fit" if call.name in shown else "which is not in the document"
        return f"called `{call.name}`, {where}"
    return _malformed(reply)


def _format_problem(case: Case, reply: Reply) -> str:
    if reply.problems or not reply.calls:
        return _malformed(reply) or "no call"
    document = document_from_openai(case.tools)
    for call in reply.calls:
        for problem in validate_call(document, call):
            place = f"`{call.name}`, `{problem.path}`" if problem.path else f"`{call.name}`"
            return f"{place}: {problem.message}"
    return check_calls(reply.calls, case.accept, case.tools, exact=True) if case.accept else ""


def _general_problem(case: Case, reply: Reply) -> str:
    if reply.calls:
        return f"called `{reply.calls[0].name}` where an answer was expected"
    if reply.problems:
        return _malformed(reply)
    if any(matches(reply.content, answer, case.match) for answer in case.answers):
        return ""
    return f"expected {' or '.join(f'`{answer}`' for answer in case.answers)}"


def _malformed(reply: Reply) -> str:
    return f"malformed call: {reply.problems[0]}" if reply.problems else ""


_SCORERS: dict[SuiteKind, Callable[[Case, Reply], str]] = {
    SuiteKind.TARGET: _call_problem,
    SuiteKind.TOOLS: _call_problem,
    SuiteKind.CONTEXT: _call_problem,
    SuiteKind.IRRELEVANCE: _restraint_problem,
    SuiteKind.FORMAT: _format_problem,
    SuiteKind.GENERAL: _general_problem,
}
