"""The command line, run in this process with a fixed clock, on a workspace in a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adaptman.cli._context import App
from adaptman.cli.main import cli
from adaptman.lifecycle.doctor import Probes
from tests.lifecycle.story import Clock, Story, templates


@dataclass
class Terminal:
    """Types commands. What they print has the temporary folder replaced by `TMP`."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    probes: Probes | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *words: str, typed: str | bytes | None = None) -> Result:
        app = App(clock=self.clock, probes=self.probes)
        arguments = ["--home", str(self.home), *words]
        return CliRunner().invoke(cli, arguments, input=typed, obj=app, prog_name="adaptman")

    def ok(self, *words: str, typed: str | bytes | None = None) -> str:
        """The stdout of a command that must succeed."""
        result = self.run(*words, typed=typed)
        assert (result.exit_code, result.exception) == (0, None), result.output
        return self.plain(result.stdout)

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def transcript(self, *words: str) -> str:
        """Command, output and exit code, as a golden file holds them."""
        result = self.run(*words)
        shown = f"$ adaptman {' '.join(words)}\n{result.stdout}"
        if result.stderr:
            shown += f"[stderr]\n{result.stderr}"
        return self.plain(f"{shown}[exit code {result.exit_code}]\n")

    def plain(self, text: str) -> str:
        return text.replace(str(self.folder), "TMP")


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in an empty folder; there is no workspace yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTMAN_AUTO_SYNC", "false")
    monkeypatch.setenv("ADAPTMAN_ACTOR", "ada@lab")
    return Terminal(tmp_path)


@pytest.fixture
def begun(terminal: Terminal) -> Iterator[Story]:
    """A workspace with nothing but a base model."""
    story = Story.copy(templates().begun, terminal.folder)
    terminal.clock = story.clock
    yield story
    story.workspace.close()


@pytest.fixture
def told(terminal: Terminal) -> Iterator[Story]:
    """A workspace with four versions, a refusal, a waiver and a rollback."""
    story = Story.copy(templates().told, terminal.folder)
    terminal.clock = story.clock
    yield story
    story.workspace.close()
