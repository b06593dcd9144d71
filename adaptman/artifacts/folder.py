"""Objects as files in a folder of a local disk.

    ROOT/ab/cdef…        one object, never changed
    ROOT/tmp/…           what is being written now
    ROOT/store.lock      held while an object is put in its place, or taken from it

An object is written under a temporary name, synced, renamed, and its directory synced, so that a name that is
there stands for whole bytes even after a power cut.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from adaptman.artifacts.backend import Content, Stored, check_digest, copy, is_digest, told


class Written(NamedTuple):
    """A file under a temporary name, synced, and what it holds."""

    path: Path
    content: Content


class Folder:
    """A `Backend` on a local disk. Safe for many processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.root)

    def path_of(self, digest: str) -> Path:
        """Where the object is or would be. Nothing is checked but the form of the digest.

        Raises:
            ArtifactError: it is not a sha256 in lower-case hexadecimal.
        """
        check_digest(digest)
        return self.root / digest[:2] / digest[2:]

    def stat(self, digest: str) -> Stored | None:
        """Size and time of the file; None when there is none."""
        path = self.path_of(digest)
        with told(f"object `{digest}` cannot be looked up in `{self.root}`"):
            return _stored(path, digest)

    def read(self, digest: str, out: BinaryIO) -> Content | None:
        """Copy the file's bytes to `out`."""
        with told(f"object `{digest}` cannot be read"):
            try:
                source = self.path_of(digest).open("rb")
            except FileNotFoundError:
                return None
            with source:
                return copy(source, out)

    def put(self, digest: str, source: Path) -> None:
        """Give a temporary file of this folder its name; a whole object that is there stays, as if new."""
        path = self.path_of(digest)
        with told(f"object store `{self.root}` cannot be written"):
            whole = path.is_file() and digest_of(path) == digest
            with self.lock():
                if not (whole and _touched(path)):
                    make_folder(path.parent)
                    os.replace(source, path)
                self._sync_names(path)

    def delete(self, digest: str) -> None:
        """Remove the file."""
        with told(f"object `{digest}` cannot be removed from `{self.root}`"):
            self.path_of(digest).unlink(missing_ok=True)

    def list(self) -> Iterator[Stored]:
        """All files whose names are digests."""
        with told(f"object store `{self.root}` cannot be read"):
            for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
                for path in folder.iterdir():
                    name = folder.name + path.name
                    found = _stored(path, name) if is_digest(name) else None
                    if found is not None:
                        yield found

    def prune(self, before: datetime) -> int:
        """Remove temporary files and folders that were last changed before that time."""
        removed = 0
        with told(f"object store `{self.root}` cannot be written"):
            for path in (self.root / "tmp").glob("*"):
                with suppress(FileNotFoundError):
                    if path.lstat().st_mtime < before.timestamp():
                        remove(path)
                        removed += 1
        return removed

    # what a store on this disk asks besides

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time puts an object in its place or takes one away."""
        from filelock import FileLock

        make_folder(self.root)
        with FileLock(self.root / "store.lock"):
            yield

    @contextmanager
    def written(self, write: Callable[[BinaryIO], Content]) -> Iterator[Written]:
        """A temporary file with what `write` writes, synced; removed at the end unless it was put."""
        make_folder(self.root / "tmp")
        handle, name = tempfile.mkstemp(dir=self.root / "tmp")
        try:
            with os.fdopen(handle, "wb") as out:
                content = write(out)
                out.flush()
                os.fchmod(out.fileno(), 0o444)
                os.fsync(out.fileno())
            yield Written(Path(name), content)
        finally:
            Path(name).unlink(missing_ok=True)

    def _sync_names(self, path: Path) -> None:
        """Even of an object that was there: whoever put it may have died before this."""
        sync_directory(path.parent)
        sync_directory(self.root)
        with suppress(PermissionError):  # a folder above that we may pass through but not look at
            sync_directory(self.root.parent)


def _stored(path: Path, digest: str) -> Stored | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stored(digest, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _touched(path: Path) -> bool:
    """Whether the file is there and now counts as put this moment, so that it is not collected as old."""
    try:
        os.utime(path)
    except OSError:  # collected meanwhile, or somebody else's
        return False
    return True


def digest_of(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder and those above it; each new one is synced into the one it lies in."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(target: Path) -> None:
    """Remove a file or a directory, the read-only ones of a store included; what is not there is no error."""
    if target.is_symlink() or target.is_file():
        target.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(target):  # top down: a folder must be writable before it is emptied
        Path(folder).chmod(0o755)
    with suppress(FileNotFoundError):
        shutil.rmtree(target)
