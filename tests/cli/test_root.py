"""The root command: its help, its table of commands, its manners."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from adaptman import __version__
from adaptman.cli.main import COMMANDS, cli


class Named(NamedTuple):
    path: str
    command: click.Command


def walk(name: str, command: click.Command) -> Iterator[Named]:
    """A command and everything below it."""
    yield Named(name, command)
    if isinstance(command, click.Group):
        context = click.Context(command, **command.context_settings)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from walk(f"{name} {child}", found)


def everything() -> list[Named]:
    return list(walk("adaptman", cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    command = cli.get_command(click.Context(cli, **cli.context_settings), name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert command.help.partition("\n")[0] == COMMANDS[name].help


def test_every_command_has_help() -> None:
    assert [path for path, command in everything() if not command.help] == []


def test_every_option_has_help() -> None:
    bare = [
        f"{path} {parameter.opts[0]}"
        for path, command in everything()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert bare == []


def test_every_argument_has_a_name_of_its_own() -> None:
    unnamed = [
        f"{path} {parameter.name}"
        for path, command in everything()
        for parameter in command.params
        if isinstance(parameter, click.Argument) and not parameter.metavar
    ]
    assert unnamed == []


def test_commands_that_read_take_json() -> None:
    reading = {"list", "show", "lineage", "history", "log", "doctor", "diff", "check", "status"}
    groups = {"adaptman lineage"}
    without = [
        path
        for path, command in everything()
        if path.split()[-1] in reading and path not in groups and not isinstance(command, click.Group)
        if "--json" not in {name for parameter in command.params for name in parameter.opts}
    ]
    assert without == []


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.output == f"adaptman {__version__}\n"


def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adaptman", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"adaptman {__version__}\n"


def test_a_misspelt_command_is_a_usage_error_with_a_suggestion() -> None:
    result = CliRunner().invoke(cli, ["histroy"])
    assert result.exit_code == 2
    assert "no such command `histroy`; did you mean `history`?" in result.stderr


def test_completion_names_commands_without_importing_them() -> None:
    completions = ShellComplete(cli, {}, "adaptman", "_ADAPTMAN_COMPLETE").get_completions([], "pr")
    assert [(one.value, one.help) for one in completions] == [("promote", COMMANDS["promote"].help)]


def test_completion_goes_into_groups() -> None:
    completions = ShellComplete(cli, {}, "adaptman", "_ADAPTMAN_COMPLETE").get_completions(["schema"], "r")
    assert [one.value for one in completions] == ["register"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_that_the_help_names(shell: str) -> None:
    environment = {**os.environ, "_ADAPTMAN_COMPLETE": f"{shell}_source"}
    program = "from adaptman.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "_adaptman_completion" in done.stdout
    assert "_ADAPTMAN_COMPLETE=bash_source" in (cli.help or "")
