"""`adaptman promote` and `adaptman rollback`: move the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import note

if TYPE_CHECKING:
    from adaptman.lifecycle.workspace import Workspace
    from registry.values import Promotion


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@click.option(
    "--waive",
    "waiver",
    metavar="REASON",
    help="Promote in spite of a refusal; the reason is recorded for ever.",
)
@click.option("--sync", is_flag=True, help="Wait until MLflow was told.")
@pass_app
def promote(app: App, number: int, waiver: str | None, sync: bool) -> None:
    """Make version N the champion.

    Exit code 3 and the reasons when the gate refused it.
    """
    from adaptman.lifecycle import promote as use_case

    if waiver is not None and not waiver.strip():
        raise click.BadParameter("a waiver needs a reason", param_hint="--waive")
    workspace = app.workspace()
    done = use_case.promote(workspace, number, waiver=waiver)
    click.echo(
        f"version {done.version.number} is champion{_instead_of(done)}{' (waived)' if done.waived else ''}"
    )
    _tell_mlflow(workspace, sync)


@click.command()
@click.option("--sync", is_flag=True, help="Wait until MLflow was told.")
@pass_app
def rollback(app: App, sync: bool) -> None:
    """Go back to the champion before this one.

    No gate is asked, and a rollback can itself be rolled back.
    """
    from adaptman.lifecycle import promote as use_case

    workspace = app.workspace()
    done = use_case.rollback(workspace)
    click.echo(f"version {done.version.number} is champion again{_instead_of(done)}")
    _tell_mlflow(workspace, sync)


def _instead_of(done: Promotion) -> str:
    return f", in place of version {done.previous.number}" if done.previous else ""


def _tell_mlflow(workspace: Workspace, sync: bool) -> None:
    """The champion has moved already: a failure from here on is told, and changes nothing."""
    from adaptman.lifecycle.outbox import SYNC_WAIT_S, deliver_pending, start_delivery

    if not sync:
        start_delivery(workspace)
        return
    report = deliver_pending(workspace, wait_s=SYNC_WAIT_S)
    if report.error:
        note(f"MLflow was not told yet: {report.error}; `adaptman lineage sync` tries again")
