"""The picture: what is drawn where, and that it can be drawn without a display."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adaptman.errors import AdaptmanError
from adaptman.lifecycle.history import Cell, HistoryVersion, HistoryView, SuiteLine, history
from adaptman.lifecycle.plot import draw, plot_history
from tests.lifecycle.story import Story

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_each_form(ending: str, magic: bytes, told: Story, tmp_path: Path) -> None:
    path = tmp_path / f"history.{ending}"
    plot_history(history(told.workspace), path)
    assert path.read_bytes().startswith(magic)


def test_an_svg_is_the_same_each_time(told: Story, tmp_path: Path) -> None:
    view = history(told.workspace)
    for name in ("a.svg", "b.svg"):
        plot_history(view, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_is_written_in_it(told: Story, tmp_path: Path) -> None:
    plot_history(history(told.workspace), tmp_path / "history.svg")
    written = re.findall(r">([^<>]+)</text>", (tmp_path / "history.svg").read_text())
    for words in (
        "History of model “default”",
        "new-tools",
        "champion",
        "former champion",
        "rolled back",
        "refused",
    ):
        assert words in written
    assert "nats per token, 4 cases, lower is better" in written
    assert {"v1", "v2", "v3", "v4"} <= set(written)


def test_one_panel_a_suite_and_a_mark_where_it_changed(told: Story) -> None:
    told.suite("general", "general", salt=" changed")
    told.score(4, {"general": (0.5, 0.4, 0.6)})
    figure = draw(history(told.workspace))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles == ["new-tools", "irrelevance", "general", "drift"]
    marks = [[text.get_text().strip() for text in axes.texts] for axes in shown]
    assert ["suite changed" in texts for texts in marks] == [False, False, True, False]


def many(versions: int) -> HistoryView:
    rows = tuple(
        HistoryVersion(at, "refused", 1, "", NOW, False, None, False) for at in range(1, versions + 1)
    )
    cells = {row.number: Cell(0.5, 0.25, 0.75, 20, NOW) for row in rows}
    name = "a-suite-whose-name-is-longer-than-its-panel-is-wide"
    return HistoryView("default", rows, (SuiteLine(name, name, "tools", "a" * 64, "x", True, cells),))


@pytest.mark.parametrize("versions", [1, 2, 7, 200])
def test_titles_and_ticks_do_not_overlap(versions: int) -> None:
    figure = draw(many(versions))
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = sorted(
        (label.get_window_extent().x0, label.get_window_extent().x1) for label in axes.get_xticklabels()
    )
    assert all(before[1] < after[0] for before, after in itertools.pairwise(boxes))
    assert axes.title.get_window_extent().x1 <= figure.bbox.x1


def test_what_ended_early_is_not_drawn(tmp_path: Path) -> None:
    whole = many(3)
    [line] = whole.lines
    early = {number: cell._replace(complete=False) for number, cell in line.cells.items()}
    some = replace(whole, lines=(replace(line, cells={**line.cells, 2: early[2]}),))
    assert [len(axes.collections) for axes in draw(whole).axes + draw(some).axes] == [3, 2]
    none = replace(whole, lines=(replace(line, cells=early),))
    with pytest.raises(AdaptmanError, match="no suite was run yet"):
        plot_history(none, tmp_path / "history.png")


def test_nothing_to_draw(begun: Story, tmp_path: Path) -> None:
    with pytest.raises(AdaptmanError, match="no suite was run yet"):
        plot_history(history(begun.workspace), tmp_path / "history.png")


def test_an_unknown_ending(told: Story, tmp_path: Path) -> None:
    with pytest.raises(AdaptmanError, match="no ending that can be drawn"):
        plot_history(history(told.workspace), tmp_path / "history")
