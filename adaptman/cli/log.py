"""`adaptman log`: the registry's events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, jsonable, note, print_json, table, timestamp

if TYPE_CHECKING:
    from adaptman.lifecycle.log import Since, Verification
    from registry.tables import EventRow


@click.command()
@click.option(
    "--since",
    metavar="WHEN",
    help="Only events after number WHEN, or from a time (`2026-03-01`, `2026-03-01T12:00`) or a duration "
    "ago (`12h`, `7d`) on; a time without a zone is UTC.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N events.")
@click.option(
    "--verify", is_flag=True, help="Compute the hash chain again and compare every row with the events."
)
@json_option
@pass_app
def log(app: App, since: str | None, limit: int | None, verify: bool, as_json: bool) -> None:
    """Show the registry's events."""
    from adaptman.lifecycle.log import Since, read_log, verify_record

    workspace = app.workspace()
    if verify:
        found = verify_record(workspace)
        _print_verification(found, as_json)
        click.get_current_context().exit(0 if found.ok else 1)
    events = read_log(workspace, _since(app, since) if since is not None else Since(), limit)
    if as_json:
        print_json([_event_dict(event) for event in events])
    elif not events:
        note("no events")
    else:
        rows = [_event_cells(event) for event in events]
        click.echo(table(["seq", "at", "actor", "event", "subject", "payload"], rows, right=(0,)))


def _since(app: App, text: str) -> Since:
    from adaptman.lifecycle.log import parse_since

    try:
        return parse_since(text, app.clock())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


def _print_verification(found: Verification, as_json: bool) -> None:
    if as_json:
        print_json(_verification_dict(found))
        return
    for problem in found.chain.problems:
        click.echo(f"event {problem.seq}: {problem.kind}: {problem.message}")
    for row in found.tables.problems:
        click.echo(f"row {row.table}/{row.key}: {row.kind}: {row.message}")
    chain = "the chain holds" if found.chain.ok else "the chain is broken"
    click.echo(f"{chain}: {found.chain.count} events, head {found.chain.head_hash}")
    differ = len({(row.table, row.key) for row in found.tables.problems})
    rows = (
        "the rows are as the events tell" if found.tables.ok else f"{differ} rows are not as the events tell"
    )
    click.echo(f"{rows}: {found.tables.count} rows")


def _verification_dict(found: Verification) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "events": found.chain.count,
        "head": found.chain.head_hash,
        "problems": [problem._asdict() for problem in found.chain.problems],
        "rows": found.tables.count,
        "row_problems": [problem._asdict() for problem in found.tables.problems],
    }


def _event_dict(event: EventRow) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.at,
        "actor": event.actor,
        "kind": event.kind,
        "subject": event.subject,
        "payload": event.payload,
        "changes": event.changes,
        "prev_hash": event.prev_hash,
        "hash": event.hash,
    }


def _event_cells(event: EventRow) -> list[str]:
    return [
        str(event.seq),
        timestamp(event.at),
        event.actor,
        event.kind,
        event.subject,
        _brief(event.payload),
    ]


_TOLD_ALREADY = {"model", "version", "number", "name", "created_at"}
"""Keys whose values stand in the subject or the time."""


def _brief(payload: dict[str, Any]) -> str:
    """What a person wants to see of a payload; `--json` has it whole."""
    return " ".join(f"{key}={_value(value)}" for key, value in payload.items() if _is_shown(key, value))


def _is_shown(key: str, value: object) -> bool:
    if key in _TOLD_ALREADY or key == "id" or key.endswith("_id"):
        return False
    return isinstance(value, str | int | float) and value != ""


def _value(value: object) -> str:
    if isinstance(value, str):
        return value[:12] if len(value) == 64 and set(value) <= set("0123456789abcdef") else _quoted(value)
    return json.dumps(jsonable(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if " " in text else text
