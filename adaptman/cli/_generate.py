"""`adaptman suite generate`: suites out of the changes of a tool document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._input import read_input
from adaptman.cli._migration import migration_options
from adaptman.cli._output import json_option, note, note_some, print_json, table

if TYPE_CHECKING:
    from adaptman.lifecycle.generate import GeneratedSuites


@click.command()
@migration_options
@click.option(
    "--requests",
    "file",
    metavar="FILE",
    help="Requests in the old form that are not trained on: examples, or cases of a suite.",
)
@click.option(
    "--per-tool",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    metavar="K",
    help="Cases of each changed tool.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="S", help="Other requests by chance.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the suites to this folder, and register nothing.",
)
@json_option
@pass_app
def generate(app: App, /, file: str | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Make suites of what changed on the way to tool schema N, and register them.

    changes-N asks for the new form, and counts answers in the old one as stale, by rule. siblings-N asks for
    tools that did not change, beside those that did. context-N shows the old document: does the model follow
    what it is shown? Requests come from FILE and the registered suites, and from the schema where these are
    too few.
    """
    from adaptman.lifecycle.generate import generate_suites, register_generated
    from adaptman.lifecycle.outbox import start_delivery

    given = read_input(file) if file is not None else None
    workspace = app.workspace()
    made = generate_suites(
        workspace,
        requests=given.data if given else None,
        origin=given.origin if given else "",
        **options,
    )
    if out is not None:
        _write(made, out)
    else:
        register_generated(workspace, made)
        start_delivery(workspace)
    if as_json:
        print_json(_as_dict(made))
    else:
        _tell(made, out)


def _write(made: GeneratedSuites, out: Path) -> None:
    from adaptman.evaluation.bfcl import jsonl

    out.mkdir(parents=True, exist_ok=True)
    for suite in made.generated.suites:
        (out / f"{suite.name}.jsonl").write_bytes(jsonl(suite.records))


def _tell(made: GeneratedSuites, out: Path | None) -> None:
    rows = [
        [suite.name, suite.kind.value, str(len(suite.records)), str(_from_schema(suite.records))]
        for suite in made.generated.suites
    ]
    click.echo(table(["suite", "kind", "cases", "made from the schema"], rows, right=(2, 3)))
    note(f"written to {out}" if out else f"registered, for updates to schema {made.new}")
    if made.left_out:
        note(f"{len(made.left_out)} requests left out:")
        note_some(f"{one.id}: {one.reason}" for one in made.left_out)


def _from_schema(records: Any) -> int:
    return sum(record["source"] == "schema" for record in records)


def _as_dict(made: GeneratedSuites) -> dict[str, Any]:
    return {
        "from": made.old,
        "to": made.new,
        "suites": [
            {
                "name": suite.name,
                "kind": suite.kind.value,
                "cases": len(suite.records),
                "from_schema": _from_schema(suite.records),
            }
            for suite in made.generated.suites
        ],
        "left_out": [one._asdict() for one in made.left_out],
    }
