"""A stranger's `registry` or `policies` on the path is named, with its place, before anything else runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import adaptman
import policies
import registry
from tests.architecture.source import ROOT


def _import_adaptman(*path: Path) -> str:
    """What Python says on stderr when `adaptman` is imported with these folders first on the path."""
    script = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}; import adaptman"
    return subprocess.run(
        [sys.executable, "-ES", "-c", script], capture_output=True, text=True, cwd=path[0], check=False
    ).stderr


def _stranger(folder: Path, name: str, text: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)
    return folder


def test_each_package_says_where_it_comes_from() -> None:
    assert [package.__distribution__ for package in (adaptman, registry, policies)] == ["adaptman"] * 3


def test_our_own_siblings_pass() -> None:
    assert _import_adaptman(ROOT) == ""


@pytest.mark.parametrize("name", ["registry", "policies"])
@pytest.mark.parametrize(
    "text",
    ["", "__distribution__ = 'somebody-else'", "raise RuntimeError('needs a licence')", "def ("],
    ids=["no marker", "another marker", "raises", "does not parse"],
)
def test_a_stranger_is_named_with_its_place(tmp_path: Path, name: str, text: str) -> None:
    said = _import_adaptman(_stranger(tmp_path, name, text), ROOT)
    place = tmp_path / name / "__init__.py"
    assert (
        f"ImportError: the package `{name}` found at `{place}` is not the one that comes with adaptman"
        in said
    )
    assert "\n\nhint: another package of that name comes first on the path" in said


def test_a_missing_sibling_is_named(tmp_path: Path) -> None:
    (tmp_path / "adaptman").symlink_to(ROOT / "adaptman")
    said = _import_adaptman(tmp_path)
    assert "ImportError: the package `registry`, which comes with adaptman, is missing" in said
