"""Any order of updates, promotions, rollbacks and collections: nothing that is needed is ever missing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adaptman.artifacts.store import ObjectStore
from adaptman.lifecycle.promote import RefusedPromotionError, promote, rollback
from adaptman.lifecycle.store_gc import collect_garbage
from registry.errors import CollectedError, PromotionError, RegistryError
from registry.objects import OF_A_VERSION
from tests.lifecycle.yard import Yard, adapter_of

TEXTS = st.sampled_from("abcdef")
NEEDED = {"training", "trained", "evaluated", "passed", "champion"}
GRACE_DAYS = 2.0


class StoreMachine(RuleBasedStateMachine):
    """Versions share few adapters, so that one that goes is often one that another needs, or makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="adaptman-machine-"))
        self.yard = Yard.copy(self.folder)
        self.put: dict[str, float] = {}
        self.day = 0.0
        self.count = 1

    def teardown(self) -> None:
        self.yard.workspace.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin_with_a_former_champion(self) -> None:
        for text in "ab":
            self.train(text, "passed", True)
            promote(self.yard.workspace, self.count)
        self.yard.told_everything()

    @rule(text=TEXTS, state=st.sampled_from(["trained", "passed", "refused"]), told=st.booleans())
    def train(self, text: str, state: str, told: bool) -> None:
        self.count = self.yard.train(text, replay=f"replay {text}", state=state)
        if told:
            self.yard.told_everything()

    @rule(text=TEXTS)
    def put_before_a_row_names_it(self, text: str) -> None:
        self.put[self.yard.put(text)] = self.day

    @rule(place=st.integers(0, 9))
    def discard(self, place: int) -> None:
        number = place % self.count + 1

        def work(writer: object) -> None:
            writer.discard_version(self.yard.version(number).id, "not wanted")  # type: ignore[attr-defined]

        try:
            self.yard.workspace.registry.write(work)
        except RegistryError:
            assert self.yard.version(number).state in {"champion", "retired", "discarded"}

    @rule(place=st.integers(0, 9), waiver=st.sampled_from([None, "needed"]))
    def promote(self, place: int, waiver: str | None) -> None:
        number = place % self.count + 1
        try:
            promote(self.yard.workspace, number, waiver=waiver)
        except CollectedError:
            assert not self.is_whole(number)
        except (PromotionError, RefusedPromotionError):
            return

    @rule()
    def rollback(self) -> None:
        rollback(self.yard.workspace)

    @rule(days=st.sampled_from([0.5, 3.0, 40.0, 400.0]))
    def wait(self, days: float) -> None:
        self.yard.clock.forward(days=days)
        self.day += days

    @rule()
    def collect(self) -> None:
        collect_garbage(self.yard.workspace)

    @rule(after=st.integers(0, 3))
    def collect_and_die(self, after: int) -> None:
        left, remove = [after], ObjectStore.remove_object

        def die(store: ObjectStore, digest: str, **options: object) -> bool:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return remove(store, digest, **options)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ObjectStore, "remove_object", die)
            try:
                collect_garbage(self.yard.workspace)
            except KeyboardInterrupt:
                assert left[0] == 0

    @precondition(lambda self: self.put)
    @rule(text=TEXTS)
    def put_while_gc_works(self, text: str) -> None:
        remove = ObjectStore.remove_object

        def meanwhile(store: ObjectStore, digest: str, **options: object) -> bool:
            self.put_before_a_row_names_it(text)
            return remove(store, digest, **options)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ObjectStore, "remove_object", meanwhile)
            collect_garbage(self.yard.workspace)

    def is_whole(self, number: int) -> bool:
        with self.yard.workspace.registry.read() as reader:
            version = reader.version(self.yard.model, number)
            return version.adapter_id is None or not reader.is_collected(version)

    @invariant()
    def what_anybody_needs_is_there(self) -> None:
        store = self.yard.workspace.store
        with self.yard.workspace.registry.read() as reader:
            assert reader.verify_chain().ok
            target = reader.moves(self.yard.model)[-1].previous_id
            rows = {row.id: row for row in reader.versions(self.yard.model)}
            named = reader.named_objects()
            pending = "".join(str(row.payload) for row in reader.outbox_pending(limit=None))
        for one in named:
            version = rows.get(one.version_id or 0)
            needed = version is None or version.state in NEEDED or version.id == target
            if needed or one.role not in OF_A_VERSION or one.digest in pending:
                store.check(one.digest)
                for entry in store.tree(one.digest).values() if one.is_tree else ():
                    store.check(entry.sha256, entry.size)
        for digest, day in self.put.items():
            assert self.day - day > GRACE_DAYS or store.exists(digest)

    @invariant()
    def a_version_is_usable_or_says_why_not(self) -> None:
        store = self.yard.workspace.store
        with self.yard.workspace.registry.read() as reader:
            whole = [
                adapter_of(reader, row)
                for row in reader.versions(self.yard.model)
                if row.adapter_id is not None and not reader.is_collected(row)
            ]
        for digest in whole:
            store.checkout(digest)


@pytest.mark.slow
class TestStoreMachine(StoreMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
