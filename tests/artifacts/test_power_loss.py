"""Loss of power at every step of a put: what was acknowledged is whole, no name stands for half an object.

The file operations of the store are watched while they are done for real. Beside the disk a second one is
kept, of what a disk guarantees: a file's bytes and the names in a directory as they were at the last fsync of
it. After each operation the machine may die. The worst disk then has only what is guaranteed; a hasty one has
written all names at once and lost the end of each file that was not synced. Both must do.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptman.artifacts.store import ObjectStore
from adaptman.errors import ArtifactError

OPERATIONS = ("fsync", "replace", "rename", "mkdir", "unlink", "fchmod", "link", "utime")


@dataclass
class Disk:
    """What the disk under `root` guarantees; `root` itself was there before."""

    root: Path
    bytes_of: dict[int, bytes] = field(default_factory=dict)
    names_in: dict[int, dict[str, int]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    steps: int = 0
    losses: list[str] = field(default_factory=list)

    def synced(self, handle: int) -> None:
        """An fsync of that handle was done."""
        found = os.fstat(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if stat.S_ISDIR(found.st_mode):
            self.names_in[found.st_ino] = {one.name: one.lstat().st_ino for one in path.iterdir()}
        else:
            self.bytes_of[found.st_ino] = path.read_bytes()

    def lose_power(self, after: str) -> None:
        """Look at both disks that may be found afterwards."""
        self.steps += 1
        worst = self._guaranteed(self.root.stat().st_ino)
        hasty = {
            one.relative_to(self.root).as_posix(): self.bytes_of.get(
                one.stat().st_ino, one.read_bytes()[: one.stat().st_size // 2]
            )
            for one in self.root.rglob("*")
            if one.is_file()
        }
        for disk, files in (("worst", worst), ("hasty", hasty)):
            self._check(f"step {self.steps}, {after}, {disk} disk", files)

    def _guaranteed(self, directory: int, above: str = "") -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for name, node in self.names_in.get(directory, {}).items():
            if node in self.names_in:
                files |= self._guaranteed(node, f"{above}{name}/")
            else:
                files[above + name] = self.bytes_of.get(node, b"")
        return files

    def _check(self, when: str, files: dict[str, bytes]) -> None:
        objects = {
            path.replace("/", "")[-64:]: data
            for path, data in files.items()
            if "/tmp/" not in path and "/trees/" not in path and not path.endswith(".lock")
        }
        for digest, data in objects.items():
            if len(digest) == 64 and hashlib.sha256(data).hexdigest() != digest:
                self.losses.append(f"{when}: object {digest[:8]} has {len(data)} bytes of others")
        for digest in self.acknowledged - objects.keys():
            self.losses.append(f"{when}: object {digest[:8]} was acknowledged and is gone")


def watched(disk: Disk, patch: pytest.MonkeyPatch, leave_out: Callable[[str, Any], bool]) -> None:
    """Let the disk know of each operation, before and after; those to leave out are not done at all."""

    def watch(name: str) -> None:
        real = getattr(os, name)

        def operation(*args: Any, **options: Any) -> Any:
            if leave_out(name, args[0]):
                return None
            done = real(*args, **options)
            if name == "fsync":
                disk.synced(args[0])
            disk.lose_power(name)
            return done

        patch.setattr(os, name, operation)

    for name in OPERATIONS:
        watch(name)


def put_all(
    folder: Path, puts: list[bytes], leave_out: Callable[[str, Any], bool] = lambda *_: False
) -> Disk:
    disk = Disk(folder)
    store = ObjectStore(folder / "home" / "objects")
    with pytest.MonkeyPatch.context() as patch:
        watched(disk, patch, leave_out)
        for data in puts:
            disk.acknowledged.add(store.put_bytes(data))
            disk.lose_power("acknowledged")
    return disk


@settings(max_examples=15)
@given(puts=st.lists(st.binary(max_size=64), min_size=1, max_size=5))
def test_what_a_put_acknowledged_outlasts_a_loss_of_power(
    puts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    disk = put_all(tmp_path_factory.mktemp("disk"), puts)
    assert disk.losses == []
    assert disk.steps > 5


def test_a_tree_outlasts_a_loss_of_power(tmp_path: Path) -> None:
    source = tmp_path / "adapter"
    source.mkdir()
    (source / "adapter_config.json").write_text('{"r": 8}')
    (source / "notes.txt").write_text("notes")
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    store = ObjectStore(tmp_path / "disk" / "objects")
    with pytest.MonkeyPatch.context() as patch:
        watched(disk, patch, lambda *_: False)
        tree = store.put_tree(source)
        disk.acknowledged |= {tree, *(one.sha256 for one in store.tree(tree).values())}
        disk.lose_power("acknowledged")
        store.checkout(tree)
    assert disk.losses == []
    assert len(disk.acknowledged) == 3


@pytest.mark.parametrize("kind", ["files", "directories"])
def test_without_its_syncs_the_store_would_lose_objects(tmp_path: Path, kind: str) -> None:
    """The test itself can see a loss."""

    def leave_out(name: str, what: Any) -> bool:
        is_directory = isinstance(what, int) and stat.S_ISDIR(os.fstat(what).st_mode)
        return name == "fsync" and is_directory == (kind == "directories")

    told = put_all(tmp_path, [b"hello"], leave_out).losses
    assert any(("bytes of others" if kind == "files" else "is gone") in loss for loss in told)


def test_a_put_that_fails_at_any_operation_can_be_done_again(tmp_path: Path) -> None:
    """The disk is full, at each operation in turn."""
    failed = [step for step in range(1, 16) if fails_at(tmp_path / f"disk-{step}", step)]
    assert len(failed) >= 10


def fails_at(folder: Path, step: int) -> bool:
    """Whether a first put comes to that operation; then it fails, and a second one is as good as any."""
    left = [step]

    def full(name: str, _what: Any) -> bool:
        left[0] -= name != "unlink"
        if left[0] == 0 and name != "unlink":
            raise OSError(28, os.strerror(28))
        return False

    folder.mkdir()
    disk = Disk(folder)
    store = ObjectStore(folder / "objects")
    with pytest.MonkeyPatch.context() as patch:
        watched(disk, patch, full)
        failed = False
        try:
            store.put_bytes(b"hello")
        except ArtifactError as error:
            failed = "No space left" in error.message
        left[0] = -1
        disk.acknowledged.add(store.put_bytes(b"hello"))
        disk.lose_power("acknowledged")
    assert disk.losses == []
    assert store.get_bytes(store.put_bytes(b"hello")) == b"hello"
    assert list((store.root / "tmp").iterdir()) == []
    return failed
