"""A change set on the terminal, and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._output import note, plain

if TYPE_CHECKING:
    from adaptman.toolspec.changes import ChangeSet
    from adaptman.toolspec.document import ToolDocument

_COLOURS = {"breaking:": "red", "unknown:": "yellow"}


def markdown_option(command: Any) -> Any:
    """`--markdown`: print what changed for a pull request."""
    words = "Print what changed as Markdown, for a pull request."
    return click.option("--markdown", "as_markdown", is_flag=True, help=words)(command)


def check_form(as_json: bool, as_markdown: bool) -> None:
    """One form at a time."""
    if as_json and as_markdown:
        raise click.UsageError("`--json` and `--markdown` are two forms: choose one")


def print_changes(
    changes: ChangeSet,
    before: ToolDocument | None = None,
    after: ToolDocument | None = None,
    *,
    limit: int | None = None,
) -> None:
    """The changes on stdout; on stderr how renames that are guesses are confirmed or denied."""
    from adaptman.toolspec.describe import Documents, describe

    documents = Documents(before, after) if after is not None else None
    for line in describe(changes, limit=limit, documents=documents):
        click.echo(_coloured(plain(line)))
    if any(tool.status == "renamed" and tool.likelihood != 1.0 for tool in changes.tools):
        note("renames are guesses: `--renamed OLD=NEW` confirms one, `--not-renamed OLD` denies it")


def print_markdown(changes: ChangeSet, title: str, before: ToolDocument | None, after: ToolDocument) -> None:
    """The changes as Markdown on stdout."""
    from adaptman.toolspec.describe import Documents, markdown

    click.echo(markdown(changes, title=title, documents=Documents(before, after)), nl=False)


def _coloured(line: str) -> str:
    for word, colour in _COLOURS.items():
        line = line.replace(word, click.style(word, fg=colour))
    return line
