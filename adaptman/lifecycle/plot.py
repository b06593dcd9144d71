"""The history as a picture: one panel for each suite, versions from left to right, 95 % intervals as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.errors import AdaptmanError
from adaptman.lifecycle.history import Cell, HistoryVersion, HistoryView, SuiteLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito's palette: told apart by every kind of colour vision, and in grey.
CHAMPION = "#0072B2"
REFUSED = "#D55E00"
OTHER = "#7A7A7A"
INK = "#222222"
FAINT = "#DDDDDD"

_PANEL_WIDTH, _PANEL_HEIGHT = 3.5, 2.5
_MOST_COLUMNS = 3
_MOST_TICKS = 12
_MOST_LABELS = 6
_LONGEST_TITLE = 28
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "adaptman",
}


def plot_history(view: HistoryView, path: Path) -> None:
    """Draw `view` into `path`; the ending chooses the form.

    Raises:
        AdaptmanError: the ending is not one of `FORMATS`, or there is nothing to draw.
        OSError: the file cannot be written.
    """
    check_drawable(path)
    if not any(_whole(line).cells for line in view.lines):
        raise AdaptmanError(
            "there is nothing to draw: no suite was run yet", hint="run `adaptman evaluate N`"
        )
    save(draw(view), path)


def check_drawable(path: Path) -> None:
    """Refuse a file that cannot be drawn into.

    Raises:
        AdaptmanError: the ending is not one of `FORMATS`, or there is no such folder.
    """
    if not path.parent.is_dir():
        raise AdaptmanError(f"there is no folder `{path.parent}` to draw into", hint="make it first")
    if _ending(path) not in FORMATS:
        known = ", ".join(f"`.{name}`" for name in FORMATS)
        raise AdaptmanError(f"`{path}` has no ending that can be drawn", hint=f"end it with one of {known}")


def _ending(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the form that the file's ending says, the same bytes for the same figure.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl

    metadata = {"Date": None} if _ending(path) == "svg" else {}
    with mpl.rc_context(STYLE):
        figure.savefig(path, format=_ending(path), dpi=160, facecolor="white", metadata=metadata)


def draw(view: HistoryView) -> Figure:
    """The figure itself; needs no display."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = _panels([line for line in map(_whole, view.lines) if line.cells])
    rows = math.ceil(len(panels) / _MOST_COLUMNS)
    columns = math.ceil(len(panels) / rows)
    width, height = max(columns * _PANEL_WIDTH, 5.6), rows * _PANEL_HEIGHT + 1.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, lines in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, view.versions, lines)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        _titles(figure, view, height)
        _legend(figure, view)
        figure.tight_layout(rect=(0, 0.42 / height, 1, 1 - 0.62 / height), h_pad=1.6, w_pad=1.6)
    return figure


def _whole(line: SuiteLine) -> SuiteLine:
    """Results on all cases: what ended early compares with nothing."""
    return replace(line, cells={number: cell for number, cell in line.cells.items() if cell.complete})


def _panels(lines: Sequence[SuiteLine]) -> list[list[SuiteLine]]:
    """Lines by suite name; a suite that changed has several lines in one panel, never joined."""
    panels: dict[str, list[SuiteLine]] = {}
    for line in lines:
        panels.setdefault(line.suite, []).append(line)
    return list(panels.values())


def _draw_panel(axes: Axes, versions: Sequence[HistoryVersion], lines: Sequence[SuiteLine]) -> None:
    first = lines[0]
    axes.set_title(_shortened(first.suite), loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=16)
    axes.text(0, 1.03, _subtitle(lines), transform=axes.transAxes, fontsize=7.5, color="#555555", va="bottom")
    places = {version.number: at for at, version in enumerate(versions)}
    for line in lines:
        _draw_line(axes, versions, places, line)
    for before, after in pairwise(lines):
        _draw_break(axes, places, before, after)
    _axes(axes, versions, lines)
    if len(versions) <= _MOST_LABELS:
        _label_points(axes, versions, lines)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_TITLE else f"{name[: _LONGEST_TITLE - 1]}…"


def _subtitle(lines: Sequence[SuiteLine]) -> str:
    first = lines[0]
    cases = sorted({cell.n for line in lines for cell in line.cells.values()})
    count = f"{cases[0]}" if len(cases) == 1 else f"{cases[0]}–{cases[-1]}"
    direction = "higher is better" if first.higher_is_better else "lower is better"
    return f"{first.metric.replace('_', ' ')}, {count} cases, {direction}"


def _draw_line(
    axes: Axes, versions: Sequence[HistoryVersion], places: dict[int, int], line: SuiteLine
) -> None:
    path = [version.number for version in versions if version.was_champion and version.number in line.cells]
    axes.plot(
        [places[number] for number in path],
        [line.cells[number].value for number in path],
        color=CHAMPION,
        linewidth=1.6,
        alpha=0.55,
        zorder=2,
    )
    for version in versions:
        if version.number in line.cells:
            _draw_point(axes, places[version.number], version, line)


def _draw_point(axes: Axes, at: int, version: HistoryVersion, line: SuiteLine) -> None:
    cell = line.cells[version.number]
    colour = _colour(version)
    axes.vlines(at, cell.low, cell.high, color=colour, linewidth=1.4, alpha=0.9, zorder=3)
    marker, size, face = _marker(version, colour)
    axes.plot(
        [at], [cell.value], marker=marker, markersize=size, color=colour, markerfacecolor=face,
        markeredgewidth=1.5, linestyle="none", zorder=4, clip_on=False,
    )  # fmt: skip
    if _is_refused(version):
        axes.plot([at], [cell.value], marker="x", markersize=4.5, color=colour, markeredgewidth=1.3, zorder=5)


def _label_points(axes: Axes, versions: Sequence[HistoryVersion], lines: Sequence[SuiteLine]) -> None:
    for at, version in enumerate(versions):
        for line in lines:
            if version.number in line.cells:
                _label_point(axes, at, line.cells[version.number], version)


def _label_point(axes: Axes, at: int, cell: Cell, version: HistoryVersion) -> None:
    """Below and right of the point, where neither the interval nor the champion's path runs."""
    from matplotlib.patheffects import withStroke

    axes.annotate(
        f"{cell.value:.2f}", (at, cell.value), xytext=(5, -6), textcoords="offset points", fontsize=7.5,
        color=_colour(version), va="top", zorder=6,
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
    )  # fmt: skip


def _is_refused(version: HistoryVersion) -> bool:
    return version.state in {"refused", "failed", "discarded"} and not version.was_champion


def _colour(version: HistoryVersion) -> str:
    if version.was_champion:
        return CHAMPION
    return REFUSED if _is_refused(version) else OTHER


def _marker(version: HistoryVersion, colour: str) -> tuple[str, float, str]:
    if version.state == "champion":
        return "*", 13, colour
    if version.was_champion:
        return "o", 6.5, "white" if version.rolled_back else colour
    return "o", 8.5 if _is_refused(version) else 6.5, "white"


def _draw_break(axes: Axes, places: dict[int, int], before: SuiteLine, after: SuiteLine) -> None:
    """A dotted line where the suite changed: left and right of it do not compare."""
    middle = (
        max(places[number] for number in before.cells) + min(places[number] for number in after.cells)
    ) / 2
    axes.axvline(middle, color="#888888", linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    axes.text(
        middle, 0.02, "suite changed ", rotation=90, transform=axes.get_xaxis_transform(), fontsize=6.5,
        color="#666666", ha="right", va="bottom",
    )  # fmt: skip


def _axes(axes: Axes, versions: Sequence[HistoryVersion], lines: Sequence[SuiteLine]) -> None:
    step = math.ceil(len(versions) / _MOST_TICKS)
    shown = list(range(0, len(versions), step))
    axes.set_xticks(shown, [f"v{versions[at].number}" for at in shown])
    axes.set_xlim(-0.5, len(versions) - 0.5)
    axes.set_ylim(*_limits(lines, labelled=len(versions) <= _MOST_LABELS))
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _limits(lines: Sequence[SuiteLine], *, labelled: bool) -> tuple[float, float]:
    """A share is drawn from 0 to 1, so that panels compare at a glance; the lowest label fits below."""
    lows = [cell.low for line in lines for cell in line.cells.values()]
    highs = [cell.high for line in lines for cell in line.cells.values()]
    below = 0.16 if labelled else 0.04
    if lines[0].higher_is_better and min(lows) >= 0 and max(highs) <= 1:
        return -below, 1.04
    span = (max(highs) - min(lows)) or abs(max(highs)) or 1.0
    return min(lows) - (below + 0.04) * span, max(highs) + 0.12 * span


def _titles(figure: Figure, view: HistoryView, height: float) -> None:
    champion = view.champion
    live = f", champion is version {champion.number}" if champion else ""
    figure.text(
        0.012, 1 - 0.12 / height, f"History of model “{view.model}”",
        fontsize=13, fontweight="bold", color=INK, va="top",
    )  # fmt: skip
    count = len(view.versions)
    words = f"{count} version{'' if count == 1 else 's'}{live}; bars are 95 % intervals"
    figure.text(0.012, 1 - 0.40 / height, words, fontsize=8.5, color="#555555", va="top")


def _legend(figure: Figure, view: HistoryView) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    def dot(marker: str, size: float, colour: str, face: str) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, markersize=size, color=colour, markerfacecolor=face,
            markeredgewidth=1.4,
        )  # fmt: skip

    crossed = (dot("o", 8, REFUSED, "white"), dot("x", 4.5, REFUSED, REFUSED))
    kinds: list[tuple[str, Any, bool]] = [
        ("champion", dot("*", 11, CHAMPION, CHAMPION), view.champion is not None),
        ("former champion", dot("o", 6, CHAMPION, CHAMPION), any(_former(one) for one in view.versions)),
        ("rolled back", dot("o", 6, CHAMPION, "white"), any(_back(one) for one in view.versions)),
        ("refused", crossed, any(_is_refused(one) for one in view.versions)),
        ("not promoted", dot("o", 6, OTHER, "white"), any(_plain(one) for one in view.versions)),
    ]
    shown = [(label, handle) for label, handle, present in kinds if present]
    figure.legend(
        [handle for _, handle in shown], [label for label, _ in shown], loc="lower center", ncols=len(shown),
        frameon=False, fontsize=8.5, handletextpad=0.3, handler_map={tuple: HandlerTuple(ndivide=1)},
    )  # fmt: skip


def _former(version: HistoryVersion) -> bool:
    return version.was_champion and version.state != "champion" and not version.rolled_back


def _back(version: HistoryVersion) -> bool:
    return version.was_champion and version.state != "champion" and version.rolled_back


def _plain(version: HistoryVersion) -> bool:
    return not version.was_champion and not _is_refused(version)
