"""The tables and a picture of `docs/benchmarks/forgetting.md`, made from a stream's results files.

    python benchmarks/forgetting_report.py docs/benchmarks/results/forgetting
    python benchmarks/forgetting_report.py docs/benchmarks/results/forgetting-unlike

R[i, j] is the score on update j's suite after update i, b_j that of the base, T the last update:

    OP   = mean over j of R[T, j]
    BWT  = mean over j < T of R[T, j] − R[j, j], negative where something is forgotten
    kept = sum over j < T of R[T, j] / sum over j < T of R[j, j]

Intervals are of 95 %, from 10,000 draws of the cases of each suite with replacement; two runs are compared
on the same cases.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parents[1] / "docs"
DEFAULT = "default"
_BEGIN, _END = "<!-- {name}: made by benchmarks/forgetting_report.py -->", "<!-- end -->"
_DRAWS = 10_000
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A", "#F0E442",
)  # fmt: skip


class Interval(NamedTuple):
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


@dataclass(frozen=True)
class Run:
    """One strategy in its place: its records, an update each."""

    records: tuple[Mapping[str, Any], ...]
    base: Mapping[str, Any]

    @property
    def strategy(self) -> str:
        return str(self.records[0]["strategy"])

    @property
    def lr(self) -> float:
        return float(self.records[0]["lr"])

    @property
    def precision(self) -> str:
        return str(self.records[0]["recipe"]["precision"])

    @property
    def steps(self) -> int:
        return int(self.records[0]["steps"])

    @property
    def place(self) -> tuple[int, float, str, int]:
        """What two runs that are compared have in common."""
        return self.steps, self.lr, self.precision, self.records[0]["seed"]

    @property
    def last(self) -> Mapping[str, Any]:
        return self.records[-1]

    @property
    def updates(self) -> list[str]:
        return [record["update"] for record in self.records]

    def after_own(self, update: str) -> Mapping[str, float]:
        """The cases of an update's suite right after it."""
        own: Mapping[str, float] = self.records[self.updates.index(update)]["scores"][update]["right"]
        return own

    def at_last(self, suite: str) -> Mapping[str, float]:
        """The cases of a suite after the last update; an adapter for each task is asked with its own."""
        if self.strategy == "per-task":
            return self.after_own(suite) if suite in self.updates else self.base["scores"][suite]["right"]
        last: Mapping[str, float] = self.last["scores"][suite]["right"]
        return last

    def lost(self) -> list[list[float]]:
        """For each earlier update, by case: after the last update less after its own."""
        found = []
        for update in self.updates[:-1]:
            own, last = self.after_own(update), self.at_last(update)
            found.append([last[case] - own[case] for case in own])
        return found

    def flips(self) -> tuple[int, int]:
        """Cases of earlier updates that went right → wrong and wrong → right."""
        moved = [one for suite in self.lost() for one in suite]
        return sum(one < 0 for one in moved), sum(one > 0 for one in moved)

    def kept(self) -> float:
        own = sum(fmean(self.after_own(update).values()) for update in self.updates[:-1])
        last = sum(fmean(self.at_last(update).values()) for update in self.updates[:-1])
        return last / own if own else 0.0

    def op(self) -> float:
        return fmean(fmean(self.at_last(update).values()) for update in self.updates)

    def new(self) -> float:
        """Mean score of each update right after it."""
        return fmean(fmean(self.after_own(update).values()) for update in self.updates)

    def general(self) -> float:
        """Share of the base's score on general questions that is left."""
        before = self.base["scores"]["general"]["value"]
        return fmean(self.at_last("general").values()) / before if before else 0.0

    def total(self, *path: str) -> float:
        return sum(_at(record, path) for record in self.records)


def _at(record: Mapping[str, Any], path: Sequence[str]) -> float:
    value: Any = record
    for name in path:
        value = (value or {}).get(name, 0)
    return float(value or 0)


def read(folder: Path) -> list[Run]:
    """The whole runs in a folder, by place; one that has not come to the last update is left out."""
    found = []
    bases = {path.stem.removeprefix("base-"): _lines(path)[0] for path in folder.glob("base-*.jsonl")}
    for path in sorted(folder.glob("*.jsonl")):
        if path.name.startswith("base-"):
            continue
        records = _lines(path)
        if "general" in records[-1]["scores"]:
            found.append(Run(tuple(records), bases[f"seed{records[0]['seed']}"]))
    return sorted(found, key=lambda run: (*run.place, -run.op()))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def interval(suites: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """The mean of the suites' means, with the cases of each drawn again."""
    chance = random.Random(seed)
    drawn = sorted(
        fmean(fmean(chance.choices(suite, k=len(suite))) for suite in suites) for _ in range(_DRAWS)
    )
    cut = int(0.025 * _DRAWS)
    return Interval(fmean(map(fmean, suites)), drawn[cut], drawn[-1 - cut])


def against(one: Run, other: Run) -> Interval:
    """BWT of `one` less that of `other`, on the same cases."""
    pairs = zip(one.lost(), other.lost(), strict=True)
    return interval([[a - b for a, b in zip(mine, theirs, strict=True)] for mine, theirs in pairs])


def summary(runs: Sequence[Run]) -> str:
    """One line a run."""
    default = {run.place: run for run in runs if run.strategy == DEFAULT}
    return _table([_named(run) | _figures(run, default.get(run.place)) for run in runs])


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [[*rows[0]], ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _named(run: Run) -> dict[str, str]:
    return {
        "strategy": run.strategy,
        "steps": str(run.steps),
        "lr": f"{run.lr:g}",
        "precision": run.precision,
    }


def _figures(run: Run, rival: Run | None) -> dict[str, str]:
    broke, mended = run.flips()
    drawn = sum((record["replay"] or {}).get("tokens", 0) for record in run.records)
    seconds = run.total("training", "cpu_s") + run.total("drawing", "cpu_s")
    drift = 0.0 if run.strategy == "per-task" else run.last["drift"]["old"]
    return {
        "new": f"{run.new():.2f}",
        "OP": f"{run.op():.2f}",
        "BWT": str(interval(run.lost())),
        "kept": f"{run.kept():.2f}",
        "right → wrong, wrong → right": f"{broke}, {mended}",
        "general kept": f"{run.general():.2f}",
        "irrelevance": f"{fmean(run.at_last('irrelevance').values()):.2f}",
        "KL old": f"{drift:.3f}",
        "tokens": f"{run.total('new_tokens') + run.total('replay_tokens'):,.0f}",
        "drawn": f"{drawn:,}",
        "CPU s": f"{seconds:,.0f}",
        "peak MB": f"{max(one['peak_memory_mb'] for one in run.records):,}",
        "BWT of the default in its place less this": (
            "" if rival is None or rival is run else str(against(rival, run))
        ),
    }


def by_update(runs: Sequence[Run]) -> str:
    """Right after its own update → after the last, for each update."""
    return _table([_named(run) | _scores(run) for run in runs])


def _scores(run: Run) -> dict[str, str]:
    *earlier, last = run.updates
    found = {
        name: f"{fmean(run.after_own(name).values()):.2f} → {fmean(run.at_last(name).values()):.2f}"
        for name in earlier
    }
    return found | {last: f"{fmean(run.at_last(last).values()):.2f}"}


def draw(runs: Sequence[Run], path: Path) -> None:
    """New-task accuracy against what is kept of earlier updates, and of general questions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    for axes, title, of in zip(
        panels, ("of earlier updates' tools", "of general questions"), (Run.kept, Run.general), strict=True
    ):
        _draw_lines(axes, runs, of)
        axes.axhline(1, color="#999999", linewidth=0.8, linestyle="--")
        axes.set_xlabel("score of each update right after it (mean)")
        axes.set_ylabel(f"share kept {title}")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].legend(fontsize=7, loc="lower left", frameon=False)
    figure.savefig(path, dpi=160, facecolor="white")


def _draw_lines(axes: Axes, runs: Sequence[Run], of: Callable[[Run], float]) -> None:
    """A line for each strategy over its learning rates, apart by steps and precision."""
    colours = dict(zip(sorted({run.strategy for run in runs}), _COLOURS * 3, strict=False))
    lines: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        lines.setdefault((run.strategy, run.steps, run.precision), []).append(run)
    fewest, labelled = min(run.steps for run in runs), set()
    for (name, steps, _), line in lines.items():
        label, mark = (name, "o-") if steps == fewest else (f"{name}, {steps} steps", "s-")
        axes.plot(
            [run.new() for run in line],
            [of(run) for run in line],
            mark,
            color=colours[name],
            label="" if label in labelled else label,
        )
        labelled.add(label)


def main() -> None:
    """Put the tables into the page where its marks for the folder are, and draw the picture named like it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--page", type=Path, default=DOCS / "benchmarks" / "forgetting.md")
    given = parser.parse_args()
    name = given.results.name
    begin = _BEGIN.format(name=name)
    runs = read(given.results)
    page = given.page.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    made = f"{begin}\n\n{summary(runs)}\n\n{by_update(runs)}\n\n{_END}"
    given.page.write_text(before + made + rest.partition(_END)[2], encoding="utf-8")
    draw(runs, DOCS / "images" / f"{name}.png")


if __name__ == "__main__":
    main()
