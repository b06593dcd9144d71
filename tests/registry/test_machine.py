"""Any order of moves keeps the record's promises. SQLite only, so that many orders are tried in seconds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry.errors import IllegalTransitionError, NothingToRollBackError, PromotionError
from registry.registry import Registry
from registry.states import VersionState
from registry.writer import Writer
from tests.registry.databases import Sqlite
from tests.registry.line import Clock, Line, finish, judge, start

PLACES = st.integers(min_value=0, max_value=30)
VERDICTS = st.sampled_from(["pass", "refuse"])


class RegistryMachine(RuleBasedStateMachine):
    """Versions start, are judged, promoted, rolled back, dropped; a plain model says what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="adaptman-machine-"))
        url = DATABASES[0].new_database(self.folder, migrated=True)
        clock = Clock()
        self.registry = Registry.open(url, actor="ada", clock=clock)
        self.line = Line(self.registry, clock)
        self.champions = [1]
        self.numbers = [1]
        self.judged_against: dict[int, int] = {}
        self.events = 0

    def teardown(self) -> None:
        self.registry.close()
        shutil.rmtree(self.folder)

    def pick(self, place: int) -> int:
        return self.numbers[place % len(self.numbers)]

    @initialize()
    def begin_with_a_candidate(self) -> None:
        self.train()
        self.judge(1, "pass")

    @rule()
    def train(self) -> None:
        version = self.registry.write(lambda writer: finish(writer, start(writer, self.line.id)))
        assert version.number == len(self.numbers) + 1
        self.numbers.append(version.number)

    @rule(place=PLACES, verdict=VERDICTS)
    def judge(self, place: int, verdict: str) -> None:
        number = self.pick(place)

        def work(writer: Writer) -> None:
            judge(writer, writer.version(self.line.id, number), verdict)

        try:
            self.registry.write(work)
        except IllegalTransitionError:
            assert self.line.state(number) in {"champion", "retired", "discarded"}
        else:
            self.judged_against[number] = self.champions[-1]
            assert self.line.state(number) == {"pass": "passed", "refuse": "refused"}[verdict]

    @rule(place=PLACES, waiver=st.sampled_from([None, "needed"]))
    def promote(self, place: int, waiver: str | None) -> None:
        number = self.pick(place)
        state = self.line.state(number)
        may = state == "passed" or (state == "refused" and waiver is not None)
        fresh = self.judged_against.get(number) == self.champions[-1]
        try:
            promotion = self.line.promote(number, waiver)
        except PromotionError:
            assert not (may and fresh)
        else:
            assert may
            assert fresh
            assert promotion.waived == (state == "refused")
            self.champions.append(number)

    @precondition(lambda self: len(self.champions) > 1)
    @rule()
    def rollback(self) -> None:
        promotion = self.line.rollback()
        assert promotion.version.number == self.champions[-2]
        self.champions.append(promotion.version.number)

    @precondition(lambda self: len(self.champions) == 1)
    @rule()
    def rollback_of_nothing(self) -> None:
        with pytest.raises(NothingToRollBackError):
            self.line.rollback()

    @rule(place=PLACES)
    def discard(self, place: int) -> None:
        number = self.pick(place)

        def work(writer: Writer) -> None:
            writer.discard_version(writer.version(self.line.id, number).id, "not wanted")

        try:
            self.registry.write(work)
        except IllegalTransitionError:
            assert number in self.champions or self.line.state(number) == "discarded"
        else:
            assert number not in self.champions

    @invariant()
    def the_record_is_as_the_model_says(self) -> None:
        with self.registry.read() as reader:
            versions = reader.versions(self.line.id)
            report = reader.verify_chain()
            history = reader.history(self.line.id)
        assert [one.number for one in versions] == self.numbers
        live = [one.number for one in versions if one.state is VersionState.CHAMPION]
        assert live == [self.champions[-1]]
        retired = {one.number for one in versions if one.state is VersionState.RETIRED}
        assert retired == set(self.champions) - set(live)
        assert [mark.number for mark in history.marks] == self.champions
        assert report.ok
        assert report.count >= self.events
        self.events = report.count


DATABASES: list[Sqlite] = []


@pytest.fixture(scope="module", autouse=True)
def _database(sqlite: Sqlite) -> None:
    DATABASES[:] = [sqlite]


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
