"""A workspace whose objects age with its clock: adapters are small trees, everything else is real."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from adaptman.lifecycle.workspace import Workspace
from registry.reader import Reader
from registry.tables import ModelVersion
from registry.writer import Writer
from tests.lifecycle.story import Clock, settings
from tests.registry import line


@dataclass
class Yard:
    """One model line whose base is champion."""

    workspace: Workspace
    clock: Clock
    model: int
    folder: Path

    @classmethod
    def begin(cls, folder: Path, **changes: Any) -> Yard:
        clock = Clock()
        workspace = Workspace.create(settings(folder / "home", **changes), clock=clock)
        yard = cls(workspace, clock, 0, folder)
        base = yard.tree("base")
        yard.model = workspace.registry.write(lambda writer: _begin(writer, base))
        return yard

    @classmethod
    def copy(cls, folder: Path) -> Yard:
        """The same as `begin`, in less time."""
        template = _template()
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        clock = Clock()
        return cls(Workspace.open(settings(folder / "home"), clock=clock), clock, template.model, folder)

    def start(self, **changes: Any) -> ModelVersion:
        """A version in training."""

        def record(writer: Writer) -> ModelVersion:
            base = writer.model_by_id(self.model).base_digest
            return line.start(writer, self.model, base_digest=base, **changes)

        return self.workspace.registry.write(record)

    def age(self, digest: str) -> str:
        """The object is as old as the clock says."""
        path = self.workspace.store.path_of(digest)
        os.utime(path, (self.clock.now.timestamp(),) * 2)
        return digest

    def put(self, text: str) -> str:
        return self.age(self.workspace.store.put_bytes(text.encode()))

    def tree(self, text: str) -> str:
        """Two files, one of which all trees share."""
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        (source / "adapter_config.json").write_text(text)
        (source / "shared.txt").write_text("in every tree")
        digest = self.workspace.store.put_tree(source)
        for entry in self.workspace.store.tree(digest).values():
            self.age(entry.sha256)
        return self.age(digest)

    def train(self, adapter: str, *, replay: str | None = None, state: str = "trained") -> int:
        """A version with that adapter, made as an update makes one: objects first, then the row."""
        tree = self.tree(adapter)
        samples = self.put(replay) if replay is not None else None

        def record(writer: Writer) -> int:
            version = line.start(writer, self.model, base_digest=writer.model_by_id(self.model).base_digest)
            replay_id = None
            if samples is not None:
                replay_id = writer.add_replay_set(
                    self.model, object_digest=samples, count=1, tokens=1, report={}, teacher_version_id=None
                ).id
            row = writer.add_adapter(tree_digest=tree, size_bytes=10).row
            writer.finish_training(
                version.id, adapter_id=row.id, replay_set_id=replay_id, curves_digest=None, summary={}
            )
            if state in {"passed", "refused"}:
                line.judge(writer, version, "pass" if state == "passed" else "refuse")
            return version.number

        return self.workspace.registry.write(record)

    def told_everything(self) -> None:
        """MLflow knows it all."""

        def deliver(writer: Writer) -> None:
            for row in writer.outbox_pending(limit=None):
                writer.outbox_done(row.id, {})

        self.workspace.registry.write(deliver)

    def version(self, number: int) -> ModelVersion:
        with self.workspace.registry.read() as reader:
            return reader.version(self.model, number)

    def adapter(self, number: int) -> str:
        with self.workspace.registry.read() as reader:
            return adapter_of(reader, reader.version(self.model, number))

    def collected(self) -> list[tuple[str, datetime]]:
        with self.workspace.registry.read() as reader:
            return sorted(reader.removals().items())


@cache
def _template() -> Yard:
    root = Path(tempfile.mkdtemp(prefix="adaptman-yard-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    made = Yard.begin(root)
    made.workspace.close()
    return made


def adapter_of(reader: Reader, version: ModelVersion) -> str:
    return reader.adapter(version.adapter_id or 0).tree_digest


def _begin(writer: Writer, base: str) -> int:
    model = writer.add_model("default", base, "tiny", {})
    writer.add_base_version(model.id, base_digest=base)
    return model.id
