"""Objects named by the sha256 of their bytes, in a folder or at any URL that fsspec reaches.

    ROOT/ab/cdef…        one object, never changed
    ROOT/trees/DIGEST/   a tree checked out: hard links to its objects

The objects lie in the folder itself, or at a URL: then the folder holds copies of those that were used, and
may be removed at any time. Each read computes the digest again, of a copy as well.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from adaptman.artifacts.backend import Backend, Content, Nowhere, Stored, copy, told
from adaptman.artifacts.checkouts import Checkouts
from adaptman.artifacts.contents import check_contents, check_name
from adaptman.artifacts.folder import Folder, digest_of
from adaptman.errors import ArtifactError


class FileEntry(NamedTuple):
    """One file of a tree: the digest of its bytes, and how many there are."""

    sha256: str
    size: int


class ObjectStore:
    """Put bytes, files and directories in; get them out by digest. Safe for many processes at once.

    `root` is the folder of the objects or, where they lie in `remote`, of copies and checkouts.
    """

    def __init__(self, root: Path, *, remote: Backend | None = None) -> None:
        self._folder = Folder(root)
        self._remote = remote
        self._backend: Backend = remote if remote is not None else self._folder
        self._checkouts = Checkouts(self._folder)
        self.root = self._folder.root

    @property
    def shown(self) -> str:
        """The place of the objects as messages name it, without secrets."""
        return self._backend.shown

    def path_of(self, digest: str) -> Path:
        """Where the object, or the copy of it, is or would be. Nothing is checked but the form of the digest.

        Raises:
            ArtifactError: it is not a sha256 in lower-case hexadecimal.
        """
        return self._folder.path_of(digest)

    def exists(self, digest: str) -> bool:
        """Whether there is an object of that name; reading it may still find it damaged."""
        return self._backend.stat(digest) is not None

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and return their digest. A damaged object of that name is replaced.

        Raises:
            ArtifactError: the disk is full or cannot be written, or the URL cannot be reached.
        """
        return self._put(lambda out: copy(io.BytesIO(data), out)).sha256

    def put_file(self, path: Path) -> str:
        """Store the bytes of a file and return their digest.

        Raises:
            ArtifactError: the file cannot be read, the disk is full or cannot be written, or the URL cannot
                be reached.
        """
        return self._put_file(path).sha256

    def get_bytes(self, digest: str) -> bytes:
        """The bytes of an object.

        Raises:
            ArtifactError: it is missing or damaged; the message says what was found.
        """
        path = self.path_of(digest)
        if self._remote is not None:
            self._copy_here(digest)
        with told(f"object `{digest}` cannot be read", missing=self._missing(digest)):
            data = path.read_bytes()
        found = Content(hashlib.sha256(data).hexdigest(), len(data))
        if found.sha256 != digest:
            raise self._damaged(digest, found)
        return data

    def put_tree(self, directory: Path) -> str:
        """Store all files below a directory and return the digest of their manifest.

        Only formats that cannot run code when they are read are taken; the contents are looked at, not just
        the names. Links to files are followed, links to directories are refused.

        Raises:
            ArtifactError: a file is of another kind, there is none, or they cannot be read or stored.
        """
        files = dict(files_below(Path(directory)))
        if not files:
            raise ArtifactError(f"directory `{directory}` holds no files to store")
        for name, path in files.items():
            with told(f"file `{path}` cannot be read"):
                check_contents(name, path)
        entries = {name: FileEntry(*self._put_file(path)) for name, path in sorted(files.items())}
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
            self._verify(entry)
        with told(f"tree `{digest}` cannot be checked out to `{self.root}`"):
            return self._checkouts.of(digest, {name: entry.sha256 for name, entry in entries.items()})

    # upkeep

    def objects(self) -> Iterator[Stored]:
        """All objects, in no special order.

        Raises:
            ArtifactError: they cannot be listed.
        """
        return self._backend.list()

    def check(self, digest: str, size: int | None = None) -> None:
        """Read an object where it lies, and not its copy, and compare.

        Raises:
            ArtifactError: it is missing or damaged; the message says what was found.
        """
        self.path_of(digest)
        found = self._backend.read(digest, cast(BinaryIO, Nowhere()))
        if found is None:
            raise self._missing(digest)
        self._compare(digest, found, size)

    def remove_object(self, digest: str, *, put_before: datetime) -> bool:
        """Remove an object unless it was put again at or after that time; whether it is gone.

        A put of this machine waits meanwhile, and finds that it has to store the object anew.

        Raises:
            ArtifactError: it cannot be removed.
        """
        self.path_of(digest)
        with told(f"object `{digest}` cannot be removed from `{self.shown}`"), self._folder.lock():
            found = self._backend.stat(digest)
            if found is not None and found.modified >= put_before:
                return False
            self._backend.delete(digest)
            if self._remote is not None:
                self._folder.delete(digest)
            return True

    def prune_checkouts(self, keep: Collection[str]) -> int:
        """Remove the checkouts of all other trees; how many they were.

        Raises:
            ArtifactError: one cannot be removed.
        """
        with told(f"checkouts in `{self.root}` cannot be removed"):
            return self._checkouts.prune(keep)

    def prune_unfinished(self, before: datetime) -> int:
        """Remove what writes that died before that time have left; how many files they were.

        Raises:
            ArtifactError: one cannot be removed.
        """
        copies = self._folder.prune(before) if self._remote is not None else 0
        return copies + self._backend.prune(before)

    # writing

    def _put(self, write: Callable[[BinaryIO], Content]) -> Content:
        with told(f"object store `{self.root}` cannot be written"), self._folder.written(write) as fresh:
            if self._remote is not None:
                # Uploaded even if it is there: to know that it is whole takes as long as to send it.
                with self._folder.lock():
                    self._remote.put(fresh.content.sha256, fresh.path)
            self._folder.put(fresh.content.sha256, fresh.path)
            return fresh.content

    def _put_file(self, path: Path) -> Content:
        with told(f"file `{path}` cannot be read"), Path(path).open("rb") as source:
            return self._put(lambda out: copy(source, out))

    # reading

    def _verify(self, entry: FileEntry) -> None:
        """See that the file of a tree is whole, and here."""
        if self._remote is not None:
            self._copy_here(entry.sha256)
        path = self.path_of(entry.sha256)
        with told(f"object `{entry.sha256}` cannot be read", missing=self._missing(entry.sha256)):
            found = Content(digest_of(path), path.stat().st_size)
        self._compare(entry.sha256, found, entry.size)

    def _copy_here(self, digest: str) -> None:
        """Fetch the object unless a good copy is here."""
        path = self.path_of(digest)
        with told(f"object `{digest}` cannot be kept in `{self.root}`"):
            if path.is_file() and digest_of(path) == digest:
                return
            with self._folder.written(lambda out: self._fetch(digest, out)) as fresh:
                self._folder.put(digest, fresh.path)

    def _fetch(self, digest: str, out: BinaryIO) -> Content:
        found = self._backend.read(digest, out)
        if found is None:
            raise self._missing(digest)
        self._compare(digest, found, None)
        return found

    def _compare(self, digest: str, found: Content, size: int | None) -> None:
        if found.sha256 != digest or size not in (None, found.size):
            raise self._damaged(digest, found, expected=size)

    def _missing(self, digest: str) -> ArtifactError:
        return ArtifactError(
            f"object `{digest}` is missing from `{self.shown}`",
            hint="restore the directory from a backup, or make the object again",
        )

    def _damaged(self, digest: str, found: Content, *, expected: int | None = None) -> ArtifactError:
        told = f" ({found.size} bytes instead of {expected})" if expected not in (None, found.size) else ""
        place = self.path_of(digest) if self._remote is None else self.shown
        return ArtifactError(
            f"object `{digest}` is damaged: its bytes have the sha256 `{found.sha256}`{told}",
            hint=f"restore `{place}` from a backup, or make the object again",
        )


def files_below(directory: Path) -> Iterator[tuple[str, Path]]:
    """Relative path, with `/` between its parts, and path of each file; in no special order."""
    with told(f"directory `{directory}` cannot be read"):
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
