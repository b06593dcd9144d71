"""Read the whole object store again, and hold it against what the registry names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adaptman.errors import ArtifactError
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.artifacts.store import FileEntry, ObjectStore
    from registry.objects import NamedObject


@dataclass(frozen=True)
class Fault:
    """An object that is missing, damaged or not what its row says; `named_by` says who needs it."""

    digest: str
    text: str
    named_by: tuple[str, ...]


@dataclass(frozen=True)
class StoreReport:
    """What was read and what is wrong. `collected` counts the named objects that gc has removed."""

    place: str
    objects: int
    size: int
    named: int
    collected: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass
class _Check:
    """The state of one verification."""

    store: ObjectStore
    progress: Progress
    broken: dict[str, str] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    size: int = 0

    def read_all(self) -> None:
        stored = sorted(self.store.objects())
        self.progress.start("verify", max(1, sum(one.size for one in stored)))
        for one in stored:
            try:
                self.store.check(one.digest)
            except ArtifactError as error:
                if self.store.exists(one.digest):  # or else it was removed just now
                    self.broken[one.digest] = error.message
            else:
                self.whole[one.digest] = one.size
            self.objects, self.size = self.objects + 1, self.size + one.size
            self.progress.advance(one.size)
        self.progress.finish(f"{len(stored)} objects")

    def files_of(self, tree: str) -> dict[str, FileEntry]:
        try:
            return self.store.tree(tree) if tree in self.whole else {}
        except ArtifactError as error:
            self.broken[tree] = error.message
            return {}


def verify_store(workspace: Workspace, *, progress: Progress | None = None) -> StoreReport:
    """Compute the digest of every object again, and look for every object that a row names.

    What is registered meanwhile is not looked for.

    Raises:
        ArtifactError: the objects cannot be listed.
    """
    with workspace.registry.read() as reader:
        named = reader.named_objects()
    check = _Check(workspace.store, progress or Silent())
    check.read_all()
    with workspace.registry.read() as reader:  # afterwards, so that what gc took meanwhile is no fault
        gone = reader.gone()
    needed = _needed(check, named, gone)
    absent = needed.keys() - check.whole.keys() - check.broken.keys()
    for digest in absent - gone:
        check.broken[digest] = f"object `{digest}` is missing from `{check.store.shown}`"
    faults = (Fault(one, text, tuple(needed.get(one, ()))) for one, text in sorted(check.broken.items()))
    return StoreReport(
        check.store.shown, check.objects, check.size, len(needed), len(absent & gone), tuple(faults)
    )


def _needed(check: _Check, named: Iterable[NamedObject], gone: frozenset[str]) -> dict[str, list[str]]:
    """Every object that is named, by a row or by a tree, with who names it."""
    needed: dict[str, list[str]] = {}
    trees: dict[str, dict[str, FileEntry]] = {}
    for one in sorted(named):
        _add(needed, one.digest, f"{one.role} of {one.subject}")
        if one.is_tree and one.digest not in gone:
            if one.digest not in trees:
                trees[one.digest] = check.files_of(one.digest)
            for path, entry in trees[one.digest].items():
                _add(needed, entry.sha256, f"`{path}` in the {one.role} of {one.subject}")
                if check.whole.get(entry.sha256, entry.size) != entry.size:
                    check.broken[entry.sha256] = (
                        f"object `{entry.sha256}` has {check.whole[entry.sha256]} bytes, "
                        f"its tree says {entry.size}"
                    )
    return needed


def _add(needed: dict[str, list[str]], digest: str, who: str) -> None:
    names = needed.setdefault(digest, [])
    if who not in names:
        names.append(who)
