"""Many writers at once, on both databases: nothing is lost, nothing doubled, one wins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest
from sqlalchemy import text

from registry.engine import open_engine
from registry.errors import LeaseHeldError, RegistryError, StaleDecisionError
from registry.registry import Registry
from registry.writer import Writer
from tests.registry.line import Line, judged, start

T = TypeVar("T")
WRITERS = 16
ROOT = Path(__file__).resolve().parents[2]


def at_once(open_registry: Callable[[], Registry], work: Callable[[Registry, int], T]) -> list[T]:
    """Run `work` in so many threads, each with a registry of its own, all let go together."""
    registries = [open_registry() for _ in range(WRITERS)]
    barrier = Barrier(WRITERS)

    def run(place: int) -> T:
        barrier.wait()
        return work(registries[place], place)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


def attempt(work: Callable[[], T]) -> T | RegistryError:
    try:
        return work()
    except RegistryError as error:
        return error


def test_one_promotion_wins_each_round(open_registry: Callable[[], Registry], line: Line) -> None:
    for round_ in range(3):
        numbers = line.registry.write(lambda writer: [judged(writer, line.id).number for _ in range(WRITERS)])

        def promote(registry: Registry, place: int, numbers: list[int] = numbers) -> object:
            return attempt(lambda: registry.write(lambda writer: writer.promote(line.id, numbers[place])))

        answers = at_once(open_registry, promote)
        lost = [one for one in answers if isinstance(one, RegistryError)]
        assert len(lost) == WRITERS - 1
        assert {type(one) for one in lost} == {StaleDecisionError}
        assert line.champion() in numbers
        assert all(f"version `{line.champion()}` is champion now" in one.message for one in lost)
        with line.registry.read() as reader:
            assert len(reader.moves(line.id)) == round_ + 2
            assert reader.verify_chain().ok


def test_numbers_are_unique_and_have_no_gap(open_registry: Callable[[], Registry], line: Line) -> None:
    def begin(registry: Registry, _place: int) -> list[int]:
        return [registry.write(lambda writer: start(writer, line.id)).number for _ in range(3)]

    numbers = [one for some in at_once(open_registry, begin) for one in some]
    assert sorted(numbers) == list(range(2, 2 + 3 * WRITERS))
    with line.registry.read() as reader:
        report = reader.verify_chain()
        assert report.ok
        assert report.count == 3 + 3 * WRITERS


def test_one_gets_the_lease(open_registry: Callable[[], Registry], line: Line) -> None:
    def acquire(registry: Registry, place: int) -> object:
        return attempt(lambda: registry.write(lambda w: w.acquire_lease(line.id, f"holder {place}", 1e6)))

    answers = at_once(open_registry, acquire)
    assert sum(isinstance(one, LeaseHeldError) for one in answers) == WRITERS - 1


def test_rollbacks_at_once_are_one_after_the_other(open_registry: Callable[[], Registry], line: Line) -> None:
    line.promoted()
    at_once(open_registry, lambda registry, _: registry.write(lambda writer: writer.rollback(line.id)))
    assert line.champion() == 2
    with line.registry.read() as reader:
        moves = reader.moves(line.id)
        assert reader.verify_chain().ok
    assert all(after.previous_id == before.version_id for before, after in pairwise(moves))
    assert len(moves) == 2 + WRITERS


SCRIPT = """
import sys
from datetime import UTC, datetime
from registry.errors import StaleDecisionError
from registry.registry import Registry
url, model_id, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
registry = Registry.open(url, actor="process", clock=lambda: datetime.now(UTC))
print("ready", flush=True)
sys.stdin.readline()
try:
    registry.write(lambda writer: writer.promote(model_id, number))
    print("won")
except StaleDecisionError:
    print("lost")
"""


def test_one_process_wins(url: str, line: Line) -> None:
    def prepare(writer: Writer) -> list[int]:
        return [judged(writer, line.id).number for _ in range(3)]

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, url, str(line.id), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in line.registry.write(prepare)
    ]
    for one in processes:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    answers = sorted(one.communicate()[0].strip() for one in processes)
    assert answers == ["lost", "lost", "won"]


@pytest.mark.slow
def test_sixteen_processes_round_after_round(kind: str) -> None:
    """The benchmark, small: it exits with 1 unless one wins each round, all know who, and nothing is lost."""
    words = ["--processes", "16", "--rounds", "4", "--database", kind]
    done = benchmark("concurrent_promoters.py", *words)
    assert (done.returncode, f"| {kind} | 16 | 4 | 4 |" in done.stdout) == (0, True), (
        done.stdout + done.stderr
    )


@pytest.mark.slow
def test_a_record_written_in_bulk_is_one_that_the_registry_goes_on_with(kind: str) -> None:
    shape = ["--versions", "40", "--suites", "3", "--cases", "4", "--rounds", "3", "--database", kind]
    done = benchmark("record_at_scale.py", *shape)
    assert done.returncode == 0, done.stderr
    assert "the chain is whole" in done.stdout
    assert "| history, in process |" in done.stdout
    assert ", 117 rows |" in done.stdout


def benchmark(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / name), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_process_that_dies_inside_a_unit_leaves_nothing(url: str, line: Line) -> None:
    script = (
        "import os, sys\n"
        "from datetime import UTC, datetime\n"
        "from registry.registry import Registry\n"
        "registry = Registry.open(sys.argv[1], actor='dying', clock=lambda: datetime.now(UTC))\n"
        "def work(writer):\n"
        "    writer.add_model('half', 'b' * 64, 'here', {})\n"
        "    os._exit(9)\n"
        "registry.write(work)\n"
    )
    died = subprocess.run([sys.executable, "-c", script, url], check=False)
    assert died.returncode == 9
    line.promoted()
    with line.registry.read() as reader:
        assert [one.name for one in reader.models()] == ["default"]
        assert reader.verify_chain().ok


def test_readers_do_not_wait_for_a_writer(open_registry: Callable[[], Registry], line: Line) -> None:
    other = open_registry()

    def work(writer: Writer) -> int:
        start(writer, line.id)
        with other.read() as reader:
            return len(reader.versions(line.id))

    assert line.registry.write(work) == 1


def test_a_new_sqlite_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    def opened(path: Path, barrier: Barrier) -> str:
        engine = open_engine(f"sqlite:///{path}", create=True)
        barrier.wait()
        with engine.connect() as connection:
            mode = str(connection.execute(text("PRAGMA journal_mode")).scalar())
        engine.dispose()
        return mode

    for at in range(40):  # one in some thirty openings used to fail
        path, barrier = tmp_path / f"{at}.db", Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: opened(path, barrier), range(8))) == {"wal"}  # noqa: B023
