"""Where a tool document comes from: a file, a live server, or Python functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._input import Input, read_input
from adaptman.cli._output import note

if TYPE_CHECKING:
    from adaptman.sources.mcp import Server

Command = Callable[..., Any]


def source_options(command: Command) -> Command:
    """`FILE`, `--mcp` and `--python`, of which one is given, and what belongs to them."""
    options = [
        click.argument("file", metavar="[FILE]", required=False),
        click.option(
            "--mcp",
            metavar='"COMMAND …"|URL',
            help="Ask a live MCP server, started by COMMAND (stdio) or at URL (streamable HTTP).",
        ),
        click.option(
            "--mcp-env",
            "environment",
            multiple=True,
            metavar="NAME",
            help="A variable that the server is given; its value is nowhere kept. May be repeated.",
        ),
        click.option(
            "--mcp-header",
            "headers",
            multiple=True,
            metavar="HEADER=NAME",
            help="A header of each request, whose value is in the variable NAME. May be repeated.",
        ),
        click.option(
            "--python",
            "functions",
            metavar="MODULE:NAME",
            help="A Python function, or a list of them. Runs the module's code.",
        ),
        click.option(
            "--timeout",
            "seconds",
            type=click.FloatRange(min=0, min_open=True),
            default=30.0,
            show_default=True,
            metavar="SECONDS",
            help="How long a server or module may take.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_source(
    file: str | None,
    *,
    mcp: str | None,
    environment: Sequence[str],
    headers: Sequence[str],
    functions: str | None,
    seconds: float,
) -> Input:
    """The document's bytes, and how messages call it."""
    if sum(one is not None for one in (file, mcp, functions)) != 1:
        raise click.UsageError("name one source: FILE, `--mcp`, or `--python`")
    if (environment or headers) and mcp is None:
        raise click.UsageError("`--mcp-env` and `--mcp-header` belong to `--mcp`")
    if file is not None:
        return read_input(file)
    if functions is not None:
        from adaptman.sources.python import read_functions

        read = read_functions(functions, seconds=seconds, on_run=_say_whose_code)
        return Input(read, functions)
    from adaptman.sources.mcp import list_tools

    server = _server(mcp or "", environment, headers, seconds)
    return Input(list_tools(server), server.name)


def _say_whose_code(module: str) -> None:
    note(f"running the code of `{module}`")


def _server(target: str, environment: Sequence[str], headers: Sequence[str], seconds: float) -> Server:
    from adaptman.sources.mcp import Server

    pairs = {}
    for text in headers:
        header, equals, name = text.partition("=")
        if not (header and equals and name):
            raise click.BadParameter(
                f"`{header}` names no variable: write HEADER=NAME", param_hint="--mcp-header"
            )
        pairs[header] = name
    server = Server(target, tuple(environment), pairs, seconds)
    if pairs and not server.remote:
        raise click.UsageError("`--mcp-header` belongs to a URL; a command is given variables by `--mcp-env`")
    if environment and server.remote:
        raise click.UsageError("`--mcp-env` belongs to a command; a URL is given headers by `--mcp-header`")
    return server
