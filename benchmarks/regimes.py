"""The three regimes of forgetting (Marek et al., arXiv 2605.26097), from scratch at small scale.

    python benchmarks/regimes.py [--seeds N] [--hidden N …] [--checkpoints DIR] [--results FILE]
    python benchmarks/regimes.py --report

Models of two sizes are pretrained on text whose entropy is known (`regimes_data`), with more and more facts
to remember for each parameter. Each is then taught the same amount of new facts and text, without replay and
with self-generated replay, until held-out new text costs the same; forgetting is what held-out text of the
old source then costs more. What the learning rate does is shown by a model with room to spare that is
taught new text alone.

Every run is a line of the results file, and a run that is there is not done again. The checkpoints stay, in
Hugging Face form, with `states.json`, which says what state each is in. `--report` writes the table and the
picture of `docs/benchmarks/regimes.md` from the results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import regimes_report as report
from regimes_data import FACT, Source
from regimes_training import (
    Pretraining,
    Update,
    draw_replay,
    drift,
    measure,
    new_model,
    pretrain,
    recall,
    update,
)

RESULTS = report.DOCS / "benchmarks" / "results" / "regimes.jsonl"
CHECKPOINTS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "adaptman" / "regimes"

PRETRAINING = {32: Pretraining(steps=2000), 48: Pretraining(steps=3000)}
LOADS = (0.004, 0.015, 0.03, 0.06)
"""Facts for each parameter; one holds 24 bits and its key's about 10."""
NEW_FACTS = 100
TARGET = 1.6
HIGH, LOW = 5e-3, 5e-4
COEFFS = (0.3, 1.0, 3.0, 10.0)
MOST_STEPS = 800
REPLAY = 16384
"""Samples drawn from each checkpoint, more than most of its updates see."""
SWEPT = (48, LOADS[0])
"""Size and load with room to spare, at which the learning rate is swept on an update of text alone."""
RATES = (1e-2, HIGH, 1.5e-3, LOW, 1.5e-4)
SWEPT_COEFF, SWEPT_TARGET = 3.0, 1.8

Line = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """One model to pretrain."""

    hidden: int
    load: float
    seed: int

    @property
    def name(self) -> str:
        """Its folder, and what its runs are called by."""
        return f"h{self.hidden}-l{1000 * self.load:g}-s{self.seed}"


class Results:
    """The results file: one JSON object a line, each run under its name. Others may write to it meanwhile."""

    def __init__(self, path: Path, command: str) -> None:
        self.path, self._command = path, command

    def find(self, name: str, settings: Line) -> Line | None:
        """The run of that name, unless it was done with other settings."""
        found = report.read(self.path).get(name)
        return found if found and found["settings"] == settings else None

    def add(self, name: str, settings: Line, measured: Line) -> Line:
        """Append a run."""
        line = {"run": name, "settings": settings, **measured, "command": self._command, **environment()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line


def environment() -> Line:
    """What a run was done with."""
    import torch
    import transformers

    from adaptman import __version__

    return {
        "adaptman": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread",
    }


def updates(checkpoint: Checkpoint) -> dict[str, Update]:
    """The updates of a checkpoint by name; one that learns more slowly may take as many steps more."""
    chosen = [Update(HIGH, coeff, TARGET, MOST_STEPS) for coeff in (0.0, *COEFFS)]
    chosen.append(Update(LOW, 0.0, TARGET, _most_steps(LOW)))
    if (checkpoint.hidden, checkpoint.load) == SWEPT:
        chosen += [
            Update(rate, coeff, SWEPT_TARGET, _most_steps(rate), text_share=1.0)
            for rate in RATES
            for coeff in (0.0, SWEPT_COEFF)
        ]
    return {_name(checkpoint, how): how for how in chosen}


def _most_steps(rate: float) -> int:
    return round(MOST_STEPS * max(1.0, HIGH / rate))


def _name(checkpoint: Checkpoint, how: Update) -> str:
    return f"{checkpoint.name}/{'text-' * (how.text_share == 1)}lr{how.lr:g}-c{how.coeff:g}"


def pretrained(checkpoint: Checkpoint, results: Results, folder: Path) -> tuple[Any, Source, Line]:
    """The model of a checkpoint, read from its folder or trained now."""
    from transformers import LlamaForCausalLM

    how = PRETRAINING[checkpoint.hidden]
    model = new_model(checkpoint.hidden, checkpoint.seed)
    parameters = model.num_parameters()
    source = Source(0, checkpoint.seed, round(checkpoint.load * parameters))
    settings = {**asdict(checkpoint), **asdict(how), "facts": source.facts}
    line, place = results.find(checkpoint.name, settings), folder / checkpoint.name
    if line and (place / "config.json").exists():
        return LlamaForCausalLM.from_pretrained(place).eval(), source, line
    began = time.process_time()
    pretrain(model, source, how, checkpoint.seed)
    report.save(model.eval(), place)
    measured = {
        "parameters": parameters,
        "facts": source.facts,
        "table_bits": round(source.bits),
        "fact_tokens": FACT * source.facts,
        "floor": round(source.floor, 4),
        "old": measure(model, source),
        "seconds": round(time.process_time() - began, 1),
    }
    return model, source, results.add(checkpoint.name, settings, measured)


def run(checkpoint: Checkpoint, results: Results, folder: Path) -> None:
    """Pretrain a checkpoint and do each of its updates."""
    model, source, line = pretrained(checkpoint, results, folder)
    say(checkpoint.name, line)
    replay: list[Any] = []
    for name, how in updates(checkpoint).items():
        settings = {**asdict(how), "new_facts": NEW_FACTS, "replay": REPLAY}
        if results.find(name, settings):
            continue
        if how.coeff and not replay:
            replay = draw_replay(model, REPLAY, checkpoint.seed)
        new = Source(1, checkpoint.seed, NEW_FACTS, how.text_share)
        updated, measured = update(model, new, replay, how, checkpoint.seed)
        old = measure(updated, source)
        measured |= {
            "old": old,
            "new_recall": round(recall(updated, new), 4),
            "forgetting": round(old["loss"] - line["old"]["loss"], 4),
            "kl_old": round(drift(model, updated, source), 4),
        }
        say(name, results.add(name, settings, measured))
    report.write_states(results.path, folder, HIGH)


def say(name: str, line: Line) -> None:
    """One line of progress."""
    shown = ("steps", "reached", "new_loss", "forgetting", "kl_old", "old", "seconds")
    print(name, *(f"{key} {line[key]}" for key in shown if key in line), file=sys.stderr, flush=True)


def main() -> None:
    """Does what has not been done, or writes the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--hidden", type=int, nargs="+", choices=PRETRAINING, default=list(PRETRAINING))
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, metavar="DIR")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--report", action="store_true", help="write table and picture from the results")
    args = parser.parse_args()
    if args.report:
        report.write(args.results, HIGH, LOW)
        return
    import torch

    torch.set_num_threads(1)
    sizes = " ".join(map(str, args.hidden))
    results = Results(args.results, f"python benchmarks/regimes.py --seeds {args.seeds} --hidden {sizes}")
    for seed in range(args.seeds):
        for hidden in args.hidden:
            for load in LOADS:
                run(Checkpoint(hidden, load, seed), results, args.checkpoints)


if __name__ == "__main__":
    main()
