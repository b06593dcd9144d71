"""Writing down how a version comes to be: started, trained, failed, discarded."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from registry import outbox
from registry.canonical import plain
from registry.errors import InvalidRecordError
from registry.states import RUNNABLE, VersionState
from registry.tables import ExampleSet, Model, ModelVersion, ReplaySet, ToolSchema
from registry.writer_base import WriterBase, said, subject_of


class VersionsWriter(WriterBase):
    """Versions up to `trained`, and the two ways out."""

    def _next_number(self, model_id: int) -> int:
        # Versions are never deleted and the write lock is held, so the numbers have no gap.
        highest = func.coalesce(func.max(ModelVersion.number), 0)
        query = select(highest).where(col(ModelVersion.model_id) == model_id)
        return int(self._session.exec(query).one()) + 1

    def start_version(
        self,
        model_id: int,
        *,
        parent_id: int | None,
        base_digest: str,
        recipe: dict[str, Any],
        recipe_digest: str,
        tool_schema_id: int | None,
        output_format_id: int | None,
        example_set_id: int | None,
        note: str = "",
    ) -> ModelVersion:
        """A new version in state `training`; the database gives it the next number.

        Raises:
            NotFoundError: something that it names is not there.
            InvalidRecordError: something that it names belongs to another line, or the parent has no weights.
            CollectedError: the parent's adapter was removed from the store.
        """
        model = self.model_by_id(model_id)
        self._check_inputs(model, parent_id, tool_schema_id, output_format_id, example_set_id)
        version = self._add(
            ModelVersion(
                model_id=model_id,
                number=self._next_number(model_id),
                parent_id=parent_id,
                state=VersionState.TRAINING,
                base_digest=said("base_digest", base_digest),
                recipe=plain(recipe),
                recipe_digest=said("recipe_digest", recipe_digest),
                tool_schema_id=tool_schema_id,
                output_format_id=output_format_id,
                example_set_id=example_set_id,
                note=note,
                author=self._actor,
                created_at=self._clock(),
            )
        )
        told = version.model_dump(exclude={"recipe", "state", "author", "created_at"}, exclude_none=True)
        self._record("version.started", subject_of(model, version), told, model_id=model_id)
        return version

    def _check_inputs(
        self, model: Model, parent: int | None, schema: int | None, fmt: int | None, examples: int | None
    ) -> None:
        if parent is not None:
            self._check_parent(model, self.version_by_id(parent))
        if schema is not None:
            _same_model(model, self.tool_schema_by_id(schema), "tool schema")
        if fmt is not None:
            self.output_format(fmt)
        if examples is not None:
            _same_model(model, self.example_set(examples), "example set")

    def _check_parent(self, model: Model, parent: ModelVersion) -> None:
        _same_model(model, parent, "parent version")
        if parent.state not in RUNNABLE:
            raise InvalidRecordError(f"version `{parent.number}` is `{parent.state}`: it has no weights")
        self.check_kept(parent)

    def add_base_version(self, model_id: int, *, base_digest: str, note: str = "") -> ModelVersion:
        """Version 1: the base checkpoint itself, champion at once.

        Raises:
            InvalidRecordError: the model line has versions already.
        """
        model = self.model_by_id(model_id)
        number = self._next_number(model_id)
        if number != 1:
            raise InvalidRecordError(f"model `{model.name}` has versions already: the base comes first")
        now = self._clock()
        version = self._add(
            ModelVersion(
                model_id=model_id,
                number=number,
                state=VersionState.CHAMPION,
                base_digest=said("base_digest", base_digest),
                note=note,
                author=self._actor,
                created_at=now,
                finished_at=now,
            )
        )
        told = {"number": number, "base_digest": base_digest, "note": note}
        event = self._record("version.base", subject_of(model, version), told, model_id=model_id)
        self._tell(event, "version.base", outbox.base_payload(model, version, self._actor))
        self._champion_moved(model, version, None, cause="init")
        return version

    def add_folded_version(
        self, model_id: int, *, parent_id: int, base_digest: str, summary: dict[str, Any], note: str = ""
    ) -> ModelVersion:
        """The parent's weights as a checkpoint of its own, `trained` at once, and taught what the parent was.

        Raises:
            NotFoundError: there is no such parent.
            InvalidRecordError: the parent has no adapter, no weights, or belongs to another line.
            CollectedError: the parent's adapter was removed from the store.
        """
        model, parent = self.model_by_id(model_id), self.version_by_id(parent_id)
        self._check_parent(model, parent)
        if parent.adapter_id is None:
            raise InvalidRecordError(f"version `{parent.number}` has no adapter: there is nothing to fold")
        now = self._clock()
        version = self._add(
            ModelVersion(
                model_id=model_id,
                number=self._next_number(model_id),
                parent_id=parent_id,
                state=VersionState.TRAINED,
                base_digest=said("base_digest", base_digest),
                tool_schema_id=parent.tool_schema_id,
                output_format_id=parent.output_format_id,
                rendering_digest=parent.rendering_digest,
                summary=plain(summary),
                note=note,
                author=self._actor,
                created_at=now,
                finished_at=now,
            )
        )
        told = {"parent": parent.number, "base_digest": version.base_digest, "summary": summary}
        event = self._record("version.folded", subject_of(model, version), told, model_id=model_id)
        self._tell(event, "version.trained", outbox.trained_payload(self, model, version, self._actor))
        return version

    def finish_training(
        self,
        version_id: int,
        *,
        adapter_id: int | None,
        replay_set_id: int | None,
        curves_digest: str | None,
        summary: dict[str, Any],
        rendering_digest: str | None = None,
        checkpoint_digest: str | None = None,
    ) -> ModelVersion:
        """The version has weights now, an adapter or a checkpoint of its own: `training → trained`.

        Raises:
            IllegalTransitionError: it is not in training.
            InvalidRecordError: it has neither, or both.
        """
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        if (adapter_id is None) == (checkpoint_digest is None):
            raise InvalidRecordError("a trained version has an adapter or a checkpoint of its own")
        adapter = self.adapter(adapter_id) if adapter_id is not None else None
        if replay_set_id is not None:
            _same_model(model, self.replay_set(replay_set_id), "replay set")
        self._move(version, VersionState.TRAINED)
        version.adapter_id, version.replay_set_id = adapter_id, replay_set_id
        version.curves_digest, version.summary = curves_digest, plain(summary)
        version.rendering_digest = rendering_digest
        version.base_digest = checkpoint_digest or version.base_digest
        version.finished_at = self._clock()
        told = {
            "adapter_digest": adapter.tree_digest if adapter else None,
            "base_digest": version.base_digest,
            "replay_set_id": replay_set_id,
            "summary": summary,
        }
        event = self._record("version.trained", subject_of(model, version), told, model_id=model.id)
        self._tell(event, "version.trained", outbox.trained_payload(self, model, version, self._actor))
        return version

    def fail_version(self, version_id: int, reason: str) -> ModelVersion:
        """Training or evaluation went wrong: `→ failed`.

        Raises:
            IllegalTransitionError: the version is too far on its way to fail.
        """
        return self._end(version_id, VersionState.FAILED, reason)

    def discard_version(self, version_id: int, reason: str) -> ModelVersion:
        """Nobody wants it: `→ discarded`, which is final.

        Raises:
            IllegalTransitionError: it is, or was, champion.
        """
        return self._end(version_id, VersionState.DISCARDED, reason)

    def _end(self, version_id: int, state: VersionState, reason: str) -> ModelVersion:
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        former, why = version.state, said("reason", reason)
        self._move(version, state).reason = why
        told = {"from": former, "reason": why}
        event = self._record(f"version.{state}", subject_of(model, version), told, model_id=model.id)
        if former in RUNNABLE:  # without weights there is nothing in MLflow to be marked
            self._tell(event, "version.ended", outbox.ended_payload(model, version, event))
        return version


def _same_model(model: Model, row: ModelVersion | ToolSchema | ExampleSet | ReplaySet, what: str) -> None:
    if row.model_id != model.id:
        raise InvalidRecordError(f"{what} with id `{row.id}` belongs to another model than `{model.name}`")
