"""`adaptman reproduce` at a terminal."""

from __future__ import annotations

import re

import pytest

from adaptman.learning import trainer
from tests.cli.conftest import Terminal
from tests.cli.tiny import line_at, stopped_in_training
from tests.lifecycle.tiny_line import tiny_lines


def test_identical(terminal: Terminal) -> None:
    line_at(terminal, tiny_lines().updated).workspace.close()
    short = tiny_lines().digest[:12]
    told = terminal.ok("reproduce", "2")
    assert re.fullmatch(
        rf"version 2 is reproduced\nreplay       identical, \w{{12}}\nweights      identical, {short}\n"
        r"environment  as it was\n",
        told,
    )
    shown = terminal.json("reproduce", "2")
    assert (shown["identical"], shown["weights"]["now"]) == (True, tiny_lines().digest)


def test_otherwise(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    line_at(terminal, tiny_lines().updated).workspace.close()
    monkeypatch.setattr(trainer, "learning_rate", lambda recipe, step: 1e-3)
    result = terminal.run("reproduce", "2")
    assert result.exit_code == 1
    assert result.stdout.startswith("version 2 came out otherwise\n")
    assert "error: version 2 is not reproduced: the weights made now are others, by at most" in result.stderr
    assert "\n\nhint: " in result.stderr


def test_ctrl_c_says_how_to_go_on(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    line_at(terminal, tiny_lines().updated).workspace.close()
    stopped_in_training(terminal, monkeypatch, "reproduce", "2")
    assert terminal.ok("reproduce", "2").startswith("version 2 is reproduced\n")
