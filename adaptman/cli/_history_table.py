"""The history on a terminal: suites with their course over the versions, then versions by suites."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from adaptman.cli._output import note, table, width

if TYPE_CHECKING:
    from adaptman.lifecycle.history import Cell, HistoryVersion, HistoryView, SuiteLine

BARS = "▁▂▃▄▅▆▇█"
_ABSENT = "·"
_COLOURS = {"champion": "green", "refused": "red", "failed": "red", "discarded": "red"}
_LEGEND = (
    "★ champion   ☆ was champion   ✓ passed   ✗ refused   ⚑ waived   ↩ rolled back   ○ not judged\n"
    "value, and its 95 % interval below; a column holds results on one and the same suite\n"
    "bars go from the lowest end of an interval to the highest, oldest version first; ↓ lower is better"
)
_LEGEND_EARLY = "* of the first cases only: the evaluation ended early, and the figure compares with nothing"
_ASCII = str.maketrans(
    dict(zip(f"{BARS}{_ABSENT}★☆✓✗⚑↩○–−", "_.-~=+*#.@ovx!<?--", strict=True))
    | {"…": "...", "→": "->", "↓": "(lower is better)", "↳": "\\_"}
)


def print_history(view: HistoryView, *, left_out: int = 0) -> None:
    """The tables on stdout, the legend and how many versions are left out on stderr."""
    if view.lines:
        click.echo(spelled(_courses(view)) + "\n")
    for at, columns in enumerate(_groups(view.lines, _room(view))):
        if at:
            click.echo()
        click.echo(spelled(_table(view, columns)))
    if left_out:
        count = f"{left_out} older version{'' if left_out == 1 else 's'}"
        note(f"\n{count} not shown; `adaptman history --all` shows every one")
    if view.lines:
        early = any(not cell.complete for line in view.lines for cell in line.cells.values())
        note(spelled(f"\n{_LEGEND}" + (f"\n{_LEGEND_EARLY}" if early else "")))
    else:
        note("no suite was run yet; `adaptman evaluate N` runs them on version N")


def spelled(text: str) -> str:
    """`text`, in ASCII where the terminal has no better signs."""
    try:
        f"{BARS}★".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_ASCII)
    return text


def _courses(view: HistoryView) -> str:
    """A line for each suite: the champion's value, and bars below the marks of the versions."""
    champion = view.champion
    header = ["suite", "champion", "".join(mark(version) for version in view.versions)]
    rows = []
    for line in view.lines:
        cell = line.cells.get(champion.number) if champion else None
        rows.append(
            [line.label + ("" if line.higher_is_better else " ↓"), _value(cell), course(line, view.versions)]
        )
        rows += _stale_rows(line, view)
    room = _course_room(header, rows)
    for row in (header, *rows):
        row[-1] = row[-1] if room is None or len(row[-1]) <= room else f"…{row[-1][-room + 1 :]}"
    return table(header, rows, right=(1,))


def _stale_rows(line: SuiteLine, view: HistoryView) -> Iterator[list[str]]:
    """Stale calls by rule: how many of the champion's answers were in the form of before, and the course."""
    champion = view.champion
    for rule in sorted({rule for cell in line.cells.values() for rule in cell.stale}):
        shares = [_share(line.cells.get(version.number), rule) for version in view.versions]
        now = _share(line.cells.get(champion.number), rule) if champion else None
        bars = "".join(_ABSENT if one is None else BARS[min(int(one.rate * 8), 7)] for one in shares)
        value = _ABSENT if now is None else f"{now.stale}/{now.cases}"
        yield [f"  stale, {rule.replace('-', ' ')} ↓", value, bars if len(bars.strip(_ABSENT)) > 1 else ""]


class _Share(NamedTuple):
    stale: int
    cases: int

    @property
    def rate(self) -> float:
        return self.stale / self.cases


def _share(cell: Cell | None, rule: str) -> _Share | None:
    return None if cell is None or rule not in cell.stale else _Share(*cell.stale[rule])


def _course_room(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """Columns that a terminal has for the bars; `None` in a pipe."""
    if not sys.stdout.isatty():
        return None
    used = sum(max(width(row[at]) for row in (header, *rows)) + 2 for at in (0, 1))
    return max(shutil.get_terminal_size().columns - used, 8)


def course(line: SuiteLine, versions: Sequence[HistoryVersion]) -> str:
    """One bar for each version, a dot where it has no whole result; empty where there are not two.

    The scale takes in every interval, so that chance does not look like a fall.
    """
    every = [line.cells.get(version.number) for version in versions]
    cells = [cell if cell is not None and cell.complete else None for cell in every]
    found = [cell for cell in cells if cell is not None]
    if len(found) < 2:
        return ""
    bottom = min(min(cell.low, cell.value) for cell in found)
    top = max(max(cell.high, cell.value) for cell in found)
    step = (top - bottom) / len(BARS) or 1.0
    return "".join(
        _ABSENT if cell is None else BARS[min(int((cell.value - bottom) / step), len(BARS) - 1)]
        for cell in cells
    )


def mark(version: HistoryVersion) -> str:
    """What became of a version, in one character."""
    if version.state == "champion":
        return "★"
    if version.rolled_back:
        return "↩"
    if version.state in {"refused", "failed", "discarded"}:
        return "✗"
    if version.was_champion:
        return "☆"
    return "✓" if version.state in {"passed", "retired"} else "○"


def _table(view: HistoryView, columns: Sequence[SuiteLine]) -> str:
    header = ["", "version", "state", *(line.label for line in columns)]
    rows: list[list[str]] = []
    for version in view.versions:
        rows += _version_rows(version, columns)
    return table(header, rows, right=(1, *range(3, len(header))))


def _version_rows(version: HistoryVersion, columns: Sequence[SuiteLine]) -> list[list[str]]:
    cells = [line.cells.get(version.number) for line in columns]
    colour = _COLOURS.get(version.state)
    state, more = _state_words(version)
    first = [click.style(mark(version), fg=colour), str(version.number), click.style(state, fg=colour)]
    rows = [[*first, *(_value(cell) for cell in cells)]]
    if more or any(cells):
        rows.append(["", "", more, *(click.style(_interval(cell), dim=True) for cell in cells)])
    return rows


def _state_words(version: HistoryVersion) -> tuple[str, str]:
    more = ["⚑ waived"] if version.waiver is not None else []
    more += ["rolled back"] if version.rolled_back else []
    return version.state, ", ".join(more)


def _value(cell: Cell | None) -> str:
    return _ABSENT if cell is None else figure(cell.value) + ("" if cell.complete else "*")


def _interval(cell: Cell | None) -> str:
    return "" if cell is None else f"{figure(cell.low)}–{figure(cell.high)}"


def figure(value: float) -> str:
    """Two decimals, with a true minus sign and no negative zero."""
    text = f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _room(view: HistoryView) -> int | None:
    """Columns left for suites on a terminal; `None` in a pipe, where nothing is broken up."""
    if not sys.stdout.isatty():
        return None
    states = max((max(width(word) for word in _state_words(one)) for one in view.versions), default=5)
    return shutil.get_terminal_size().columns - (1 + 2 + 7 + 2 + max(states, 5))


def _groups(lines: Sequence[SuiteLine], room: int | None) -> Iterator[list[SuiteLine]]:
    """Suites in groups that fit the terminal, at least one in each."""
    group: list[SuiteLine] = []
    used = 0
    for line in lines:
        needed = 2 + _column_width(line)
        if group and room is not None and used + needed > room:
            yield group
            group, used = [], 0
        group.append(line)
        used += needed
    yield group


def _column_width(line: SuiteLine) -> int:
    return max([width(line.label), *(width(_interval(cell)) for cell in line.cells.values())])
