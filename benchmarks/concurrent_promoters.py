"""Many processes promote at once: one wins each round, the others are told who won, and nothing is lost.

    python benchmarks/concurrent_promoters.py [--processes N] [--rounds N] [--minutes M] [--database KIND]

In each round every process has a candidate of its own, judged against the same champion: one that is new, or
one that lost the round before and was judged anew. All are let go together. The round counts when exactly one
was promoted and each other one was refused with the winner's number. At the end the record itself is asked:
as many events as were acknowledged, the hash chain whole, and each move of the champion beginning where the
one before ended. It exits with 1 where anything else was seen.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from statistics import median, quantiles
from typing import NamedTuple

from record import KINDS, begin_line, candidate, judge, machine, new_database, utc_now

from registry.engine import open_engine
from registry.errors import ConflictError, StaleDecisionError
from registry.registry import Registry
from registry.writer import Writer

EVENTS_OF_A_LINE = 3  # the model, its base version, and that it is champion
EVENTS_OF_TRAINING = 3  # an adapter, started, trained
EVENTS_OF_JUDGING = 2  # evaluated, decided


class Answer(NamedTuple):
    """What one process was told in one round. `retried`: how often its unit of work ran again."""

    won: bool
    winner: int | None
    seconds: float
    retried: int


def promoter(url: str, model_id: int, barrier: Barrier, pipe: Connection) -> None:
    """One process: promote the number that comes through the pipe, say what came of it, until none comes."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    registry = Registry(open_engine(url), actor=f"promoter {pipe.fileno()}", clock=utc_now, sleep=wait)
    with registry.read() as reader:
        reader.models()  # connect before the first round
    while (number := pipe.recv()) is not None:
        waits.clear()
        barrier.wait()
        pipe.send(promote(registry, model_id, number, waits))
    registry.close()


def promote(registry: Registry, model_id: int, number: int, waits: list[float]) -> Answer:
    """Try once, as `adaptman promote` does."""
    began = time.perf_counter()
    try:
        registry.write(lambda writer: writer.promote(model_id, number))
    except StaleDecisionError as error:
        return Answer(False, error.champion, time.perf_counter() - began, len(waits))
    except ConflictError:
        return Answer(False, None, time.perf_counter() - began, len(waits))
    return Answer(True, number, time.perf_counter() - began, len(waits))


@dataclass(frozen=True)
class Round:
    """What came of one round: from letting go to the last answer."""

    seconds: float
    numbers: list[int]
    answers: list[Answer]

    @property
    def winners(self) -> list[int]:
        """Exactly one is right."""
        return [number for number, answer in zip(self.numbers, self.answers, strict=True) if answer.won]

    @property
    def is_right(self) -> bool:
        """One winner, and everybody knows which."""
        return len(self.winners) == 1 and {answer.winner for answer in self.answers} == set(self.winners)


def candidates(writer: Writer, model_id: int, losers: list[int], wanted: int) -> list[int]:
    """The losers, judged against today's champion, and new ones."""
    for number in losers:
        judge(writer, writer.version(model_id, number))
    return losers + [candidate(writer, model_id).number for _ in range(wanted - len(losers))]


def play(
    registry: Registry, model_id: int, barrier: Barrier, pipes: list[Connection], losers: list[int]
) -> Round:
    """Judge a candidate for each process, and let all go."""
    numbers = registry.write(lambda writer: candidates(writer, model_id, losers, len(pipes)))
    for pipe, number in zip(pipes, numbers, strict=True):
        pipe.send(number)
    barrier.wait()
    began = time.perf_counter()
    answers = [pipe.recv() for pipe in pipes]
    return Round(time.perf_counter() - began, numbers, answers)


def faults(registry: Registry, model_id: int, rounds: list[Round]) -> list[str]:
    """What the record says against what was acknowledged."""
    found = [f"round {at}: winners {one.winners}" for at, one in enumerate(rounds, 1) if not one.is_right]
    with registry.read() as reader:
        moves, report = reader.moves(model_id), reader.verify_chain()
        promoted = [reader.version_by_id(move.version_id).number for move in moves[1:]]
    trained = len({number for one in rounds for number in one.numbers})
    promised = EVENTS_OF_A_LINE + EVENTS_OF_TRAINING * trained
    promised += sum(EVENTS_OF_JUDGING * len(one.numbers) + len(one.winners) for one in rounds)
    if report.count != promised:
        found.append(f"{report.count} events, {promised} were acknowledged")
    found += [problem.message for problem in report.problems]
    if any(after.previous_id != before.version_id for before, after in pairwise(moves)):
        found.append("the moves of the champion are not linked")
    if promoted != [number for one in rounds for number in one.winners]:
        found.append("the moves of the champion are not the promotions that were acknowledged")
    return found


def run(url: str, processes: int, rounds: int, minutes: float) -> tuple[list[Round], list[str]]:
    """All rounds on one database, and what was wrong."""
    context = multiprocessing.get_context("spawn")
    registry = Registry.open(url, actor="benchmark", clock=utc_now)
    model_id = begin_line(registry)
    barrier = context.Barrier(processes + 1)
    ends = [context.Pipe() for _ in range(processes)]
    workers = [context.Process(target=promoter, args=(url, model_id, barrier, there)) for _, there in ends]
    for worker in workers:
        worker.start()
    pipes = [here for here, _ in ends]
    played: list[Round] = []
    deadline = time.monotonic() + 60 * minutes
    while len(played) < rounds and time.monotonic() < deadline:
        losers = (
            [number for number in played[-1].numbers if number not in played[-1].winners] if played else []
        )
        played.append(play(registry, model_id, barrier, pipes, losers))
    for pipe in pipes:
        pipe.send(None)
    for worker in workers:
        worker.join()
    found = faults(registry, model_id, played)
    registry.close()
    return played, found


def row(kind: str, processes: int, played: list[Round], found: list[str]) -> str:
    """One line of the table."""
    seconds = [one.seconds for one in played]
    answers = [answer for one in played for answer in one.answers]
    told = [
        kind,
        str(processes),
        str(len(played)),
        str(sum(one.is_right for one in played)),
        f"{1000 * median(seconds):.0f}",
        f"{1000 * quantiles(seconds, n=20)[-1]:.0f}",
        f"{1000 * median(answer.seconds for answer in answers if answer.won):.0f}",
        str(sum(answer.retried for answer in answers)),
        "none" if not found else "; ".join(found[:3]),
    ]
    return f"| {' | '.join(told)} |"


HEADER = (
    "| database | processes | rounds | one winner, all told | median round, ms | 95th of 100, ms "
    "| the winner's median, ms | units run again | faults |\n|" + " --- |" * 9
)


def main() -> int:
    """Plays the rounds and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=32, metavar="N")
    parser.add_argument("--rounds", type=int, default=50, metavar="N")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help="stop after so long")
    parser.add_argument("--database", choices=KINDS, action="append")
    args = parser.parse_args()
    rows, machines, wrong = [], [], False
    for kind in args.database or KINDS:
        with new_database(kind) as url:
            machines.append(machine(url))
            played, found = run(url, args.processes, args.rounds, args.minutes)
        rows.append(row(kind, args.processes, played, found))
        wrong = wrong or bool(found)
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join([HEADER, *rows, "", *machines]))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
