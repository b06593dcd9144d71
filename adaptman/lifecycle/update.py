"""Teach the model an update: plan, replay, training, candidate, suites, decision; goes on where it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import AdaptmanError, ExampleError, ModelError, TrainingError
from adaptman.lifecycle import engine
from adaptman.lifecycle.environment import training_environment
from adaptman.lifecycle.evaluate import Evaluation, evaluate_held
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.made import standing_version
from adaptman.lifecycle.plan import UpdatePlan
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.rendering import probe_of
from adaptman.lifecycle.replay import replay_of
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adaptman.learning.recipe import Recipe
    from adaptman.learning.rendering import Rendering
    from adaptman.learning.replay import ReplaySet
    from adaptman.learning.trainer import StepMetrics, Trained
    from registry.tables import ModelVersion
    from registry.writer import Writer


@dataclass(frozen=True)
class Update:
    """The candidate of an update and how it was judged; `evaluation` is None where no suite is registered."""

    version: ModelVersion
    evaluation: Evaluation | None


def run_update(workspace: Workspace, plan: UpdatePlan, *, progress: Progress | None = None) -> Update:
    """Carry out `plan`: a run of it that died is taken up where it was, one that ended is not repeated.

    Raises:
        BusyError: somebody else is at work on the model line.
        TrainingError: replay or training cannot go on; the version is recorded as failed.
        ExampleError: an example that cannot be trained on; the version is recorded as failed.
        ModelError: the model cannot be trained; the version is recorded as failed.
        ArtifactError: an artifact is missing or damaged; nothing is recorded.
    """
    with held(workspace, plan.model, f"update to schema {plan.schema.number}") as hold:
        progress = Watched(progress or Silent(), hold)
        version = standing_version(workspace, plan)
        if version is None or version.state == "training":
            engine.use_hardware(workspace)
            version = _make_candidate(workspace, plan, version or _start(workspace, plan), progress)
        _forget(_workdir(workspace, plan, version))
        evaluation = _evaluated(workspace, plan, version, progress) if plan.suites else None
        return Update(evaluation.version if evaluation else version, evaluation)


def _evaluated(
    workspace: Workspace, plan: UpdatePlan, version: ModelVersion, progress: Progress
) -> Evaluation:
    # What was accepted of the parent, which is the champion that the candidate is compared with.
    accepted = plan.rendering.difference is not None
    return evaluate_held(workspace, version.number, accept_rendering=accepted, progress=progress)


def _start(workspace: Workspace, plan: UpdatePlan) -> ModelVersion:
    # What will be read is looked at first: a damaged base is no reason for a version to exist.
    engine.base_path(workspace, plan.parent)
    engine.adapter_path(workspace, plan.parent)
    if plan.trained_as is not None:
        _tuned_path(workspace, plan.trained_as)
    digest = workspace.store.put_bytes(plan.examples_data)
    fmt = plan.output_format

    def record(writer: Writer) -> ModelVersion:
        examples = writer.add_example_set(
            plan.model.id, object_digest=digest, count=len(plan.examples), tool_schema_id=plan.schema.id
        )
        output_format = writer.add_output_format(fmt.name, fmt.version, fmt.spec(), fmt.digest)
        return writer.start_version(
            plan.model.id,
            parent_id=plan.parent.id,
            base_digest=plan.parent.base_digest,
            recipe=plan.recipe.to_dict(),
            recipe_digest=plan.recipe.digest,
            tool_schema_id=plan.schema.id,
            output_format_id=output_format.id,
            example_set_id=examples.id,
            note=plan.note,
        )

    return workspace.registry.write(record)


def _make_candidate(
    workspace: Workspace, plan: UpdatePlan, version: ModelVersion, progress: Progress
) -> ModelVersion:
    """Weights for the version, in its working folder, which holds what a killed run needs to go on."""
    from adaptman.learning.limits import MORE_MEMORY, memory_told

    workdir = _workdir(workspace, plan, version)
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with memory_told("while a candidate is made", MORE_MEMORY):
            if plan.trained_as is not None:
                return _move_back(workspace, plan, version, plan.trained_as, workdir, progress)
            reads = probe_of(workspace, version)
            replay = replay_of(workspace, plan, reads, workdir, progress)
            trained = train(workspace, plan, replay, workdir, progress, smaller=_smaller(plan.recipe))
    except (TrainingError, ExampleError, ModelError) as error:
        _fail(workspace, version, error, workdir)
        raise
    return _record_candidate(workspace, plan, version, replay, trained, reads)


def _workdir(workspace: Workspace, plan: UpdatePlan, version: ModelVersion) -> Path:
    return workspace.settings.home / "runs" / f"{plan.model.name}-v{version.number}"


def _forget(workdir: Path) -> None:
    shutil.rmtree(workdir, ignore_errors=True)


def _fail(workspace: Workspace, version: ModelVersion, error: AdaptmanError, workdir: Path) -> None:
    """The same run would end the same way, so that nothing of it is kept but the reason."""
    workspace.registry.write(lambda writer: writer.fail_version(version.id, error.message))
    _forget(workdir)


def _smaller(recipe: Recipe) -> str:
    """A hint: what takes less memory than `recipe` does."""
    half = [f"--set batch_size={max(1, recipe.batch_size // 2)}"]
    if recipe.replay.kind != "none":
        half.append(f"--set replay.batch_size={max(1, recipe.replay.batch_size // 2)}")
    halve = f"halve the batch: `{' '.join(half)}`"
    if recipe.gradient_checkpointing:
        return halve
    return f"compute layers again on the way back, `--set gradient_checkpointing=true`, or {halve}"


def train(
    workspace: Workspace,
    plan: UpdatePlan,
    replay: ReplaySet | None,
    workdir: Path,
    progress: Progress,
    *,
    smaller: str,
) -> Trained:
    """Train what `plan` says beside `replay`; nothing is recorded.

    `smaller` is the hint where a step's memory runs out.

    Raises:
        TrainingError: it cannot go on.
        ExampleError, ModelError: an example, or the model, cannot be trained on.
        ArtifactError: an artifact is missing or damaged.
    """
    from adaptman.learning import models, trainer
    from adaptman.learning.chat import ChatRenderer

    base = engine.base_path(workspace, plan.parent)
    renderer = ChatRenderer(models.load_tokenizer(base), plan.output_format)
    encoded = [renderer.answered(example.messages, example.tools) for example in plan.examples]
    progress.start("training", plan.recipe.steps)
    begun = False

    def on_step(metrics: StepMetrics) -> None:
        nonlocal begun
        if not begun and metrics.step > 1:  # steps done by the run that died cost nothing now
            progress.start(f"training from step {metrics.step}", metrics.steps - metrics.step + 1)
        begun = True
        progress.advance(1, _figures(metrics, plan.recipe.replay.loss))

    parent_adapter = engine.adapter_path(workspace, plan.parent)
    trained = trainer.train(
        base, parent_adapter, encoded, replay, plan.recipe, workdir, smaller=smaller, on_step=on_step
    )
    progress.finish(f"loss {trained.curves['train/new_loss'][-1][1]:.2f}")
    return trained


def _figures(metrics: StepMetrics, replay_loss: str) -> str:
    """The KL to the old model is the drift, whose name users know."""
    name = "drift" if replay_loss == "kl" else "replay"
    replay = "" if metrics.replay_loss is None else f", {name} {metrics.replay_loss:.3f}"
    return f"loss {metrics.new_loss:.2f}{replay}, {metrics.tokens_per_s:.0f} tokens/s"


def _record_candidate(
    workspace: Workspace,
    plan: UpdatePlan,
    version: ModelVersion,
    replay: ReplaySet | None,
    trained: Trained,
    reads: Rendering,
) -> ModelVersion:
    """Artifacts first, each durable in the store; then one transaction that names them."""
    from adaptman.learning.rendering import libraries

    store = workspace.store
    weights = _store_weights(workspace, plan, trained.adapter)
    curves = store.put_bytes(json.dumps({"series": trained.curves}).encode())
    replayed = store.put_bytes(replay.to_bytes()) if replay else None
    rendering = store.put_bytes(reads.to_json().encode())

    def record(writer: Writer) -> ModelVersion:
        replay_id = None
        if replay is not None and replayed is not None:
            replay_id = writer.add_replay_set(
                plan.model.id,
                object_digest=replayed,
                count=len(replay.samples),
                tokens=replay.tokens,
                report=replay.report,
                teacher_version_id=plan.parent.id,
            ).id
        return writer.finish_training(
            version.id,
            **weights.recorded(writer),
            replay_set_id=replay_id,
            curves_digest=curves,
            summary={
                **summary(trained),
                "libraries": libraries(),
                "environment": training_environment(),
            },
            rendering_digest=rendering,
        )

    return workspace.registry.write(record)


def _move_back(
    workspace: Workspace,
    plan: UpdatePlan,
    version: ModelVersion,
    whole: ModelVersion,
    workdir: Path,
    progress: Progress,
) -> ModelVersion:
    """A candidate from the weights that `whole` was trained to, with the record of that training."""
    from adaptman.learning import trainer

    tuned = _tuned_path(workspace, whole)
    base = engine.base_path(workspace, plan.parent)
    before = engine.adapter_path(workspace, plan.parent)
    progress.start(f"moving back version {whole.number}", 1)
    # A folder of its own: a training of this version that was killed may have left parts of an adapter.
    moved = trainer.moved_back(base, before, tuned, plan.recipe, workdir / "moved")
    weights = _store_weights(workspace, plan, moved)
    progress.advance(1)
    progress.finish()
    return workspace.registry.write(
        lambda writer: writer.finish_training(
            version.id,
            **weights.recorded(writer),
            replay_set_id=whole.replay_set_id,
            curves_digest=whole.curves_digest,
            summary={**(whole.summary or {}), "trained_as": whole.number},
            rendering_digest=whole.rendering_digest,
        )
    )


def _tuned_path(workspace: Workspace, whole: ModelVersion) -> Path:
    """The adapter that a version was trained to; with `adapter: full`, the checkpoint."""
    return engine.adapter_path(workspace, whole) or engine.base_path(workspace, whole)


class _Weights(NamedTuple):
    """Trained weights in the store."""

    tree: str
    size: int
    is_whole: bool

    def recorded(self, writer: Writer) -> dict[str, Any]:
        """How `finish_training` names them."""
        if self.is_whole:
            return {"adapter_id": None, "checkpoint_digest": self.tree}
        return {"adapter_id": writer.add_adapter(tree_digest=self.tree, size_bytes=self.size).id}


def _store_weights(workspace: Workspace, plan: UpdatePlan, folder: Path) -> _Weights:
    tree = workspace.store.put_tree(folder)
    size = sum(entry.size for entry in workspace.store.tree(tree).values())
    return _Weights(tree, size, plan.recipe.adapter == "full")


def summary(trained: Trained) -> dict[str, Any]:
    """The figures of a training that are worth a glance."""
    last: Mapping[str, float] = {name: points[-1][1] for name, points in trained.curves.items()}
    tokens = trained.new_tokens + trained.replay_tokens
    peak = last.get("train/peak_memory_mib")  # not known of a run that an older adaptman began
    return {
        "new_loss": last.get("train/new_loss"),
        "replay_loss": last.get("train/replay_loss"),
        "new_tokens": trained.new_tokens,
        "replay_tokens": trained.replay_tokens,
        "seconds": round(trained.seconds, 1),
        "tokens_per_s": round(tokens / trained.seconds, 1) if trained.seconds else None,
        "peak_memory_mib": None if peak is None else round(peak),
    }
