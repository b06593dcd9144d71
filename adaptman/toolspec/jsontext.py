"""Strict JSON in, canonical JSON out.

Strict means what RFC 8259 leaves open is settled: no duplicate keys, no NaN or Infinity, no number
that a double cannot hold, no lone surrogate, and bounded size and nesting.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NoReturn

from adaptman.errors import ToolDocumentError

MAX_BYTES = 8 * 1024 * 1024
MAX_NESTING = 128


class _RefusedError(ValueError):
    """JSON that the grammar allows and this reader does not."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no blanks and ASCII only: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of(text: str) -> str:
    """sha256 of `text` in UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def parse_json(data: bytes, origin: str) -> Any:
    """Parse `data`; object keys keep their order.

    Raises:
        ToolDocumentError: too large, not UTF-8, not JSON, nested too deep, or JSON of several readings.
    """
    if len(data) > MAX_BYTES:
        raise too_large(origin, len(data))
    value = _loads(_decode(data, origin), origin)
    check_json(value, origin)
    return value


def too_large(origin: str, size: int) -> ToolDocumentError:
    """The error for a document of `size` bytes."""
    return ToolDocumentError(
        f"{origin}: {size / 2**20:.1f} MiB is too large for a tool document, at most 8 MiB are read",
        hint="give the tool document alone, without logs, examples or binary data",
    )


def _decode(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ToolDocumentError(
            f"{origin}: not UTF-8 at byte {error.start}", hint="save the document as UTF-8"
        ) from None


def _loads(text: str, origin: str) -> Any:
    try:
        return strict_loads(text)
    except json.JSONDecodeError as error:
        raise ToolDocumentError(
            f"{origin}: not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}",
            hint="tool documents are JSON; comments and trailing commas are not allowed",
        ) from None
    except RecursionError:
        raise too_deep(origin) from None
    except ValueError as error:
        raise ToolDocumentError(f"{origin}: {error}", hint="write each key once, and plain numbers") from None


def strict_loads(text: str) -> Any:
    """`json.loads` that refuses what has several readings.

    Raises:
        ValueError: not JSON (then a `json.JSONDecodeError`), a duplicate key, NaN, Infinity, a huge number.
        RecursionError: nested deeper than the interpreter's stack.
    """
    return _DECODER.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedError(f"the key `{twice}` stands twice in one object")
    return value


def _constant(name: str) -> NoReturn:
    raise _RefusedError(f"`{name}` is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _RefusedError(f"the number `{text[:40]}` is too large")
    return value


def _int(text: str) -> int:
    if len(text) > 300:  # all that is shorter has a finite double
        raise _RefusedError(f"the number `{text[:40]}…` is too large")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_constant, parse_float=_float, parse_int=_int
)


def too_deep(origin: str) -> ToolDocumentError:
    """The error for a document whose brackets go too deep."""
    return ToolDocumentError(
        f"{origin}: nested deeper than {MAX_NESTING} levels",
        hint="no tool needs that; check how the document was made",
    )


def check_json(value: Any, origin: str) -> None:
    """Refuse values nested too deep, and strings that UTF-8 cannot hold; never recurses.

    Raises:
        ToolDocumentError: which of the two it is.
    """
    for depth, text in _strings_and_depths(value):
        if depth > MAX_NESTING:
            raise too_deep(origin)
        if text is not None and not _encodable(text):
            raise ToolDocumentError(
                f"{origin}: the string {text[:40]!a} holds half of a surrogate pair",
                hint="write such characters whole, or as both halves",
            )


def nesting(value: Any, limit: int = MAX_NESTING) -> int:
    """How many arrays and objects lie inside one another; stops counting just above `limit`."""
    deepest = 0
    for depth, _ in _strings_and_depths(value):
        deepest = max(deepest, depth)
        if deepest > limit:
            break
    return deepest


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _strings_and_depths(value: Any) -> Iterator[tuple[int, str | None]]:
    todo: list[tuple[Any, int]] = [(value, 1)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, str):
            yield 0, item
        elif isinstance(item, dict):
            yield depth, None
            for key, child in item.items():
                yield 0, key
                todo.append((child, depth + 1))
        elif isinstance(item, (list, tuple)):
            yield depth, None
            todo.extend((child, depth + 1) for child in item)
