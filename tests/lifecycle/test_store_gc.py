"""What gc removes, what it never does, and what others are told of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adaptman.artifacts.store import ObjectStore
from adaptman.errors import ArtifactError, BusyError
from adaptman.lifecycle import engine
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.lease import held
from adaptman.lifecycle.promote import promote, rollback
from adaptman.lifecycle.store_gc import collect_garbage, plan_gc
from registry.errors import CollectedError
from tests.lifecycle.story import Story
from tests.lifecycle.tiny_line import TinyLine
from tests.lifecycle.yard import Yard
from tests.registry.line import collect


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard.copy(tmp_path)
    yield made
    made.workspace.close()


def stored(yard: Yard) -> set[str]:
    return {one.digest for one in yard.workspace.store.objects()}


def events(yard: Yard) -> list[str]:
    with yard.workspace.registry.read() as reader:
        assert reader.verify_chain().ok
        return [event.kind for event in reader.events()]


class TestOrphans:
    def test_an_object_that_nothing_names_goes_when_it_is_old(self, yard: Yard) -> None:
        orphan, before = yard.put("orphan"), stored(yard)
        yard.clock.forward(days=1)
        assert plan_gc(yard.workspace).removals == ()
        yard.clock.forward(days=1.1)
        (one,) = plan_gc(yard.workspace).removals
        assert (one.digest, one.size, one.rule, one.reason) == (orphan, 6, "orphan", "named by nothing")
        assert stored(yard) == before
        done = collect_garbage(yard.workspace)
        assert (done.objects, done.size) == (1, 6)
        assert stored(yard) == before - {orphan}
        assert events(yard)[-1] == "objects.collected"

    def test_one_that_is_put_again_while_gc_works_stays(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphan = yard.put("orphan")
        yard.clock.forward(days=3)
        remove = ObjectStore.remove_object

        def put_before(store: ObjectStore, digest: str, **options: object) -> bool:
            yard.put("orphan")
            return remove(store, digest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(ObjectStore, "remove_object", put_before)
        assert collect_garbage(yard.workspace).objects == 0
        assert yard.workspace.store.get_bytes(orphan) == b"orphan"

    def test_nothing_to_do_is_not_an_event(self, yard: Yard) -> None:
        before = events(yard)
        assert collect_garbage(yard.workspace).objects == 0
        assert events(yard) == before

    def test_nothing_is_removed_while_somebody_works(self, yard: Yard) -> None:
        yard.put("orphan")
        yard.clock.forward(days=3)
        before = stored(yard)
        with held(yard.workspace, yard.workspace.model_row(), "update"), pytest.raises(BusyError):
            collect_garbage(yard.workspace)
        assert stored(yard) == before
        assert "objects.collected" not in events(yard)


class TestVersions:
    def test_a_refused_version_loses_adapter_and_replay(self, yard: Yard) -> None:
        number = yard.train("refused", replay="samples", state="refused")
        checkout = yard.workspace.store.checkout(yard.adapter(number))
        yard.told_everything()
        yard.clock.forward(days=29)
        assert plan_gc(yard.workspace).removals == ()
        yard.clock.forward(days=1)
        plan = plan_gc(yard.workspace)
        assert {one.reason for one in plan.removals} == {"version 2 of `default` refused for 30 days"}
        assert len(plan.removals) == 3  # manifest, configuration, samples; the shared file stays
        done = collect_garbage(yard.workspace)
        assert (done.objects, done.checkouts) == (3, 1)
        assert not checkout.exists()
        engine.base_path(yard.workspace, yard.version(1))

    def test_what_mlflow_must_still_be_given_stays(self, yard: Yard) -> None:
        number = yard.train("refused", state="refused")
        yard.clock.forward(days=100)
        assert plan_gc(yard.workspace).removals == ()
        yard.told_everything()
        assert plan_gc(yard.workspace).removals != ()
        assert yard.workspace.store.exists(yard.adapter(number))

    @pytest.mark.parametrize("state", ["trained", "passed"])
    def test_a_version_that_may_become_champion_keeps_all(self, yard: Yard, state: str) -> None:
        yard.train("candidate", replay="samples", state=state)
        yard.told_everything()
        yard.clock.forward(days=5000)
        assert plan_gc(yard.workspace).removals == ()

    def test_the_last_former_champions_keep_all(self, yard: Yard) -> None:
        for at in range(5):
            promote(yard.workspace, yard.train(f"champion {at}", state="passed"))
            yard.clock.forward(days=1)
        yard.told_everything()
        yard.clock.forward(days=400)
        gone = {one.reason for one in collect_garbage(yard.workspace).plan.removals}
        assert gone == {"version 2 of `default` retired for 365 days"}
        for number in (3, 4, 5, 6):
            yard.workspace.store.checkout(yard.adapter(number))

    def test_a_rollback_always_finds_its_target(self, yard: Yard) -> None:
        for at in range(3):
            promote(yard.workspace, yard.train(f"champion {at}", state="passed"))
        yard.told_everything()
        seen = set()
        for _ in range(6):
            yard.clock.forward(days=5000)
            collect_garbage(yard.workspace)
            number = rollback(yard.workspace).version.number
            yard.told_everything()
            yard.workspace.store.checkout(yard.adapter(number))
            seen.add(number)
        assert seen == {3, 4}

    def test_an_adapter_that_a_kept_version_shares_stays(self, yard: Yard) -> None:
        yard.train("the same", state="refused")
        promote(yard.workspace, yard.train("the same", state="passed"))
        yard.told_everything()
        yard.clock.forward(days=5000)
        assert plan_gc(yard.workspace).removals == ()

    def test_a_parent_in_use_by_a_training_stays(self, yard: Yard) -> None:
        number = yard.train("parent", state="refused")
        yard.told_everything()
        yard.clock.forward(days=100)
        yard.start(parent_id=yard.version(number).id)
        assert plan_gc(yard.workspace).removals == ()


@pytest.fixture
def robbed(yard: Yard) -> Yard:
    """Version 2 was refused, and gc has removed its adapter."""
    yard.train("refused", state="refused")
    yard.told_everything()
    yard.clock.forward(days=31)
    collect_garbage(yard.workspace)
    return yard


class TestAfterwards:
    def test_a_version_without_its_adapter_cannot_be_used(self, robbed: Yard) -> None:
        before = events(robbed)
        with pytest.raises(CollectedError) as caught:
            promote(robbed.workspace, 2, waiver="now")
        day = f"{robbed.clock.now:%Y-%m-%d}"
        assert f"version `2` were removed by gc on {day}" in caught.value.message
        assert "refused for 30 days" in caught.value.message
        assert "make it anew" in caught.value.hint
        for step in (
            lambda: robbed.workspace.registry.write(
                lambda writer: writer.mark_evaluated(robbed.version(2).id)
            ),
            lambda: engine.adapter_path(robbed.workspace, robbed.version(2)),
        ):
            with pytest.raises(CollectedError):
                step()
        assert events(robbed) == before
        assert robbed.version(2).state == "refused"

    def test_it_cannot_be_evaluated(self, robbed: Yard) -> None:
        story = Story(robbed.workspace, robbed.clock, robbed.workspace.model_row())
        story.suite("general", "general")
        with pytest.raises(CollectedError):
            evaluate(robbed.workspace, 2)
        assert robbed.version(2).state == "refused"

    def test_trained_anew_it_is_there_again(self, robbed: Yard) -> None:
        robbed.clock.forward(minutes=1)
        number = robbed.train("refused", state="passed")
        assert robbed.adapter(number) == robbed.adapter(2)
        assert promote(robbed.workspace, number).version.number == number
        assert engine.adapter_path(robbed.workspace, robbed.version(2)) is not None

    def test_a_run_that_died_after_the_record_is_finished_by_the_next(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        yard.train("refused", state="refused")
        yard.told_everything()
        yard.clock.forward(days=31)
        remove, left = ObjectStore.remove_object, [1]

        def die(store: ObjectStore, digest: str, **options: object) -> bool:
            if not left.pop():
                raise KeyboardInterrupt
            left.append(0)
            return remove(store, digest, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(ObjectStore, "remove_object", die)
            with pytest.raises(KeyboardInterrupt):
                collect_garbage(yard.workspace)
        recorded, before = yard.collected(), events(yard)
        assert len(recorded) == 2
        with pytest.raises(CollectedError):
            promote(yard.workspace, 2, waiver="now")
        assert collect_garbage(yard.workspace).objects == 1
        assert not stored(yard) & {digest for digest, _ in recorded}
        assert (yard.collected(), events(yard)) == (recorded, before)


class TestTrouble:
    def test_with_a_damaged_tree_that_is_needed_nothing_is_removed(self, yard: Yard) -> None:
        promote(yard.workspace, yard.train("champion", state="passed"))
        yard.put("orphan")
        yard.clock.forward(days=100)
        tree = yard.workspace.store.path_of(yard.adapter(2))
        tree.chmod(0o644)
        tree.write_bytes(b"{}")
        before = stored(yard)
        with pytest.raises(ArtifactError, match=r"adapter of version/default/2: .* is damaged") as caught:
            collect_garbage(yard.workspace)
        assert "store verify" in caught.value.hint
        assert stored(yard) == before
        assert "objects.collected" not in events(yard)

    def test_what_cannot_be_removed_is_removed_later(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphan = yard.put("orphan")
        yard.clock.forward(days=3)

        def refused(path: Path, missing_ok: bool = False) -> None:
            raise PermissionError(13, os.strerror(13), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refused)
            with pytest.raises(ArtifactError) as caught:
                collect_garbage(yard.workspace)
        assert f"object `{orphan}` cannot be removed" in caught.value.message
        assert "permissions" in caught.value.hint
        assert yard.workspace.store.exists(orphan)
        assert collect_garbage(yard.workspace).objects == 1

    def test_what_died_has_left_is_tidied_after_a_day(self, yard: Yard) -> None:
        runs, objects = yard.workspace.settings.home / "runs", yard.workspace.store.root
        for name in ("default-v2", "default-v3", "notes"):
            (runs / name).mkdir(parents=True)
        (objects / "tmp" / "left").write_text("half")
        (objects / "trees" / ("0" * 64)).mkdir(parents=True)
        yard.train("trained")
        yard.start()
        for path in (*runs.iterdir(), objects / "tmp" / "left"):
            os.utime(path, (yard.clock.now.timestamp(),) * 2)
        yard.clock.forward(hours=23)
        done = collect_garbage(yard.workspace)
        assert (done.runs, done.unfinished, done.checkouts) == (0, 0, 1)
        yard.clock.forward(hours=2)
        done = collect_garbage(yard.workspace)
        assert (done.runs, done.unfinished) == (1, 1)
        assert {path.name for path in runs.iterdir()} == {"default-v3", "notes"}


@pytest.mark.slow
def test_the_same_update_makes_a_collected_version_anew(updated: TinyLine) -> None:
    """It would otherwise find the version that stands, and have nothing to evaluate."""
    digest = updated.adapter(2)
    updated.workspace.registry.write(lambda writer: collect(writer, digest))
    updated.workspace.store.remove_object(digest, put_before=datetime.now(UTC) + timedelta(days=1))
    updated.clock.forward(minutes=1)
    made = updated.update()
    assert made.version.number == 3
    assert updated.adapter(3) == digest
    assert engine.adapter_path(updated.workspace, made.version) is not None
