"""Does the audit of capacity foretell what an update makes a model forget? On models whose state is known.

    python benchmarks/regimes.py --checkpoints DIR
    python benchmarks/capacity_validation.py --checkpoints DIR --results FILE

`regimes.py` leaves models that were pretrained with more and more to remember for each parameter, and in
`states.json` what a real update with replay then made each of them forget. Each is audited here, and the room
that the audit finds is ranked against that forgetting (Spearman), beside each figure that the audit tells as
evidence. The ladder is the audit's own, but for what a model a thousand times smaller needs: more steps at a
higher rate for the same bits. Every checkpoint is a line of the results file; one that is there is not
audited again.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import correlation, quantiles
from typing import Any

import torch

from adaptman.learning import capacity, models, sensitivity
from adaptman.learning.capacity import Ladder
from adaptman.learning.chat import ChatRenderer
from adaptman.toolspec.formats import output_format

LADDER = Ladder(
    loads=(8, 16, 32, 64), presentations=60, steps=240, lr=5e-3, samples=192, held_out=64, sample_tokens=26
)
FORGETTING = "forgetting_with_replay"
_DRAWS = 2_000


def audited(folder: Path) -> dict[str, Any]:
    """The audit's figures of one checkpoint."""
    began = time.monotonic()
    renderer = ChatRenderer(models.load_tokenizer(folder), output_format("hermes"))
    with tempfile.TemporaryDirectory() as workdir:
        found, held_out = capacity.probe(folder, None, renderer, LADDER, Path(workdir) / "probe")
    evidence = sensitivity.evidence(models.load(folder), held_out)
    return {
        "verdict": found.verdict,
        "room_bits": found.room_bits._asdict(),
        "rungs": [
            {"bindings": one.bindings, "bits": one.bits.value, "drift": one.drift.value}
            for one in found.rungs
        ],
        **evidence._asdict(),
        "seconds": round(time.monotonic() - began, 1),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation, ties with their mean rank."""
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the rank correlation, from drawing the checkpoints again."""
    chance, found = random.Random(0), []
    while len(found) < _DRAWS:
        drawn = [chance.randrange(len(one)) for _ in one]
        first, second = [one[at] for at in drawn], [other[at] for at in drawn]
        if len(set(first)) > 1 and len(set(second)) > 1:
            found.append(spearman(first, second))
    cuts = quantiles(found, n=40)
    return cuts[0], cuts[-1]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The checkpoints, least forgetful first, then the rank correlations."""
    lines = [
        "| checkpoint | parameters | bits held a parameter | forgets | verdict | room, bits "
        "| drift at the last rung | rise under noise | rise at 4 bits | stable rank | idle units |",
        "|" + " --- |" * 11,
    ]
    for row in sorted(rows, key=lambda row: row[FORGETTING]):
        room = row["room_bits"]
        lines.append(
            f"| {row['path']} | {row['parameters']:,} | {row['bits_held_per_parameter']:.2f} "
            f"| {row[FORGETTING]:.3f} | {row['verdict']} "
            f"| {room['value']:,.0f} ({room['low']:,.0f} to {room['high']:,.0f}) "
            f"| {row['rungs'][-1]['drift']:.3f} | {row['noise_rise']:.3f} | {row['rounding_rise']:.3f} "
            f"| {row['stable_rank']:.3f} | {row['idle_units']:.3f} |"
        )
    lines += ["", "| figure | rank correlation with forgetting | 95 % interval |", "| --- | --- | --- |"]
    forgot = [row[FORGETTING] for row in rows]
    for name, values in (
        ("the audit's room (negative)", [-row["room_bits"]["value"] for row in rows]),
        ("drift at the last rung", [row["rungs"][-1]["drift"] for row in rows]),
        ("rise under noise", [row["noise_rise"] for row in rows]),
        ("rise at 4 bits", [row["rounding_rise"] for row in rows]),
        ("stable rank", [row["stable_rank"] for row in rows]),
        ("idle units (negative)", [-row["idle_units"] for row in rows]),
    ):
        if len(set(values)) > 1:
            low, high = interval(values, forgot)
            lines.append(f"| {name} | {spearman(values, forgot):+.2f} | {low:+.2f} to {high:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Audit what was not audited yet, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    states = json.loads((given.checkpoints / "states.json").read_text())
    lines = given.results.read_text().splitlines() if given.results.exists() else []
    done = {row["path"]: row for row in map(json.loads, lines)}
    for state in states:
        if state["path"] not in done and state[FORGETTING] is not None:
            done[state["path"]] = state | audited(given.checkpoints / state["path"])
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[state["path"]]) + "\n")
    print(table(list(done.values())))


if __name__ == "__main__":
    main()
