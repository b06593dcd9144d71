"""`adaptman init`, as far as no model has to be converted."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Terminal
from tests.lifecycle.story import Story


def test_init_again_changes_nothing(terminal: Terminal, told: Story) -> None:
    before = terminal.json("log")
    found = terminal.json("init")
    assert (found["created"], found["model"], found["version"]) == (False, "default", 3)
    assert terminal.json("log") == before


def test_a_line_cannot_change_its_base(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("init", "--base", "elsewhere")
    assert result.exit_code == 1
    assert "stands on `smollm2-135m-instruct` already" in result.stderr
    assert "adaptman --model NAME init" in result.stderr


def test_a_base_that_is_no_checkpoint(terminal: Terminal) -> None:
    Path("empty").mkdir()
    for base in ("nowhere", "./empty"):
        result = terminal.run("init", "--base", base)
        assert (result.exit_code, "Traceback" in result.output) == (1, False)
        assert "error: " in result.stderr
    assert terminal.run("history").exit_code == 1


def test_a_home_that_cannot_be_made(terminal: Terminal) -> None:
    terminal.home.write_text("a file")
    result = terminal.run("init")
    assert result.exit_code == 1
    assert terminal.plain(result.stderr).startswith(
        "error: the home folder `TMP/home` cannot be written: Not a directory"
    )


def test_a_model_line_that_cannot_be_called_so(terminal: Terminal) -> None:
    result = terminal.run("--model", "a/b", "init")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: flag `--model`: `model`: must be letters")
