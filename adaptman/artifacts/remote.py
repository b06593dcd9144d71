"""Objects at any URL that fsspec can reach: `s3://bucket/prefix`, `gs://…`, `sftp://…`, `memory://…`.

    URL/ab/cdef…         one object
    URL/tmp/…            what is being uploaded, where a put alone is not atomic

S3, Google Cloud Storage, Azure and their likes show an object when its upload is complete, so it is put under
its own key at once. Elsewhere it is uploaded under a temporary key and moved. Where a protocol moves by
copying, half an object may be seen for a moment: its digest tells, and nobody takes it for the whole.

Credentials are those that the protocol finds by itself: its environment variables and configuration files.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from adaptman.artifacts.backend import Content, Stored, check_digest, copy, is_digest
from adaptman.errors import AdaptmanError, ArtifactError

ATOMIC_PUT = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "tos", "r2", "obs"}
)
TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified")


class Remote:
    """A `Backend` that fsspec reaches. `redact` takes secrets out of what is shown."""

    def __init__(self, fs: Any, path: str, url: str, *, redact: Callable[[str], str] = str) -> None:
        self._fs = fs
        self._path = path.rstrip("/")
        self._redact = redact
        self._atomic = not ATOMIC_PUT.isdisjoint(_protocols(fs))
        self.shown = redact(url)

    @classmethod
    def open(cls, url: str, *, redact: Callable[[str], str] = str) -> Remote:
        """The place that the URL names.

        Raises:
            ArtifactError: the protocol is unknown, or its package is not installed; the hint names it.
        """
        from fsspec.core import url_to_fs

        if "::" in url:
            raise ArtifactError(
                f"object store `{redact(url)}` chains protocols with `::`",
                hint="name one place that can be read and written, such as `s3://BUCKET/PREFIX`",
            )
        try:
            fs, path = url_to_fs(url)
        except ImportError as error:
            raise _not_installed(url, redact, error) from error
        except ValueError as error:
            raise ArtifactError(
                f"object store `{redact(url)}` cannot be used: {redact(_reason(error))}",
                hint="write a folder, or a URL such as `s3://BUCKET/PREFIX`",
            ) from error
        except Exception as error:  # a connection is made here by some protocols, each with errors of its own
            raise _unreachable(redact(url), redact(_reason(error))) from error
        return cls(fs, path, url, redact=redact)

    def _key(self, digest: str) -> str:
        check_digest(digest)
        return f"{self._path}/{digest[:2]}/{digest[2:]}"

    def stat(self, digest: str) -> Stored | None:
        """What the protocol says of the key; asked anew each time."""
        key = self._key(digest)
        with self._told(f"object `{digest}` cannot be looked up"):
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(key)
            except FileNotFoundError:
                return None
            return None if info.get("type") == "directory" else self._stored(digest, info)

    def read(self, digest: str, out: BinaryIO) -> Content | None:
        """Download the object to `out`."""
        with self._told(f"object `{digest}` cannot be read"):
            try:
                with self._fs.open(self._key(digest), "rb") as source:
                    return copy(source, out)
            except FileNotFoundError:
                return None

    def put(self, digest: str, source: Path) -> None:
        """Upload the file; what is there by that name is replaced. Its size is looked at afterwards."""
        key = self._key(digest)
        with self._told(f"object `{digest}` cannot be stored"):
            if self._atomic:
                self._fs.put_file(str(source), key)
            else:
                self._put_and_move(source, key)
        found, size = self.stat(digest), source.stat().st_size
        if found is None or found.size != size:
            there = "nothing" if found is None else f"{found.size} bytes"
            raise ArtifactError(
                f"object `{digest}` was uploaded to `{self.shown}`, but {there} of its {size} bytes is there",
                hint="run the command again",
            )

    def _put_and_move(self, source: Path, key: str) -> None:
        temporary = f"{self._path}/tmp/{uuid.uuid4().hex}"
        for folder in (f"{self._path}/tmp", key.rpartition("/")[0]):
            self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.put_file(str(source), temporary)
            self._fs.mv(temporary, key)
        except BaseException:
            with suppress(Exception):  # it is pruned later
                self._fs.rm_file(temporary)
            raise

    def delete(self, digest: str) -> None:
        """Remove the key."""
        with self._told(f"object `{digest}` cannot be removed"), suppress(FileNotFoundError):
            self._fs.rm_file(self._key(digest))

    def list(self) -> Iterator[Stored]:
        """All keys below the URL that are digests."""
        for path, info in self._find(self._path).items():
            name = "".join(path.rsplit("/", 2)[-2:])
            if is_digest(name) and path.endswith(self._key(name)):
                yield self._stored(name, info)

    def prune(self, before: datetime) -> int:
        """Remove temporary keys that were uploaded before that time."""
        removed = 0
        for path, info in self._find(f"{self._path}/tmp").items():
            if self._modified(info) < before:
                with self._told("what an unfinished upload left cannot be removed"):
                    self._fs.rm_file(path)
                removed += 1
        return removed

    def _find(self, path: str) -> dict[str, dict[str, Any]]:
        with self._told("its objects cannot be listed"):
            self._fs.invalidate_cache()
            try:
                found: dict[str, dict[str, Any]] = self._fs.find(path, detail=True)
            except FileNotFoundError:
                return {}
            return found

    def _stored(self, digest: str, info: dict[str, Any]) -> Stored:
        return Stored(digest, int(info["size"] or 0), self._modified(info))

    def _modified(self, info: dict[str, Any]) -> datetime:
        """When the key was put; now, where the protocol does not say: it is then never old enough to go."""
        given = next((info[name] for name in TIMES if info.get(name)), None)
        if given is None:
            with suppress(Exception):
                given = self._fs.modified(info["name"])
        return _time(given) or datetime.now(UTC)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Each protocol has errors of its own; all are told alike."""
        try:
            yield
        except AdaptmanError:
            raise
        except Exception as error:
            raise _unreachable(self.shown, self._redact(f"{what}: {_reason(error)}")) from error


def _protocols(fs: Any) -> set[str]:
    named = fs.protocol
    return {named} if isinstance(named, str) else set(named)


def _time(given: Any) -> datetime | None:
    if isinstance(given, int | float):
        return datetime.fromtimestamp(given, UTC)
    if isinstance(given, str):
        with suppress(ValueError):
            given = datetime.fromisoformat(given)
    if not isinstance(given, datetime):
        return None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _not_installed(url: str, redact: Callable[[str], str], error: ImportError) -> ArtifactError:
    from fsspec.registry import known_implementations

    known = known_implementations.get(url.partition("://")[0], {})
    package = str(known.get("class", "fsspec")).partition(".")[0]
    hint = "" if package == "fsspec" else f"run `pip install {package.replace('_', '-')}`"
    reason = _reason(error)
    return ArtifactError(
        f"object store `{redact(url)}` needs a package that is not installed: {reason}",
        hint=hint or "install the package that it names with `pip install`",
    )


def _unreachable(shown: str, reason: str) -> ArtifactError:
    return ArtifactError(
        f"object store `{shown}`: {reason}",
        hint="look at the network, the URL and the credentials that the protocol uses, and try again",
    )


def _reason(error: Exception) -> str:
    """The first line of what the protocol says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
