"""The checks of a suite of kind `custom`: what a reply's text must be, and scorers that others install.

A scorer is a Python callable under an entry point of the group `adaptman.scorers`, for what no check can say:

    def similarity(case: Case, reply: str, calls: Sequence[ToolCall]) -> float: ...

It is given the case (its `check["expected"]` is free for it), the reply's text and the calls in it, and gives
a score from 0 to 1. Its distribution's version is recorded with the run: another version scores anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from adaptman.errors import SuiteError
from adaptman.toolspec.engine import CannotCheckError, errors_of
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json, strict_loads
from adaptman.toolspec.patterns import UnsupportedPatternError, compile_pattern

if TYPE_CHECKING:
    from adaptman.evaluation.suites import Case, Suite

GROUP = "adaptman.scorers"
_NOT_SCHEMAS = ("const", "enum", "default", "examples")


class Scorer(Protocol):
    """What an entry point of the group `adaptman.scorers` leads to."""

    def __call__(self, case: Case, reply: str, calls: Sequence[ToolCall], /) -> float:
        """The reply's score, from 0 (wrong) to 1 (right)."""
        ...


class Flaw(NamedTuple):
    """What makes a check unusable, and which key of it."""

    key: str
    problem: str


def flaw_of(check: Mapping[str, Any]) -> Flaw | None:
    """What is wrong with a check beyond its form; None where it can be used."""
    if "scorer" in check and (others := check.keys() - {"scorer", "expected"}):
        return Flaw(min(others), "cannot stand beside `scorer`, which scores the reply alone")
    if "expected" in check and "scorer" not in check:
        return Flaw("expected", "has a meaning only beside `scorer`")
    try:
        if "regex" in check:
            compile_pattern(check["regex"])
    except UnsupportedPatternError as error:
        return Flaw("regex", f"cannot be used: {error}")
    if "json_schema" in check:
        problem = _schema_problem(check["json_schema"])
        return Flaw("json_schema", problem) if problem else None
    return None


def check_problem(check: Mapping[str, Any], reply: str) -> str:
    """What the reply lacks, in words; "" where all that the check asks for holds."""
    problems = (_CHECKS[key](wanted, reply) for key, wanted in check.items())
    return next((problem for problem in problems if problem), "")


def scorer_score(case: Case, reply: str, calls: Sequence[ToolCall]) -> float:
    """What the case's installed scorer says of the reply, from 0 to 1.

    Raises:
        SuiteError: the scorer is not installed, failed, or gave something else.
    """
    name = case.check["scorer"]
    try:
        found = _scorer(name)(case, reply, calls)
        value = float(found)
    except SuiteError:
        raise
    except Exception as error:  # code of others: whatever it raises, the case is named
        raise SuiteError(
            f"case `{case.id}`: the scorer `{name}` failed: {type(error).__name__}: {error}"
        ) from error
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise SuiteError(f"case `{case.id}`: the scorer `{name}` gave {value}, a score is from 0 to 1")
    return value


def scorer_versions(suite: Suite) -> dict[str, str]:
    """By the name of each scorer that the suite asks for: the distribution that has it, and its version.

    Raises:
        SuiteError: a scorer is not installed, or two distributions have one of that name.
    """
    names = {case.check["scorer"] for case in suite.cases if "scorer" in case.check}
    return {name: _distribution(_entry_point(name)) for name in sorted(names)}


def _contains(wanted: str, reply: str) -> str:
    return "" if wanted in reply else f"`{_short(wanted)}` is not in it"


def _regex(pattern: str, reply: str) -> str:
    try:
        return "" if compile_pattern(pattern).search(reply) else f"`{_short(pattern)}` does not fit"
    except UnsupportedPatternError as error:
        return f"`{_short(pattern)}` cannot be checked: {error}"


def _json_schema(schema: Any, reply: str) -> str:
    parsed = _parsed(reply)
    if parsed is _NOT_JSON:
        return "not JSON"
    try:
        errors = errors_of(schema, parsed)
    except CannotCheckError as error:
        return f"cannot be checked: {error}"
    return f"does not fit the schema: {errors[0].message[:200]}" if errors else ""


def _equals(wanted: Any, reply: str) -> str:
    if isinstance(wanted, str):
        return "" if reply.strip() == wanted.strip() else f"expected `{_short(wanted)}`"
    parsed = _parsed(reply)
    same = parsed is not _NOT_JSON and _canonical(parsed) == _canonical(wanted)
    return "" if same else f"expected `{_short(json.dumps(wanted, ensure_ascii=False))}`"


_CHECKS: dict[str, Callable[[Any, str], str]] = {
    "contains": _contains,
    "regex": _regex,
    "json_schema": _json_schema,
    "equals": _equals,
}
_NOT_JSON = object()


def _parsed(reply: str) -> Any:
    try:
        return strict_loads(reply)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _canonical(value: Any) -> str:
    """Equal for equal JSON: `1` and `1.0` are one number, `1` and `true` are not the same."""
    return canonical_json(_whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, dict):
        return {key: _whole(part) for key, part in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _schema_problem(schema: Any) -> str:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        for pattern in _patterns(schema):
            compile_pattern(pattern)
        errors_of(schema, None)
    except SchemaError as error:
        return f"not a JSON Schema: {error.message[:200]}"
    except UnsupportedPatternError as error:
        return f"a pattern cannot be used: {error}"
    except CannotCheckError as error:
        return f"cannot be used: {error}"
    return ""


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _patterns(part)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            if key == "pattern" and isinstance(part, str):
                yield part
            elif key == "patternProperties" and isinstance(part, dict):
                yield from part
            if key not in _NOT_SCHEMAS:
                yield from _patterns(part)


@cache
def _scorer(name: str) -> Scorer:
    entry = _entry_point(name)
    try:
        found = entry.load()
    except Exception as error:  # code of others
        raise SuiteError(f"the scorer `{name}` (`{entry.value}`) cannot be loaded: {error}") from error
    if not callable(found):
        raise SuiteError(f"the scorer `{name}` (`{entry.value}`) cannot be called")
    return cast(Scorer, found)


def _entry_point(name: str) -> metadata.EntryPoint:
    entries = metadata.entry_points(group=GROUP)
    found = [entry for entry in entries if entry.name == name]
    if not found:
        known = ", ".join(f"`{known}`" for known in sorted(entries.names)) or "none"
        raise SuiteError(
            f"the scorer `{name}` is not installed",
            hint=f"install the package that has it under the entry points `{GROUP}`; installed: {known}",
        )
    if len({_distribution(entry) for entry in found}) > 1:
        homes = ", ".join(f"`{_distribution(entry)}`" for entry in found)
        raise SuiteError(f"there is more than one scorer `{name}`: {homes}", hint="uninstall one of them")
    return found[0]


def _distribution(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"


def _short(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
