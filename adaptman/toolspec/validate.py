"""Whether a call is right under its tool's schema, and if not, which field is wrong and why."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple

from jsonschema import ValidationError

from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.engine import CannotCheckError, errors_of
from adaptman.toolspec.formats import Reply, ToolCall
from adaptman.toolspec.jsontext import MAX_NESTING, canonical_json, nesting

MAX_PROBLEMS = 50


class CallProblem(NamedTuple):
    """What is wrong with one field; `path` is like `address.city` or `tags[2]`, empty for the whole call."""

    path: str
    message: str


def validate_call(document: ToolDocument, call: ToolCall) -> list[CallProblem]:
    """The problems of `call`, none if it is right; the first of them are told, at most 50.

    What cannot be checked within bounds (a pattern that needs backtracking, a value nested too deep)
    is a problem, too: a call is right only when it was shown to be.
    """
    tool = document.get(call.name)
    if tool is None:
        return [CallProblem("", _unknown(call.name, document.names))]
    return validate_arguments(tool, call.arguments)


def fits(document: ToolDocument, call: ToolCall) -> bool:
    """Whether `call` is right."""
    return not validate_call(document, call)


def is_fitting_call(document: ToolDocument, reply: Reply) -> bool:
    """There are calls in `reply`, all of them could be read, and each is right."""
    return bool(reply.calls) and not reply.problems and all(fits(document, call) for call in reply.calls)


def validate_arguments(tool: Tool, arguments: dict[str, Any]) -> list[CallProblem]:
    """The problems of the arguments of a call of `tool`."""
    if nesting(arguments) > MAX_NESTING:
        return [CallProblem("", f"the arguments are nested deeper than {MAX_NESTING} levels")]
    try:
        errors = errors_of(tool.contract.rooted(tool.contract.schema), arguments)
    except CannotCheckError as error:
        return [CallProblem("", str(error))]
    problems = [_problem(error) for error in errors[:MAX_PROBLEMS]]
    return sorted(set(problems), key=problems.index)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"there is no tool `{name}`" + (f"; did you mean `{near[0]}`" if near else "")


def _problem(error: ValidationError) -> CallProblem:
    deepest = _deepest(error)
    return CallProblem(field_path(deepest.absolute_path), _words(deepest))


def _deepest(error: ValidationError) -> ValidationError:
    """For alternatives: the error in the branch that came closest, if one came closer than the others."""
    while error.context and error.validator in ("anyOf", "oneOf"):
        branches: dict[Any, list[ValidationError]] = {}
        for inner in error.context:
            branches.setdefault(next(iter(inner.schema_path), None), []).append(inner)
        reached = sorted((max(len(e.path) for e in b), -len(b), -n) for n, b in enumerate(branches.values()))
        if not reached or reached[-1][0] == 0 or (len(reached) > 1 and reached[-1][:2] == reached[-2][:2]):
            break
        best = list(branches.values())[-reached[-1][2]]
        error = max(best, key=lambda inner: len(inner.path))
    return error


def field_path(steps: Iterable[Any]) -> str:
    """`address.city`, `tags[2]`; a name that could be misread stands in brackets and quotes."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step and all(char.isalnum() or char in "_-$" for char in step):
            path += f".{step}" if path else step
        else:
            path += f"[{canonical_json(step)}]"
    return path


def shown(value: Any, width: int = 60) -> str:
    """A JSON value in at most `width` characters."""
    text = canonical_json(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= width else text[: width - 1] + "…"


_LIMITS = {
    "minimum": "is below {}",
    "maximum": "is above {}",
    "exclusiveMinimum": "is not above {}",
    "exclusiveMaximum": "is not below {}",
    "multipleOf": "is not a multiple of {}",
    "minLength": "is shorter than {} characters",
    "maxLength": "is longer than {} characters",
    "minItems": "has fewer than {} items",
    "maxItems": "has more than {} items",
    "minProperties": "has fewer than {} properties",
    "maxProperties": "has more than {} properties",
    "pattern": "does not match the pattern {}",
    "format": "is not in the format {}",
}


def _words(error: ValidationError) -> str:
    keyword, value = str(error.validator), error.instance
    rule: Any = error.validator_value
    if keyword == "None":
        return "is not allowed"  # the schema is `false`
    if keyword == "required":
        return "is required"
    if keyword == "additionalProperties" and rule is False:
        return "is not a parameter of the tool" if len(error.absolute_path) == 1 else "is not a property here"
    if keyword == "type":
        wanted = rule if isinstance(rule, str) else " or ".join(rule)
        return f"{shown(value)} is not of type {wanted}"
    if keyword == "enum":
        return f"{shown(value)} is not one of {shown(rule, 120)}"
    if keyword in _LIMITS:
        return f"{shown(value)} " + _LIMITS[keyword].format(shown(rule))
    if keyword in ("anyOf", "oneOf"):
        return f"{shown(value)} fits none of the {len(rule)} forms that are allowed"
    return error.message if len(error.message) <= 200 else error.message[:199] + "…"
