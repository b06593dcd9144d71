"""`adaptman lineage`: keep MLflow told of what happened."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, print_json, short_time, table


@click.group()
def lineage() -> None:
    """Keep MLflow told of what happened."""


@lineage.command()
@click.option("--quiet", is_flag=True, help="Say nothing unless something goes wrong.")
@json_option
@pass_app
def sync(app: App, quiet: bool, as_json: bool) -> None:
    """Tell MLflow what it has not been told yet, and wait for it."""
    from adaptman.errors import LineageError
    from adaptman.lifecycle.outbox import LOCK_WAIT_S, SYNC_WAIT_S, deliver_pending

    silent = quiet or as_json
    report = deliver_pending(
        app.workspace(),
        on_progress=None if silent else _print_progress,
        wait_s=LOCK_WAIT_S if quiet else SYNC_WAIT_S,
    )
    if as_json:
        print_json(report._asdict())
    if report.error and not report.busy:
        raise LineageError(
            f"{report.error} ({report.pending} not told yet, {report.delivered} told)", hint=report.hint
        )
    if not silent:
        _print_summary(report.delivered, report.pending, busy=report.busy)


def _print_progress(delivered: int, known: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{delivered} of {known} told", nl=delivered == known, err=True)


def _print_summary(delivered: int, pending: int, *, busy: bool) -> None:
    if busy:
        note(f"somebody else is telling MLflow now; {pending} not told yet")
    elif delivered:
        note(f"MLflow was told {delivered} thing{'s' if delivered > 1 else ''}")
    else:
        note("MLflow knows everything")


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
