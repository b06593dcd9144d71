"""`adaptman history`: every version's results on every suite."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, print_json, table, width

if TYPE_CHECKING:
    from adaptman.lifecycle.history import Cell, HistoryVersion, HistoryView, SuiteLine

_ABSENT = "·"
_COLOURS = {"champion": "green", "refused": "red", "failed": "red", "discarded": "red"}
_LEGEND = (
    "★ champion   ✓ passed   ✗ refused   ⚑ waived   ↩ rolled back   ○ not judged\n"
    "value, and its 95 % interval below; a column holds results on one and the same suite"
)
_LEGEND_EARLY = "* of the first cases only: the evaluation ended early, and the figure compares with nothing"


@click.command()
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row for each version and suite.")
@click.option(
    "--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Draw it into FILE; its ending chooses the form (.png, .svg, .pdf).",
)  # fmt: skip
@pass_app
def history(app: App, as_json: bool, as_csv: bool, plot_file: Path | None) -> None:
    """Show every version's results on every suite.

    Results compare only where the suite is the same to the byte: a changed suite starts a new column.
    """
    from adaptman.lifecycle.history import history as read_history

    if sum([as_json, as_csv, plot_file is not None]) > 1:
        raise click.UsageError("choose one of --json, --csv and --plot")
    view = read_history(app.workspace())
    if as_json:
        print_json(view.to_dict())
    elif as_csv:
        click.echo(view.to_csv(), nl=False)
    elif plot_file is not None:
        from adaptman.lifecycle.plot import plot_history

        plot_history(view, plot_file)
        note(f"drawn into {plot_file}")
    else:
        print_history(view)


def print_history(view: HistoryView) -> None:
    """The table on stdout, its legend on stderr."""
    for at, columns in enumerate(_groups(view.lines, _room(view))):
        if at:
            click.echo()
        click.echo(_table(view, columns))
    if view.lines:
        early = any(not cell.complete for line in view.lines for cell in line.cells.values())
        note("\n" + _LEGEND + (f"\n{_LEGEND_EARLY}" if early else ""))
    else:
        note("no suite was run yet; `adaptman evaluate N` runs them on version N")


def mark(version: HistoryVersion) -> str:
    """What became of a version, in one character."""
    if version.state == "champion":
        return "★"
    if version.rolled_back:
        return "↩"
    if version.state in {"refused", "failed", "discarded"}:
        return "✗"
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
