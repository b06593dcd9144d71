"""`adaptman reproduce`: make a version once more, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, pairs, print_json, short_digest

if TYPE_CHECKING:
    from adaptman.lifecycle.reproduce import Compared, Reproduction


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@json_option
@pass_app
def reproduce(app: App, number: int, as_json: bool) -> None:
    """Make version N once more, and compare the weights with its own.

    Replay and training (or the fold) run in a scratch folder, from what is on record; nothing is recorded.
    Exit code 0 when all comes out byte for byte, else 1.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle.reproduce import reproduce_version

    with TerminalProgress(goes_on=True) as progress:
        done = reproduce_version(app.workspace(), number, progress=progress)
    if as_json:
        print_json(done.to_dict())
    else:
        click.echo(_text(done))
    done.check()


def _text(done: Reproduction) -> str:
    head = (
        f"version {done.number} is reproduced"
        if done.identical
        else f"version {done.number} came out otherwise"
    )
    environment = "not on record" if done.environment is None else ", ".join(done.environment) or "as it was"
    facts = [
        ("replay", _compared(done.replay) if done.replay else "none"),
        ("weights", _compared(done.weights)),
        ("environment", environment),
    ]
    return f"{head}\n{pairs(facts)}"


def _compared(found: Compared) -> str:
    if found.same:
        return f"identical, {short_digest(found.recorded)}"
    return f"{short_digest(found.recorded)} on record, {short_digest(found.now)} now"
