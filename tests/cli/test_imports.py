"""What a command loads is what its user waits for."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifecycle.story import FIRST_TOOLS, Story, document, suite_lines

HEAVY = {"torch", "transformers", "peft", "mlflow", "matplotlib", "scipy", "pandas", "accelerate"}
ROOT = Path(__file__).resolve().parents[2]
WATCHED = """
import atexit, json, sys
from pathlib import Path
place = Path(sys.argv.pop(1))
atexit.register(lambda: place.write_text(json.dumps(sorted(sys.modules))))
from adaptman.cli.main import main
main()
"""


def loaded(folder: Path, *words: str, code: str = WATCHED) -> set[str]:
    """The modules in memory at the end of `adaptman WORDS`, run in a process of its own."""
    place = folder / "modules.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ADAPTMAN_AUTO_SYNC": "false"}
    subprocess.run(
        [sys.executable, "-c", code, str(place), *words], env=environment, cwd=folder, capture_output=True
    )
    return set(json.loads(place.read_text()))


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    story = Story.begin(folder / ".adaptman")
    story.tell()
    story.workspace.close()
    (folder / "tools.json").write_bytes(document(FIRST_TOOLS))
    (folder / "suite.jsonl").write_bytes(suite_lines("general", salt=" again"))
    return folder


def test_help_loads_click_and_nothing_else(tmp_path: Path) -> None:
    bare = roots(
        loaded(tmp_path, code=WATCHED.replace("from adaptman.cli.main import main\nmain()", "import click"))
    )
    ours = {"adaptman", "registry", "policies"}
    assert roots(loaded(tmp_path, "--help")) - bare - set(sys.stdlib_module_names) == ours


COMMANDS = [
    "history",
    "history --json",
    "approve 2 --note fine",
    "history diff 1 3",
    "bisect general general-0 --stored",
    "promote 2",
    "rollback",
    "version list",
    "version show 3",
    "version lineage 3",
    "log",
    "schema list",
    "schema register tools.json",
    "suite list",
    "suite register suite.jsonl --kind general",
    "db check",
    "policy show",
    "version discard 2 --reason unwanted",
]


EACH = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
from adaptman.cli.main import cli
place, *commands = sys.argv[1:]
loaded = {}
for command in commands:
    result = CliRunner().invoke(cli, command.split())
    assert result.exit_code in {0, 3}, result.output
    loaded[command] = sorted({name.partition(".")[0] for name in sys.modules})
Path(place).write_text(json.dumps(loaded))
"""


def test_commands_that_need_no_model_load_none(workspace: Path) -> None:
    """All in one process, one after another: what a command loads stays loaded for those after it."""
    place = workspace / "loaded.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ADAPTMAN_AUTO_SYNC": "false"}
    done = subprocess.run(
        [sys.executable, "-c", EACH, str(place), *COMMANDS],
        env=environment,
        cwd=workspace,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads(place.read_text())
    assert "sqlmodel" in modules["history"]
    assert {command: HEAVY & set(names) for command, names in modules.items() if HEAVY & set(names)} == {}


def test_help_answers_at_once(tmp_path: Path) -> None:
    """By processor time, which a busy machine does not stretch as it does the time on the wall."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "adaptman", "--help"]

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.3
