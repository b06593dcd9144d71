"""The wheel holds what it should, and works in an environment and a folder apart from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, modules

pytestmark = pytest.mark.slow

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def adaptman(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from the wheel into an environment of its own.

    Its dependencies are lent by the environment that runs the tests: a `.pth` line, which comes after the new
    environment's own packages and through which Python does not follow the checkout's own `.pth`.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(home)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True, env=_environment())
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "adaptman"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ADAPTMAN_"))}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "ADAPTMAN_AUTO_SYNC": "false"}


def _run(command: Path, *arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [command, *arguments], cwd=cwd, env=_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_top_level_names(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)


def test_every_module_is_in(names: set[str]) -> None:
    assert {module.name for module in modules()} <= names


def test_migrations_are_in(names: set[str]) -> None:
    scripts = [path.relative_to(ROOT / "migrations") for path in (ROOT / "migrations").rglob("*.py")]
    assert {f"registry/_migrations/{path}" for path in scripts} <= names
    assert "registry/_migrations/env.py" in names


def test_data_is_in(names: set[str]) -> None:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*")]
    data = {str(path.relative_to(ROOT)) for path in paths if path.suffix in {".yaml", ".json", ".jsonl"}}
    assert data | {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"policies/builtin/default.yaml", "adaptman/demo/general.jsonl"} <= names


def test_nothing_else_is_in(names: set[str]) -> None:
    assert [name for name in names if "test" in Path(name).parts[0] or name.endswith((".pyc", ".db"))] == []


def test_licence_is_in(names: set[str]) -> None:
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_it_runs_from_an_unrelated_folder(adaptman: Path, tmp_path: Path) -> None:
    python = adaptman.with_name("python")
    place = _run(python, "-c", "import adaptman; print(adaptman.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(adaptman.parents[1])
    assert "Usage:" in _run(adaptman, "--help", cwd=tmp_path)
    assert "Usage:" in _run(adaptman, "init", "--help", cwd=tmp_path)


def test_a_workspace_is_made_from_an_unrelated_folder(adaptman: Path, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    _run(adaptman, "init", cwd=tmp_path)
    _run(adaptman, "db", "check", cwd=tmp_path)
    assert "get_weather" in _run(adaptman, "schema", "register", "tools.json", cwd=tmp_path)
    listed = json.loads(_run(adaptman, "schema", "list", "--json", cwd=tmp_path))
    assert len(listed) == 1
