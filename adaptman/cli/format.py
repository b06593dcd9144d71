"""`adaptman format`: the ways in which a model may write calls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, pairs, plain, print_json, table

if TYPE_CHECKING:
    from adaptman.lifecycle.formats import FormatDiff
    from adaptman.lifecycle.workspace import Workspace

_WHICH = "NAME[@VERSION]|FILE"


@click.group()
def format() -> None:
    """Show, compare and register output formats: how calls are written."""


@format.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@json_option
@pass_app
def register(app: App, file: Path, as_json: bool) -> None:
    """Put the output format in FILE (YAML) on record; `update --format NAME` finds it then.

    What is on record stays as it is: a format that writes calls otherwise needs another `version`.
    """
    from adaptman.lifecycle.formats import named, register_format

    done = register_format(app.workspace(), file)
    made = done.format
    if as_json:
        print_json({**named(made), "created": done.created})
        return
    if not done.created:
        note("this format is on record already; nothing was recorded")
    click.echo(f"format {made.name} {made.version}, {made.digest[:12]}")


@format.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the built-in and the registered output formats, and the versions that were taught them."""
    from adaptman.lifecycle.formats import list_formats

    found = list_formats(_workspace(app))
    if as_json:
        print_json([{**one._asdict(), "versions": list(one.versions)} for one in found])
        return
    rows = [
        [
            one.name,
            str(one.version),
            one.digest[:12],
            "built in" if one.builtin else "own",
            ", ".join(map(str, one.versions)),
        ]
        for one in found
    ]
    click.echo(table(["name", "version", "digest", "", "taught to versions"], rows, right=[1]))


@format.command()
@click.argument("which", metavar=_WHICH)
@json_option
@pass_app
def show(app: App, which: str, as_json: bool) -> None:
    """Show an output format by its NAME, or check and show the one in FILE (YAML).

    Two calls as it writes them, and what a model is told of a tool and of how to call it.
    """
    from adaptman.lifecycle.formats import show_format

    shown = show_format(which, _workspace(app))
    if as_json:
        print_json(shown.to_dict())
        return
    click.echo(
        pairs([("format", f"{shown.format.name} {shown.format.version}"), ("digest", shown.format.digest)])
    )
    for title, text in (("calls", shown.calls), ("system prompt", shown.prompt)):
        click.echo(f"\n{click.style(title, dim=True)}\n{plain(text)}")


@format.command()
@click.argument("before", metavar=f"A={_WHICH}")
@click.argument("after", metavar="B")
@json_option
@pass_app
def diff(app: App, before: str, after: str, as_json: bool) -> None:
    """Compare output format A with B: the same calls in both, and whether B still reads what A wrote."""
    from adaptman.lifecycle.formats import diff_formats, find_format

    workspace = _workspace(app)
    found = diff_formats(find_format(before, workspace), find_format(after, workspace))
    if as_json:
        print_json(found.to_dict())
    else:
        _print_diff(found)


def _print_diff(found: FormatDiff) -> None:
    names = [f"{one.name} {one.version}" for one in (found.before, found.after)]
    verdict = "calls written as before are not read" if found.breaking else "calls written as before are read"
    click.echo(click.style(" → ".join(names), bold=True) + f"  {verdict}")
    for one in found.calls:
        _print_pair(one.what, one.before, one.after)
    _print_pair("system prompt", *found.prompts)


def _print_pair(title: str, before: str, after: str) -> None:
    if before == after:
        click.echo(f"\n{click.style(title, dim=True)}  the same")
        return
    click.echo(f"\n{click.style(title, dim=True)}")
    for sign, colour, text in (("-", "red", before), ("+", "green", after)):
        for line in plain(text).splitlines():
            click.echo(click.style(f"{sign} {line}", fg=colour))


def _workspace(app: App) -> Workspace | None:
    """Built-in formats and files need no workspace."""
    from adaptman.errors import WorkspaceError

    try:
        return app.workspace()
    except WorkspaceError:
        return None
