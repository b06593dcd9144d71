"""The object store on a real disk: what goes in comes out, or the reader is told what happened to it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptman.artifacts.folder import remove
from adaptman.artifacts.store import FileEntry, ObjectStore
from adaptman.errors import ArtifactError
from tests.nobody import as_nobody, locked_folder

HEADER = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)
NAMES = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6}){0,2}\.(txt|json|md)", fullmatch=True)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left_over(store: ObjectStore) -> list[Path]:
    """Files that are not objects."""
    return [path for path in (store.root / "tmp").rglob("*") if path.is_file()]


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return folder


class TestObjects:
    @given(data=st.binary(max_size=4096))
    def test_what_goes_in_comes_out(self, data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        store = ObjectStore(tmp_path_factory.getbasetemp() / "shared-objects")
        digest = store.put_bytes(data)
        assert digest == sha256(data)
        assert store.get_bytes(digest) == data
        assert store.exists(digest)
        assert left_over(store) == []

    def test_the_layout_is_as_documented(self, store: ObjectStore) -> None:
        digest = store.put_bytes(b"hello")
        path = store.root / digest[:2] / digest[2:]
        assert path.read_bytes() == b"hello"
        assert path.stat().st_mode & 0o777 == 0o444

    def test_a_file_is_stored_like_its_bytes(self, store: ObjectStore, tmp_path: Path) -> None:
        data = os.urandom(3 * 1024 * 1024 + 17)
        (tmp_path / "large").write_bytes(data)
        assert store.put_file(tmp_path / "large") == sha256(data)
        assert store.get_bytes(sha256(data)) == data

    def test_storing_twice_keeps_one(self, store: ObjectStore) -> None:
        digest = store.put_bytes(b"hello")
        before = store.path_of(digest).stat().st_ino
        assert store.put_bytes(b"hello") == digest
        assert store.path_of(digest).stat().st_ino == before

    def test_many_at_once(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            digests = list(pool.map(store.put_bytes, [b"the same"] * 16 + [b"another"] * 16))
        assert set(digests) == {sha256(b"the same"), sha256(b"another")}
        assert store.get_bytes(digests[0]) == b"the same"
        assert left_over(store) == []

    def test_a_missing_object(self, store: ObjectStore) -> None:
        digest = sha256(b"never stored")
        assert not store.exists(digest)
        with pytest.raises(ArtifactError) as caught:
            store.get_bytes(digest)
        assert caught.value.message == f"object `{digest}` is missing from `{store.root}`"
        assert "backup" in caught.value.hint

    @pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", "A" * 64, "g" * 64, "a" * 65])
    def test_what_is_no_digest(self, store: ObjectStore, name: str) -> None:
        for step in (store.get_bytes, store.exists, store.tree, store.checkout):
            with pytest.raises(ArtifactError, match="is not the sha256"):
                step(name)


class TestDamage:
    @settings(max_examples=50)
    @given(data=st.binary(min_size=1, max_size=200), place=st.integers(0, 199), bit=st.integers(0, 7))
    def test_a_flipped_bit_is_found(
        self, data: bytes, place: int, bit: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        store = ObjectStore(tmp_path_factory.getbasetemp() / "flipped-objects")
        digest = store.put_bytes(data)
        place %= len(data)
        damaged = data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
        overwrite(store.path_of(digest), damaged)
        with pytest.raises(ArtifactError) as caught:
            store.get_bytes(digest)
        assert f"`{digest}` is damaged" in caught.value.message
        assert f"`{sha256(damaged)}`" in caught.value.message

    @pytest.mark.parametrize("keep", [0, 1, 4])
    def test_a_truncated_object_is_found(self, store: ObjectStore, keep: int) -> None:
        digest = store.put_bytes(b"hello")
        overwrite(store.path_of(digest), b"hello"[:keep])
        with pytest.raises(ArtifactError, match="is damaged"):
            store.get_bytes(digest)

    def test_storing_again_mends_a_damaged_object(self, store: ObjectStore) -> None:
        digest = store.put_bytes(b"hello")
        overwrite(store.path_of(digest), b"hallo")
        store.put_bytes(b"hello")
        assert store.get_bytes(digest) == b"hello"

    def test_a_truncated_file_of_a_tree_is_told_with_both_sizes(
        self, store: ObjectStore, adapter: Path
    ) -> None:
        digest = store.put_tree(adapter)
        weights = store.tree(digest)["adapter_model.safetensors"]
        overwrite(store.path_of(weights.sha256), WEIGHTS[:-1])
        with pytest.raises(ArtifactError) as caught:
            store.checkout(digest)
        assert f"({len(WEIGHTS) - 1} bytes instead of {len(WEIGHTS)})" in caught.value.message

    def test_a_missing_file_of_a_tree(self, store: ObjectStore, adapter: Path) -> None:
        digest = store.put_tree(adapter)
        lost = store.tree(digest)["adapter_config.json"].sha256
        store.path_of(lost).unlink()
        with pytest.raises(ArtifactError, match=f"`{lost}` is missing"):
            store.checkout(digest)


class TestTrees:
    def test_a_tree_comes_back(self, store: ObjectStore, adapter: Path) -> None:
        digest = store.put_tree(adapter)
        assert store.tree(digest)["adapter_model.safetensors"] == FileEntry(sha256(WEIGHTS), len(WEIGHTS))
        folder = store.checkout(digest)
        assert folder == store.root / "trees" / digest
        for path in adapter.rglob("*"):
            if path.is_file():
                assert (folder / path.relative_to(adapter)).read_bytes() == path.read_bytes()

    def test_the_manifest_is_as_documented(self, store: ObjectStore, adapter: Path) -> None:
        manifest = json.loads(store.get_bytes(store.put_tree(adapter)))
        assert list(manifest["files"]) == [
            "adapter_config.json",
            "adapter_model.safetensors",
            "tokenizer/vocab.txt",
        ]
        assert manifest["files"]["adapter_config.json"] == {"sha256": sha256(b'{"r": 8}'), "size": 8}

    @settings(max_examples=25)
    @given(files=st.dictionaries(NAMES, st.text(max_size=50), min_size=1, max_size=5))
    def test_any_tree_comes_back(
        self, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("tree")
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.encode("utf-8", "replace"))
        store = ObjectStore(tmp_path_factory.getbasetemp() / "tree-objects")
        digest = store.put_tree(folder)
        again = store.checkout(digest)
        assert set(store.tree(digest)) == set(files)
        assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in files)
        assert store.put_tree(again) == digest

    def test_the_checkout_is_read_only_and_shares_the_objects(
        self, store: ObjectStore, adapter: Path
    ) -> None:
        digest = store.put_tree(adapter)
        folder = store.checkout(digest)
        path = folder / "adapter_config.json"
        assert path.samefile(store.path_of(store.tree(digest)["adapter_config.json"].sha256))
        assert path.stat().st_mode & 0o222 == 0
        assert folder.stat().st_mode & 0o222 == 0
        assert left_over(store) == []

    def test_checking_out_twice_is_the_same_directory(self, store: ObjectStore, adapter: Path) -> None:
        digest = store.put_tree(adapter)
        before = store.checkout(digest).stat().st_ino
        assert store.checkout(digest).stat().st_ino == before

    def test_many_checkouts_at_once(self, store: ObjectStore, adapter: Path) -> None:
        digest = store.put_tree(adapter)

        def read(_: int) -> str:
            return (store.checkout(digest) / "tokenizer" / "vocab.txt").read_text()

        with ThreadPoolExecutor(8) as pool:
            folders = list(pool.map(store.checkout, [digest] * 16))
        assert set(folders) == {store.root / "trees" / digest}
        assert (folders[0] / "tokenizer" / "vocab.txt").read_text() == "a\nb\n"
        for _ in range(20):  # a checkout that one has is not taken away by another
            remove(folders[0])
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(read, range(16))) == {"a\nb\n"}
        assert list((store.root / "tmp").iterdir()) == []

    @pytest.mark.parametrize("harm", ["changed", "removed", "added", "linked"])
    def test_a_checkout_that_was_tampered_with_is_made_anew(
        self, store: ObjectStore, adapter: Path, harm: str
    ) -> None:
        digest = store.put_tree(adapter)
        folder = store.checkout(digest)
        folder.chmod(0o755)
        path = folder / "adapter_config.json"
        if harm != "added":
            path.unlink()
        if harm == "changed":
            path.write_text('{"r": 9}')
        if harm == "linked":
            path.symlink_to(adapter / "adapter_config.json")
        if harm == "added":
            (folder / "extra.py").write_text("import os")
        assert store.checkout(digest) == folder
        assert path.read_text() == '{"r": 8}'
        assert not path.is_symlink()
        assert not (folder / "extra.py").exists()

    def test_a_checkout_that_is_a_link_is_replaced(
        self, store: ObjectStore, adapter: Path, tmp_path: Path
    ) -> None:
        digest = store.put_tree(adapter)
        (store.root / "trees").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (store.root / "trees" / digest).symlink_to(tmp_path / "elsewhere")
        folder = store.checkout(digest)
        assert not folder.is_symlink()
        assert (tmp_path / "elsewhere").is_dir()

    @pytest.mark.parametrize(
        "name",
        [
            "../up.txt",
            "/etc/passwd",
            "a/../../b.txt",
            "a//b.txt",
            "./a.txt",
            "a\\b.txt",
            "c:a.txt",
            "",
            "a\0b",
        ],
    )
    def test_a_path_that_leads_out_of_the_tree(self, store: ObjectStore, name: str) -> None:
        inner = store.put_bytes(b"x")
        digest = store.put_bytes(json.dumps({"files": {name: {"sha256": inner, "size": 1}}}).encode())
        for step in (store.tree, store.checkout):
            with pytest.raises(ArtifactError, match="leads out of it"):
                step(digest)

    def test_a_name_that_is_a_file_and_a_directory(self, store: ObjectStore) -> None:
        entry = {"sha256": store.put_bytes(b"x"), "size": 1}
        digest = store.put_bytes(json.dumps({"files": {"a.txt": entry, "a.txt/b.txt": entry}}).encode())
        with pytest.raises(ArtifactError, match="both as a file and as a directory"):
            store.checkout(digest)

    @pytest.mark.parametrize(
        "data", [b"", b"hello", b"[]", b"{}", b'{"files": [1]}', b'{"files": {"a": 1}}', b"\xff"]
    )
    def test_an_object_that_is_no_manifest(self, store: ObjectStore, data: bytes) -> None:
        digest = store.put_bytes(data)
        with pytest.raises(ArtifactError, match="is not the manifest of a tree"):
            store.tree(digest)


class TestContents:
    @pytest.mark.parametrize("name", ["adapter_model.bin", "model.pt", "state.pkl", "run.py", "LICENSE"])
    def test_other_kinds_are_refused(self, store: ObjectStore, adapter: Path, name: str) -> None:
        (adapter / name).write_bytes(b"x")
        with pytest.raises(ArtifactError) as caught:
            store.put_tree(adapter)
        assert f"`{name}`" in caught.value.message
        assert ".safetensors" in caught.value.hint

    @pytest.mark.parametrize(
        "name", ["weights.safetensors", "weights.json", "weights.model", "weights.SAFETENSORS"]
    )
    @pytest.mark.parametrize("start", [b"\x80\x04\x95\x10\0\0\0\0\0\0\0", b"PK\x03\x04" + bytes(30)])
    def test_a_pickle_by_another_name_is_refused(
        self, store: ObjectStore, adapter: Path, name: str, start: bytes
    ) -> None:
        (adapter / name).write_bytes(start)
        with pytest.raises(ArtifactError, match=r"safetensors format|pickle or an archive"):
            store.put_tree(adapter)

    @pytest.mark.parametrize("data", [b"", b"x", WEIGHTS[:20], (10**9).to_bytes(8, "little") + b"{}"])
    def test_broken_safetensors_are_refused(self, store: ObjectStore, adapter: Path, data: bytes) -> None:
        (adapter / "adapter_model.safetensors").write_bytes(data)
        with pytest.raises(ArtifactError, match="not in the safetensors format"):
            store.put_tree(adapter)

    def test_a_header_that_begins_like_a_pickle_is_taken(self, store: ObjectStore, adapter: Path) -> None:
        header = HEADER.ljust(0x0480)  # in little-endian: 80 04, as in a pickle
        (adapter / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        assert "odd.safetensors" in store.tree(store.put_tree(adapter))

    def test_a_link_to_a_file_is_followed(self, store: ObjectStore, adapter: Path, tmp_path: Path) -> None:
        (tmp_path / "blob").write_bytes(b"# notes")
        (adapter / "README.md").symlink_to(tmp_path / "blob")
        assert store.tree(store.put_tree(adapter))["README.md"].sha256 == sha256(b"# notes")

    def test_a_link_to_a_directory_is_refused(self, store: ObjectStore, adapter: Path) -> None:
        (adapter / "loop").symlink_to(adapter)
        with pytest.raises(ArtifactError, match="link to a directory"):
            store.put_tree(adapter)

    def test_what_is_no_file_is_refused(self, store: ObjectStore, adapter: Path) -> None:
        os.mkfifo(adapter / "pipe.txt")
        with pytest.raises(ArtifactError, match="not a regular file"):
            store.put_tree(adapter)

    def test_an_empty_directory_is_refused(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ArtifactError, match="no files"):
            store.put_tree(tmp_path / "empty")

    def test_a_directory_that_is_not_there(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="does not exist"):
            store.put_tree(tmp_path / "nowhere")

    def test_a_file_that_is_not_there(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"nowhere.* cannot be read: No such file"):
            store.put_file(tmp_path / "nowhere")


class TestDisk:
    @pytest.mark.parametrize(
        ("number", "hint"),
        [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")],
    )
    def test_a_full_disk_is_told_and_leaves_nothing(
        self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
    ) -> None:
        def full(_handle: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ArtifactError) as caught:
            store.put_bytes(b"hello")
        assert f"`{store.root}` cannot be written: {os.strerror(number)}" in caught.value.message
        assert hint in caught.value.hint
        assert not store.exists(sha256(b"hello"))
        assert left_over(store) == []

    def test_a_write_that_breaks_off_leaves_nothing(self, store: ObjectStore) -> None:
        """The operating system stops the process from writing more than a megabyte to a file."""
        script = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from adaptman.artifacts.store import ObjectStore\n"
            "from adaptman.errors import ArtifactError\n"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, {resource.RLIM_INFINITY}))\n"
            "try:\n"
            "    ObjectStore(Path(sys.argv[1])).put_bytes(bytes(2**22))\n"
            "except ArtifactError as error:\n"
            "    print(error.message)\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", script, str(store.root)], capture_output=True, text=True, check=True
        )
        assert "cannot be written: File too large" in told.stdout
        assert not store.exists(sha256(bytes(2**22)))
        assert left_over(store) == []

    @pytest.mark.parametrize("step", [lambda s: s.put_bytes(b"x"), lambda s: s.get_bytes("0" * 64)])
    def test_a_root_that_is_a_file(self, tmp_path: Path, step: Callable[[ObjectStore], object]) -> None:
        (tmp_path / "objects").write_text("not a directory")
        with pytest.raises(ArtifactError):
            step(ObjectStore(tmp_path / "objects"))

    def test_a_root_that_may_not_be_written(self) -> None:
        with locked_folder() as folder:
            with as_nobody(), pytest.raises(ArtifactError) as caught:
                ObjectStore(folder).put_bytes(b"hello")
            assert list(folder.iterdir()) == []
        assert caught.value.message == f"object store `{folder}` cannot be written: Permission denied"
        assert "permissions" in caught.value.hint

    def test_reading_makes_no_directories(self, store: ObjectStore) -> None:
        assert not store.exists("0" * 64)
        assert not store.root.exists()
