"""`adaptman init`: make a workspace and register its base model."""

from __future__ import annotations

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, pairs, print_json, short_digest


@click.command()
@click.option(
    "--base",
    metavar="PATH_OR_ID",
    help="Base model: a checkpoint directory, a .gguf file or a hub id (default: the embedded one).",
)
@json_option
@pass_app
def init(app: App, base: str | None, as_json: bool) -> None:
    """Make a workspace and register its base model.

    The base model is converted once into the object store and becomes version 1 and champion. In a workspace
    that stands already nothing is done again.
    """
    from adaptman.lifecycle.init import initialise
    from adaptman.lifecycle.outbox import start_delivery

    done = initialise(app.settings, base=base, clock=app.clock, on_progress=note)
    start_delivery(app.workspace())
    if as_json:
        print_json(
            {
                "home": app.settings.home,
                "model": done.model.name,
                "version": done.version.number,
                "base_digest": done.model.base_digest,
                "base_source": done.model.base_source,
                "created": done.created,
            }
        )
        return
    if not done.created:
        note("the workspace stands already; nothing was recorded")
    click.echo(
        pairs(
            [
                ("workspace", str(app.settings.home)),
                ("model", done.model.name),
                ("base", done.model.base_source),
                ("base digest", short_digest(done.model.base_digest)),
                ("champion", f"version {done.version.number}"),
            ]
        )
    )
