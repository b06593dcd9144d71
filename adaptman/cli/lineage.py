"""`adaptman lineage`: keep MLflow told of what happened."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, print_json, short_time, table
from adaptman.cli._progress import TerminalProgress

if TYPE_CHECKING:
    from adaptman.lifecycle.mirror import MirrorReport
    from adaptman.lifecycle.outbox import DeliveryReport
    from adaptman.lineage.audit import Difference


@click.group()
def lineage() -> None:
    """Keep MLflow told of what happened."""


@lineage.command()
@click.option("--full", is_flag=True, help="Tell everything that ever happened again.")
@click.option("--quiet", is_flag=True, help="Say nothing unless something goes wrong.")
@json_option
@pass_app
def sync(app: App, full: bool, quiet: bool, as_json: bool) -> None:
    """Tell MLflow what it has not been told yet, and wait for it.

    With --full it is told the whole record: that fills an MLflow that was lost or is older than the record,
    and mends what `adaptman lineage verify` finds. What stands there already is not doubled.
    """
    from adaptman.errors import LineageError
    from adaptman.lifecycle import outbox

    silent = quiet or as_json
    with TerminalProgress() as progress:
        report = outbox.deliver_pending(
            app.workspace(),
            full=full,
            progress=None if silent else progress,
            wait_s=outbox.LOCK_WAIT_S if quiet else outbox.SYNC_WAIT_S,
            retry_after_s=outbox.RETRY_AFTER_S,
        )
    if as_json:
        print_json(report._asdict())
    if report.error and not report.busy:
        raise LineageError(
            f"{report.error} ({report.pending} not told yet, {report.delivered} told)", hint=report.hint
        )
    if not silent:
        _print_summary(report)


def _print_summary(report: DeliveryReport) -> None:
    for kind, count in report.not_mirrored.items():
        note(f"`{kind}` has no place in MLflow: {_things(count)} kept in the registry only")
    if report.busy:
        note(f"somebody else is telling MLflow now; {report.pending} not told yet")
    elif report.delivered:
        note(f"MLflow was told {_things(report.delivered - sum(report.not_mirrored.values()))}")
    else:
        note("MLflow knows everything")


def _things(count: int) -> str:
    return f"{count} thing{'' if count == 1 else 's'}"


@lineage.command()
@click.option("--deep", is_flag=True, help="Download the adapters and compute their digests again.")
@json_option
@pass_app
def verify(app: App, deep: bool, as_json: bool) -> None:
    """Say where MLflow differs from what it was told.

    Exit code 1 when it differs, when it was not told everything, and when it cannot be asked. Nothing is
    mended by itself.
    """
    from adaptman.lifecycle.mirror import verify_mirror

    with TerminalProgress() as progress:
        report = verify_mirror(app.workspace(), deep=deep, progress=None if as_json else progress)
    if as_json:
        found = {
            "differences": [one._asdict() for one in report.differences],
            "warnings": [one._asdict() for one in report.warnings],
        }
        print_json({"same": report.same, **report._asdict(), **found})
    else:
        _print_differences(report)
    if not report.same:
        click.get_current_context().exit(1)


def _print_differences(report: MirrorReport) -> None:
    rows = [_cells(one) for one in [*report.differences, *report.warnings]]
    if rows:
        click.echo(table(["", "model", "version", "what", "told", "found"], rows))
    if report.waiting:
        note(f"{_things(report.waiting)} not told yet: run `adaptman lineage sync`")
    if report.same:
        note(f"MLflow holds {_things(report.told)} as told")
    else:
        note(f"MLflow differs in {_things(len(report.differences))}")
    for hint in dict.fromkeys(one.hint for one in [*report.differences, *report.warnings] if one.hint):
        note(f"hint: {hint}")


def _cells(one: Difference) -> list[str]:
    mark = "warn" if one.warning else "differs"
    return [mark, one.model, f"v{one.version}" if one.version else "", one.what, one.expected, one.found]


@lineage.command()
@json_option
@pass_app
def status(app: App, as_json: bool) -> None:
    """Show what MLflow has not been told yet, and why."""
    from adaptman.config import redacted
    from adaptman.lifecycle.outbox import pending_rows

    rows = pending_rows(app.workspace())
    uri = redacted(app.settings.tracking_uri)
    if as_json:
        pending = [row._asdict() for row in rows]
        print_json({"tracking_uri": uri, "auto_sync": app.settings.auto_sync, "pending": pending})
        return
    note(f"MLflow at {uri}: " + (f"{len(rows)} not told yet" if rows else "knows everything"))
    if rows:
        cells = [
            [short_time(row.created_at), row.model, row.kind, str(row.attempts), row.last_error or ""]
            for row in rows
        ]
        click.echo(table(["since", "model", "what", "tries", "last error"], cells, right=[3]))


@lineage.command()
@pass_app
def ui(app: App) -> None:
    """Print the command that shows the lineage in a browser."""
    uri = app.settings.tracking_uri
    if uri.startswith(("http://", "https://")):
        from adaptman.config import redacted

        note("the tracking server shows it:")
        click.echo(redacted(uri))
        return
    click.echo(ui_command(uri))


def ui_command(tracking_uri: str) -> str:
    """A shell command that serves MLflow's pages from a database store."""
    from adaptman.config import redacted

    shown = redacted(tracking_uri)
    secret = shown != tracking_uri
    uri = '"$ADAPTMAN_TRACKING_URI"' if secret else shlex.quote(shown)
    # Without the first word the server starts seven more processes that these pages do not need.
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {_mlflow()} ui --backend-store-uri {uri}"


def _mlflow() -> str:
    """`mlflow` where that means the one installed beside this program, and the long way to it elsewhere."""
    ours = Path(sys.executable).parent / "mlflow"
    found = shutil.which("mlflow")
    same = found is not None and os.path.abspath(found) == os.path.abspath(ours)
    return "mlflow" if same else f"{shlex.quote(sys.executable)} -m mlflow"
