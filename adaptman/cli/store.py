"""`adaptman store`: verify the stored objects, and remove those that nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, plain, print_json, short_digest, table
from adaptman.cli._progress import TerminalProgress

if TYPE_CHECKING:
    from adaptman.lifecycle.store_gc import Collection
    from adaptman.lifecycle.store_verify import StoreReport
    from policies.retention import Plan


@click.group()
def store() -> None:
    """Verify the stored objects, and remove those that nobody needs."""


@store.command()
@json_option
@pass_app
def verify(app: App, as_json: bool) -> None:
    """Read every object again, and look for all that the registry names.

    Exit code 1 when one is damaged or missing; says what needs it.
    """
    from adaptman.lifecycle.store_verify import verify_store

    with TerminalProgress() as progress:
        report = verify_store(app.workspace(), progress=progress)
    if as_json:
        print_json(_report_dict(report))
    else:
        _print_report(report)
    if not report.ok:
        click.get_current_context().exit(1)


@store.command()
@click.option("--delete", is_flag=True, help="Remove what the plan says; without this, it is only printed.")
@json_option
@pass_app
def gc(app: App, delete: bool, as_json: bool) -> None:
    """Print which objects the retention policy lets go of, or remove them.

    The champion, the versions that may become champion, the former champions that the policy keeps and all
    that any of them names always stay. Each removal is recorded.
    """
    from adaptman.lifecycle.store_gc import collect_garbage, plan_gc

    workspace = app.workspace()
    if not delete:
        plan = plan_gc(workspace)
        print_json(_plan_dict(plan)) if as_json else _print_plan(plan)
        return
    with TerminalProgress() as progress:
        done = collect_garbage(workspace, progress=progress)
    print_json(_collection_dict(done)) if as_json else _print_collection(done)


@store.command()
@json_option
@pass_app
def policy(app: App, as_json: bool) -> None:
    """Show the retention policy in force, as YAML."""
    from adaptman.lifecycle.store_gc import retention_source

    found, text = retention_source(app.settings.retention)
    if as_json:
        print_json({"digest": found.digest, **found.model_dump(mode="json")})
        return
    click.echo(plain(text), nl=not text.endswith("\n"))


def _print_report(report: StoreReport) -> None:
    for fault in report.faults:
        click.echo(f"{click.style('✗', fg='red', bold=True)} {plain(fault.text)}")
        for who in fault.named_by:
            click.echo(f"    {plain(who)}")
        if not fault.named_by:
            click.echo("    named by nothing")
    note(
        f"{report.objects} objects, {_size(report.size)} read; {report.named} are named by the registry"
        + (f", {report.collected} of them were removed by gc" if report.collected else "")
        + (f"; {len(report.faults)} faults" if report.faults else "; all are whole")
    )
    if report.faults:
        note("hint: restore them from a backup, or make them again")


def _print_plan(plan: Plan) -> None:
    if not plan.removals:
        note(f"nothing to remove: {plan.objects} objects, {_size(plan.size)}, are needed or too new")
        return
    rows = [[short_digest(one.digest), _size(one.size), one.rule, one.reason] for one in plan.removals]
    click.echo(table(["object", "size", "rule", "why"], rows, right=[1]))
    note(
        f"{len(plan.removals)} of {plan.objects} objects, {_size(plan.removed_size)} of {_size(plan.size)}, "
        "may go; `adaptman store gc --delete` removes them"
    )


def _print_collection(done: Collection) -> None:
    left = (
        (done.checkouts, "checkouts"),
        (done.unfinished, "unfinished files"),
        (done.runs, "working folders"),
    )
    more = "".join(f", {count} {what}" for count, what in left if count)
    click.echo(f"removed {done.objects} objects, {_size(done.size)}{more}")


def _report_dict(report: StoreReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "store": report.place,
        "objects": report.objects,
        "bytes": report.size,
        "named": report.named,
        "collected": report.collected,
        "faults": [
            {"digest": one.digest, "text": one.text, "named_by": list(one.named_by)} for one in report.faults
        ],
    }


def _plan_dict(plan: Plan) -> dict[str, Any]:
    return {
        "objects": plan.objects,
        "bytes": plan.size,
        "removable_bytes": plan.removed_size,
        "removals": [
            {"digest": one.digest, "bytes": one.size, "rule": one.rule, "reason": one.reason}
            for one in plan.removals
        ],
    }


def _collection_dict(done: Collection) -> dict[str, Any]:
    return {
        **_plan_dict(done.plan),
        "removed_objects": done.objects,
        "removed_bytes": done.size,
        "removed_checkouts": done.checkouts,
        "removed_unfinished": done.unfinished,
        "removed_runs": done.runs,
    }


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
