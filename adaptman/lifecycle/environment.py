"""What figures and weights depend on beside their model and data, and what is made of them here alone."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaptman import __version__
from adaptman.artifacts.folder import remove
from adaptman.errors import BusyError
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.jsontext import canonical_json, sha256_of


def environment() -> dict[str, Any]:
    """What a figure depends on beside model and suite."""
    from importlib.metadata import version

    packages = {"adaptman": __version__} | {name: version(name) for name in ("torch", "transformers", "peft")}
    return {"python": platform.python_version(), "machine": platform.machine(), "packages": packages}


def training_environment() -> dict[str, Any]:
    """What the last bits of trained weights depend on beside the plan."""
    from adaptman.learning import models

    found = environment()
    packages = found.pop("packages")
    return {**found, **packages, **models.hardware()}


@contextmanager
def kept_when_killed(workspace: Workspace, what: str, number: int, *made_of: Any) -> Iterator[Path]:
    """A working folder for what is made of version `number` of a line, as one that was killed has left it.

    `what` names the work and the line.
    It is that of this environment, and of `made_of` (plain JSON values): anything else proves nothing here.
    Its name is like that of an update's, so that gc finds what nobody goes on with for a day.
    """
    key = sha256_of(canonical_json([training_environment(), *made_of]))[:16]
    folder = workspace.settings.home / "runs" / f"{what}-{key}-v{number}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BusyError:  # it may be another's by now
        raise
    except Exception:
        remove(folder)
        raise
    remove(folder)
