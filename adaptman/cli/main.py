"""The root command. Sub-commands are imported when they are run, so `adaptman --help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from adaptman.cli._context import App
from adaptman.cli._errors import EXIT_INTERRUPTED, guarded

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """One sub-command: the module that holds it under its own name, and its one-line help."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("init", "Make a workspace and register its base model."),
    "schema": Entry("schema", "Register tool documents and see what changed."),
    "format": Entry("format", "Show, compare and register output formats: how calls are written."),
    "examples": Entry("examples", "Migrate, import, check and split training examples."),
    "suite": Entry("suite", "Register regression suites, or import them."),
    "audit": Entry("audit", "Find out whether version N, or the champion, can take anything in."),
    "update": Entry("update", "Teach the model a tool or format update."),
    "evaluate": Entry("evaluate", "Run the suites on a version and judge it."),
    "approve": Entry("approve", "Agree to the newest decision about version N."),
    "promote": Entry("promote", "Make version N the champion."),
    "rollback": Entry("promote", "Go back to the champion before this one."),
    "history": Entry("history", "Show every version's results on every suite."),
    "bisect": Entry("bisect", "Find the version that broke or mended a case."),
    "version": Entry("version", "List versions; show, render, trace, export, sign, verify or discard one."),
    "log": Entry("log", "Show the registry's events."),
    "db": Entry("db", "Migrate and check the registry's database."),
    "policy": Entry("policy", "Show, check and try promotion policies, and explain decisions."),
    "lineage": Entry("lineage", "Keep MLflow told of what happened."),
    "store": Entry("store", "Verify the stored objects, and remove those that nobody needs."),
    "doctor": Entry("doctor", "Say what works here, what does not, and the way out."),
    "demo": Entry("demo", "Watch a real model take in two updates."),
}
"""In the order of use. A test compares each help line with the command itself."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help from `COMMANDS` and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"adaptman.cli.{entry.module}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            _fail_with_suggestion(ctx, args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        return guarded(lambda: super(LazyGroup, self).invoke(ctx))


def _fail_with_suggestion(ctx: click.Context, name: str) -> None:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    ctx.fail(f"no such command `{name}`" + (f"; did you mean `{near[0]}`?" if near else ""))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from adaptman import __version__

        click.echo(f"adaptman {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    name="adaptman",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the workspace (default: ./.adaptman).",
)
@click.option("--model", metavar="NAME", help="Model line to act on (default: default).")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def cli(ctx: click.Context, home: Path | None, model: str | None) -> None:
    """Keep one language model up to date through tool and format changes, without forgetting.

    Settings come from flags, then ADAPTMAN_* variables, then adaptman.toml in this folder.

    Completion in bash: eval "$(_ADAPTMAN_COMPLETE=bash_source adaptman)"; zsh and fish likewise.
    """
    app = ctx.ensure_object(App)
    app.flags.update(home=home, model=model)
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


def main() -> None:
    """The program `adaptman`: exit codes are 0 done, 1 error, 2 usage, 3 gate refused, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(
            stream, "reconfigure"
        ):  # a character that the terminal lacks is shown escaped, not an error
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:  # what libraries tell their own developers; `python -W default` shows it
        warnings.simplefilter("ignore")
    try:
        cli(prog_name="adaptman")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
