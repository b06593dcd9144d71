"""`store verify`: every fault is found, and says who needs what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptman.artifacts.store import ObjectStore
from adaptman.lifecycle.store_gc import collect_garbage
from adaptman.lifecycle.store_verify import Fault, verify_store
from tests.lifecycle.tiny_line import Recorder
from tests.lifecycle.yard import Yard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard.copy(tmp_path)
    made.train("refused", replay="samples", state="refused")
    yield made
    made.workspace.close()


def path_of(yard: Yard, digest: str) -> Path:
    return yard.workspace.store.path_of(digest)


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_whole_store(yard: Yard) -> None:
    yard.put("orphan")
    told = Recorder()
    report = verify_store(yard.workspace, progress=told)
    assert (report.ok, report.faults, report.collected) == (True, (), 0)
    assert report.objects == len(list(yard.workspace.store.objects()))
    assert report.size == sum(one.size for one in yard.workspace.store.objects())
    assert told.phases == ["verify"]
    assert told.advances["verify"] == report.objects


@pytest.mark.parametrize("harm", ["missing", "damaged", "truncated"])
def test_a_file_of_an_adapter(yard: Yard, harm: str) -> None:
    store = yard.workspace.store
    file = store.tree(yard.adapter(2))["adapter_config.json"]
    if harm == "missing":
        path_of(yard, file.sha256).unlink()
    else:
        overwrite(path_of(yard, file.sha256), b"refusee" if harm == "damaged" else b"ref")
    (fault,) = verify_store(yard.workspace).faults
    assert fault.digest == file.sha256
    assert ("is missing" if harm == "missing" else "is damaged") in fault.text
    assert fault.named_by == ("`adapter_config.json` in the adapter of version/default/2",)


def test_a_file_that_all_trees_share(yard: Yard) -> None:
    shared = yard.workspace.store.tree(yard.adapter(2))["shared.txt"].sha256
    path_of(yard, shared).unlink()
    (fault,) = verify_store(yard.workspace).faults
    assert (
        fault.named_by
        == (
            "`shared.txt` in the adapter of version/default/2",
            "`shared.txt` in the base checkpoint of model/default",
            "`shared.txt` in the base checkpoint of version/default/1",
            "`shared.txt` in the base checkpoint of version/default/2",
        )[: len(fault.named_by)]
    )
    assert len(fault.named_by) >= 3


def test_a_manifest(yard: Yard) -> None:
    overwrite(path_of(yard, yard.adapter(2)), b"{}")
    (fault,) = verify_store(yard.workspace).faults
    assert fault.named_by == ("adapter of version/default/2",)


def test_a_damaged_object_that_nothing_names(yard: Yard) -> None:
    orphan = yard.put("orphan")
    overwrite(path_of(yard, orphan), b"orphaN")
    (fault,) = verify_store(yard.workspace).faults
    assert (fault.digest, fault.named_by) == (orphan, ())


def test_one_that_is_removed_while_it_is_looked_for(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan, check = yard.put("orphan"), ObjectStore.check

    def removed(store: ObjectStore, digest: str, size: int | None = None) -> None:
        if digest == orphan:
            path_of(yard, digest).unlink()
        check(store, digest, size)

    monkeypatch.setattr(ObjectStore, "check", removed)
    assert verify_store(yard.workspace).ok


def test_what_gc_removed_is_no_fault(yard: Yard) -> None:
    yard.told_everything()
    yard.clock.forward(days=31)
    assert collect_garbage(yard.workspace).objects == 3
    report = verify_store(yard.workspace)
    assert report.ok
    assert report.collected == 2


def test_what_was_made_anew_and_lost_is_a_fault(yard: Yard) -> None:
    yard.told_everything()
    yard.clock.forward(days=31)
    collect_garbage(yard.workspace)
    yard.clock.forward(days=1)
    number = yard.train("refused", state="passed")
    path_of(yard, yard.adapter(number)).unlink()
    assert [type(one) for one in verify_store(yard.workspace).faults] == [Fault]
