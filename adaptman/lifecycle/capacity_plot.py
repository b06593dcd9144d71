"""An audit of capacity as a picture: bits taken in against drift, with intervals, and where the room ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptman.lifecycle.plot import CHAMPION, FAINT, INK, OTHER, REFUSED, STYLE, check_drawable, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from adaptman.learning.capacity import Estimate, Frontier


def plot_capacity(frontier: Frontier, version: int, path: Path) -> None:
    """Draw the frontier into `path`; the ending chooses the form.

    Raises:
        AdaptmanError: the ending is not one that can be drawn.
        OSError: the file cannot be written.
    """
    check_drawable(path)
    save(draw_capacity(frontier, version), path)


def draw_capacity(frontier: Frontier, version: int) -> Figure:
    """The figure itself; needs no display."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from adaptman.learning.capacity import TOLERANCE

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.subplots()
        bits = [rung.bits for rung in frontier.rungs]
        drift = [rung.drift for rung in frontier.rungs]
        axes.axhline(TOLERANCE, color=REFUSED, linewidth=1, linestyle="--")
        axes.annotate("tolerated", (1, TOLERANCE), xycoords=("axes fraction", "data"), color=REFUSED,
                      ha="right", va="bottom", fontsize=8)  # fmt: skip
        axes.errorbar(
            [0.0, *(one.value for one in bits)], [0.0, *(one.value for one in drift)],
            xerr=_arms(bits), yerr=_arms(drift), color=CHAMPION, ecolor=OTHER, marker="o", markersize=5,
            linewidth=1.5, capsize=2,
        )  # fmt: skip
        for rung in frontier.rungs:
            axes.annotate(
                f"{rung.bindings}", (rung.bits.value, rung.drift.value), xytext=(5, -10),
                textcoords="offset points", fontsize=8, color=INK,
            )  # fmt: skip
        room = frontier.room_bits
        told = f"room for {room.value:,.0f} bits, {room.low:,.0f} to {room.high:,.0f}"
        axes.set_title(f"v{version}: {frontier.verdict} ({told})", fontsize=9, loc="left")
        axes.set_xlabel("bits taken in (labels: bindings taught)")
        axes.set_ylabel("drift, nats per token")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _arms(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of the error bars, below and above; the origin has none."""
    below, above = [one.value - one.low for one in estimates], [one.high - one.value for one in estimates]
    return [[0.0, *(max(0.0, arm) for arm in below)], [0.0, *(max(0.0, arm) for arm in above)]]
