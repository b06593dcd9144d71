"""Writing down what versions are made from: model lines, tool schemas, formats, suites and sets."""

from __future__ import annotations

import re
from typing import Any

from sqlmodel import col, select

from registry.canonical import plain
from registry.errors import AlreadyExistsError, InvalidRecordError
from registry.tables import (
    Adapter,
    ExampleSet,
    Model,
    OutputFormatRow,
    ReplaySet,
    Suite,
    ToolSchema,
)
from registry.values import Registered
from registry.writer_base import WriterBase, at_least, said

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


def check_name(what: str, name: str) -> str:
    """A name that can stand in a path, a URL and a command line.

    Raises:
        InvalidRecordError: it cannot.
    """
    if not NAME.match(name):
        raise InvalidRecordError(
            f"{what} name {name!a} cannot be used",
            hint="up to 100 letters, digits, `.`, `_` and `-`, the first one a letter or a digit",
        )
    return name


class InputsWriter(WriterBase):
    """Rows that name content-addressed objects. An equal one, registered again, stays the one that stands."""

    def add_model(self, name: str, base_digest: str, base_source: str, base_info: dict[str, Any]) -> Model:
        """A new model line on one base checkpoint.

        Raises:
            AlreadyExistsError: the name is taken.
        """
        check_name("model", name)
        if self._session.exec(select(Model.id).where(Model.name == name)).first() is not None:
            raise AlreadyExistsError(f"model `{name}` exists already", hint="choose another name")
        model = self._add(
            Model(
                name=name,
                base_digest=said("base_digest", base_digest),
                base_source=base_source,
                base_info=plain(base_info),
                created_at=self._clock(),
            )
        )
        told = {"model": name, "base_digest": model.base_digest, "base_source": base_source}
        self._record("model.added", f"model/{name}", told, model_id=model.id)
        return model

    def add_tool_schema(
        self,
        model_id: int,
        *,
        document_digest: str,
        contract_digest: str,
        source_format: str,
        tool_count: int,
        change_set: dict[str, Any],
        breaking: bool,
        note: str = "",
    ) -> Registered[ToolSchema]:
        """The next tool schema of a model line; the latest one, when it has the same two digests."""
        model = self.model_by_id(model_id)
        latest = self.latest_tool_schema(model_id)
        if latest and (latest.document_digest, latest.contract_digest) == (document_digest, contract_digest):
            return Registered(latest, created=False)
        row = self._add(
            ToolSchema(
                model_id=model_id,
                number=latest.number + 1 if latest else 1,
                document_digest=said("document_digest", document_digest),
                contract_digest=said("contract_digest", contract_digest),
                source_format=source_format,
                tool_count=at_least("tool_count", tool_count),
                change_set=plain(change_set),
                breaking=breaking,
                note=note,
                author=self._actor,
                created_at=self._clock(),
            )
        )
        told = row.model_dump(include={"number", "document_digest", "contract_digest", "breaking", "note"})
        self._record("tool_schema.added", f"schema/{model.name}/{row.number}", told, model_id=model_id)
        return Registered(row, created=True)

    def add_output_format(
        self, name: str, version: int, spec: dict[str, Any], digest: str
    ) -> OutputFormatRow:
        """An output format; the one that stands, when it is the same.

        Raises:
            AlreadyExistsError: that version of the name stands with another digest.
        """
        query = select(OutputFormatRow).where(
            OutputFormatRow.name == name, OutputFormatRow.version == version
        )
        standing = self._session.exec(query).one_or_none()
        if standing is not None:
            return _same_format(standing, digest)
        row = self._add(
            OutputFormatRow(
                name=check_name("output format", name),
                version=at_least("version", version, 1),
                spec=plain(spec),
                digest=said("digest", digest),
                created_at=self._clock(),
            )
        )
        told = row.model_dump(include={"name", "version", "digest"})
        self._record("output_format.added", f"format/{name}/{version}", told)
        return row

    def add_suite(
        self,
        model_id: int,
        *,
        name: str,
        kind: str,
        object_digest: str,
        suite_digest: str,
        case_count: int,
        metric: str,
        higher_is_better: bool,
        tool_schema_id: int | None = None,
        note: str = "",
    ) -> Registered[Suite]:
        """The next revision of a suite, which is the active one from now on."""
        model = self.model_by_id(model_id)
        active = self._newest_suite(model_id, name)
        wanted = (kind, object_digest, suite_digest, metric, higher_is_better, tool_schema_id)
        if active and wanted == _identity(active):
            return Registered(active, created=False)
        row = self._add(
            Suite(
                model_id=model_id,
                name=check_name("suite", name),
                revision=active.revision + 1 if active else 1,
                kind=kind,
                object_digest=said("object_digest", object_digest),
                suite_digest=said("suite_digest", suite_digest),
                case_count=at_least("case_count", case_count),
                metric=metric,
                higher_is_better=higher_is_better,
                tool_schema_id=tool_schema_id,
                note=note,
                author=self._actor,
                created_at=self._clock(),
            )
        )
        told = row.model_dump(include={"name", "revision", "kind", "suite_digest", "case_count", "note"})
        self._record("suite.added", f"suite/{model.name}/{name}", told, model_id=model_id)
        return Registered(row, created=True)

    def add_example_set(
        self, model_id: int, *, object_digest: str, count: int, tool_schema_id: int | None
    ) -> Registered[ExampleSet]:
        """Training examples for one tool schema."""
        model = self.model_by_id(model_id)
        standing = self._session.exec(
            select(ExampleSet).where(
                ExampleSet.model_id == model_id,
                ExampleSet.object_digest == object_digest,
                col(ExampleSet.tool_schema_id).is_not_distinct_from(tool_schema_id),
            )
        ).first()
        if standing is not None:
            return Registered(standing, created=False)
        row = self._add(
            ExampleSet(
                model_id=model_id,
                object_digest=said("object_digest", object_digest),
                count=at_least("count", count),
                tool_schema_id=tool_schema_id,
                created_at=self._clock(),
            )
        )
        told = row.model_dump(include={"id", "object_digest", "count", "tool_schema_id"})
        self._record("example_set.added", f"examples/{model.name}/{row.id}", told, model_id=model_id)
        return Registered(row, created=True)

    def add_replay_set(
        self,
        model_id: int,
        *,
        object_digest: str,
        count: int,
        tokens: int,
        report: dict[str, Any],
        teacher_version_id: int | None,
    ) -> Registered[ReplaySet]:
        """Samples of a teacher version, with the report on their quality."""
        model = self.model_by_id(model_id)
        standing = self._session.exec(
            select(ReplaySet).where(
                ReplaySet.model_id == model_id,
                ReplaySet.object_digest == object_digest,
                col(ReplaySet.teacher_version_id).is_not_distinct_from(teacher_version_id),
            )
        ).first()
        if standing is not None:
            return Registered(standing, created=False)
        row = self._add(
            ReplaySet(
                model_id=model_id,
                object_digest=said("object_digest", object_digest),
                count=at_least("count", count),
                tokens=at_least("tokens", tokens, bits=63),
                report=plain(report),
                teacher_version_id=teacher_version_id,
                created_at=self._clock(),
            )
        )
        told = row.model_dump(include={"id", "object_digest", "count", "tokens", "teacher_version_id"})
        self._record("replay_set.added", f"replay/{model.name}/{row.id}", told, model_id=model_id)
        return Registered(row, created=True)

    def add_adapter(self, *, tree_digest: str, size_bytes: int) -> Registered[Adapter]:
        """The files of a trained adapter."""
        standing = self._session.exec(select(Adapter).where(Adapter.tree_digest == tree_digest)).first()
        if standing is not None:
            return Registered(standing, created=False)
        row = self._add(
            Adapter(
                tree_digest=said("tree_digest", tree_digest),
                size_bytes=at_least("size_bytes", size_bytes, bits=63),
                created_at=self._clock(),
            )
        )
        told = row.model_dump(include={"id", "tree_digest", "size_bytes"})
        self._record("adapter.added", f"adapter/{row.id}", told)
        return Registered(row, created=True)


def _identity(suite: Suite) -> tuple[str, str, str, str, bool, int | None]:
    return (
        suite.kind,
        suite.object_digest,
        suite.suite_digest,
        suite.metric,
        suite.higher_is_better,
        suite.tool_schema_id,
    )


def _same_format(standing: OutputFormatRow, digest: str) -> OutputFormatRow:
    if standing.digest != digest:
        raise AlreadyExistsError(
            f"output format `{standing.name}` version `{standing.version}` stands with digest "
            f"`{standing.digest[:12]}`, not `{digest[:12]}`",
            hint="a changed format needs a new version number",
        )
    return standing
