"""`adaptman schema`: register tool documents and see what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._changes import check_form, markdown_option, print_changes, print_markdown
from adaptman.cli._context import App, pass_app
from adaptman.cli._errors import EXIT_DRIFT
from adaptman.cli._github import annotation_lines
from adaptman.cli._input import parse_renames
from adaptman.cli._output import json_option, note, pairs, print_json, short_digest, short_time, table
from adaptman.cli._source import read_source, source_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptman.lifecycle.schema import SchemaRegistration
    from adaptman.lifecycle.schema_check import Threshold
    from registry.tables import ToolSchema


def _renames(command: Callable[..., None]) -> Callable[..., None]:
    """The options `--renamed` and `--not-renamed`."""
    renamed = click.option(
        "--renamed",
        multiple=True,
        callback=parse_renames,
        metavar="OLD=NEW",
        help="Tool OLD of the document before is now called NEW. May be given several times.",
    )
    not_renamed = click.option(
        "--not-renamed",
        multiple=True,
        metavar="OLD[=NEW]",
        help="Tool OLD is gone, whatever resembles it; OLD=NEW denies one guess. May be given several times.",
    )
    return renamed(not_renamed(command))


@click.group()
def schema() -> None:
    """Register tool documents and see what changed."""


@schema.command()
@source_options
@click.option(
    "--note", "remark", default="", metavar="TEXT", help="Why the document changed, for the record."
)
@_renames
@markdown_option
@json_option
@pass_app
def register(
    app: App,
    /,
    remark: str,
    renamed: dict[str, str],
    not_renamed: tuple[str, ...],
    as_json: bool,
    as_markdown: bool,
    **source: Any,
) -> None:
    """Register the tool document FILE (- for standard input) and print what changed.

    OpenAI, Anthropic, MCP, Hugging Face and bare JSON Schema documents are told apart by their shape. Instead
    of FILE, a live MCP server (--mcp) or Python functions (--python).
    """
    from adaptman.lifecycle.outbox import start_delivery
    from adaptman.lifecycle.schema import register_schema

    check_form(as_json, as_markdown)
    given = read_source(**source)
    workspace = app.workspace()
    done = register_schema(
        workspace, given.data, given.origin, note=remark, renamed=renamed, not_renamed=not_renamed
    )
    start_delivery(workspace)
    if as_json:
        print_json({**_row_dict(done.row), "created": done.created, "changes": done.changes.to_dict()})
    elif as_markdown:
        since = f" against schema {done.previous}" if done.previous else ""
        print_markdown(done.changes, f"Tool schema {done.row.number}{since}", done.before, done.document)
    else:
        _print_registration(done)


@schema.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the registered tool documents."""
    from adaptman.lifecycle.schema import list_schemas

    rows = list_schemas(app.workspace())
    if as_json:
        print_json([_row_dict(row) for row in rows])
    elif not rows:
        note("no tool document is registered yet; register one with `adaptman schema register FILE`")
    else:
        header = ["number", "tools", "format", "contract", "breaking", "registered", "note"]
        click.echo(table(header, [_row_cells(row) for row in rows], right=(0, 1)))


@schema.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@json_option
@pass_app
def show(app: App, number: int, as_json: bool) -> None:
    """Show tool document N: what it holds and what it changed."""
    from adaptman.lifecycle.schema import registered_schema
    from adaptman.toolspec.changes import ChangeSet

    found = registered_schema(app.workspace(), number)
    tools = found.document.as_openai()
    if as_json:
        print_json({**_row_dict(found.row), "changes": found.row.change_set, "tools": tools})
        return
    _print_row(found.row)
    click.echo()
    click.echo(
        table(["tool", "parameters", "description"], [_tool_cells(tool["function"]) for tool in tools])
    )
    click.echo()
    print_changes(ChangeSet.from_dict(found.row.change_set))


@schema.command()
@click.argument("old", type=click.IntRange(min=1), metavar="A")
@click.argument("new", type=click.IntRange(min=1), metavar="[B]", required=False)
@_renames
@markdown_option
@json_option
@pass_app
def diff(
    app: App,
    old: int,
    new: int | None,
    renamed: dict[str, str],
    not_renamed: tuple[str, ...],
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Compare tool document A with B, or with the newest one."""
    from adaptman.lifecycle.schema import compare_schemas

    check_form(as_json, as_markdown)
    found = compare_schemas(app.workspace(), old, new, renamed=renamed, not_renamed=not_renamed)
    if as_json:
        print_json({"old": found.old, "new": found.new, "changes": found.changes.to_dict()})
    elif as_markdown:
        title = f"Tool schema {found.old} → {found.new}"
        print_markdown(found.changes, title, found.before, found.after)
    else:
        note(f"schema {found.old} → {found.new}")
        print_changes(found.changes, found.before, found.after)


@schema.command()
@source_options
@click.option(
    "--fail-on",
    type=click.Choice(["breaking", "meaning", "habit"]),
    default="breaking",
    show_default=True,
    help="Exit with 4 for changes of this class, or graver ones.",
)
@click.option("--github", is_flag=True, help="Print annotations for GitHub Actions beside it.")
@_renames
@json_option
@pass_app
def check(
    app: App,
    /,
    fail_on: Threshold,
    github: bool,
    renamed: dict[str, str],
    not_renamed: tuple[str, ...],
    as_json: bool,
    **source: Any,
) -> None:
    """Compare FILE, a live MCP server or Python functions with what the champion was taught.

    Exit code 0: the same, or changes below --fail-on; 4: changes at or above it; 1: it could not be checked,
    which is never clean. What could not be decided counts as breaking. Nothing is recorded.
    """
    from adaptman.lifecycle.schema_check import check_schema

    given = read_source(**source)
    found = check_schema(
        app.workspace(), given.data, given.origin, fail_on=fail_on, renamed=renamed, not_renamed=not_renamed
    )
    if as_json:
        print_json(found.to_dict())
    else:
        note(f"{found.origin} against schema {found.schema}, which version {found.champion} was taught")
        print_changes(found.changes, found.before, found.after)
        if found.drift:
            note(f"drift: {found.worst} (fails on {fail_on})")
    if github:
        for line in annotation_lines(found):
            click.echo(line, err=as_json)
    if found.drift:
        click.get_current_context().exit(EXIT_DRIFT)


def _print_registration(done: SchemaRegistration) -> None:
    row = done.row
    if not done.created:
        note(f"schema {row.number} already holds this document; nothing was recorded")
    tools = f"{row.tool_count} tool{'' if row.tool_count == 1 else 's'}"
    since = f", changes against schema {done.previous}" if done.previous else ""
    click.echo(click.style(f"schema {row.number}", bold=True) + f"  {tools}, {row.source_format}{since}")
    click.echo()
    # A first document is all additions, of which a few show that it was read rightly.
    limit = 8 if done.previous is None else None
    print_changes(done.changes, done.before, done.document, limit=limit)


def _print_row(row: ToolSchema) -> None:
    shown = [
        ("schema", str(row.number)),
        ("format", row.source_format),
        ("tools", str(row.tool_count)),
        ("contract digest", row.contract_digest),
        ("document digest", row.document_digest),
        ("registered", f"{short_time(row.created_at)} by {row.author}"),
        ("note", row.note),
    ]
    click.echo(pairs(shown))


def _row_dict(row: ToolSchema) -> dict[str, Any]:
    return {
        "number": row.number,
        "digest": row.contract_digest,
        "document_digest": row.document_digest,
        "source_format": row.source_format,
        "tools_count": row.tool_count,
        "breaking": row.breaking,
        "note": row.note,
        "author": row.author,
        "created_at": row.created_at,
    }


def _row_cells(row: ToolSchema) -> list[str]:
    return [
        str(row.number),
        str(row.tool_count),
        row.source_format,
        short_digest(row.contract_digest),
        "yes" if row.breaking else "no",
        short_time(row.created_at),
        row.note,
    ]


def _tool_cells(function: dict[str, Any]) -> list[str]:
    parameters = function.get("parameters")
    properties = parameters.get("properties", {}) if isinstance(parameters, dict) else {}
    required = parameters.get("required", []) if isinstance(parameters, dict) else []
    names = [name if name in required else f"[{name}]" for name in properties]
    return [str(function["name"]), " ".join(names), str(function.get("description", ""))]
