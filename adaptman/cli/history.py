"""`adaptman history`: every version's results on every suite, and two versions case by case."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._history_table import figure, print_history, spelled
from adaptman.cli._output import json_option, note, plain, print_json

if TYPE_CHECKING:
    from adaptman.lifecycle.compare import Answer, ChangedCase, SuiteDiff, VersionDiff

_NEWEST = 20
_FEW = 5


@click.group(invoke_without_command=True)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row for each version and suite.")
@click.option(
    "--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Draw it into FILE; its ending chooses the form (.png, .svg, .pdf).",
)  # fmt: skip
@click.option(
    "--last", type=click.IntRange(min=1), metavar="N",
    help="Only the newest N versions, and the champion (default: 20 in the table, all elsewhere).",
)  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="All versions, in the table too.")
@click.pass_context
def history(
    context: click.Context,
    as_json: bool,
    as_csv: bool,
    plot_file: Path | None,
    last: int | None,
    show_all: bool,
) -> None:
    """Show every version's results on every suite.

    Results compare only where the suite is the same to the byte: a changed suite starts a new column.
    """
    if context.invoked_subcommand is not None:
        if as_json or as_csv or plot_file or last or show_all:
            raise click.UsageError(f"options of `{context.invoked_subcommand}` come after its name")
        return
    if sum([as_json, as_csv, plot_file is not None]) > 1:
        raise click.UsageError("choose one of --json, --csv and --plot")
    if last is not None and show_all:
        raise click.UsageError("choose one of --last and --all")
    from adaptman.lifecycle.history import history as read_history

    whole = read_history(context.ensure_object(App).workspace())
    view = whole if last is None else whole.newest(last)
    if as_json:
        print_json(view.to_dict())
    elif as_csv:
        click.echo(view.to_csv(), nl=False)
    elif plot_file is not None:
        from adaptman.lifecycle.plot import plot_history

        plot_history(view, plot_file)
        note(f"drawn into {plot_file}")
    else:
        shown = view if show_all or last is not None else view.newest(_NEWEST)
        print_history(shown, left_out=len(whole.versions) - len(shown.versions))


@history.command()
@click.argument("before", type=click.IntRange(min=1), metavar="A")
@click.argument("after", type=click.IntRange(min=1), metavar="B")
@click.option("--suite", metavar="NAME", help="Only this suite, with every case that changed.")
@json_option
@pass_app
def diff(app: App, before: int, after: int, suite: str | None, as_json: bool) -> None:
    """Compare version A with B case by case: what broke, what was mended, what both wrote.

    It reads stored results and evaluates nothing.
    """
    from adaptman.lifecycle.compare import compare_versions

    found = compare_versions(app.workspace(), before, after, suite=suite)
    if as_json:
        print_json(found.to_dict())
        return
    _print_diff(found, most=None if suite else _FEW)


def _print_diff(found: VersionDiff, *, most: int | None) -> None:
    for at, one in enumerate(found.suites):
        if at:
            click.echo()
        click.echo(spelled("\n".join(_suite_lines(one, found, most))))
    if found.not_compared:
        if found.suites:
            click.echo()
        click.echo("not compared")
        for name, reason in found.not_compared:
            click.echo(f"  {plain(name)}: {reason}")
    if not found.suites and not found.not_compared:
        note(f"neither version {found.before} nor version {found.after} was run on a suite")


def _suite_lines(one: SuiteDiff, found: VersionDiff, most: int | None) -> Iterator[str]:
    counts = f"{len(one.broke)} broke, {len(one.mended)} mended, {one.same} as before"
    if one.unanswered:
        counts += f", {one.unanswered} answered by one of them only"
    yield (
        click.style(plain(one.suite), bold=True) + f"  {figure(one.before)} → {figure(one.after)}   {counts}"
    )
    if one.unreadable:
        yield f"  ! {plain(one.unreadable)}: only scores can be shown"
    for sign, colour, cases in (("✗", "red", one.broke), ("✓", "green", one.mended)):
        yield from _case_lines(click.style(sign, fg=colour), cases, found, most)
    left_out = sum(max(len(cases) - (most or len(cases)), 0) for cases in (one.broke, one.mended))
    if left_out:
        yield f"  … {left_out} more; `--suite {plain(one.suite)}` shows them all"


def _case_lines(
    sign: str, cases: Sequence[ChangedCase], found: VersionDiff, most: int | None
) -> Iterator[str]:
    for case in cases[:most]:
        yield f"  {sign} {plain(case.case_id)}"
        yield from _answer_lines(f"version {found.before}", case.before)
        yield from _answer_lines(f"version {found.after}", case.after)


def _answer_lines(who: str, answer: Answer) -> Iterator[str]:
    """What it wrote, and what was wrong with it, wrapped on a terminal."""
    wrong = "" if answer.detail is None else answer.detail
    said = figure(answer.score) if not answer.output else plain(" ".join(answer.output.split()))
    yield from _wrapped(f"{said}", first=f"      {who}  ", rest=" " * (len(who) + 8))
    if wrong:
        wrong += f" ({answer.cause})" if answer.cause else ""
        yield from _wrapped(plain(wrong), first=" " * (len(who) + 8) + "↳ ", rest=" " * (len(who) + 10))


def _wrapped(text: str, *, first: str, rest: str) -> list[str]:
    if not sys.stdout.isatty():
        return [first + text]
    columns = max(shutil.get_terminal_size().columns, len(rest) + 24)
    return textwrap.wrap(text, columns, initial_indent=first, subsequent_indent=rest) or [first.rstrip()]
