"""`adaptman format`: the ways in which a model may write calls."""

from __future__ import annotations

import click

from adaptman.cli._output import json_option, pairs, plain, print_json, table


@click.group()
def format() -> None:
    """Show the output formats: how calls are written."""


@format.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the built-in output formats."""
    from adaptman.lifecycle.formats import builtin_formats

    found = builtin_formats()
    if as_json:
        print_json([{"name": one.name, "version": one.version, "digest": one.digest} for one in found])
        return
    rows = [[one.name, str(one.version), one.digest[:12]] for one in found]
    click.echo(table(["name", "version", "digest"], rows, right=[1]))


@format.command()
@click.argument("which", metavar="NAME|FILE")
@json_option
def show(which: str, as_json: bool) -> None:
    """Show a built-in output format by its NAME, or check and show the one in FILE (YAML).

    Two calls as it writes them, and what a model is told of a tool and of how to call it.
    """
    from adaptman.lifecycle.formats import show_format

    shown = show_format(which)
    if as_json:
        print_json(shown.to_dict())
        return
    click.echo(
        pairs([("format", f"{shown.format.name} {shown.format.version}"), ("digest", shown.format.digest)])
    )
    for title, text in (("calls", shown.calls), ("system prompt", shown.prompt)):
        click.echo(f"\n{click.style(title, dim=True)}\n{plain(text)}")
