"""Trees checked out below a folder of objects: read-only directories of hard links, made once and shared."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from adaptman.artifacts.folder import Folder, digest_of, make_folder, remove
from adaptman.errors import ArtifactError


class Checkouts:
    """The directories `trees/DIGEST` of a folder. `files` is always the digest of each file by its path."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._root = folder.root / "trees"

    def of(self, tree: str, files: Mapping[str, str]) -> Path:
        """The tree's directory, made or mended where it is not as it should be. The objects must be whole.

        Raises:
            OSError: it cannot be made.
        """
        target = self._root / tree
        if not self._stands(target, files):
            # Unless somebody else makes it meanwhile, who may be using it by then.
            with self._alone():
                if not self._stands(target, files):
                    self._build(target, files)
        return target

    def prune(self, keep: Collection[str]) -> int:
        """Remove all other directories; how many they were.

        Raises:
            OSError: one cannot be removed.
        """
        if not self._root.is_dir():
            return 0
        with self._alone():
            gone = [path for path in self._root.iterdir() if path.name not in keep]
            for path in gone:
                remove(path)
        return len(gone)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        from filelock import FileLock

        with FileLock(self._folder.root / "trees.lock"):
            yield

    def _stands(self, target: Path, files: Mapping[str, str]) -> bool:
        """Whether the checkout holds just these files, each being the very object or a good copy of it."""
        if target.is_symlink() or not target.is_dir():
            return False
        try:
            if set(_names_below(target)) != set(files):
                return False
            return all(self._same(target / name, digest) for name, digest in files.items())
        except (OSError, ArtifactError):
            return False

    def _same(self, path: Path, digest: str) -> bool:
        if path.is_symlink():
            return False
        return path.samefile(self._folder.path_of(digest)) or digest_of(path) == digest

    def _build(self, target: Path, files: Mapping[str, str]) -> None:
        for name in ("tmp", "trees"):
            make_folder(self._folder.root / name)
        fresh = Path(tempfile.mkdtemp(dir=self._folder.root / "tmp"))
        try:
            for name, digest in files.items():
                _place(self._folder.path_of(digest), fresh / name)
            remove(target)
            fresh.rename(target)
        finally:
            remove(fresh)
        for folder, _, _ in os.walk(target):
            Path(folder).chmod(0o555)


def _names_below(directory: Path) -> Iterator[str]:
    """Paths of everything that is no directory, a link to one included."""
    for folder, folders, files in os.walk(directory):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in [*files, *links]:
            yield Path(folder, name).relative_to(directory).as_posix()


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        target.chmod(0o444)
