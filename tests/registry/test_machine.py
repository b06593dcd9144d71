"""Any order of moves, with crashes and restarts in between, keeps the record's promises, on both databases.

The model beside it holds what was acknowledged: whatever a call gave back must be there ever after, and
whatever a call did not finish must not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import event

from adaptman.artifacts.store import ObjectStore
from registry.errors import (
    IllegalTransitionError,
    LeaseHeldError,
    LeaseLostError,
    NothingToRollBackError,
    PromotionError,
)
from registry.registry import Registry
from registry.states import RUNNABLE, TRANSITIONS, VersionState
from registry.tables import Lease
from registry.writer import Writer
from tests.registry.databases import Postgres, Sqlite
from tests.registry.line import Clock, Line, add_schema, add_suite, digest, judge, score, start

T = TypeVar("T")

PLACES = st.integers(min_value=0, max_value=30)
TTL_S = 60.0
S = VersionState


class CrashedError(Exception):
    """The process died here."""


@dataclass
class Known:
    """What was acknowledged about one version."""

    state: VersionState
    adapter: str | None = None
    judged_against: int | None = None
    reason: str = ""
    scores: list[float] = field(default_factory=list)


@dataclass
class Acknowledged:
    """What the record must hold."""

    versions: dict[int, Known] = field(default_factory=dict)
    champions: list[int] = field(default_factory=list)
    waivers: list[str] = field(default_factory=list)
    schemas: int = 0
    suites: int = 0
    formats: set[int] = field(default_factory=set)
    takeovers: int = 0


class RegistryMachine(RuleBasedStateMachine):
    """One model line, its artifacts in a real store, and somebody who pulls the plug."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="adaptman-machine-"))
        self.url = new_database(self.folder)
        self.clock = Clock()
        self.store = ObjectStore(self.folder / "objects")
        self.registry = Registry.open(self.url, actor="ada", clock=self.clock)
        self.line = Line(self.registry, self.clock)
        self.known = Acknowledged(versions={1: Known(S.CHAMPION)}, champions=[1])
        self.crash_at: int | None = None
        self.lease: Lease | None = None
        self.checked = 0

    def teardown(self) -> None:
        self.registry.close()
        shutil.rmtree(self.folder)

    # crashes

    def write(self, work: Callable[[Writer], T]) -> T | None:
        """Run one unit; None when the plug was pulled before it was acknowledged."""
        crash, self.crash_at = self.crash_at, None
        if crash is None:
            return self.registry.write(work)
        try:
            with dying(self.registry, crash):
                return self.registry.write(work)
        except CrashedError:
            self.restart()
            return None

    @rule(after=st.integers(min_value=0, max_value=25))
    def the_next_unit_dies(self, after: int) -> None:
        """After so many statements; 0 is after the work and before its commit."""
        self.crash_at = after

    @rule()
    def restart(self) -> None:
        self.registry.close()
        self.registry = Registry.open(self.url, actor="ada", clock=self.clock)
        self.line.registry = self.registry

    def pick(self, place: int, *states: VersionState) -> int:
        """A version in one of these states where there is one, so that most moves are legal; else any."""
        fitting = [number for number, one in self.known.versions.items() if one.state in states]
        numbers = fitting or list(self.known.versions)
        return numbers[place % len(numbers)]

    # registrations

    @rule()
    def register_schema(self) -> None:
        name = f"tools {self.known.schemas}"
        row = self.write(lambda writer: add_schema(writer, self.line.id, name))
        if row is not None:
            self.known.schemas += 1
            assert row.number == self.known.schemas

    @rule()
    def register_suite(self) -> None:
        suite = digest(f"suite {self.known.suites}")
        row = self.write(lambda writer: add_suite(writer, self.line.id, suite_digest=suite))
        if row is not None:
            self.known.suites += 1
            assert row.revision == self.known.suites

    @rule(number=st.integers(min_value=1, max_value=5))
    def register_format(self, number: int) -> None:
        if self.write(lambda writer: writer.add_output_format("f", number, {}, digest("f"))) is not None:
            self.known.formats.add(number)

    # updates

    @initialize()
    def begin_with_a_former_champion_and_a_candidate(self) -> None:
        self.make_a_candidate("pass")
        self.promote(0, None)
        self.make_a_candidate("pass")

    @rule(verdict=st.sampled_from(["pass", "pass", "refuse"]))
    def make_a_candidate(self, verdict: str) -> None:
        """So that there is something to promote more often than single moves would lead to."""
        self.begin()
        self.finish(-1)
        self.judge(-1, verdict)

    @rule()
    def begin(self) -> None:
        version = self.write(lambda writer: start(writer, self.line.id))
        if version is not None:
            assert version.number == len(self.known.versions) + 1
            self.known.versions[version.number] = Known(S.TRAINING)

    @rule(place=PLACES)
    def finish(self, place: int) -> None:
        number = self.pick(place, S.TRAINING)
        files = self.folder / "adapter"
        files.mkdir(exist_ok=True)
        (files / "adapter_config.json").write_text(f'{{"version": {number}}}')
        tree = self.store.put_tree(files)

        def work(writer: Writer) -> str:
            adapter = writer.add_adapter(tree_digest=tree, size_bytes=9)
            writer.finish_training(
                writer.version(self.line.id, number).id,
                adapter_id=adapter.id,
                replay_set_id=None,
                curves_digest=None,
                summary={"loss": 0.25},
            )
            return tree

        self.move(number, S.TRAINED, work, adapter=tree)

    @rule(place=PLACES)
    def fail(self, place: int) -> None:
        number = self.pick(place, S.TRAINING)
        self.move(number, S.FAILED, lambda writer: writer.fail_version(self.row(writer, number), "no memory"))

    @rule(place=PLACES)
    def discard(self, place: int) -> None:
        number = self.pick(place, *(set(S) - {S.TRAINING}))
        self.move(number, S.DISCARDED, lambda writer: writer.discard_version(self.row(writer, number), "no"))

    # the gate

    @rule(place=PLACES)
    def score(self, place: int) -> None:
        number = self.pick(place, *RUNNABLE)
        if not self.known.suites or self.known.versions[number].state not in RUNNABLE:
            return

        def work(writer: Writer) -> float:
            suite = writer.suite(self.line.id, "general")
            return score(writer, writer.version(self.line.id, number), suite).value

        value = self.write(work)
        if value is not None:
            self.known.versions[number].scores.append(value)

    @rule(place=PLACES)
    def evaluate(self, place: int) -> None:
        number = self.pick(place, S.TRAINED)
        self.move(number, S.EVALUATED, lambda writer: writer.mark_evaluated(self.row(writer, number)))

    @rule(place=PLACES, verdict=st.sampled_from(["pass", "pass", "refuse"]))
    def judge(self, place: int, verdict: str) -> None:
        number = self.pick(place, S.TRAINED, S.EVALUATED)
        state = self.known.versions[number].state
        if S.EVALUATED not in TRANSITIONS[state]:
            with pytest.raises(IllegalTransitionError):
                self.registry.write(lambda writer: judge(writer, writer.version(self.line.id, number)))
            return
        new = {"pass": S.PASSED, "refuse": S.REFUSED}[verdict]
        done = self.write(lambda writer: judge(writer, writer.version(self.line.id, number), verdict))
        if done is not None:
            self.known.versions[number].state = new
            self.known.versions[number].judged_against = self.known.champions[-1]

    # the champion

    @rule(place=PLACES, waiver=st.sampled_from([None, "needed"]))
    def promote(self, place: int, waiver: str | None) -> None:
        number = self.pick(place, S.PASSED, S.REFUSED)
        one = self.known.versions[number]
        may = one.state is S.PASSED or (one.state is S.REFUSED and waiver is not None)
        if not may or one.judged_against != self.known.champions[-1]:
            with pytest.raises(PromotionError):
                self.line.promote(number, waiver)
            return
        done = self.write(lambda writer: writer.promote(self.line.id, number, waiver=waiver))
        if done is not None:
            assert done.waived == (one.state is S.REFUSED)
            self.known.waivers += ["needed"] if done.waived else []
            self.crown(number)

    @rule(times=st.integers(min_value=1, max_value=3))
    def rollbacks(self, times: int) -> None:
        """Back, forward again, and back."""
        for _ in range(times):
            self.rollback()

    def rollback(self) -> None:
        if len(self.known.champions) == 1:
            with pytest.raises(NothingToRollBackError):
                self.line.rollback()
            return
        former = self.known.champions[-2]
        done = self.write(lambda writer: writer.rollback(self.line.id))
        if done is not None:
            assert done.version.number == former
            self.crown(former)

    def crown(self, number: int) -> None:
        self.known.versions[self.known.champions[-1]].state = S.RETIRED
        self.known.versions[number].state = S.CHAMPION
        self.known.champions.append(number)

    # leases

    @precondition(lambda self: self.lease is None)
    @rule()
    def acquire(self) -> None:
        self.lease = self.write(lambda writer: writer.acquire_lease(self.line.id, "ada", TTL_S))

    @precondition(lambda self: self.lease is not None)
    @rule(dead=st.booleans())
    def take_over(self, dead: bool) -> None:
        """Somebody else comes: the holder lives, or has been silent for too long."""
        assert self.lease is not None
        lost = self.lease.id
        if not dead:
            self.registry.write(lambda writer: writer.heartbeat(lost))
            with pytest.raises(LeaseHeldError):
                self.registry.write(lambda writer: writer.acquire_lease(self.line.id, "bob", TTL_S))
            return
        self.clock.forward(TTL_S + 1)
        taken = self.write(lambda writer: writer.acquire_lease(self.line.id, "bob", TTL_S))
        if taken is not None:
            self.lease = taken
            self.known.takeovers += 1
            with pytest.raises(LeaseLostError):
                self.registry.write(lambda writer: writer.heartbeat(lost))

    @precondition(lambda self: self.lease is not None)
    @rule()
    def release(self) -> None:
        assert self.lease is not None
        held = self.lease.id
        if self.write(lambda writer: (writer.release(held), True)) is not None:
            self.lease = None

    def row(self, writer: Writer, number: int) -> int:
        return writer.version(self.line.id, number).id

    def move(self, number: int, new: VersionState, work: Callable[[Writer], Any], **told: Any) -> None:
        """A move of one version: refused where the table says so, else acknowledged or lost with the plug."""
        one = self.known.versions[number]
        if new not in TRANSITIONS[one.state]:
            with pytest.raises(IllegalTransitionError):
                self.registry.write(work)
            return
        if self.write(work) is not None:
            one.state = new
            for name, value in told.items():
                setattr(one, name, value)

    # what must hold

    @invariant()
    def the_record_is_what_was_acknowledged(self) -> None:
        with self.registry.read() as reader:
            versions = reader.versions(self.line.id)
            history = reader.history(self.line.id)
            adapters = [
                reader.adapter(one.adapter_id).tree_digest if one.adapter_id else None for one in versions
            ]
            schemas, suites = (
                reader.tool_schemas(self.line.id),
                reader.suites(self.line.id, active_only=False),
            )
            scores = [[run.value for run in reader.suite_runs(one.id)] for one in versions]
            holders = [lease.id for lease in reader.leases()]
            kinds = [one.kind for one in reader.events()]
        known = self.known.versions
        assert {one.number: one.state for one in versions} == {n: one.state for n, one in known.items()}
        assert adapters == [known[one.number].adapter for one in versions]
        assert scores == [known[one.number].scores for one in versions]
        assert (len(schemas), len(suites)) == (self.known.schemas, self.known.suites)
        assert kinds.count("output_format.added") == len(self.known.formats)
        assert kinds.count("lease.taken_over") == self.known.takeovers
        assert holders == ([self.lease.id] if self.lease else [])
        assert [mark.number for mark in history.marks] == self.known.champions
        assert sum(mark.mark == "waived" for mark in history.marks) == len(self.known.waivers)

    @invariant()
    def one_champion_whose_artifacts_are_intact(self) -> None:
        with self.registry.read() as reader:
            live = [one for one in reader.versions(self.line.id) if one.state is S.CHAMPION]
            assert [one.number for one in live] == [self.known.champions[-1]]
            adapter = reader.adapter(live[0].adapter_id).tree_digest if live[0].adapter_id else None
        assert adapter == self.known.versions[live[0].number].adapter
        if adapter is not None:
            files = self.store.checkout(adapter)
            assert (files / "adapter_config.json").read_text() == f'{{"version": {live[0].number}}}'

    @invariant()
    def the_chain_verifies_and_gives_the_tables(self) -> None:
        with self.registry.read() as reader:
            chain, tables = reader.verify_chain(), reader.verify_tables()
        assert chain.problems == ()
        assert tables.problems == ()
        assert chain.count >= self.checked
        self.checked = chain.count


@contextmanager
def dying(registry: Registry, after: int) -> Iterator[None]:
    """The process dies after so many statements, or with 0 right before the commit."""
    statements = 0

    def count(*_arguments: Any) -> None:
        nonlocal statements
        statements += 1
        if statements == after:
            raise CrashedError

    def commit(_connection: Any) -> None:
        raise CrashedError

    name, listener = ("after_cursor_execute", count) if after else ("commit", commit)
    event.listen(registry._engine, name, listener)
    try:
        yield
    finally:
        event.remove(registry._engine, name, listener)


SERVERS: dict[str, Any] = {}


def new_database(folder: Path) -> str:
    """On the database that the test asks for."""
    if "postgresql" in SERVERS:
        server: Postgres = SERVERS["postgresql"]
        return server.emptied()
    files: Sqlite = SERVERS["sqlite"]
    return files.new_database(folder, migrated=True)


BOUNDS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


class TestOnSqlite(RegistryMachine.TestCase):  # type: ignore[misc]
    """A few short orders at each run of the quick tests."""

    settings = settings(max_examples=5, stateful_step_count=15, **BOUNDS)

    @pytest.fixture(autouse=True)
    def _database(self, sqlite: Sqlite) -> None:
        SERVERS.clear()
        SERVERS["sqlite"] = sqlite


@pytest.mark.slow
class TestManyOnSqlite(TestOnSqlite):
    """Many examples."""

    settings = settings(max_examples=25, stateful_step_count=40, **BOUNDS)


@pytest.mark.slow
class TestOnPostgresql(RegistryMachine.TestCase):  # type: ignore[misc]
    """Fewer examples: each begins with an emptied database."""

    settings = settings(max_examples=8, stateful_step_count=25, **BOUNDS)

    @pytest.fixture(autouse=True)
    def _database(self, postgres: Postgres) -> None:
        SERVERS.clear()
        SERVERS["postgresql"] = postgres
