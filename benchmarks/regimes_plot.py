"""The picture of `regimes.py`: what the models hold, what an update costs, what the learning rate does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from adaptman.lifecycle.plot import CHAMPION, FAINT, INK, OTHER, REFUSED, STYLE, save

Line = dict[str, Any]
_MARKERS = ("o", "s", "D", "^")


def draw(states: Sequence[Line], swept: Sequence[Sequence[Line]], path: Path) -> None:
    """Three panels: `states` by load; `swept`, updates at several learning rates with replay and without."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.6, 3.9))
        held, forgetting, rate = figure.subplots(1, 3)
        _held(held, states)
        _forgetting(forgetting, states)
        _rates(rate, swept)
        figure.tight_layout(w_pad=2.0)
    save(figure, path)


def _held(axes: Any, states: Sequence[Line]) -> None:
    _title(axes, "What is held", "bits of the facts, per parameter")
    _by_size(axes, states, "bits_per_parameter", {"bits_held_per_parameter": (INK, "{} parameters")})
    most = max(one["bits_per_parameter"] for one in states)
    axes.plot([0, most], [0, most], color=OTHER, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    axes.text(0.5 * most, 0.53 * most, "all of them", fontsize=7.5, color=OTHER, ha="right")
    axes.set_xlabel("to remember")
    axes.set_ylabel("held")
    axes.set_ylim(0, most * 0.75)
    axes.legend(frameon=False, fontsize=7.5, loc="lower right")


def _forgetting(axes: Any, states: Sequence[Line]) -> None:
    _title(axes, "Load and forgetting", "rise of the old loss, nats per token")
    lines = {
        "forgetting_without_replay": (REFUSED, "no replay"),
        "forgetting_with_replay": (CHAMPION, "self-generated replay"),
    }
    _by_size(axes, states, "distinct_tokens_per_parameter", lines)
    _logarithmic(axes)
    axes.set_xlabel("distinct fact tokens per parameter")
    _legend(axes, lines.values())


def _by_size(axes: Any, states: Sequence[Line], over: str, lines: Mapping[str, tuple[str, str]]) -> None:
    """A line for each size, the mean over seeds, beside the seeds' own points."""
    for marker, size in zip(_MARKERS, sorted({one["parameters"] for one in states}), strict=False):
        for key, (colour, label) in lines.items():
            found = [one for one in states if one["parameters"] == size and one[key] is not None]
            xs = sorted({one[over] for one in found})
            means = [mean([one[key] for one in found if one[over] == x]) for x in xs]
            axes.plot(
                xs, means, color=colour, marker=marker, markersize=5, markerfacecolor="white", linewidth=1.4,
                label=label.format(f"{size:,}"), zorder=3,
            )  # fmt: skip
            axes.scatter(
                [one[over] for one in found],
                [one[key] for one in found],
                s=7,
                color=colour,
                alpha=0.6,
                zorder=2,
            )
    _grid(axes)


def _rates(axes: Any, swept: Sequence[Sequence[Line]]) -> None:
    _title(axes, "Learning rate and forgetting", "rise of the old loss, nats per token")
    kinds = {False: (REFUSED, "no replay"), True: (CHAMPION, "self-generated replay")}
    for replay, (colour, _) in kinds.items():
        groups = [
            group
            for group in swept
            if bool(group[0]["settings"]["coeff"]) == replay and all(one["reached"] for one in group)
        ]
        xs = [mean([one["steps"] for one in group]) for group in groups]
        ys = [mean([one["forgetting"] for one in group]) for group in groups]
        axes.plot(xs, ys, color=colour, marker="o", markersize=5, markerfacecolor="white", linewidth=1.4)
        for group, x, y in zip(groups, xs, ys, strict=True):
            axes.annotate(
                f"{group[0]['settings']['lr']:g}", (x, y), xytext=(7, 2), textcoords="offset points",
                fontsize=7, color=colour,
            )  # fmt: skip
    _logarithmic(axes)
    axes.set_xlim(right=1.6 * axes.get_xlim()[1])  # for the last label
    axes.set_xlabel("steps to the same new loss")
    _grid(axes)
    _legend(axes, kinds.values())


def _logarithmic(axes: Any) -> None:
    """Both axes, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _title(axes: Any, title: str, under: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=16)
    axes.text(0, 1.03, under, transform=axes.transAxes, fontsize=7.5, color="#555555", va="bottom")


def _grid(axes: Any) -> None:
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Any, kinds: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=1.6, label=label) for colour, label in kinds]
    axes.legend(handles=handles, frameon=False, fontsize=7.5, loc="best")
