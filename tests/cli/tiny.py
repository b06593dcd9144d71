"""The tiny model's line at a terminal."""

from __future__ import annotations

import signal

import pytest

from adaptman.learning import trainer
from tests.cli.conftest import Terminal
from tests.lifecycle.tiny_line import RECIPE_WORDS, TinyLine

LENIENT = "name: lenient\nrules:\n  general: {margin: 1, missing: ignore}\n"


def line_at(terminal: Terminal, template: TinyLine) -> TinyLine:
    """A copy of the template as the workspace of the terminal."""
    line = TinyLine.copy(template, terminal.folder)
    terminal.clock = line.clock
    return line


def update_words(command: str = "run", *more: str) -> list[str]:
    """`adaptman update …` for the first update, `more` coming last."""
    return ["update", command, "--schema", "1", "--examples", "examples.jsonl", *RECIPE_WORDS, *more]


def stopped_in_training(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Run a command, press Ctrl-C at its third step of training, and read how to go on."""
    advance = trainer._Run.advance

    def interrupted(run: trainer._Run, *batches: object) -> object:
        if run.step == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(run, *batches)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Run, "advance", interrupted)
        result = terminal.run(*words)
    assert result.exit_code == 130
    assert result.stderr.endswith("stopped; the same command goes on where it was\ninterrupted\n")
