"""Where objects lie: what a store asks of a place, whichever protocol it speaks."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from adaptman.errors import ArtifactError

BLOCK = 1 << 20
HEX = frozenset("0123456789abcdef")


class Stored(NamedTuple):
    """One object that is there: how many bytes, and when it was last put."""

    digest: str
    size: int
    modified: datetime


class Content(NamedTuple):
    """What bytes that were read turned out to be."""

    sha256: str
    size: int


class Backend(Protocol):
    """A place for objects. What cannot be done is told as an `ArtifactError`, without secrets."""

    @property
    def shown(self) -> str:
        """The place as messages name it."""
        ...

    def stat(self, digest: str) -> Stored | None:
        """What is known of the object without reading it; None when it is missing."""
        ...

    def read(self, digest: str, out: BinaryIO) -> Content | None:
        """Copy the object's bytes to `out` and say what they are; None when it is missing."""
        ...

    def put(self, digest: str, source: Path) -> None:
        """Store a file, which may be moved: the whole object appears, or nothing. `modified` is then now."""
        ...

    def delete(self, digest: str) -> None:
        """Remove the object; one that is missing is no error."""
        ...

    def list(self) -> Iterator[Stored]:
        """All objects, in no special order."""
        ...

    def prune(self, before: datetime) -> int:
        """Remove what unfinished writes left before that time; how many they were."""
        ...


class Nowhere:
    """Takes bytes and keeps none: for reading an object only to see whether it is whole."""

    def write(self, data: bytes) -> int:
        """Count them."""
        return len(data)


def check_digest(digest: str) -> None:
    """Refuse what is not a sha256 in lower-case hexadecimal.

    Raises:
        ArtifactError: it is not.
    """
    if not is_digest(digest):
        raise ArtifactError(f"{digest[:80]!a} is not the sha256 of an object")


def is_digest(name: str) -> bool:
    """Whether the name is a sha256 in lower-case hexadecimal."""
    return len(name) == 64 and HEX.issuperset(name)


def copy(source: BinaryIO, out: BinaryIO) -> Content:
    """Copy all bytes, block by block, and say what they were."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        digest.update(block)
        out.write(block)
        size += len(block)
    return Content(digest.hexdigest(), size)


HINTS = {
    errno.ENOSPC: "the disk is full: free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the command again",
    errno.EACCES: "look at the owner and the permissions of that path",
    errno.EPERM: "look at the owner and the permissions of that path",
    errno.EROFS: "the file system is mounted read-only",
}


@contextmanager
def told(what: str, *, missing: ArtifactError | None = None) -> Iterator[None]:
    """Tell an `OSError` as an `ArtifactError`: as `missing` where that is what it means."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing or ArtifactError(f"{what}: {error.strerror}") from error
    except OSError as error:
        hint = HINTS.get(error.errno or 0, "")
        raise ArtifactError(f"{what}: {error.strerror or error}", hint=hint) from error
