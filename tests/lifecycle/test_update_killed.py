"""An update that was killed goes on where it was, and ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adaptman.errors import BusyError
from adaptman.lifecycle import evaluate
from adaptman.lifecycle.update import Update
from tests.lifecycle.tiny_line import (
    CANDIDATE,
    FIRST_EXAMPLES,
    Killed,
    Recorder,
    TinyLine,
    lines,
    tiny_lines,
)

ROOT = Path(__file__).resolve().parents[2]


def killed(line: TinyLine, phase: str, after: int = 1, *, schema: int = 1) -> None:
    """Run the update and kill it."""
    with pytest.raises(Killed):
        line.update(schema, progress=Recorder(phase, after))
    assert line.held_by() == []


def assert_whole(line: TinyLine, done: Update) -> None:
    """The update ended as an undisturbed one does."""
    assert (done.version.number, done.version.state, len(line.versions())) == (CANDIDATE, "refused", 2)
    assert line.adapter() == tiny_lines().digest
    for kind in ("version.started", "version.trained", "decision.recorded"):
        assert line.events().count(kind) == 1
    assert line.events().count("suite_run.recorded") == 4
    assert not any((line.workspace.settings.home / "runs").iterdir())


def test_killed_while_the_replay_is_drawn(filled: TinyLine) -> None:
    killed(filled, "replay")
    assert filled.version().state == "training"
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    assert progress.phases[0] == "replay"


@pytest.mark.parametrize("step", [1, 2, 4])
def test_killed_at_a_step_of_the_training(filled: TinyLine, step: int) -> None:
    killed(filled, "training", step)
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    resumed = [f"training from step {step}"] if step > 1 else []
    assert progress.phases[: 1 + len(resumed)] == ["training", *resumed]
    assert "replay" not in progress.phases
    assert sum(progress.advances.get(phase, 0) for phase in ("training", *resumed)) == 5 - step


@pytest.mark.parametrize("phase", ["v1 on general", "v1 on new-tools", "v2 on general", "v2 on new-tools"])
def test_killed_in_a_suite(filled: TinyLine, phase: str) -> None:
    order = ["v1 on general", "v1 on new-tools", "v2 on general", "v2 on new-tools"]
    killed(filled, phase)
    assert filled.version().state == "trained"
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    assert progress.phases == order[order.index(phase) :]


def test_killed_before_the_decision(filled: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*arguments: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "judge", die)
        with pytest.raises(Killed):
            filled.update()
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    assert progress.phases == []


def test_killed_between_the_store_and_the_record(filled: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.writer import Writer

    def die(*arguments: object, **values: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "finish_training", die)
        with pytest.raises(Killed):
            filled.update()
    assert filled.version().state == "training"
    assert_whole(filled, filled.update())


def test_what_a_run_left_behind_is_cleared_away(updated: TinyLine) -> None:
    left = updated.workspace.settings.home / "runs" / "default-v2"
    left.mkdir(parents=True)
    (left / "checkpoint.safetensors").write_bytes(b"of a run that died after its last record")
    updated.update()
    assert not left.exists()


def test_a_replay_set_that_was_cut_in_two_is_drawn_again(filled: TinyLine) -> None:
    killed(filled, "training", 1)
    [path] = (filled.workspace.settings.home / "runs" / "default-v2").glob("replay-*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    assert progress.phases[0] == "replay"


def test_a_replay_set_of_another_update_is_not_taken(filled: TinyLine) -> None:
    killed(filled, "training", 1)
    [path] = (filled.workspace.settings.home / "runs" / "default-v2").glob("replay-*.safetensors")
    path.rename(path.with_name("replay-of-another.safetensors"))
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    assert progress.phases[0] == "replay"


def test_a_replay_set_of_another_champion_is_not_taken(filled: TinyLine, tmp_path: Path) -> None:
    """Two registries number alike what is not alike: here the adapters of two first updates."""
    other = TinyLine.copy(tiny_lines().filled, tmp_path / "other")
    (other.folder / "examples.jsonl").write_text(lines(FIRST_EXAMPLES[1:]))
    names = []
    for line in (filled, other):
        line.update()
        line.second_tools()
        killed(line, "training", schema=2)
        [path] = (line.workspace.settings.home / "runs" / "default-v3").glob("replay-*.safetensors")
        names.append(path.name)
    assert filled.version().adapter_id == other.version().adapter_id
    assert filled.adapter() != other.adapter()
    assert names[0] != names[1]
    other.workspace.close()


CHILD = """
import os, sys
from pathlib import Path
from adaptman.lifecycle.progress import Silent
from tests.lifecycle.tiny_line import TinyLine
from tests.lifecycle.story import Clock

class Stop(Silent):
    phase, steps = "", 0
    def start(self, phase, total):
        self.phase = phase
    def advance(self, units, note=""):
        self.steps += self.phase == "training"
        if self.steps == 3:
            print("here", flush=True)
            sys.stdin.read()

TinyLine.at(Path(sys.argv[1]), Clock()).update(progress=Stop())
"""


@pytest.mark.slow
def test_a_process_that_was_killed(filled: TinyLine) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(filled.folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    with pytest.raises(BusyError, match=f"pid {child.pid} on "):
        filled.update()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert len(filled.held_by()) == 1
    progress = Recorder()
    assert_whole(filled, filled.update(progress=progress))
    assert progress.phases[:2] == ["training", "training from step 3"]
