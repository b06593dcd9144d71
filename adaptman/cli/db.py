"""`adaptman db`: migrate and check the registry's database."""

from __future__ import annotations

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, print_json


@click.group()
def db() -> None:
    """Migrate and check the registry's database."""


@db.command()
@pass_app
def upgrade(app: App) -> None:
    """Bring the database to this version's schema."""
    from registry import migrate

    url = _url(app)
    before = migrate.current(url)
    migrate.upgrade(url)
    after = migrate.current(url)
    click.echo(f"revision {after}" if before == after else f"revision {before or 'none'} → {after}")


@db.command()
@json_option
@pass_app
def check(app: App, as_json: bool) -> None:
    """Say whether the database has this version's schema; exit code 1 when it has not."""
    from registry import migrate

    url = _url(app)
    found, expected, differences = migrate.current(url), migrate.head(), migrate.check(url)
    if as_json:
        print_json({"revision": found, "expected": expected, "differences": differences})
    else:
        click.echo(f"revision {found or 'none'}, expected {expected}")
        for line in differences:
            click.echo(f"  {line}")
    if found != expected or differences:
        if not as_json:
            note("make a backup of the database, then run `adaptman db upgrade`")
        click.get_current_context().exit(1)


@db.command()
@click.argument("revision", metavar="REVISION")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def downgrade(app: App, revision: str, yes: bool) -> None:
    """Take the database back to REVISION (`base` for none at all)."""
    from registry import migrate

    url = _url(app)
    if not yes:
        click.confirm("Going back may drop data. Is there a backup?", abort=True, err=True)
    before = migrate.current(url)
    migrate.downgrade(url, revision)
    click.echo(f"revision {before or 'none'} → {migrate.current(url) or 'none'}")


def _url(app: App) -> str:
    """The database, whatever the age of its schema; a SQLite file must be there already."""
    from adaptman.lifecycle.workspace import sqlite_file

    if sqlite_file(app.settings.registry_url) is not None:
        app.workspace()
    return app.settings.registry_url
