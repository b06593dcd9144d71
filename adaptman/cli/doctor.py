"""`adaptman doctor`: say what works here, what does not, and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, plain, print_json, width

if TYPE_CHECKING:
    from adaptman.lifecycle.doctor import Finding

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}
_NAME_WIDTH = 14


@click.command()
@json_option
@pass_app
def doctor(app: App, as_json: bool) -> None:
    """Say what works here, what does not, and the way out.

    Exit code 1 when something does not work. Nothing is mended by itself.
    """
    from adaptman.lifecycle.doctor import examine

    findings = examine(app.settings, clock=app.clock, probes=app.probes)
    if as_json:
        print_json([_finding_dict(finding) for finding in findings])
    else:
        for finding in findings:
            _print_finding(finding)
        _print_summary(findings)
    if any(finding.status == "fail" for finding in findings):
        click.get_current_context().exit(1)


def _print_finding(finding: Finding) -> None:
    sign, colour = _MARKS[finding.status.value]
    name = finding.check + " " * (_NAME_WIDTH - width(finding.check))
    click.echo(f"{click.style(sign, fg=colour, bold=True)} {name}  {plain(finding.text)}")
    if finding.hint:
        click.echo(" " * (_NAME_WIDTH + 4) + click.style("→ ", dim=True) + plain(finding.hint))


def _print_summary(findings: list[Finding]) -> None:
    failed = sum(finding.status == "fail" for finding in findings)
    warned = sum(finding.status == "warn" for finding in findings)
    if failed or warned:
        note(f"\n{failed} failed, {warned} with a warning, {len(findings) - failed - warned} well")
    else:
        note(f"\nall {len(findings)} checks are well")


def _finding_dict(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "status": finding.status.value,
        "text": finding.text,
        "hint": finding.hint,
    }
