"""`adaptman log`: the registry's events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, jsonable, note, print_json, table, timestamp

if TYPE_CHECKING:
    from registry.tables import EventRow
    from registry.values import ChainReport


@click.command()
@click.option(
    "--since", type=click.IntRange(min=0), default=0, metavar="SEQ", help="Only events after number SEQ."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N events.")
@click.option("--verify", is_flag=True, help="Compute the hash chain again and say whether it holds.")
@json_option
@pass_app
def log(app: App, since: int, limit: int | None, verify: bool, as_json: bool) -> None:
    """Show the registry's events."""
    workspace = app.workspace()
    if verify:
        with workspace.registry.read() as reader:
            report = reader.verify_chain()
        _print_report(report, as_json)
        click.get_current_context().exit(0 if report.ok else 1)
    with workspace.registry.read() as reader:
        events = reader.events(since_seq=since, limit=limit)
    if as_json:
        print_json([_event_dict(event) for event in events])
    elif not events:
        note("no events")
    else:
        rows = [_event_cells(event) for event in events]
        click.echo(table(["seq", "at", "actor", "event", "subject", "payload"], rows, right=(0,)))


def _print_report(report: ChainReport, as_json: bool) -> None:
    if as_json:
        problems = [problem._asdict() for problem in report.problems]
        print_json({"ok": report.ok, "events": report.count, "head": report.head_hash, "problems": problems})
        return
    for problem in report.problems:
        click.echo(f"event {problem.seq}: {problem.kind}: {problem.message}")
    verdict = "the chain holds" if report.ok else "the chain is broken"
    click.echo(f"{verdict}: {report.count} events, head {report.head_hash}")


def _event_dict(event: EventRow) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.at,
        "actor": event.actor,
        "kind": event.kind,
        "subject": event.subject,
        "payload": event.payload,
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
