"""Tables, JSON and marks on a terminal. Data goes to stdout, notes to stderr."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from json.encoder import encode_basestring, encode_basestring_ascii
from pathlib import Path
from typing import Any

import click

_NARROWEST_WRAP = 24
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def json_option(command: Any) -> Any:
    """`--json`: print JSON with stable keys on stdout instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def note(text: str) -> None:
    """A line for the person at the terminal, never data: stderr."""
    click.echo(text, err=True)


def note_some(lines: Iterable[str], most: int = 20) -> None:
    """The first of `lines` as indented notes, and how many more there are."""
    found = list(lines)
    for line in found[:most]:
        note(f"  {plain(line)}")
    if len(found) > most:
        note(f"  … {len(found) - most} more")


def listed(names: Sequence[str], most: int) -> str:
    """The first of `names` in a line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def print_json(value: Any) -> None:
    """`value` as indented JSON; times in ISO 8601, numbers that JSON lacks as null."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    click.echo(indented(value, encode_basestring if encoding == "utf8" else encode_basestring_ascii))


def indented(value: Any, quoted: Callable[[str], str], pad: str = "\n") -> str:
    """What `json.dumps(jsonable(value), indent=2)` writes, in one pass: a long history takes half the time.

    `quoted` writes a text between quotes; `pad` is the line break and the indentation of the place.
    """
    kind = type(value)
    if kind is str:
        return quoted(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else "null"
    if kind is datetime:
        return f'"{timestamp(value)}"'
    if kind is dict:
        deeper = pad + "  "
        items = [f"{quoted(str(key))}: {indented(item, quoted, deeper)}" for key, item in value.items()]
        return f"{{{deeper}{f',{deeper}'.join(items)}{pad}}}" if items else "{}"
    if kind is list or kind is tuple:
        deeper = pad + "  "
        items = [indented(item, quoted, deeper) for item in value]
        return f"[{deeper}{f',{deeper}'.join(items)}{pad}]" if items else "[]"
    if value is None or kind is bool or kind is int:
        return json.dumps(value)
    return indented(_of_plain_type(jsonable(value)), quoted, pad)


def _of_plain_type(value: Any) -> Any:
    """A kind of text or number, such as numpy's and SQLAlchemy's, as the text or number itself."""
    for kind in (str, int, float):
        if isinstance(value, kind) and not isinstance(value, bool):
            return kind(value)
    return value


def jsonable(value: Any) -> Any:
    """`value` made of what JSON knows, with the order of keys kept."""
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, date | Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [jsonable(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def timestamp(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`; a time without a zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def short_time(moment: datetime | None) -> str:
    """`2026-01-02 03:04` in UTC, for tables."""
    return "" if moment is None else timestamp(moment)[:16].replace("T", " ")


def short_digest(digest: str | None) -> str:
    """The first twelve digits, enough to find an object by."""
    return digest[:12] if digest else ""


def plain(text: str) -> str:
    """`text` with control characters shown instead of obeyed, so that data cannot steer a terminal."""
    return "".join(char if _is_printable(char) else f"\\x{ord(char):02x}" for char in text)


def _is_printable(char: str) -> bool:
    return char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs"}


def width(text: str) -> int:
    """Columns that `text` takes on a terminal, colour codes not counted."""
    return sum(_columns(char) for char in click.unstyle(text))


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A table of aligned columns, `right` naming those that are flush right.

    On a terminal the last column wraps to the screen; in a pipe nothing is wrapped or cut.
    """
    cells = [[plain_cell(cell) for cell in row] for row in rows]
    widths = [max([width(name), *(width(row[at]) for row in cells)]) for at, name in enumerate(header)]
    widths[-1] = _last_width(widths)
    lines = [click.style(_line(header, widths, right), bold=True)]
    for row in cells:
        lines += _wrapped(row, widths, right)
    return "\n".join(lines)


def plain_cell(cell: str) -> str:
    """A cell in one line; colours stay, every other control sequence is shown instead of obeyed."""
    parts = _COLOUR.split(cell)
    shown = (part if at % 2 else plain(part) for at, part in enumerate(parts))
    return "".join(shown).replace("\n", " ").replace("\t", " ")


def _last_width(widths: Sequence[int]) -> int:
    if not sys.stdout.isatty():
        return widths[-1]
    room = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
    return min(widths[-1], max(room, _NARROWEST_WRAP))


def _wrapped(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    pieces = [row[-1]] if width(row[-1]) <= widths[-1] else textwrap.wrap(row[-1], widths[-1])
    lines = [_line([*row[:-1], pieces[0]], widths, right)]
    return lines + [_line([*[""] * (len(row) - 1), piece], widths, right) for piece in pieces[1:]]


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = (
        _pad(cell, size, at in right) for at, (cell, size) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _pad(cell: str, size: int, flush_right: bool) -> str:
    gap = " " * (size - width(cell))
    return gap + cell if flush_right else cell + gap


def pairs(items: Sequence[tuple[str, str]]) -> str:
    """`key  value` lines, keys aligned; an entry with an empty value is left out."""
    shown = [(key, value) for key, value in items if value]
    size = max((width(key) for key, _ in shown), default=0)
    return "\n".join(f"{click.style(key.ljust(size), dim=True)}  {plain_cell(value)}" for key, value in shown)
