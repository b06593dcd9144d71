"""`adaptman history`, beyond what the golden files show."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adaptman.cli._history_table import course, figure, mark, print_history
from adaptman.cli._output import width
from adaptman.lifecycle.history import Cell, HistoryVersion, HistoryView, SuiteLine
from tests.cli.conftest import Terminal
from tests.lifecycle.story import Story

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def view(suites: int, versions: int = 3) -> HistoryView:
    rows = tuple(
        HistoryVersion(
            at, "champion" if at == versions else "refused", 1, "", NOW, at == versions, None, False
        )
        for at in range(1, versions + 1)
    )
    cells = {row.number: Cell(0.5, 0.25, 0.75, 20, NOW) for row in rows}
    lines = (
        SuiteLine(f"suite-{at}", f"suite-{at}", "tools", "a" * 64, "x", True, cells) for at in range(suites)
    )
    return HistoryView("default", rows, tuple(lines))


def test_csv_is_read_back(terminal: Terminal, told: Story) -> None:
    rows = list(csv.DictReader(io.StringIO(terminal.ok("history", "--csv"))))
    assert len(rows) == 15
    assert {row["version"] for row in rows if row["waived"] == "true"} == {"4"}
    assert {row["version"] for row in rows if row["rolled_back"] == "true"} == {"4"}


def test_a_changed_suite_starts_a_column(terminal: Terminal, told: Story) -> None:
    told.suite("general", "general", salt=" changed")
    told.score(3, {"general": (0.5, 0.4, 0.6)})
    header = next(line for line in terminal.ok("history").splitlines() if "state" in line)
    assert header.split() == [
        "version",
        "state",
        "new-tools",
        "irrelevance",
        "general",
        "#1",
        "general",
        "#2",
        "drift",
    ]


def test_no_suite_yet(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("history")
    assert result.exit_code == 0
    assert "no suite was run yet" in result.stderr


def test_one_form_at_a_time(terminal: Terminal, told: Story) -> None:
    assert terminal.run("history", "--json", "--csv").exit_code == 2


def test_options_in_front_of_diff_are_not_lost(terminal: Terminal, told: Story) -> None:
    result = terminal.run("history", "--json", "diff", "3", "4")
    assert result.exit_code == 2
    assert "options of `diff` come after its name" in result.stderr


def test_plot(terminal: Terminal, told: Story) -> None:
    result = terminal.run("history", "--plot", "history.png")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (terminal.folder / "history.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_of_an_unknown_form(terminal: Terminal, told: Story) -> None:
    result = terminal.run("history", "--plot", "history.txt")
    assert result.exit_code == 1
    assert "end it with one of `.png`, `.svg`, `.pdf`" in result.stderr


def test_a_plot_where_nothing_can_be_written(terminal: Terminal, told: Story) -> None:
    result = terminal.run("history", "--plot", "no/such/folder/history.png")
    assert (result.exit_code, "Traceback" in result.output) == (1, False)


def test_a_terminal_gets_tables_that_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_history(view(suites=7))
    shown = capsys.readouterr().out
    assert max(width(line) for line in shown.splitlines()) <= 60
    assert all(f"suite-{at}" in shown for at in range(7))


def test_a_pipe_gets_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_history(view(suites=30))
    assert capsys.readouterr().out.count("version") == 1


def test_a_long_history_shows_the_newest_and_the_champion(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(
        HistoryVersion(at, "champion" if at == 4 else "refused", 1, "", NOW, at == 4, None, False)
        for at in range(1, 51)
    )
    long = replace(view(suites=3), versions=rows)
    long = replace(
        long,
        lines=tuple(
            replace(line, cells={at: Cell(at / 50, 0, 1, 9, NOW) for at in range(1, 51)})
            for line in long.lines
        ),
    )
    for columns in (80, 120):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        print_history(long.newest(20), left_out=29)
        shown = capsys.readouterr()
        assert max(width(line) for line in shown.out.splitlines()) <= columns
        assert "29 older versions not shown; `adaptman history --all` shows every one" in shown.err
        assert [one.number for one in long.newest(20).versions] == [4, *range(31, 51)]


def test_last_and_all(terminal: Terminal, told: Story) -> None:
    assert terminal.json("history", "--last", "1")["champion"] == 3
    assert [one["version"] for one in terminal.json("history", "--last", "1")["versions"]] == [3, 4]
    assert terminal.ok("history", "--all") == terminal.ok("history")
    assert terminal.run("history", "--all", "--last", "2").exit_code == 2


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({1: 0.5}, ""),
        ({}, ""),
        ({1: 0.0, 3: 1.0}, "▁·█"),
        ({1: 0.5, 2: 0.5, 3: 0.5}, "▁▁▁"),
        ({2: 0.9, 3: 0.1}, "·█▁"),
    ],
)
def test_a_course_is_drawn_where_there_are_two_results(values: dict[int, float], shown: str) -> None:
    cells = {at: Cell(value, value, value, 20, NOW) for at, value in values.items()}
    assert course(SuiteLine("x", "x", "tools", "a" * 64, "x", True, cells), view(1).versions) == shown


def test_chance_does_not_look_like_a_fall() -> None:
    cells = {
        1: Cell(0.90, 0.7, 1.0, 20, NOW),
        2: Cell(0.85, 0.6, 1.0, 20, NOW),
        3: Cell(0.2, 0.1, 0.4, 20, NOW),
    }
    assert course(SuiteLine("x", "x", "tools", "a" * 64, "x", True, cells), view(1).versions) == "█▇▁"


def test_a_terminal_without_the_signs_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace"))
    print_history(view(suites=2))
    sys.stdout.flush()
    shown = raw.getvalue().decode()
    assert "\\" not in shown
    assert "xx@" in shown


def test_a_figure_of_the_first_cases_only_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    whole = view(suites=1)
    print_history(whole)
    shown = capsys.readouterr()
    assert ("0.50*" in shown.out, "ended early" in shown.err) == (False, False)
    cells = {**whole.lines[0].cells, 2: Cell(0.1, 0.0, 0.3, 12, NOW, complete=False)}
    print_history(replace(whole, lines=(replace(whole.lines[0], cells=cells),)))
    shown = capsys.readouterr()
    assert shown.out.count("*") == 1
    assert "0.10*" in shown.out
    assert "ended early" in shown.err


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.00"), (-0.001, "0.00"), (-0.5, "−0.50"), (1.005, "1.00")]
)
def test_figures(value: float, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("state", "rolled_back", "sign"),
    [
        ("champion", True, "★"), ("champion", False, "★"), ("retired", True, "↩"), ("retired", False, "✓"),
        ("passed", False, "✓"), ("refused", False, "✗"), ("failed", False, "✗"), ("discarded", False, "✗"),
        ("training", False, "○"), ("trained", False, "○"), ("evaluated", False, "○"),
    ],
)  # fmt: skip
def test_marks(state: str, rolled_back: bool, sign: str) -> None:
    assert mark(HistoryVersion(2, state, 1, "", NOW, False, None, rolled_back)) == sign


def test_a_former_champion_is_marked() -> None:
    assert mark(HistoryVersion(2, "retired", 1, "", NOW, True, None, False)) == "☆"
