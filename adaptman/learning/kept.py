"""What one that is killed leaves to go on from: files that are whole, or made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from adaptman.errors import TrainingError
from adaptman.learning.replay import ReplaySet


def put(path: Path, content: bytes) -> None:
    """Write a file; one that is killed meanwhile leaves nothing of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def kept_replay(path: Path, draw: Callable[[], ReplaySet]) -> ReplaySet:
    """The replay set at `path`, drawn where it is not there yet."""
    # A file that the power cut in two is drawn again; it is a function of the seed.
    with suppress(TrainingError):
        return ReplaySet.from_file(str(path))
    drawn = draw()
    put(path, drawn.to_bytes())
    return drawn
