"""Suites: versioned JSONL files of cases, read strictly, with a digest that says what is comparable.

The form of a case is `suite.schema.json`, beside this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, NoReturn

from adaptman.errors import SuiteError, ToolDocumentError
from adaptman.evaluation.checks import flaw_of
from adaptman.evaluation.matching import Match, normalized
from adaptman.toolspec.jsontext import canonical_json, check_json, strict_loads
from adaptman.toolspec.readers import document_from_openai

MAX_BYTES = 8 * 1024 * 1024
MAX_CASES = 20_000

_HINT = "docs/reference/files.md shows a case of each kind"


class SuiteKind(StrEnum):
    """Which question a suite asks, and with it how a reply is scored."""

    TARGET = "target"
    TOOLS = "tools"
    IRRELEVANCE = "irrelevance"
    FORMAT = "format"
    GENERAL = "general"
    DRIFT = "drift"
    CUSTOM = "custom"
    CONTEXT = "context"

    @property
    def higher_is_better(self) -> bool:
        return self is not SuiteKind.DRIFT


_MEAN_SCORE = "mean_score"
_METRICS = {
    SuiteKind.TARGET: "call_accuracy",
    SuiteKind.TOOLS: "call_accuracy",
    SuiteKind.IRRELEVANCE: "restraint",
    SuiteKind.FORMAT: "well_formed",
    SuiteKind.GENERAL: "accuracy",
    SuiteKind.DRIFT: "nats_per_token",
    SuiteKind.CUSTOM: "pass_rate",
    SuiteKind.CONTEXT: "call_accuracy",
}


def is_binary(metric: str) -> bool:
    """Whether a case has 1 or 0, right or wrong, by the metric of its suite; otherwise scores are graded."""
    return metric not in (_METRICS[SuiteKind.DRIFT], _MEAN_SCORE)


class ExpectedCall(NamedTuple):
    """A right call: for each parameter its accepted values; "" among them means that it may be left out."""

    name: str
    arguments: dict[str, list[Any]]


class StaleCall(NamedTuple):
    """What a call in the form of before looks like: the name, and for each parameter its values of before.

    No values: it is given at all; "" among them: it is left out.
    """

    name: str
    arguments: dict[str, list[Any]]


@dataclass(frozen=True)
class Case:
    """One question with what a right reply to it is. `tools` are in the OpenAI form, as they were written."""

    id: str
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    accept: tuple[ExpectedCall, ...] = ()
    answers: tuple[str, ...] = ()
    match: Match = "contains"
    choices: tuple[str, ...] = ()
    answer: str = ""
    check: Mapping[str, Any] = field(default_factory=dict)
    calls: Literal["none", "shown"] = "none"
    known_wrong: bool = False
    rule: str = ""
    """The kind of change that the case is about, where it was made from one."""
    stale: tuple[StaleCall, ...] = ()


@dataclass(frozen=True)
class Suite:
    """Cases of one kind. Two runs can be compared where the suite's digest is the same."""

    name: str
    kind: SuiteKind
    cases: tuple[Case, ...] = field(repr=False)
    digest: str
    """sha256 (hex) of the kind and the canonical JSONL: blank lines and the order of keys do not count,
    except inside `tools`, whose text the model reads."""
    higher_is_better: bool
    metric: str
    """The name of the figure: a share of cases or a mean score from 0 to 1, or nats per token."""


def read_suite(data: bytes, *, name: str, kind: SuiteKind, origin: str) -> Suite:
    """Read a suite from JSONL, one case a line; in a `custom` one the first line may be for all cases.

    Raises:
        SuiteError: the message names `origin`, the line and the field; see `suite.schema.json`.
    """
    records = list(_records(data, origin))
    if kind is SuiteKind.CUSTOM:
        records = _with_header(records)
    if not records:
        raise SuiteError(f"`{origin}` holds no cases", hint=_HINT)
    known: dict[str, int] = {}
    checked_tools: set[str] = set()
    for record in records:
        _check(record, kind, checked_tools)
        case_id = record.value["id"]
        if case_id in known:
            record.refuse("id", f"`{case_id}` stands in line {known[case_id]} already")
        known[case_id] = record.line
    return Suite(
        name=name,
        kind=kind,
        cases=tuple(_case(record.value) for record in records),
        digest=_digest(kind, records),
        higher_is_better=kind.higher_is_better,
        metric=_metric(kind, records),
    )


def _metric(kind: SuiteKind, records: Sequence[_Record]) -> str:
    graded = any("scorer" in record.value.get("check", {}) for record in records)
    return _MEAN_SCORE if graded else _METRICS[kind]


class _Record(NamedTuple):
    """One line of the file, parsed."""

    origin: str
    line: int
    value: Any

    def refuse(self, path: str, problem: str, hint: str = _HINT) -> NoReturn:
        place = f", `{path}`" if path else ""
        raise SuiteError(f"`{self.origin}`, line {self.line}{place}: {problem}", hint=hint)


def _records(data: bytes, origin: str) -> Iterator[_Record]:
    if len(data) > MAX_BYTES:
        raise SuiteError(
            f"`{origin}` has {len(data)} bytes, at most {MAX_BYTES} are read",
            hint="split it into several suites",
        )
    count = 0
    # bytes, not text: only a line feed ends a line, and a case may hold any other separator
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        count += 1
        if count > MAX_CASES:
            raise SuiteError(
                f"`{origin}` holds more than {MAX_CASES} cases", hint="split it into several suites"
            )
        yield _parse(line, number, origin)


def _parse(line: bytes, number: int, origin: str) -> _Record:
    blank = _Record(origin, number, None)
    try:
        value = strict_loads(line.decode("utf-8"))
        check_json(value, "the case")
    except UnicodeError:
        blank.refuse("", "not UTF-8 text")
    except json.JSONDecodeError as error:
        blank.refuse(
            "",
            f"not JSON: {error.msg} at column {error.colno}",
            hint="a suite is JSONL: one JSON object a line",
        )
    except ToolDocumentError as error:
        blank.refuse("", error.message, hint=error.hint)
    except RecursionError:
        blank.refuse("", "nested too deeply")
    except ValueError as error:
        blank.refuse("", f"not JSON: {error}")
    return _Record(origin, number, value)


def _with_header(records: list[_Record]) -> list[_Record]:
    """The cases, each with the check of the first line where it has none of its own.

    The digest is of the cases: the same checks, written once or with each case, make the same suite.
    """
    if not records or not isinstance(records[0].value, dict) or "suite" not in records[0].value:
        return records
    header, *cases = records
    for error in _validator("header")(header.value):
        header.refuse(_path(error.absolute_path, error), _WORDS.get(error.validator, _as_told)(error))
    return [case._replace(value=_defaulted(case.value, header.value["suite"])) for case in cases]


def _defaulted(value: Any, defaults: Mapping[str, Any]) -> Any:
    return {**defaults, **value} if isinstance(value, dict) else value


def _check(record: _Record, kind: SuiteKind, checked_tools: set[str]) -> None:
    # the outermost first, and of those the same one every time
    for error in sorted(_validator(kind.value)(record.value), key=_place):
        record.refuse(_path(error.absolute_path, error), _told(error, kind))
    _check_roles(record, kind)
    _check_tools(record, checked_tools)
    _check_accept(record)
    _check_answers(record)
    _check_choices(record)
    _check_check(record)


def _place(error: Any) -> tuple[int, list[str]]:
    return len(error.absolute_path), [str(step) for step in error.absolute_path]


@cache
def _validator(form: str) -> Callable[[Any], Iterator[Any]]:
    from jsonschema import Draft202012Validator

    schema = json.loads((files("adaptman.evaluation") / "suite.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{form}"}).iter_errors


def _path(steps: Sequence[str | int], error: Any) -> str:
    """`accept[0].name`; for an unknown or a missing key the key itself."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    extra = ""
    if error.validator == "required":
        extra = "." + next(key for key in error.validator_value if key not in error.instance)
    elif error.validator == "additionalProperties":
        extra = "." + next(key for key in error.instance if key not in error.schema.get("properties", {}))
    return (text + extra).lstrip(".")


_ARTICLES: dict[str, str] = {
    "array": "a list",
    "object": "an object",
    "string": "text",
    "boolean": "`true` or `false`",
}
_WORDS: dict[str, Callable[[Any], str]] = {
    "additionalProperties": lambda error: "not a known key",
    "type": lambda error: f"{_ARTICLES.get(error.validator_value, error.validator_value)} was expected",
    "enum": lambda error: (
        "one of " + ", ".join(f"`{value}`" for value in error.validator_value) + " was expected"
    ),
    "const": lambda error: f"`{error.validator_value}` was expected",
    "required": lambda error: "missing",
    "minProperties": lambda error: f"at least {error.validator_value} needed",
    "minItems": lambda error: f"at least {error.validator_value} needed",
    "minLength": lambda error: "is empty",
    "maxLength": lambda error: f"longer than {error.validator_value} characters",
}


def _told(error: Any, kind: SuiteKind) -> str:
    if error.validator == "required" and not error.absolute_path:
        return f"missing, a case of kind `{kind}` needs it"
    if error.validator == "not":
        return f"has no meaning in a case of kind `{kind}`"
    return _WORDS.get(error.validator, _as_told)(error)


def _as_told(error: Any) -> str:
    return str(error.message)[:200]


def _check_roles(record: _Record, kind: SuiteKind) -> None:
    messages = record.value["messages"]
    last = f"messages[{len(messages) - 1}].role"
    role = messages[-1]["role"]
    if kind is SuiteKind.DRIFT:
        if role != "assistant":
            record.refuse(last, f"`{role}`: the last message of a case of kind `drift` is the assistant's")
        if not messages[-1]["content"].strip():
            record.refuse(f"messages[{len(messages) - 1}].content", "is empty: there is no text to score")
    elif role not in ("user", "tool"):
        record.refuse(
            last, f"`{role}`: the last message is what the model replies to, the user's or a tool's"
        )


def _check_tools(record: _Record, checked: set[str]) -> None:
    tools = record.value.get("tools", [])
    text = json.dumps(tools)
    if text in checked or not tools:
        return
    try:
        document_from_openai(tools)
    except ToolDocumentError as error:
        record.refuse("tools", error.message, hint=error.hint)
    checked.add(text)


def _check_accept(record: _Record) -> None:
    shown = {tool["function"]["name"] for tool in record.value.get("tools", [])}
    for index, call in enumerate(record.value.get("accept", [])):
        if call["name"] not in shown:
            record.refuse(f"accept[{index}].name", f"`{call['name']}` is not among the case's tools")


def _check_answers(record: _Record) -> None:
    if record.value.get("match") == "exact":
        return
    for index, answer in enumerate(record.value.get("answers", [])):
        if not normalized(answer):
            record.refuse(
                f"answers[{index}]",
                f"`{answer}` has no letter or digit to look for",
                hint='punctuation is compared only with `"match": "exact"`',
            )


def _check_choices(record: _Record) -> None:
    choices = record.value.get("choices", [])
    for index, choice in enumerate(choices):
        if choice in choices[:index]:
            record.refuse(f"choices[{index}]", f"`{choice}` stands there twice")
        if not choice.strip():
            record.refuse(f"choices[{index}]", "is empty: there is no text to score")
    if choices and record.value["answer"] not in choices:
        record.refuse("answer", f"`{record.value['answer']}` is not one of the choices")


def _check_check(record: _Record) -> None:
    flaw = flaw_of(record.value.get("check", {}))
    if flaw is not None:
        record.refuse(f"check.{flaw.key}", flaw.problem)


def _case(value: Mapping[str, Any]) -> Case:
    match: Match = value.get("match", "contains")
    return Case(
        id=value["id"],
        messages=tuple(value["messages"]),
        tools=tuple(value.get("tools", ())),
        accept=tuple(ExpectedCall(call["name"], call["arguments"]) for call in value.get("accept", ())),
        answers=tuple(value.get("answers", ())),
        match=match,
        choices=tuple(value.get("choices", ())),
        answer=value.get("answer", ""),
        check=value.get("check", {}),
        calls=value.get("calls", "none"),
        known_wrong=value.get("known_wrong", False),
        rule=value.get("rule", ""),
        stale=tuple(StaleCall(call["name"], call["arguments"]) for call in value.get("stale", ())),
    )


def _digest(kind: SuiteKind, records: Sequence[_Record]) -> str:
    # the kind is part of it: the same cases, scored another way, are another suite
    digest = hashlib.sha256(f"{kind.value}\n".encode())
    for record in records:
        digest.update(_canonical(record.value).encode() + b"\n")
    return digest.hexdigest()


def _canonical(value: Mapping[str, Any]) -> str:
    tools = json.dumps(value.get("tools", []), separators=(",", ":"))
    rest = {key: part for key, part in value.items() if key != "tools"}
    return canonical_json([rest, tools])
