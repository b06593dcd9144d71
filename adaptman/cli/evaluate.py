"""`adaptman evaluate`: run the suites on a version, and judge it."""

from __future__ import annotations

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._input import ACCEPT_RENDERING
from adaptman.cli._judged import echo_evaluation, evaluation_dict
from adaptman.cli._output import json_option, print_json


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@click.option("--again", is_flag=True, help="Compute the results of this version anew.")
@click.option(
    "--stop-early", is_flag=True, help="End a suite as soon as the version is refused on it for certain."
)
@click.option(
    "--diagnose", is_flag=True,
    help="Ask failed cases again under the format's grammar: was it the form, or what the call says?",
)  # fmt: skip
@ACCEPT_RENDERING
@json_option
@pass_app
def evaluate(
    app: App,
    number: int,
    again: bool,
    stop_early: bool,
    diagnose: bool,
    accept_rendering: bool,
    as_json: bool,
) -> None:
    """Run the suites on a version and judge it.

    Results that stand for the same weights and the same suite are not computed again, and an evaluation that
    was killed goes on where it was. A champion and a former one are scored and not judged. Exit code 0 when
    the suites were run, whatever the gate decided.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle import evaluate as use_case
    from adaptman.lifecycle.outbox import start_delivery

    workspace = app.workspace()
    with TerminalProgress(goes_on=True) as progress:
        done = use_case.evaluate(
            workspace,
            number,
            again=again,
            stop_early=stop_early,
            accept_rendering=accept_rendering,
            with_diagnosis=diagnose,
            progress=progress,
        )
    start_delivery(workspace)
    if as_json:
        print_json({"version": number, "state": done.version.state, **evaluation_dict(done)})
        return
    click.echo(f"version {number} is {done.version.state}")
    echo_evaluation(done)
