"""Make a workspace: folders, a migrated registry, and the base checkpoint as version 1 and champion."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.config import Settings
from adaptman.errors import ModelError, WorkspaceError
from adaptman.lifecycle.workspace import Clock, Workspace, utc_now

if TYPE_CHECKING:
    from registry.tables import Model, ModelVersion
    from registry.writer import Writer

LOCK_FILE = "init.lock"


@dataclass(frozen=True)
class Initialised:
    """The model line that stands; `created` is False when it stood before. `version` is the champion."""

    model: Model
    version: ModelVersion
    created: bool


def initialise(
    settings: Settings,
    *,
    base: str | None = None,
    clock: Clock = utc_now,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Initialised:
    """Make what is missing; what stands already is kept, also when a former try was killed half-way.

    Raises:
        WorkspaceError: the home folder cannot be written, or the line stands on another base.
        ModelError: the base is not a checkpoint that can be used.
    """
    with Workspace.create(settings, clock=clock) as workspace:
        standing = _standing(workspace, base)
        if standing is not None:
            return standing
        with _alone(workspace, on_progress):
            standing = _standing(workspace, base)
            if standing is not None:
                return standing
            digest, info = _store_base(workspace, base, on_progress)
            return _register(workspace, digest, _source_name(base), info)


@contextmanager
def _alone(workspace: Workspace, on_progress: Callable[[str], None]) -> Iterator[None]:
    """One conversion at a time in a home folder: it takes a scratch folder and much memory."""
    from filelock import FileLock, Timeout

    lock = FileLock(workspace.settings.home / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_progress("another `adaptman init` is at work here; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _standing(workspace: Workspace, base: str | None) -> Initialised | None:
    """The line as it was registered before.

    Raises:
        WorkspaceError: it stands on another base than the one that is asked for.
    """
    found = _registered(workspace)
    if found is not None and base is not None and found.model.base_source != _source_name(base):
        raise WorkspaceError(
            f"model line `{found.model.name}` stands on `{found.model.base_source}` already",
            hint="choose another name with `adaptman --model NAME init --base …`",
        )
    return found


def _registered(workspace: Workspace) -> Initialised | None:
    with workspace.registry.read() as reader:
        for model in reader.models():
            if model.name == workspace.settings.model:
                champion = reader.champion(model.id)
                return Initialised(model, champion, created=False) if champion else None
    return None


def _register(workspace: Workspace, digest: str, source: str, info: dict[str, Any]) -> Initialised:
    def record(writer: Writer) -> Initialised:
        model = writer.add_model(workspace.settings.model, digest, source, info)
        version = writer.add_base_version(model.id, base_digest=digest, note=source)
        return Initialised(model, version, created=True)

    return workspace.registry.write(record)


def _store_base(
    workspace: Workspace, base: str | None, on_progress: Callable[[str], None]
) -> tuple[str, dict[str, Any]]:
    from adaptman.learning import models

    source = models.embedded_gguf() if base is None else _resolve(base)
    scratch = workspace.settings.home / "tmp" / "base"
    shutil.rmtree(scratch, ignore_errors=True)
    on_progress(f"converting {_source_name(base)} to safetensors (once)")
    try:
        models.convert(source, scratch)
        digest = workspace.store.put_tree(scratch)
        info = models.describe(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return digest, info


def _source_name(base: str | None) -> str:
    from adaptman.learning import models

    if base is None:
        return models.EMBEDDED
    return str(Path(base).resolve()) if Path(base).exists() else base


def _resolve(base: str) -> Path:
    """A path as it is; a hub id downloaded, safetensors and text files only."""
    if Path(base).exists() or base.count("/") != 1 or base.startswith((".", "/", "~")):
        return Path(base)
    from adaptman.learning import models

    try:
        return models.download(base)
    except OSError as error:
        raise ModelError(
            f"`{base}` is neither a path nor a model that could be downloaded: {error}",
            hint="name a directory with config.json, tokenizer files and *.safetensors, or a .gguf file",
        ) from error
