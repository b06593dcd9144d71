"""Objects named by the sha256 of their bytes, on a local disk.

    ROOT/ab/cdef…        one object, never changed
    ROOT/tmp/…           what is being written now
    ROOT/trees/DIGEST/   a tree checked out: hard links to its objects

An object is written under a temporary name, synced, renamed, and its directory synced, so that a name that is
there stands for whole bytes even after a power cut. Each read computes the digest again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from adaptman.artifacts.contents import check_contents, check_name
from adaptman.errors import ArtifactError

BLOCK = 1 << 20
HEX = frozenset("0123456789abcdef")


class FileEntry(NamedTuple):
    """One file of a tree: the digest of its bytes, and how many there are."""

    sha256: str
    size: int


class ObjectStore:
    """Put bytes, files and directories in; get them out by digest. Safe for many processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path_of(self, digest: str) -> Path:
        """Where the object is or would be. Nothing is checked but the form of the digest.

        Raises:
            ArtifactError: it is not a sha256 in lower-case hexadecimal.
        """
        if len(digest) != 64 or not HEX.issuperset(digest):
            raise ArtifactError(f"{digest[:80]!a} is not the sha256 of an object")
        return self.root / digest[:2] / digest[2:]

    def exists(self, digest: str) -> bool:
        """Whether there is an object of that name; reading it may still find it damaged."""
        return self.path_of(digest).is_file()

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and return their digest. A damaged object of that name is replaced.

        Raises:
            ArtifactError: the disk is full or cannot be written.
        """
        return self._put(lambda out: _write_bytes(out, data))

    def put_file(self, path: Path) -> str:
        """Store the bytes of a file and return their digest.

        Raises:
            ArtifactError: the file cannot be read, or the disk is full or cannot be written.
        """
        with _told(f"file `{path}` cannot be read"), Path(path).open("rb") as source:
            return self._put(lambda out: _copy(source, out))

    def get_bytes(self, digest: str) -> bytes:
        """The bytes of an object.

        Raises:
            ArtifactError: it is missing or damaged; the message says what was found.
        """
        path = self.path_of(digest)
        with _told(f"object `{digest}` cannot be read", missing=self._missing(digest)):
            data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise self._damaged(path, digest, found, len(data))
        return data

    def put_tree(self, directory: Path) -> str:
        """Store all files below a directory and return the digest of their manifest.

        Only formats that cannot run code when they are read are taken; the contents are looked at, not just
        the names. Links to files are followed, links to directories are refused.

        Raises:
            ArtifactError: a file is of another kind, there is none, or they cannot be read or stored.
        """
        files = dict(_files_below(Path(directory)))
        if not files:
            raise ArtifactError(f"directory `{directory}` holds no files to store")
        for name, path in files.items():
            with _told(f"file `{path}` cannot be read"):
                check_contents(name, path)
        entries = {name: self._put_entry(path) for name, path in sorted(files.items())}
        manifest = {"files": {name: entry._asdict() for name, entry in entries.items()}}
        return self.put_bytes(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())

    def tree(self, digest: str) -> dict[str, FileEntry]:
        """The files of a tree by relative path.

        Raises:
            ArtifactError: the manifest is missing or damaged, or names a path outside the tree.
        """
        data = self.get_bytes(digest)
        try:
            files = json.loads(data)["files"]
            entries = {name: FileEntry(str(one["sha256"]), int(one["size"])) for name, one in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"object `{digest}` is not the manifest of a tree") from error
        for name in entries:
            check_name(name, tree=digest)
        _check_nesting(entries, digest)
        return entries

    def checkout(self, digest: str) -> Path:
        """A read-only directory with the files of a tree, each verified now.

        Raises:
            ArtifactError: the tree or one of its files is missing or damaged.
        """
        entries = self.tree(digest)
        for entry in entries.values():
            self._verify(self.path_of(entry.sha256), entry)
        target = self.root / "trees" / digest
        if not self._stands(target, entries):
            with _told(f"tree `{digest}` cannot be checked out to `{self.root}`"):
                self._build_alone(target, entries)
        return target

    # writing

    def _put(self, write: Callable[[BinaryIO], str]) -> str:
        with _told(f"object store `{self.root}` cannot be written"):
            temporary, digest = self._write_temporary(write)
            try:
                self._settle(temporary, digest)
            finally:
                temporary.unlink(missing_ok=True)
        return digest

    def _write_temporary(self, write: Callable[[BinaryIO], str]) -> tuple[Path, str]:
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as out:
                digest = write(out)
                out.flush()
                os.fchmod(out.fileno(), 0o444)
                os.fsync(out.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name), digest

    def _settle(self, temporary: Path, digest: str) -> None:
        path = self.path_of(digest)
        if path.is_file() and _digest_of(path) == digest:
            return
        path.parent.mkdir(exist_ok=True)
        temporary.replace(path)
        _sync_directory(path.parent)
        _sync_directory(self.root)

    def _put_entry(self, path: Path) -> FileEntry:
        digest = self.put_file(path)
        return FileEntry(digest, self.path_of(digest).stat().st_size)

    # checking out

    def _stands(self, target: Path, entries: dict[str, FileEntry]) -> bool:
        """Whether the checkout holds just these files, each being the very object or a good copy of it."""
        if target.is_symlink() or not target.is_dir():
            return False
        try:
            if {name for name, _ in _files_below(target)} != set(entries):
                return False
            return all(self._same(target / name, entry) for name, entry in entries.items())
        except (OSError, ArtifactError):
            return False

    def _same(self, path: Path, entry: FileEntry) -> bool:
        if path.is_symlink():
            return False
        return path.samefile(self.path_of(entry.sha256)) or _digest_of(path) == entry.sha256

    def _build_alone(self, target: Path, entries: dict[str, FileEntry]) -> None:
        """Make the checkout unless somebody else does meanwhile, who may be using it by then."""
        from filelock import FileLock

        with FileLock(self.root / "trees.lock"):
            if not self._stands(target, entries):
                self._build(target, entries)

    def _build(self, target: Path, entries: dict[str, FileEntry]) -> None:
        for folder in ("tmp", "trees"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=self.root / "tmp"))
        try:
            for name, entry in entries.items():
                self._place(self.path_of(entry.sha256), fresh / name)
            remove(target)
            fresh.rename(target)
        finally:
            remove(fresh)
        _make_read_only(target)

    def _place(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)
            target.chmod(0o444)

    def _verify(self, path: Path, entry: FileEntry) -> None:
        with _told(f"object `{entry.sha256}` cannot be read", missing=self._missing(entry.sha256)):
            size, found = path.stat().st_size, _digest_of(path)
        if (found, size) != entry:
            raise self._damaged(path, entry.sha256, found, size, expected=entry.size)

    def _missing(self, digest: str) -> ArtifactError:
        return ArtifactError(
            f"object `{digest}` is missing from `{self.root}`",
            hint="restore the directory from a backup, or make the object again",
        )

    def _damaged(
        self, path: Path, digest: str, found: str, size: int, *, expected: int | None = None
    ) -> ArtifactError:
        told = f" ({size} bytes instead of {expected})" if expected not in (None, size) else ""
        return ArtifactError(
            f"object `{digest}` is damaged: its bytes have the sha256 `{found}`{told}",
            hint=f"restore `{path}` from a backup, or make the object again",
        )


def _write_bytes(out: BinaryIO, data: bytes) -> str:
    out.write(data)
    return hashlib.sha256(data).hexdigest()


def _copy(source: BinaryIO, out: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(BLOCK):
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files_below(directory: Path) -> Iterator[tuple[str, Path]]:
    """Relative path, with `/` between its parts, and path of each file; in no special order."""
    with _told(f"directory `{directory}` cannot be read"):
        if not directory.is_dir():
            raise ArtifactError(f"directory `{directory}` does not exist")
        for folder, folders, files in os.walk(directory, onerror=_raise):
            for name in [*folders, *files]:
                path = Path(folder, name)
                if path.is_symlink() and path.is_dir():
                    raise ArtifactError(f"`{path}` is a link to a directory and is not stored")
            for name in files:
                path = Path(folder, name)
                if not stat.S_ISREG(path.stat().st_mode):
                    raise ArtifactError(f"`{path}` is not a regular file")
                yield path.relative_to(directory).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def _check_nesting(entries: dict[str, FileEntry], digest: str) -> None:
    for name in entries:
        above = {parent.as_posix() for parent in Path(name).parents}
        if clash := above & set(entries):
            raise ArtifactError(f"tree `{digest}` names `{min(clash)}` both as a file and as a directory")


def _make_read_only(target: Path) -> None:
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(0o555)


def remove(target: Path) -> None:
    """Remove a file or a directory, the read-only ones of a store included; what is not there is no error."""
    if target.is_symlink() or target.is_file():
        target.unlink()
        return
    for folder, _, _ in os.walk(target):  # top down: a folder must be writable before it is emptied
        Path(folder).chmod(0o755)
    with suppress(FileNotFoundError):
        shutil.rmtree(target)


HINTS = {
    errno.ENOSPC: "the disk is full: free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
    errno.EACCES: "look at the owner and the permissions of that path",
    errno.EPERM: "look at the owner and the permissions of that path",
    errno.EROFS: "the file system is mounted read-only",
}


@contextmanager
def _told(what: str, *, missing: ArtifactError | None = None) -> Iterator[None]:
    """Tell an `OSError` as an `ArtifactError`: as `missing` where that is what it means."""
    try:
        yield
    except OSError as error:
        if missing is not None and isinstance(error, FileNotFoundError):
            raise missing from None
        reason = error.strerror or str(error)
        raise ArtifactError(f"{what}: {reason}", hint=HINTS.get(error.errno or 0, "")) from error
