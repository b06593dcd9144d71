"""Write a version out as what transformers and PEFT load as it is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adaptman.errors import ModelError
from adaptman.lifecycle import engine, signing
from adaptman.lifecycle.workspace import Workspace

SIGNED = "signed"


@dataclass(frozen=True)
class Exported:
    """Where version `number` was written; `merged` tells a whole checkpoint from a PEFT adapter.

    `base` is the number of the version whose checkpoint lies under the adapter.
    """

    number: int
    target: Path
    merged: bool
    base: int


def export_version(workspace: Workspace, number: int, target: Path, *, merged: bool) -> Exported:
    """Write version `number` to the new directory `target`: its adapter, or base and adapter merged.

    The directory appears whole or not at all. A signed adapter brings its signatures in the folder `signed`;
    merged weights are none of the bytes that were signed.

    Raises:
        ModelError: the target exists, the version has no weights, or the base version is asked for without
            `merged`.
        NotFoundError: there is no such version.
        ArtifactError: an artifact is missing or damaged.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        version = reader.version(model.id, number)
        base = reader.checkpoint_of(version)
    if os.path.lexists(target):  # a link that leads nowhere is there, too
        raise ModelError(f"`{target}` exists already", hint="name a directory that does not exist yet")
    adapter = engine.adapter_path(workspace, version)
    if adapter is None and not merged:
        raise ModelError(f"version {number} has no adapter", hint="export it whole with `--merged`")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        if merged:
            from adaptman.learning import models

            engine.use_hardware(workspace)  # merged where it was when it was asked
            models.export_merged(engine.base_path(workspace, version), adapter, scratch)
        elif adapter is not None:
            _copy_files(adapter, scratch)
            _write_signed(signing.signed_files(workspace, version), scratch / SIGNED)
        os.chmod(scratch, 0o755)
        os.rename(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Exported(number, target, merged, base.number)


def _write_signed(files: Mapping[str, bytes], folder: Path) -> None:
    if files:
        folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _copy_files(source: Path, target: Path) -> None:
    """Bytes alone: the store's files and folders are read-only, and what is exported belongs to the user."""
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
