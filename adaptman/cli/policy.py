"""`adaptman policy`: show and check promotion policies."""

from __future__ import annotations

from pathlib import Path

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, plain, print_json


@click.group()
def policy() -> None:
    """Show and check promotion policies."""


@policy.command()
@click.argument("which", metavar="[NAME|PATH]", required=False)
@json_option
@pass_app
def show(app: App, which: str | None, as_json: bool) -> None:
    """Show a policy as YAML: a built-in one by name, or a file; by default the one in force."""
    from adaptman.lifecycle.policies import policy_source

    found = policy_source(which if which is not None else app.settings.policy)
    if as_json:
        print_json({"digest": found.policy.digest, **found.policy.model_dump(mode="json")})
        return
    click.echo(plain(found.text), nl=not found.text.endswith("\n"))


@policy.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check the policy FILE; exit code 1 and the reason when it cannot be used."""
    from adaptman.lifecycle.policies import read_policy

    found = read_policy(file).policy
    if as_json:
        print_json({"name": found.name, "digest": found.digest, "valid": True})
        return
    click.echo(f"policy {found.name} can be used; digest {found.digest}")
