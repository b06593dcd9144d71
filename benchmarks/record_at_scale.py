"""What the record costs when it is large: moves of the champion and the questions, on both databases.

    python benchmarks/record_at_scale.py [--versions N] [--suites N] [--cases N] [--database KIND] [--full]

A record of N versions is written straight into the tables, with events whose hashes are right, and then used
through the registry as the program does. `--full` measures 1,000 and 10,000 versions of 20 suites of 50
cases: a million case outcomes, and ten million. `history --json` is timed as a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

from bulk_record import Shape, fill
from record import KINDS, begin_line, candidate, machine, new_database, utc_now

from registry.registry import Registry

Question = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """Milliseconds of each run of one thing, and how many rows it answered with."""

    name: str
    times: list[float]
    rows: int | None = None

    @property
    def median(self) -> float:
        """Milliseconds."""
        return median(self.times)


def timed(name: str, work: Question, rounds: int) -> Measured:
    """Run it once to warm up and then so often."""
    times, answer = [], work()
    for _ in range(rounds):
        began = time.perf_counter()
        answer = work()
        times.append(1000 * (time.perf_counter() - began))
    return Measured(name, times, len(answer) if type(answer) in (list, tuple) else None)


def moves(registry: Registry, model_id: int, rounds: int) -> Iterator[Measured]:
    """Promotion of candidates that were judged just before, untimed; and rollbacks, each undoing the last."""
    times = []
    for _ in range(rounds):
        number = registry.write(lambda writer: candidate(writer, model_id).number)
        began = time.perf_counter()
        registry.write(lambda writer, number=number: writer.promote(model_id, number))
        times.append(1000 * (time.perf_counter() - began))
    yield Measured("promote", times)
    yield timed("rollback", lambda: registry.write(lambda writer: writer.rollback(model_id)), rounds)


def questions(registry: Registry, model_id: int, shape: Shape, rounds: int) -> Iterator[Measured]:
    """Each in a snapshot of its own."""
    version_id, run_id, digest = shape.some_version, shape.some_run, shape.suite_digest(0)

    def ask(name: str, question: Callable[[Any], object], rounds: int = rounds) -> Measured:
        def once() -> object:
            with registry.read() as reader:
                return question(reader)

        return timed(name, once, rounds)

    yield ask("champion", lambda reader: reader.champion(model_id))
    yield ask("latest run of a version on a suite", lambda r: r.latest_suite_run(version_id, digest))
    yield ask("latest decision", lambda reader: reader.latest_decision(version_id))
    yield ask("outcomes of a run", lambda reader: reader.outcomes(run_id))
    yield ask("what is to be told to MLflow", lambda reader: reader.outbox_pending())
    yield ask("history of one case", lambda r: r.case_scores(model_id, digest, shape.case_id(3)), 5)
    yield ask("history, in process", lambda reader: reader.history(model_id).rows, 3)


def whole_process(url: str, rounds: int) -> Measured:
    """`adaptman history --json`, from the start of Python to its end."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"ADAPTMAN_REGISTRY_URL": url}
        words = [sys.executable, "-m", "adaptman", "--home", home, "history", "--json"]

        def once() -> list[bytes]:
            return subprocess.run(
                words, env=environment, check=True, stdout=subprocess.PIPE
            ).stdout.splitlines()

        return timed("`history --json`, whole process", once, rounds)


@contextmanager
def filled(kind: str, shape: Shape) -> Iterator[tuple[str, Registry, int, float]]:
    """A record of that shape: URL, registry, model line, and the seconds that writing it took."""
    with new_database(kind) as url:
        registry = Registry.open(url, actor="benchmark", clock=utc_now)
        model_id = begin_line(registry)
        began = time.perf_counter()
        fill(registry, url, model_id, shape)
        yield url, registry, model_id, time.perf_counter() - began
        registry.close()


def measure(kind: str, shape: Shape, rounds: int) -> list[Measured]:
    """Everything on one database of one shape."""
    with filled(kind, shape) as (url, registry, model_id, seconds):
        print(f"{kind}, {shape}: written in {seconds:.0f} s; {machine(url)}", flush=True)
        done = chain(
            moves(registry, model_id, rounds),
            questions(registry, model_id, shape, rounds),
            [whole_process(url, 5)],
        )
        found = []
        for one in done:
            found.append(one)
            print(
                f"  {one.name}: {one.median:.1f} ms, best {min(one.times):.1f}", file=sys.stderr, flush=True
            )
        with registry.read() as reader:
            report = reader.verify_chain()
        assert report.ok, report.problems[0].message
        print(f"{report.count:,} events, the chain is whole", flush=True)
        return found


def print_table(kind: str, shapes: list[Shape], columns: list[list[Measured]]) -> None:
    """Medians and the best, a column for each shape, and the rows of the answer."""
    print(f"\n| {kind} | {' | '.join(str(shape) for shape in shapes)} |")
    print("| --- |" + " ---: |" * len(shapes))
    for row in zip(*columns, strict=True):
        cells = [
            f"{one.median:.1f} ms, best {min(one.times):.1f}" + (f", {one.rows:,} rows" if one.rows else "")
            for one in row
        ]
        print(f"| {row[0].name} | {' | '.join(cells)} |")


def main() -> None:
    """Writes the records, asks, and prints a table for each database."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", type=int, default=1_000, metavar="N")
    parser.add_argument("--suites", type=int, default=20, metavar="N")
    parser.add_argument("--cases", type=int, default=50, metavar="N")
    parser.add_argument("--rounds", type=int, default=51, metavar="N")
    parser.add_argument("--database", choices=KINDS, action="append")
    parser.add_argument("--full", action="store_true", help="1,000 and 10,000 versions")
    args = parser.parse_args()
    sizes = [1_000, 10_000] if args.full else [args.versions]
    shapes = [Shape(versions, args.suites, args.cases) for versions in sizes]
    for kind in args.database or KINDS:
        print_table(kind, shapes, [measure(kind, shape, args.rounds) for shape in shapes])


if __name__ == "__main__":
    main()
