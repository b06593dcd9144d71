"""What holds of every place that objects can lie in, and what happens when a place fails or lies."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptman.artifacts.remote import Remote
from adaptman.artifacts.store import ObjectStore
from adaptman.config import redacted
from adaptman.errors import ArtifactError

PLACES = ("folder", "memory", "file", "uploaded at once")
NUMBERS = count()
FAR = datetime.now(UTC) + timedelta(days=1)


class AtOnce(fsspec.filesystem("memory").__class__):  # type: ignore[misc]
    """A file system in memory that claims to be an object store, whose put is atomic."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def mv(self, *_args: Any, **_options: Any) -> None:
        raise AssertionError("an object store copies to move: the object was put under its own key")


def remote(kind: str, folder: Path) -> Remote:
    """An empty place of that kind."""
    if kind == "file":
        return Remote(fsspec.filesystem("file"), str(folder / "remote"), f"file://{folder}/remote")
    if kind == "memory":
        return Remote.open(f"memory://bucket-{next(NUMBERS)}/prefix")
    path = f"/bucket-{next(NUMBERS)}/prefix"
    return Remote(AtOnce(), path, f"s3:/{path}")


def make(kind: str, folder: Path) -> ObjectStore:
    if kind == "folder":
        return ObjectStore(folder / "objects")
    return ObjectStore(folder / "cache", remote=remote(kind, folder))


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return make(request.param, tmp_path)


@pytest.fixture(scope="module", params=PLACES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return make(request.param, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return folder


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forget_copies(store: ObjectStore) -> None:
    """The local copies are gone, as on another machine."""
    for path in store.root.glob("[0-9a-f][0-9a-f]/*"):
        path.unlink()


class TestEveryPlace:
    @settings(max_examples=25)
    @given(data=st.binary(max_size=2048))
    def test_what_goes_in_comes_out(self, shared: ObjectStore, data: bytes) -> None:
        digest = shared.put_bytes(data)
        assert digest == sha256(data)
        assert shared.exists(digest)
        assert shared.get_bytes(digest) == data
        assert {one.digest: one.size for one in shared.objects()}[digest] == len(data)
        shared.check(digest, len(data))

    def test_another_machine_reads_it(self, store: ObjectStore, adapter: Path) -> None:
        digest = store.put_tree(adapter)
        if store.shown != str(store.root):
            forget_copies(store)
        folder = store.checkout(digest)
        assert (folder / "tokenizer" / "vocab.txt").read_text() == "a\nb\n"
        assert folder.stat().st_mode & 0o222 == 0

    def test_a_large_file(self, store: ObjectStore, tmp_path: Path) -> None:
        data = os.urandom(2**21 + 17)
        (tmp_path / "large").write_bytes(data)
        digest = store.put_file(tmp_path / "large")
        store.check(digest, len(data))
        assert store.get_bytes(digest) == data

    def test_what_is_missing(self, store: ObjectStore) -> None:
        digest = sha256(b"never stored")
        assert not store.exists(digest)
        assert list(store.objects()) == []
        for step in (store.get_bytes, store.check, store.tree, store.checkout):
            with pytest.raises(ArtifactError, match=f"`{digest}` is missing"):
                step(digest)

    def test_what_is_no_digest(self, store: ObjectStore) -> None:
        for step in (store.get_bytes, store.exists, store.check):
            with pytest.raises(ArtifactError, match="is not the sha256"):
                step("../../etc/passwd")

    def test_an_object_that_was_put_again_is_not_removed(self, store: ObjectStore) -> None:
        digest = store.put_bytes(b"hello")
        store.put_bytes(b"hello")
        since = next(store.objects()).modified
        assert not store.remove_object(digest, put_before=since)
        assert store.get_bytes(digest) == b"hello"
        assert store.remove_object(digest, put_before=since + timedelta(seconds=1))
        assert not store.exists(digest)
        with pytest.raises(ArtifactError, match="is missing"):
            store.get_bytes(digest)
        assert store.remove_object(digest, put_before=since)

    def test_putting_makes_it_new(self, store: ObjectStore) -> None:
        """Or gc would take an old object from under a run that has just put it."""
        digest = store.put_bytes(b"hello")
        if store.shown == str(store.root):
            os.utime(store.path_of(digest), (0, 0))
        before = next(store.objects()).modified
        store.put_bytes(b"hello")
        assert next(store.objects()).modified > before

    def test_nothing_is_left_over(self, store: ObjectStore, adapter: Path) -> None:
        store.checkout(store.put_tree(adapter))
        assert store.prune_unfinished(FAR) == 0


class Flaky:
    """A file system whose next calls of one kind go wrong."""

    def __init__(self, inner: Any, wrong: dict[str, Callable[..., Any]]) -> None:
        self._inner, self._wrong = inner, wrong
        self.protocol = inner.protocol

    def __getattr__(self, name: str) -> Any:
        return self._wrong.get(name) or getattr(self._inner, name)


class BrokenError(Exception):
    """What a protocol raises that knows nothing of OSError."""


def breaks(*_args: Any, **_options: Any) -> Any:
    raise BrokenError("connection to https://ada:secret@host/bucket?token=tell reset by peer\nand more")


class TornOff(io.BytesIO):
    """A connection that breaks in the middle of a read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise ConnectionResetError("connection reset by peer")
        return super().read(3)


@pytest.fixture
def flaky(tmp_path: Path) -> tuple[ObjectStore, dict[str, Callable[..., Any]]]:
    wrong: dict[str, Callable[..., Any]] = {}
    fs = Flaky(fsspec.filesystem("memory"), wrong)
    place = Remote(fs, f"/flaky-{next(NUMBERS)}", "memory://ada:secret@host/flaky", redact=redacted)
    return ObjectStore(tmp_path / "cache", remote=place), wrong


class TestPlacesThatFail:
    @pytest.mark.parametrize("call", ["put_file", "mv", "makedirs"])
    def test_an_upload_that_breaks_leaves_nothing_by_that_name(self, flaky: Any, call: str) -> None:
        store, wrong = flaky
        wrong[call] = breaks
        with pytest.raises(ArtifactError) as caught:
            store.put_bytes(b"hello")
        assert "cannot be stored: connection to" in caught.value.message
        assert "secret" not in caught.value.message + caught.value.hint
        assert "tell" not in caught.value.message
        assert "\n" not in caught.value.message
        wrong.clear()
        assert not store.exists(sha256(b"hello"))
        assert store.prune_unfinished(FAR) == 0
        store.put_bytes(b"hello")
        forget_copies(store)
        assert store.get_bytes(sha256(b"hello")) == b"hello"

    def test_an_upload_that_lost_its_end_is_not_acknowledged(self, flaky: Any) -> None:
        store, wrong = flaky
        inner = fsspec.filesystem("memory")
        wrong["put_file"] = lambda source, key: inner.pipe_file(key, Path(source).read_bytes()[:2])
        with pytest.raises(ArtifactError, match="2 bytes of its 5 bytes is there"):
            store.put_bytes(b"hello")

    @pytest.mark.parametrize("call", ["open", "info", "find", "rm_file"])
    def test_a_connection_that_fails_is_told(self, flaky: Any, call: str) -> None:
        store, wrong = flaky
        digest = store.put_bytes(b"hello")
        forget_copies(store)
        wrong[call] = breaks
        steps = {
            "open": lambda: store.get_bytes(digest),
            "info": lambda: store.exists(digest),
            "find": lambda: list(store.objects()),
            "rm_file": lambda: store.remove_object(digest, put_before=FAR),
        }
        with pytest.raises(ArtifactError) as caught:
            steps[call]()
        assert "memory://ada:***@host/flaky" in caught.value.message
        assert "network" in caught.value.hint

    def test_a_download_that_breaks_off_is_not_kept(self, flaky: Any) -> None:
        store, wrong = flaky
        digest = store.put_bytes(b"hello")
        forget_copies(store)
        wrong["open"] = lambda *_args, **_options: TornOff(b"hello")
        with pytest.raises(ArtifactError, match="reset by peer"):
            store.get_bytes(digest)
        wrong["open"] = lambda *_args, **_options: io.BytesIO(b"hel")
        with pytest.raises(ArtifactError, match="is damaged"):
            store.get_bytes(digest)
        assert not store.path_of(digest).exists()
        wrong.clear()
        assert store.get_bytes(digest) == b"hello"

    def test_a_place_that_lies_is_found_out(self, flaky: Any, adapter: Path) -> None:
        store, wrong = flaky
        digest = store.put_tree(adapter)
        forget_copies(store)
        wrong["open"] = lambda *_args, **_options: io.BytesIO(b'{"files": {}}')
        for step in (store.get_bytes, store.check, store.checkout):
            with pytest.raises(ArtifactError, match="is damaged"):
                step(digest)

    def test_a_copy_that_was_damaged_is_fetched_again(self, flaky: Any, adapter: Path) -> None:
        store, _ = flaky
        digest = store.put_tree(adapter)
        for path in store.root.glob("[0-9a-f][0-9a-f]/*"):
            path.chmod(0o644)
            path.write_bytes(b"hallo")
        assert (store.checkout(digest) / "adapter_config.json").read_text() == '{"r": 8}'

    def test_a_place_that_does_not_say_when_keeps_its_objects(self, flaky: Any) -> None:
        store, wrong = flaky
        digest = store.put_bytes(b"hello")
        wrong["modified"] = breaks
        assert not store.remove_object(digest, put_before=datetime.now(UTC) - timedelta(seconds=1))

    def test_what_an_upload_that_died_has_left_is_pruned_when_it_is_old(self, flaky: Any) -> None:
        store, wrong = flaky

        def die(*_args: Any) -> None:
            raise KeyboardInterrupt

        wrong.update(mv=die, rm_file=breaks)
        with pytest.raises(KeyboardInterrupt):
            store.put_bytes(b"hello")
        wrong.clear()
        assert store.prune_unfinished(datetime.now(UTC) - timedelta(hours=1)) == 0
        assert store.prune_unfinished(FAR) == 1
        assert list(store.objects()) == []


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "told", "hint"),
        [
            ("s3://bucket/prefix", "needs a package that is not installed", "pip install s3fs"),
            ("gs://bucket", "needs a package that is not installed", "pip install gcsfs"),
            ("nonsense://bucket", "Protocol not known", "`s3://BUCKET/PREFIX`"),
            ("zip::memory://bucket", "chains protocols", "one place"),
        ],
    )
    def test_a_url_that_cannot_be_used(self, url: str, told: str, hint: str) -> None:
        with pytest.raises(ArtifactError) as caught:
            Remote.open(url)
        assert told in caught.value.message
        assert hint in caught.value.hint

    def test_a_password_is_not_shown(self) -> None:
        with pytest.raises(ArtifactError) as caught:
            Remote.open("nonsense://ada:secret@bucket", redact=redacted)
        assert "secret" not in caught.value.message
