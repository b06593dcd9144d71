"""How long a user waits for a command that trains nothing, beside `mlflow --help`.

    python benchmarks/startup.py [--home DIR] [--rounds N]

The commands run in turn, each in a process of its own, so that a slow moment of the machine meets them all.
DIR is a workspace with at least two versions that were champion, such as the demo leaves; without it only
`--help` is timed. `promote` is asked for a version that the gate refused, which changes nothing, and each
`rollback` is undone by the next.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

BIN = Path(sys.executable).parent


def seconds(command: list[str]) -> float:
    """Wall time of one process; its output is not wanted."""
    environment = os.environ | {"ADAPTMAN_AUTO_SYNC": "false"}
    began = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=False)
    return time.perf_counter() - began


def commands(home: Path | None, refused: str) -> dict[str, list[str]]:
    """What is timed, by the name under which it is printed."""
    adaptman, mlflow = str(BIN / "adaptman"), str(BIN / "mlflow")
    found = {"mlflow --help": [mlflow, "--help"], "adaptman --help": [adaptman, "--help"]}
    if home is not None:
        for words in (["history"], ["promote", refused], ["rollback"]):
            found[f"adaptman {' '.join(words)}"] = [adaptman, "--home", str(home), *words]
    return found


def main() -> None:
    """Times the commands and prints a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, metavar="DIR")
    parser.add_argument("--refused", default="2", metavar="N", help="a version that the gate refused")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    args = parser.parse_args()
    timed = commands(args.home, args.refused)
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for at in range(args.rounds + 1):
        for name, command in timed.items():
            elapsed = seconds(command)
            if at:  # the first round warms up the file cache
                taken[name].append(elapsed)
    yardstick = taken["mlflow --help"]
    print(f"{'command':<24} {'median s':>9} {'min':>6} {'max':>6}   of `mlflow --help`")
    for name, times in taken.items():
        ratio = median(one / other for one, other in zip(times, yardstick, strict=True))
        print(f"{name:<24} {median(times):>9.3f} {min(times):>6.3f} {max(times):>6.3f}   {ratio:.2f}")


if __name__ == "__main__":
    main()
