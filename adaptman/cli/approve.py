"""`adaptman approve`: agree to a decision."""

from __future__ import annotations

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import note, plain


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@click.option("--note", "text", metavar="TEXT", required=True, help="What was looked at; recorded for ever.")
@pass_app
def approve(app: App, number: int, text: str) -> None:
    """Agree to the newest decision about version N.

    An approval belongs to that one decision; each person counts once.
    """
    from adaptman.lifecycle import approve as use_case

    if not text.strip():
        raise click.BadParameter("an approval needs a note", param_hint="--note")
    done = use_case.approve(app.workspace(), number, text)
    what = f"version {number} ({done.verdict} under policy {done.policy_name})"
    already = "" if done.created else " already, nothing is recorded"
    click.echo(plain(f"{what} is approved by {done.actor}{already}; by all: {', '.join(done.approvers)}"))
    if done.trained_it:
        note(f"{plain(done.actor)} trained version {number}: under four eyes this approval does not count")
