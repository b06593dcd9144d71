"""`adaptman fold`: a version's adapter becomes part of a checkpoint."""

from __future__ import annotations

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, pairs, print_json, short_digest


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="[N]", required=False)
@click.option("--note", "text", metavar="TEXT", default="", help="A note that the new version keeps.")
@json_option
@pass_app
def fold(app: App, number: int | None, text: str, as_json: bool) -> None:
    """Merge a version's adapter into a checkpoint of its own.

    Version N, by default the champion, becomes a new version that computes the same and has no adapter. Once
    it is champion, updates go on from it with an empty one. It is evaluated and promoted like any other; over
    the champion that it was folded from no gain is asked of it. Refused where a logit differs by more than
    0.01 on the examples that were learned.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle.fold import fold_version
    from adaptman.lifecycle.outbox import start_delivery

    workspace = app.workspace()
    with TerminalProgress() as progress:
        done = fold_version(workspace, number, note=text, progress=progress)
    start_delivery(workspace)
    if as_json:
        print_json(done.to_dict())
        return
    if not done.created:
        note(f"version {done.source} was folded before; nothing was recorded")
    made, proof = done.version, done.proof
    click.echo(f"version {made.number} is version {done.source} folded, {made.state}")
    facts = [
        ("checkpoint", short_digest(made.base_digest)),
        ("proof", f"logits differ by at most {proof.largest_difference:.1e} over {proof.tokens} tokens"),
    ]
    click.echo(pairs(facts))
    if made.state == "trained":
        click.echo(f"\njudge it with `adaptman evaluate {made.number}`")
