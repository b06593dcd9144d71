"""`adaptman evaluate`: run the suites on a version, and judge it."""

from __future__ import annotations

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._judged import echo_evaluation, evaluation_dict
from adaptman.cli._output import json_option, note, print_json


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@json_option
@pass_app
def evaluate(app: App, number: int, as_json: bool) -> None:
    """Run the suites on a version and judge it.

    Results that stand for the same suite are not computed again. A champion and a former one are scored and
    not judged. Exit code 0 when the suites were run, whatever the gate decided.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle import evaluate as use_case
    from adaptman.lifecycle.outbox import start_delivery

    workspace = app.workspace()
    try:
        with TerminalProgress() as progress:
            done = use_case.evaluate(workspace, number, progress=progress)
    except KeyboardInterrupt:
        note("stopped; the same command goes on with the suites that are left")
        raise
    start_delivery(workspace)
    if as_json:
        print_json({"version": number, "state": done.version.state, **evaluation_dict(done)})
        return
    click.echo(f"version {number} is {done.version.state}")
    echo_evaluation(done)
