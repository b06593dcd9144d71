"""What is forbidden to others is allowed to root: tests of permissions run as nobody meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root steps down; anybody else stays who they are."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def owned_by_nobody(path: Path) -> None:
    """Give `path` away, so that what its owner may do is up to its mode alone."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1)


@contextmanager
def locked_folder() -> Iterator[Path]:
    """A folder that nobody may write to; pytest's own folders are closed to all but root."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        owned_by_nobody(folder)
        folder.chmod(0o555)
        try:
            yield folder
        finally:
            folder.chmod(0o755)
