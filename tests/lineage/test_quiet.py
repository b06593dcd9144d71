"""MLflow says nothing, loads nothing heavy and leaves nothing behind in the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptman.config import Settings
from adaptman.lifecycle.workspace import Workspace
from tests.lineage.line import Clock, record

DELIVER = """
import sys
from pathlib import Path
from adaptman.config import Settings
from adaptman.lifecycle.outbox import deliver_pending
from adaptman.lifecycle.workspace import Workspace

with Workspace.open(Settings(home=Path(sys.argv[1]))) as workspace:
    report = deliver_pending(workspace)
heavy = [name for name in ("torch", "transformers", "peft") if name in sys.modules]
print(report.error, report.pending, *heavy)
"""


@pytest.mark.slow
def test_a_first_delivery_into_a_new_database(tmp_path: Path) -> None:
    with Workspace.create(Settings(home=tmp_path / "home", model="shop"), clock=Clock()) as workspace:
        record(workspace)
    folder = tmp_path / "somewhere"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DELIVER, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
    )
    assert (done.stdout, done.stderr) == ("None 0\n", "")
    assert list(folder.iterdir()) == []
