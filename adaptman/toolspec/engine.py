"""`jsonschema` with the doors closed: nothing is fetched, no pattern backtracks, no check runs away.

All schemas that arrive here are canonical (`adaptman.toolspec.canonical`), so one dialect is enough.
Formats are asserted, for the few whose meaning is beyond doubt: a caller that writes `tomorrow` where a
`date` is asked for has made a wrong call.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, time
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema import validators as _validators
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from adaptman.toolspec.patterns import UnsupportedPatternError, compile_pattern

MAX_STEPS = 200_000
"""How many keywords one check may look at; alternatives inside alternatives grow like powers of two."""

_steps_left: ContextVar[int] = ContextVar("steps_left", default=MAX_STEPS)


class CannotCheckError(Exception):
    """A value that cannot be checked within bounds; says why."""


def _date_time(text: str) -> None:
    day, separator, rest = text[:10], text[10:11], text[11:]
    if separator not in ("T", "t") or not re.search(r"(?:[Zz]|[+-]\d\d:\d\d)$", rest):
        raise ValueError(text)
    _date(day)
    _time(rest)


def _date(text: str) -> None:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(text)
    date.fromisoformat(text)


def _time(text: str) -> None:
    match = re.fullmatch(r"(\d\d:\d\d:)(\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", text, re.ASCII)
    if match is None:
        raise ValueError(text)
    # RFC 3339 allows the leap second 60, `datetime` does not.
    time.fromisoformat(match[1] + ("59" if match[2] == "60" else match[2]))
    datetime.fromisoformat("2000-01-01T00:00:00" + match[3].upper().replace("Z", "+00:00"))


def _matches(pattern: str) -> Callable[[str], None]:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> None:
        if compiled.fullmatch(text) is None:
            raise ValueError(text)

    return check


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_FORMATS: dict[str, Callable[[str], Any]] = {
    "date": _date,
    "date-time": _date_time,
    "time": _time,
    "email": _matches(r"[^@\s]{1,64}@[^@\s]{1,255}"),
    "hostname": _matches(rf"{_LABEL}(?:\.{_LABEL})*"),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uri": _matches(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]*"),
    "url": _matches(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]*"),
    "uuid": _matches(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
}
FORMAT_EXAMPLES = {
    "date": "2024-05-17",
    "date-time": "2024-05-17T09:30:00Z",
    "time": "09:30:00Z",
    "email": "ada@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.org/a",
    "url": "https://example.org/a",
    "uuid": "3f2b8c1e-0d4a-4e6f-9b7c-5a1d2e3f4a5b",
}


def has_format(text: str, name: str) -> bool:
    """Whether `text` has the format `name`; formats that are not asserted have all texts."""
    check = _FORMATS.get(name)
    if check is None:
        return True
    try:
        check(text)
    except ValueError:
        return False
    return True


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name in _FORMATS:
        checker.checks(name)(lambda value, name=name: not isinstance(value, str) or has_format(value, name))
    return checker


Keyword = Callable[[Any, Any, Any, Any], Any]


def _spending(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _steps_left.get()
        if left <= 0:
            raise CannotCheckError(f"the check takes more than {MAX_STEPS} steps")
        _steps_left.set(left - 1)
        return keyword(validator, value, instance, schema)

    return check


def _search(pattern: str, text: str) -> bool:
    try:
        return compile_pattern(pattern).search(text)
    except UnsupportedPatternError as error:
        raise CannotCheckError(f"the pattern `{pattern[:80]}` cannot be checked: {error}") from None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    for pattern, subschema in patterns.items() if isinstance(instance, dict) else ():
        for name, value in instance.items():
            if _search(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def extra_names(schema: Mapping[str, Any], instance: Mapping[str, Any]) -> list[str]:
    """The names in `instance` that `schema` has neither as a property nor by a pattern."""
    patterns = schema.get("patternProperties", {})
    named = schema.get("properties", {})
    return [name for name in instance if name not in named and not any(_search(p, name) for p in patterns)]


def _additional(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    for name in extra_names(schema, instance) if isinstance(instance, dict) else ():
        if rule is False:
            yield ValidationError(f"{name!r} is not a parameter", path=(name,))
        else:
            yield from validator.descend(instance[name], rule, path=name)


def _required(validator: Any, names: list[str], instance: Any, schema: Any) -> Iterator[ValidationError]:
    for name in names if isinstance(instance, dict) else ():
        if name not in instance:
            yield ValidationError(f"{name!r} is required", path=(name,))


def _unevaluated(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if _has_pattern_properties(schema):
            raise CannotCheckError("`unevaluatedProperties` beside `patternProperties` cannot be checked")
        return keyword(validator, value, instance, schema)

    return check


def _has_pattern_properties(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "patternProperties" in schema or any(map(_has_pattern_properties, schema.values()))
    return isinstance(schema, list) and any(map(_has_pattern_properties, schema))


def _validator_class() -> type[Validator]:
    known: dict[str, Keyword] = dict(Draft202012Validator.VALIDATORS)
    own: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
        "required": _required,
        "unevaluatedProperties": _unevaluated(known["unevaluatedProperties"]),
    }
    keywords = {name: _spending(check) for name, check in (known | own).items()}
    extended: type[Validator] = _validators.extend(
        Draft202012Validator, keywords, format_checker=_format_checker()
    )
    return extended


_Validator = _validator_class()
_NOTHING: Registry[Any] = Registry()


@contextmanager
def _bounded() -> Iterator[None]:
    token = _steps_left.set(MAX_STEPS)
    try:
        yield
    except RecursionError:
        raise CannotCheckError("the value is nested too deep") from None
    except OverflowError:
        raise CannotCheckError("a number is too large") from None
    except Unresolvable as error:
        raise CannotCheckError(f"a reference leads nowhere: {error}") from None
    finally:
        _steps_left.reset(token)


def _errors(schema: Any, value: Any) -> Iterator[ValidationError]:
    validator = _Validator(schema, registry=_NOTHING, format_checker=_Validator.FORMAT_CHECKER)
    yield from validator.iter_errors(value)


def errors_of(schema: Any, value: Any) -> list[ValidationError]:
    """All that is wrong with `value`, a JSON value, under `schema`, a canonical schema document.

    Raises:
        CannotCheckError: the check would not end within bounds, or the schema needs what is not supported.
    """
    with _bounded():
        return list(_errors(schema, value))


def is_valid(schema: Any, value: Any) -> bool:
    """Whether `value` is valid under `schema`; raises like `errors_of`."""
    with _bounded():
        return next(_errors(schema, value), None) is None
