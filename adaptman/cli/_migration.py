"""The options that say how calls of one tool document become calls of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from adaptman.cli._input import parse_renames

Command = Callable[..., Any]


def migration_options(command: Command) -> Command:
    """`--schema`, `--from`, `--map`, `--fill`, `--renamed` and `--not-renamed`."""
    number = click.IntRange(min=1)
    options = [
        click.option("--schema", type=number, metavar="N", required=True, help="Tool schema to come to."),
        click.option("--from", "before", type=number, metavar="A", help="Tool schema to start from (N - 1)."),
        click.option(
            "--map",
            "values",
            multiple=True,
            metavar="TOOL.PARAMETER:OLD=NEW",
            help="A value that is gone is written as NEW. May be repeated.",
        ),
        click.option(
            "--fill",
            "fills",
            multiple=True,
            metavar="TOOL.PARAMETER=VALUE",
            help="The value of a parameter that is required now. May be repeated.",
        ),
        click.option(
            "--renamed",
            multiple=True,
            callback=parse_renames,
            metavar="OLD=NEW",
            help="A tool, or a parameter as TOOL.OLD=NEW, is called NEW now. May be repeated.",
        ),
        click.option(
            "--not-renamed", multiple=True, metavar="OLD[=NEW]", help="Tool OLD is gone. May be repeated."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
