"""The demo's files, made once from the installed wheel."""

from __future__ import annotations

from importlib import metadata

import pytest

from adaptman.demo.data import DemoFiles, prepare
from adaptman.evaluation.bfcl import WHEEL


@pytest.fixture(scope="session")
def bfcl_wheel() -> str:
    """The wheel's version; tests that need it are left out where it is not installed."""
    try:
        return metadata.version(WHEEL)
    except metadata.PackageNotFoundError:
        pytest.skip(f"`{WHEEL}` is not installed: pip install --no-deps {WHEEL}")


@pytest.fixture(scope="session")
def demo_files(bfcl_wheel: str, tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return prepare(tmp_path_factory.mktemp("demo") / "made")
