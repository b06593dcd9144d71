"""`adaptman bisect`: which version broke or mended a case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._history_table import spelled
from adaptman.cli._output import json_option, note, plain, print_json

if TYPE_CHECKING:
    from adaptman.lifecycle.bisect import Bisection, SchemaChange, Step

_SIGNS = {True: "✓", False: "✗", None: "·"}


@click.command()
@click.argument("suite", metavar="SUITE")
@click.argument("case_id", metavar="CASE")
@click.option(
    "--until",
    type=click.IntRange(min=1),
    metavar="N",
    help="Look at the way to version N (default: the champion).",
)
@click.option("--stored", is_flag=True, help="Only read results that are stored; ask no model.")
@json_option
@pass_app
def bisect(app: App, suite: str, case_id: str, until: int | None, stored: bool, as_json: bool) -> None:
    """Find the version that broke or mended a case.

    It follows the parents from the base to the champion. Versions without a result are asked this one case,
    as few of them as halving needs; their answers are not recorded.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle import bisect as use_case

    with TerminalProgress() as progress:
        found = use_case.bisect(
            app.workspace(), suite, case_id, until=until, stored=stored, progress=progress
        )
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(spelled("  ".join(_step(one) for one in found.steps)))
    click.echo(_verdict(found, stored))
    if found.changed is not None:
        _print_schema(found.schema)
    if any(one.asked for one in found.steps):
        note(spelled("* asked now, not recorded"))


def _step(step: Step) -> str:
    return f"{_SIGNS[step.right]}{'*' if step.asked else ''} {step.number}"


def _verdict(found: Bisection, stored: bool) -> str:
    case = f"`{plain(found.case_id)}`"
    if found.broke is None:
        return _no_change(found, case, stored)
    if found.changed is not None:
        did = "broke" if found.broke else "mended"
        return f"version {found.changed} {did} {case}; version {found.after} is the one before it"
    did = "broke" if found.broke else "was mended"
    where = f"between version {found.after} and version {found.until}"
    return f"{case} {did} {where}; without --stored the versions between them are asked"


def _no_change(found: Bisection, case: str, stored: bool) -> str:
    known = [one for one in found.steps if one.right is not None]
    if not known:
        return f"no version on the way has a result on {case}; without --stored they are asked"
    state = "right" if known[-1].right else "wrong"
    missing = " as far as results are stored" if stored and len(known) < len(found.steps) else ""
    return f"no version changed {case}: it is {state} from version {known[0].number} on{missing}"


def _print_schema(change: SchemaChange | None) -> None:
    from adaptman.toolspec.changes import ChangeSet
    from adaptman.toolspec.describe import describe

    if change is None:
        click.echo("it came without a change of the tools")
        return
    remark = f": {plain(change.note)}" if change.note else ""
    click.echo(f"\nit came with tool schema {change.number}{remark}")
    for line in describe(ChangeSet.from_dict(change.change_set)):
        click.echo(f"  {plain(line)}")
