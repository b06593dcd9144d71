"""The tables and a picture of `docs/benchmarks/forgetting.md`, made from a stream's results files.

    python benchmarks/forgetting_report.py docs/benchmarks/results/forgetting
    python benchmarks/forgetting_report.py docs/benchmarks/results/forgetting-unlike

R[i, j] is the score on update j's suite after update i, b_j that of the base, T the last update:

    OP   = mean over j of R[T, j]
    BWT  = mean over j < T of R[T, j] − R[j, j], negative where something is forgotten
    kept = sum over j < T of R[T, j] / sum over j < T of R[j, j], where the mean of R[j, j] is 0.1 or more

and of a run with `--whole-matrix`, whose matrix is a table of its own

    FWT        = mean over j > 1 of R[j − 1, j] − b_j
    forgetting = mean over j < T of the largest R[i, j] with i < T, less R[T, j] (arXiv 1801.10112)

Intervals are of 95 %, from 10,000 draws of the cases of each suite with replacement; two strategies are
compared on the same cases. Where there are several seeds, a line is their mean. The default that the others
are compared with is the one in the same place (steps, rate, precision, device), or else the one of the same
device with the most seeds, if no other has as many. The device is told where there are several.
"""

from __future__ import annotations

import argparse
import json
import math
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
# A strategy has one colour in every picture.
_COLOURS = {
    "default": "#0072B2", "self": "#56B4E9", "none": "#000000", "none-same-steps": "#7A7A7A",
    "opr-10": "#D55E00", "exemplar-10": "#009E73", "exemplar-all": "#00523B", "ssr": "#CC79A7",
    "interpolated": "#7B3294", "per-task": "#E69F00", "exemplar-1": "#7FCDBB", "self-ce": "#08306B",
    "tools-at-1": "#9E9AC8", "eaft": "#F0E442", "stm": "#8C510A", "kl-new": "#B2182B",
}  # fmt: skip
_OTHER = "#FDBF6F"
# Fewest steps first, then more of them.
_MARKS = "osD^"
# A share of less than this says nothing.
_LEARNED = 0.1


class Interval(NamedTuple):
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


@dataclass(frozen=True)
class Run:
    """One strategy at one rate with one seed: its records, an update each."""

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
    def device(self) -> str:
        return str(self.records[0]["device"])

    @property
    def steps(self) -> int:
        return int(self.records[0]["steps"])

    @property
    def place(self) -> tuple[int, float, str, str]:
        """What two strategies that are compared have in common."""
        return self.steps, self.lr, self.precision, self.device

    @property
    def seed(self) -> int:
        return int(self.records[0]["seed"])

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

    def learned(self) -> list[list[float]]:
        """For every update, each case's score right after it."""
        return [list(self.after_own(update).values()) for update in self.updates]

    def flips(self) -> tuple[int, int]:
        """Cases of earlier updates that went right → wrong and wrong → right."""
        moved = [one for suite in self.lost() for one in suite]
        return sum(one < 0 for one in moved), sum(one > 0 for one in moved)

    def kept(self) -> float:
        own = fmean(fmean(self.after_own(update).values()) for update in self.updates[:-1])
        last = fmean(fmean(self.at_last(update).values()) for update in self.updates[:-1])
        return last / own if own >= _LEARNED else math.nan

    @property
    def is_whole(self) -> bool:
        """Whether each suite was asked after every update from the one before its own on."""
        pairs = zip(self.records[:-1], self.updates[1:], strict=True)
        return all(following in record["scores"] for record, following in pairs)

    def forward(self) -> float:
        """FWT."""
        gained = []
        for record, update in zip(self.records[:-1], self.updates[1:], strict=True):
            before, base = record["scores"][update], self.base["scores"][update]
            gained.append(before["value"] - base["value"])
        return fmean(gained)

    def forgetting(self) -> float:
        """From the best that there was of each earlier update."""
        lost = []
        for number, update in enumerate(self.updates[:-1]):
            *earlier, last = (record["scores"][update]["value"] for record in self.records[number:])
            lost.append(max(earlier) - last)
        return fmean(lost)

    def op(self) -> float:
        return fmean(fmean(self.at_last(update).values()) for update in self.updates)

    def new(self) -> float:
        """Mean score of each update right after it."""
        return fmean(fmean(self.after_own(update).values()) for update in self.updates)

    def general(self) -> float:
        """Share of the base's score on general questions that is left."""
        before = self.base["scores"]["general"]["value"]
        return fmean(self.at_last("general").values()) / before if before else 0.0

    def restraint(self) -> float:
        return fmean(self.at_last("irrelevance").values())

    def drift(self) -> float:
        return 0.0 if self.strategy == "per-task" else float(self.last["drift"]["old"])

    def tokens(self) -> float:
        return self._total("new_tokens") + self._total("replay_tokens")

    def drawn(self) -> float:
        return self._total("replay", "tokens")

    def seconds(self) -> float:
        """Of this process's cores, for drawing and training."""
        return self._total("training", "cpu_s") + self._total("drawing", "cpu_s")

    def _total(self, *path: str) -> float:
        return sum(_at(record, path) for record in self.records)


@dataclass(frozen=True)
class Seeds:
    """The runs of one strategy that differ by their seed alone."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    def mean(self, of: Callable[[Run], float]) -> float:
        return fmean(map(of, self.runs))

    def bwt(self) -> Interval:
        return interval([suite for run in self.runs for suite in run.lost()])

    def less(self, other: Seeds, of: Callable[[Run], list[list[float]]]) -> Interval | None:
        """The mean of these less that of the others, on the same cases of the seeds that both have."""
        theirs = {run.seed: of(run) for run in other.runs}
        pairs = [
            pair
            for run in self.runs
            if run.seed in theirs
            for pair in zip(of(run), theirs[run.seed], strict=True)
        ]
        return interval([[a - b for a, b in zip(*pair, strict=True)] for pair in pairs]) if pairs else None


def _at(record: Mapping[str, Any], path: Sequence[str]) -> float:
    value: Any = record
    for name in path:
        value = (value or {}).get(name, 0)
    return float(value or 0)


def read(folder: Path) -> list[Seeds]:
    """The whole runs in a folder, by place; one that has not come to the last update is left out."""
    files = [_lines(path) for path in sorted(folder.glob("*.jsonl")) if not path.name.startswith("base-")]
    found: dict[tuple[Any, ...], list[Run]] = {}
    bases = _bases(folder)
    most = max(map(len, files), default=0)
    for records in files:
        if len(records) == most:
            seed, device = records[0]["seed"], records[0]["device"]
            if (seed, device) not in bases:
                raise SystemExit(f"`{folder}` has no scores of the base with seed {seed} on {device}")
            run = Run(tuple(records), bases[seed, device])
            found.setdefault((run.strategy, *run.place), []).append(run)
    made = [Seeds(tuple(sorted(runs, key=lambda run: run.seed))) for runs in found.values()]
    return sorted(made, key=lambda one: (*one.first.place, -one.mean(Run.op)))


def _bases(folder: Path) -> dict[tuple[int, str], Mapping[str, Any]]:
    """What the base scored, by seed and device."""
    found = {}
    for path in folder.glob("base-*.jsonl"):
        (record,) = _lines(path)
        found[int(path.stem.split("-")[1].removeprefix("seed")), record["device"]] = record
    return found


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


def summary(found: Sequence[Seeds]) -> str:
    """One line a strategy in its place."""
    defaults = [one for one in found if one.first.strategy == DEFAULT]
    return _table([_named(one) | _figures(one, _rival(one, defaults)) for one in found])


def _rival(one: Seeds, defaults: Sequence[Seeds]) -> Seeds | None:
    """The default in the same place, or else the one of that device with the most seeds, if it is alone."""
    there = [other for other in defaults if other.first.device == one.first.device]
    for other in there:
        if other.first.place == one.first.place:
            return other
    most = max((len(other.runs) for other in there), default=0)
    broadest = [other for other in there if len(other.runs) == most]
    return broadest[0] if len(broadest) == 1 else None


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if len({row.get("device") for row in rows}) == 1:
        rows = [{name: told for name, told in row.items() if name != "device"} for row in rows]
    lines = [[*rows[0]], ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _named(one: Seeds) -> dict[str, str]:
    run = one.first
    return {
        "strategy": run.strategy,
        "steps": str(run.steps),
        "lr": f"{run.lr:g}",
        "precision": run.precision,
        "device": run.device,
        "seeds": str(len(one.runs)),
    }


def _figures(one: Seeds, rival: Seeds | None) -> dict[str, str]:
    broke, mended = (sum(of) for of in zip(*map(Run.flips, one.runs), strict=True))
    return {
        "new": f"{one.mean(Run.new):.2f}",
        "OP": f"{one.mean(Run.op):.2f}",
        "BWT": str(one.bwt()),
        "kept": f"{one.mean(Run.kept):.2f}".replace("nan", "–"),
        "right → wrong, wrong → right": f"{broke}, {mended}",
        "general kept": f"{one.mean(Run.general):.2f}",
        "irrelevance": f"{one.mean(Run.restraint):.2f}",
        "KL old": f"{one.mean(Run.drift):.3f}",
        "tokens": f"{one.mean(Run.tokens):,.0f}",
        "drawn": f"{one.mean(Run.drawn):,.0f}",
        "CPU s": f"{one.mean(Run.seconds):,.0f}",
        "peak MB": f"{max(record['peak_memory_mb'] for run in one.runs for record in run.records):,}",
        "new of the default less this": _less(rival, one, Run.learned),
        "BWT of the default less this": _less(rival, one, Run.lost),
    }


def _less(rival: Seeds | None, one: Seeds, of: Callable[[Run], list[list[float]]]) -> str:
    return "" if rival is None or rival is one else str(rival.less(one, of) or "")


def by_update(found: Sequence[Seeds]) -> str:
    """Right after its own update → after the last, for each update."""
    return _table([_named(one) | _scores(one) for one in found])


def _scores(one: Seeds) -> dict[str, str]:
    found, last = {}, one.first.updates[-1]
    for name in one.first.updates:
        own = one.mean(lambda run, name=name: fmean(run.after_own(name).values()))
        now = one.mean(lambda run, name=name: fmean(run.at_last(name).values()))
        found[name] = f"{own:.2f} → {now:.2f}" if name != last else f"{now:.2f}"
    return found


def matrices(found: Sequence[Seeds]) -> str:
    """R of each run that has the whole of it, an update a line."""
    runs = [run for one in found for run in one.runs if run.is_whole]
    return "\n\n".join(f"{_course(run)}\n\n{_table(_matrix(run))}" for run in runs)


def _course(run: Run) -> str:
    place = f"{run.steps} steps at {run.lr:g}, {run.precision}, {run.device}, seed {run.seed}"
    return f"R of `{run.strategy}` ({place}): FWT {run.forward():+.2f}, forgetting {run.forgetting():.2f}"


def _matrix(run: Run) -> list[dict[str, str]]:
    suites = [*run.updates, "general", "irrelevance"]
    rows = []
    for record in (run.base, *run.records):
        scores = {suite: record["scores"].get(suite) for suite in suites}
        told = {suite: "" if one is None else f"{one['value']:.2f}" for suite, one in scores.items()}
        rows.append({"after": record["update"]} | told)
    return rows


def draw(found: Sequence[Seeds], path: Path) -> None:
    """New-task accuracy against what is kept of earlier updates, and of general questions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    for axes, title, of in zip(
        panels, ("of earlier updates' tools", "of general questions"), (Run.kept, Run.general), strict=True
    ):
        _draw_lines(axes, found, of)
        axes.axhline(1, color="#999999", linewidth=0.8, linestyle="--")
        axes.set_xlabel("score of each update right after it (mean)")
        axes.set_ylabel(f"share kept {title}")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *panels[1].get_legend_handles_labels(), fontsize=7, loc="outside right center", frameon=False
    )
    figure.savefig(path, dpi=160, facecolor="white")


def _draw_lines(axes: Axes, found: Sequence[Seeds], of: Callable[[Run], float]) -> None:
    """A line for each strategy over its learning rates, apart by steps, precision and device."""
    lines: dict[tuple[str, int, str, str], list[Seeds]] = {}
    for one in found:
        run = one.first
        lines.setdefault((run.strategy, run.steps, run.precision, run.device), []).append(one)
    fewest, labelled = min(one.first.steps for one in found), set()
    steps_of = {name: sorted({fewest, *(at for one, at, *_ in lines if one == name)}) for name, *_ in lines}
    several = len({one.first.device for one in found}) > 1
    for (name, steps, _, device), line in lines.items():
        label = name if steps == fewest else f"{name}, {steps} steps"
        label += f", {device}" if several else ""
        axes.plot(
            [one.mean(Run.new) for one in line],
            [one.mean(of) for one in line],
            f"{_MARKS[steps_of[name].index(steps) % len(_MARKS)]}-",
            color=_COLOURS.get(name, _OTHER),
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
    found = read(given.results)
    page = given.page.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    tables = filter(None, (summary(found), by_update(found), matrices(found)))
    made = "\n\n".join((begin, *tables, _END))
    given.page.write_text(before + made + rest.partition(_END)[2], encoding="utf-8")
    draw(found, DOCS / "images" / f"{name}.png")


if __name__ == "__main__":
    main()
