"""`adaptman demo`: the whole story on the embedded model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._errors import EXIT_INTERRUPTED

_HOME = ".adaptman-demo"


@click.command()
@click.option("--fresh", is_flag=True, help="Start over: remove what an earlier demo made.")
@pass_app
def demo(app: App, fresh: bool) -> None:
    """Watch a real model take in two updates.

    Every step is a command that you can type yourself. A demo that was stopped goes on where it was; one that
    ended shows its result again.
    """
    from adaptman.config import load_settings
    from adaptman.demo.story import PICTURE, Story, start_over

    home = Path(app.flags.get("home") or os.environ.get("ADAPTMAN_HOME") or _HOME)
    settings = load_settings({**app.flags, "home": home})
    if fresh:
        start_over(settings.home)
    Story(settings, run=lambda args: run_command(home, args), echo=click.echo).play()
    click.echo("\n$ adaptman history")
    run_command(home, ["history"])
    click.echo(f"\nThe history as a picture:   {settings.home / PICTURE}")
    click.echo("The lineage in a browser:   ", nl=False)
    run_command(home, ["lineage", "ui"])
    click.echo(f"To look around yourself:    export ADAPTMAN_HOME={home}")


def run_command(home: Path, args: Sequence[str]) -> int:
    """Run one command as the shell would; its exit code.

    Raises:
        click.exceptions.Exit: it was interrupted, which ends the demo and not this command alone.
    """
    from adaptman.cli.main import cli

    # Outside standalone mode click returns the exit code, and None where there is nothing to say.
    result = cli.main(args=["--home", str(home), *args], prog_name="adaptman", standalone_mode=False)
    if result == EXIT_INTERRUPTED:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    return result if isinstance(result, int) else 0
