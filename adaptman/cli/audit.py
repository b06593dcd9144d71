"""`adaptman audit`: can a version take anything in without overwriting what it knows?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._output import json_option, note, pairs, print_json, table

if TYPE_CHECKING:
    from adaptman.learning.capacity import Estimate
    from adaptman.lifecycle.capacity import CapacityReport


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="[N]", required=False)
@click.option("--quick", is_flag=True, help="Fewer rungs and samples: wider intervals, a third of the time.")
@click.option(
    "--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Draw the frontier into FILE (.png, .svg or .pdf) too.",
)  # fmt: skip
@json_option
@pass_app
def audit(app: App, number: int | None, quick: bool, plot_file: Path | None, as_json: bool) -> None:
    """Find out whether version N, or the champion, can take anything in.

    Random bindings are taught in a ladder of probe fine-tunes with replay: what is taken in, in bits, against
    how far the model moves on samples of its own. The verdict is `room`, `tight` or `saturated`. It goes on
    record, and a policy may refuse to update a saturated version.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle.capacity import audit_capacity, report_dict
    from adaptman.lifecycle.outbox import start_delivery
    from adaptman.lifecycle.plot import check_drawable

    if plot_file is not None:
        check_drawable(plot_file)  # before minutes are spent
    workspace = app.workspace()
    with TerminalProgress(goes_on=True) as progress:
        report = audit_capacity(workspace, number, quick=quick, progress=progress)
    start_delivery(workspace)
    if plot_file is not None:
        from adaptman.lifecycle.capacity_plot import plot_capacity

        plot_capacity(report.frontier, report.version, plot_file)
        note(f"drawn into {plot_file}")
    if as_json:
        print_json(report_dict(report))
        return
    _print(report)
    if report.frontier.verdict == "saturated":
        note(f"ways out: {report.ways_out}")


def _print(report: CapacityReport) -> None:
    frontier, evidence = report.frontier, report.evidence
    click.echo(f"version {report.version}: {_verdict(report)}")
    click.echo()
    rows = [
        [
            str(rung.bindings),
            f"{rung.offered_bits:,.0f}",
            _with_interval(rung.bits, ",.0f"),
            _with_interval(rung.drift, ".3f"),
        ]
        for rung in frontier.rungs
    ]
    click.echo(
        table(["bindings", "bits offered", "bits taken in", "drift, nats per token"], rows, right=(0, 1))
    )
    click.echo()
    room = frontier.room_bits.value
    click.echo(
        pairs(
            [
                ("dearer after", f"{frontier.bend} bindings"),
                ("per trained parameter", f"{room / frontier.trainable:.2g} bits"),
                ("per base parameter", f"{room / report.parameters:.2g} bits"),
                ("loss under noise", f"+{evidence.noise_rise:.3f} nats per token"),
                ("loss rounded to 4 bits", f"+{evidence.rounding_rise:.3f} nats per token"),
                ("stable rank", f"{evidence.stable_rank:.1%} of the full"),
                ("idle units", f"{evidence.idle_units:.1%}"),
            ]
        )
    )


def _verdict(report: CapacityReport) -> str:
    frontier = report.frontier
    room = frontier.room_bits
    told = f"room for {room.value:,.0f} bits, {room.low:,.0f} to {room.high:,.0f}"
    return f"{frontier.verdict} ({told}{', beyond what was taught' if frontier.beyond else ''})"


def _with_interval(one: Estimate, form: str) -> str:
    return f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"
