"""Fold a version's adapter into a checkpoint of its own, from which updates go on with an empty adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adaptman.errors import ModelError, WorkspaceError
from adaptman.lifecycle import engine
from adaptman.lifecycle.environment import training_environment
from adaptman.lifecycle.examples import learned_examples
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from registry.reader import Reader
    from registry.tables import Model, ModelVersion
    from registry.writer import Writer

TOLERANCE = 0.01
"""The largest difference of a logit that rounding may make: it changes a probability by a hundredth of it."""
PROBES = 16
PROBE_TOKENS = 96
"""Of each probe the last so many tokens are read: documents of tools begin alike."""


@dataclass(frozen=True)
class FoldProof:
    """How far the logits of the folded checkpoint are from those of the adapter beside its base."""

    largest_difference: float
    probes: int
    tokens: int


@dataclass(frozen=True)
class Folded:
    """Version `version` computes what version `source` does; `created` is False where it stood before."""

    version: ModelVersion
    source: int
    proof: FoldProof
    created: bool

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "version": self.version.number,
            "state": self.version.state,
            "source": self.source,
            "base_digest": self.version.base_digest,
            **asdict(self.proof),
            "tolerance": TOLERANCE,
            "created": self.created,
        }


def fold_version(
    workspace: Workspace, number: int | None = None, *, note: str = "", progress: Progress | None = None
) -> Folded:
    """Merge the adapter of version `number` (by default the champion) into the checkpoint under it.

    The result is recorded as a new version, `trained`; where it stands already, nothing is recorded. Examples
    of the version and its ancestors are read before and after: the logits must agree.

    Raises:
        NotFoundError: there is no such version.
        WorkspaceError: there is no champion.
        ModelError: the version has no adapter or no weights; or the folded checkpoint computes otherwise.
        CollectedError: its weights were removed from the store.
        BusyError: somebody else is at work on the model line.
        ArtifactError: an artifact is missing or damaged.
    """
    model = workspace.model_row()
    with held(workspace, model, f"fold {number or 'the champion'}") as hold:
        watched = Watched(progress or Silent(), hold)
        with workspace.registry.read() as reader:
            source = _source(reader, model, number)
            standing = _standing(reader, source)
        if standing is not None:
            return Folded(standing, source.number, _proof_of(standing), created=False)
        if engine.adapter_digest(workspace, source) is None:
            raise ModelError(
                f"version {source.number} has no adapter: there is nothing to fold",
                hint="`adaptman version list` shows which versions have one",
            )
        return _folded(workspace, source, note or f"version {source.number} folded", watched)


def _source(reader: Reader, model: Model, number: int | None) -> ModelVersion:
    if number is not None:
        return reader.version(model.id, number)
    champion = reader.champion(model.id)
    if champion is None:
        raise WorkspaceError(
            f"model line `{model.name}` has no champion to fold", hint="name a version: `adaptman fold N`"
        )
    return champion


def _standing(reader: Reader, source: ModelVersion) -> ModelVersion | None:
    """What an earlier fold of the version made, and nobody has ruled out or removed."""
    made = [
        one
        for one in reversed(reader.versions(source.model_id))
        if one.parent_id == source.id and one.is_folded and one.state not in ("failed", "discarded")
    ]
    return next((one for one in made if not reader.is_collected(one)), None)


def _folded(workspace: Workspace, source: ModelVersion, note: str, progress: Progress) -> Folded:
    with TemporaryDirectory(prefix="fold-", dir=_scratch(workspace)) as folder:
        proof = merge(workspace, source, Path(folder), progress)
        digest = workspace.store.put_tree(Path(folder))
    libraries = (source.summary or {}).get("libraries", {})
    summary = {"folded": asdict(proof), "libraries": libraries, "environment": training_environment()}

    def record(writer: Writer) -> ModelVersion:
        return writer.add_folded_version(
            source.model_id, parent_id=source.id, base_digest=digest, summary=summary, note=note
        )

    return Folded(workspace.registry.write(record), source.number, proof, created=True)


def merge(workspace: Workspace, source: ModelVersion, target: Path, progress: Progress) -> FoldProof:
    """Write the folded checkpoint of a version to `target`, and prove that it computes the same.

    Raises:
        ModelError: it does not.
    """
    from adaptman.learning import models

    base, adapter = engine.base_path(workspace, source), engine.adapter_path(workspace, source)
    rows = _probes(workspace, source)
    engine.use_hardware(workspace)
    progress.start("fold", 3)
    before = models.logits_of(base, adapter, rows)
    progress.advance(1)
    models.export_merged(base, adapter, target)
    progress.advance(1)
    largest = models.largest_difference(before, models.logits_of(target, None, rows))
    proof = FoldProof(largest, len(rows), sum(map(len, rows)))
    progress.advance(1)
    if not largest <= TOLERANCE:
        raise ModelError(
            f"version {source.number}, folded, differs by {largest:.2g} in a logit, more than {TOLERANCE:g}",
            hint="nothing was recorded; the adapter cannot be merged into these weights without a loss",
        )
    progress.finish(f"logits differ by at most {largest:.1e}")
    return proof


def _probes(workspace: Workspace, source: ModelVersion) -> list[Sequence[int]]:
    """Ends of examples as the version reads them, spread over all that it and its ancestors learned."""
    renderer = engine.bare_renderer(workspace, source)
    every = [example for _, example in learned_examples(workspace, source)]
    chosen = [every[index * len(every) // PROBES] for index in range(PROBES)]
    rows = [renderer.answered(one.messages, one.tools).ids[-PROBE_TOKENS:] for one in chosen]
    return [list(row) for row in dict.fromkeys(map(tuple, rows))]


def _proof_of(standing: ModelVersion) -> FoldProof:
    return FoldProof(**(standing.summary or {})["folded"])


def _scratch(workspace: Workspace) -> Path:
    folder = workspace.settings.home / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
