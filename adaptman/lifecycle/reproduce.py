"""Make a version once more, by training or folding, and compare what comes out with what is on record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.artifacts.folder import remove
from adaptman.artifacts.store import ObjectStore
from adaptman.errors import ReproductionError
from adaptman.lifecycle import engine
from adaptman.lifecycle.environment import kept_when_killed, training_environment
from adaptman.lifecycle.fold import merge
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.plan import recorded_plan
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.rendering import changed, compare_rendering, probe_of
from adaptman.lifecycle.replay import replay_of
from adaptman.lifecycle.update import train
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.learning.models import WeightDifference
    from adaptman.learning.replay import ReplaySet
    from registry.tables import ModelVersion


@dataclass(frozen=True)
class Compared:
    """The digest on record, and that of what was made now."""

    recorded: str
    now: str

    @property
    def same(self) -> bool:
        """Byte for byte."""
        return self.recorded == self.now


@dataclass(frozen=True)
class Reproduction:
    """What came out when version `number` was made once more."""

    number: int
    weights: Compared
    """The adapter; the checkpoint, where it is one of its own."""
    replay: Compared | None
    """The samples drawn once more; None for an update without replay."""
    difference: WeightDifference | None
    """None where the weights are identical, or those on record were removed from the store."""
    environment: tuple[str, ...] | None
    """What has another value now than then: `torch 2.9 → 2.10`; None where nothing is on record."""
    rendering: str
    """Where the examples are rendered otherwise than then; "" where they are not."""

    @property
    def identical(self) -> bool:
        """The replay and the weights both."""
        return self.weights.same and (self.replay is None or self.replay.same)

    @property
    def told(self) -> str:
        """What differs, in one line; "" where nothing does."""
        parts = ["the replay drawn now is another"] if self.replay and not self.replay.same else []
        if not self.weights.same:
            parts.append(f"the weights made now are others{self._distance}")
        return f"version {self.number} is not reproduced: {' and '.join(parts)}" if parts else ""

    @property
    def _distance(self) -> str:
        if self.difference is None:
            return ""
        if math.isinf(self.difference.largest):
            return f": `{self.difference.name}` is of another shape, or missing"
        return f", by at most {self.difference.largest:.2g} (`{self.difference.name}`)"

    @property
    def way_out(self) -> str:
        """What to change so that it may come out the same."""
        if self.rendering:
            return f"{self.rendering}: read again what was read then, see `adaptman doctor`"
        if self.environment:
            return f"run it where it was trained, or install what was there: {', '.join(self.environment)}"
        if self.environment is None:
            return "where it was trained is not on record; run it there, with the packages of then"
        return "all that is on record of the environment is as it was: try the machine that it was trained on"

    def check(self) -> None:
        """Nothing, where it is identical.

        Raises:
            ReproductionError: it is not.
        """
        if not self.identical:
            raise ReproductionError(self.told, hint=self.way_out)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "version": self.number,
            "identical": self.identical,
            "weights": asdict(self.weights),
            "replay": asdict(self.replay) if self.replay else None,
            "difference": self.difference._asdict() if self.difference else None,
            "environment": None if self.environment is None else list(self.environment),
            "rendering": self.rendering,
        }


def reproduce_version(workspace: Workspace, number: int, *, progress: Progress | None = None) -> Reproduction:
    """Train or fold version `number` once more, from the record, and compare. Nothing is recorded.

    One that was killed goes on where it was, if nothing has changed that its last bits depend on.

    The replay is drawn once more, too. Where it comes out otherwise, the training goes on with the set on
    record as long as that is kept, so that each of the two is compared by itself. As many threads are used as
    on record, unless the setting `threads` says otherwise.

    Raises:
        NotFoundError: there is no such version.
        ModelError: it was neither trained nor folded, or has no weights.
        CollectedError: the weights of its parent were removed from the store.
        BusyError: somebody else is at work on the model line.
        TrainingError, ExampleError, ToolDocumentError: it cannot be trained as it was.
        ArtifactError: an artifact is missing or damaged.
    """
    model = workspace.model_row()
    with held(workspace, model, f"reproduce {number}") as hold:
        watched = Watched(progress or Silent(), hold)
        with workspace.registry.read() as reader:
            version = reader.version(model.id, number)
        engine.check_weights(version)
        _use_hardware(workspace, version)
        again = _fold_again if version.is_folded else _train_again
        made_of = version.base_digest, version.recipe_digest, version.parent_id
        with kept_when_killed(workspace, f"reproduce-{model.name}", number, *made_of) as folder:
            return again(workspace, version, folder, watched)


def _train_again(
    workspace: Workspace, version: ModelVersion, folder: Path, progress: Progress
) -> Reproduction:
    from adaptman.learning.limits import MORE_MEMORY

    plan = recorded_plan(workspace, version)
    drawn = replay_of(workspace, plan, probe_of(workspace, version), folder, progress)
    replay = _compared_replay(workspace, version, drawn)
    if replay is not None and not replay.same:
        recorded = _recorded_replay(workspace, replay.recorded, folder)
        # A report that tells more than it did then is no difference.
        if drawn and recorded and _samples(drawn) == _samples(recorded):
            replay = Compared(replay.recorded, replay.recorded)
        drawn = recorded or drawn
    trained = train(workspace, plan, drawn, folder, progress, smaller=MORE_MEMORY)
    return _compared(workspace, version, trained.adapter, replay)


def _fold_again(
    workspace: Workspace, version: ModelVersion, folder: Path, progress: Progress
) -> Reproduction:
    with workspace.registry.read() as reader:
        source = reader.version_by_id(version.parent_id or 0)
    made = folder / "folded"
    remove(made)  # half of it, where one was killed
    merge(workspace, source, made, progress)
    return _compared(workspace, version, made, None)


def _compared(
    workspace: Workspace, version: ModelVersion, made: Path, replay: Compared | None
) -> Reproduction:
    with workspace.registry.read() as reader:
        own = reader.adapter(version.adapter_id).tree_digest if version.adapter_id else version.base_digest
        gone = reader.is_collected(version)
    # A store of its own: what was only made to be compared is not kept.
    weights = Compared(own, ObjectStore(made.parent / "objects").put_tree(made))
    difference = None
    if not weights.same and not gone:
        from adaptman.learning import models

        difference = models.weight_difference(workspace.store.checkout(own), made)
    then = _environment_then(version)
    return Reproduction(
        version.number,
        weights,
        replay,
        difference,
        None if not then else changed({"device": "cpu", **then}, training_environment()),
        compare_rendering(workspace, version).told,
    )


def _compared_replay(workspace: Workspace, version: ModelVersion, drawn: ReplaySet | None) -> Compared | None:
    if drawn is None or version.replay_set_id is None:
        return None
    with workspace.registry.read() as reader:
        recorded = reader.replay_set(version.replay_set_id).object_digest
    return Compared(recorded, hashlib.sha256(drawn.to_bytes()).hexdigest())


def _samples(replay: ReplaySet) -> bytes:
    return replace(replay, report={}).to_bytes()


def _recorded_replay(workspace: Workspace, digest: str, folder: Path) -> ReplaySet | None:
    """The set that was trained on; None where it was removed from the store."""
    from adaptman.learning.replay import ReplaySet

    with workspace.registry.read() as reader:
        if digest in reader.gone():
            return None
    path = folder / "recorded.safetensors"
    path.write_bytes(workspace.store.get_bytes(digest))
    return ReplaySet.from_file(str(path))


def _environment_then(version: ModelVersion) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (version.summary or {}).get("environment", {})
    return found


def _use_hardware(workspace: Workspace, version: ModelVersion) -> None:
    """Sums are rounded otherwise by another number of threads."""
    threads = _environment_then(version).get("threads")
    if workspace.settings.threads is None and threads is not None:
        from adaptman.learning import models

        models.use_threads(threads)
    engine.use_hardware(workspace)
