"""`adaptman policy`: show, check and try promotion policies, and explain what they decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, plain, print_json, short_digest, short_time, table

if TYPE_CHECKING:
    from adaptman.lifecycle.verdicts import Explained, Retried


@click.group()
def policy() -> None:
    """Show, check and try promotion policies, and explain decisions."""


@policy.command()
@click.argument("which", metavar="[NAME|PATH]", required=False)
@json_option
@pass_app
def show(app: App, which: str | None, as_json: bool) -> None:
    """Show a policy as YAML: a built-in one by name, or a file; by default the one in force.

    With --json the whole policy, what it extends included.
    """
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


@policy.command()
@click.argument("which", metavar="[NAME|PATH]", required=False)
@json_option
@pass_app
def test(app: App, which: str | None, as_json: bool) -> None:
    """Judge every recorded decision again under a policy, and show what would have changed.

    The policy is a built-in one by name, or a file; by default the one in force. Nothing is recorded.
    """
    from adaptman.lifecycle.policies import find_policy
    from adaptman.lifecycle.verdicts import retry_decisions

    tried = find_policy(which if which is not None else app.settings.policy)
    found = retry_decisions(app.workspace(), tried)
    if as_json:
        print_json(
            {"policy": tried.name, "digest": tried.digest, "decisions": [one.to_dict() for one in found]}
        )
    elif not found:
        note("no decision is recorded yet, so there is nothing to try the policy on")
    else:
        header = ["version", "against", "decided", "recorded", f"under {tried.name}", "what tells them apart"]
        click.echo(table(header, [_retried_cells(one) for one in found], right=(0, 1)))
        changed = sum(one.changed for one in found)
        note(f"{changed} of {len(found)} decisions would have been another one")


def _retried_cells(one: Retried) -> list[str]:
    return [
        str(one.number),
        str(one.champion or ""),
        short_time(one.created_at),
        f"{one.recorded.verdict.value} ({one.policy_name})",
        f"{one.retried.verdict.value}{' *' if one.changed else ''}",
        "; ".join(one.because),
    ]


@policy.command()
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@json_option
@pass_app
def explain(app: App, number: int, as_json: bool) -> None:
    """Say in words what the gate decided about version N, why, and what would help."""
    from adaptman.lifecycle.verdicts import explain_decision

    found = explain_decision(app.workspace(), number)
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(plain(_headline(found)))
    for paragraph in found.paragraphs:
        mark = "✓" if paragraph.passed else "✗"
        click.echo(
            plain("\n".join(["", f"{mark} {paragraph.title}", *(f"  {one}" for one in paragraph.sentences)]))
        )
    if found.decision.warnings:
        click.echo(plain("\n".join(["", "Warnings", *(f"  {one}" for one in found.decision.warnings)])))


def _headline(found: Explained) -> str:
    word = "passed" if found.decision.passed else "refused"
    against = f", compared with version {found.champion}" if found.champion else ""
    policy = f"policy {found.decision.policy_name}, {short_digest(found.decision.policy_digest)}"
    who = f"{short_time(found.created_at)} UTC, asked by {found.actor}"
    return f"The gate {word} version {found.number}{against} ({who}; {policy})."
