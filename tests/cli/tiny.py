"""The tiny model's line at a terminal."""

from __future__ import annotations

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
