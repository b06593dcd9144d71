"""A distribution with scorers, as pip would have installed it in a folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from adaptman.evaluation import checks

MODULE = "zz_plugin"


def install(folder: Path, name: str, version: str, scorers: Sequence[str]) -> None:
    """Write what is read of an installed distribution; the scorers are in `MODULE`."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{scorer} = {MODULE}:{scorer}" for scorer in scorers]
    (info / "entry_points.txt").write_text("\n".join(["[adaptman.scorers]", *lines]))


def forget() -> None:
    """Let the module and its scorers be loaded anew."""
    checks._scorer.cache_clear()
    sys.modules.pop(MODULE, None)
