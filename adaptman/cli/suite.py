"""`adaptman suite`: register regression suites, or import them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._generate import generate
from adaptman.cli._input import read_input
from adaptman.cli._output import json_option, note, pairs, print_json, short_digest, short_time, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptman.evaluation.breakdown import ToolFigure
    from adaptman.evaluation.suites import Case
    from adaptman.lifecycle.audit import Audit, AuditedCase
    from adaptman.lifecycle.suites import SuiteImport
    from registry.tables import Suite

KINDS = ("target", "tools", "irrelevance", "format", "general", "drift", "custom", "context")


@click.group()
def suite() -> None:
    """Register regression suites, or import them."""


@suite.command()
@click.argument("file", metavar="FILE")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="The question that the suite asks.")
@click.option("--name", metavar="NAME", help="Name of the suite (default: the file's name).")
@click.option("--note", "remark", default="", metavar="TEXT", help="Why the suite changed, for the record.")
@json_option
@pass_app
def register(app: App, file: str, kind: str, name: str | None, remark: str, as_json: bool) -> None:
    """Register the suite FILE (JSONL, one case a line; - for standard input).

    A suite of the same name becomes its next revision, and results on the two do not compare. A suite of kind
    target belongs to the newest tool document: updates to a later one are not asked to pass it.
    """
    from adaptman.evaluation.suites import SuiteKind
    from adaptman.lifecycle.outbox import start_delivery
    from adaptman.lifecycle.suites import register_suite

    if file == "-" and name is None:
        raise click.UsageError("a suite from standard input needs --name")
    given = read_input(file)
    chosen = name if name is not None else Path(file).stem
    workspace = app.workspace()
    done = register_suite(
        workspace, given.data, name=chosen, kind=SuiteKind(kind), origin=given.origin, note=remark
    )
    start_delivery(workspace)
    if as_json:
        print_json({**_row_dict(done.row), "created": done.created})
        return
    if not done.created:
        note("this suite is registered already; nothing was recorded")
    _print_row(done.row)


@suite.command(name="list")
@click.option("--all", "every_revision", is_flag=True, help="Show former revisions too.")
@json_option
@pass_app
def list_(app: App, every_revision: bool, as_json: bool) -> None:
    """List the registered suites."""
    from adaptman.lifecycle.suites import list_suites

    rows = list_suites(app.workspace(), every_revision=every_revision)
    if as_json:
        print_json([_row_dict(row) for row in rows])
    elif not rows:
        note("no suite is registered yet; register one with `adaptman suite register FILE --kind KIND`")
    else:
        header = ["name", "kind", "revision", "cases", "metric", "digest", "registered", "note"]
        click.echo(table(header, [_row_cells(row) for row in rows], right=(2, 3)))


@suite.command()
@click.argument("name", metavar="NAME")
@json_option
@pass_app
def show(app: App, name: str, as_json: bool) -> None:
    """Show the suite NAME and its cases."""
    from adaptman.lifecycle.suites import registered_suite

    found = registered_suite(app.workspace(), name)
    if as_json:
        tools = [figure.to_dict() for figure in found.by_tool]
        cases = [_case_dict(case) for case in found.suite.cases]
        print_json({**_row_dict(found.row), "champion": found.champion, "by_tool": tools, "cases": cases})
        return
    _print_row(found.row)
    click.echo()
    if found.by_tool:
        right = "right" if found.champion is None else f"right, version {found.champion}"
        click.echo(table(["tool", "cases", right], [_tool_cells(one) for one in found.by_tool], right=(1, 2)))
        click.echo()
    click.echo(table(["case", "last message", "accepted"], [_case_cells(case) for case in found.suite.cases]))


suite.add_command(generate)


@suite.group(name="import")
def import_() -> None:
    """Make suites of what others measure by."""


_LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Draw N cases (default: all).")
_SEED = click.option("--seed", type=int, default=0, show_default=True, help="Which cases are drawn.")


def _from(words: str) -> Callable[[Any], Any]:
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.option("--from", "folder", type=folder, metavar="DIR", help=words)


@import_.command()
@click.option(
    "--category", "categories", multiple=True, metavar="NAME", help="Only this category; may be repeated."
)
@_from("A folder with BFCL's files (default: the installed wheel bfcl-eval).")
@_LIMIT
@_SEED
@click.option("--name", metavar="NAME", help="Name of the suite, for one category (default: bfcl-CATEGORY).")
@json_option
@pass_app
def bfcl(
    app: App,
    categories: tuple[str, ...],
    folder: Path | None,
    limit: int | None,
    seed: int,
    name: str | None,
    as_json: bool,
) -> None:
    """Import the Berkeley Function Calling Leaderboard, version 4.

    Each category of a single turn becomes a suite: of kind tools, irrelevance or, for live_relevance, format.
    Cases that a suite cannot hold are listed with the reason. The data is under Apache-2.0.
    """
    from adaptman.lifecycle.outbox import start_delivery
    from adaptman.lifecycle.suites import import_bfcl

    workspace = app.workspace()
    done = import_bfcl(workspace, categories, folder=folder, name=name, limit=limit, seed=seed)
    start_delivery(workspace)
    _print_imports(done, as_json=as_json)


@import_.command(name="lm-eval")
@click.argument("task", metavar="TASK")
@_from("A folder with YAML files of tasks (default: the tasks of lm-evaluation-harness).")
@_LIMIT
@_SEED
@click.option("--name", metavar="NAME", help="Name of the suite (default: the task's name).")
@json_option
@pass_app
def lm_eval(
    app: App, task: str, folder: Path | None, limit: int | None, seed: int, name: str | None, as_json: bool
) -> None:
    """Import a TASK of lm-evaluation-harness as a suite of kind general.

    Tasks of multiple choice are scored by log-likelihood, tasks that generate by exact match. A task's YAML
    file may name Python code, which is run. Needs the extra lm-eval.
    """
    from adaptman.lifecycle.outbox import start_delivery
    from adaptman.lifecycle.suites import import_task

    workspace = app.workspace()
    done = import_task(workspace, task, folder=folder, name=name, limit=limit, seed=seed)
    start_delivery(workspace)
    _print_imports([done], as_json=as_json)


def _print_imports(done: Sequence[SuiteImport], *, as_json: bool) -> None:
    if as_json:
        print_json([_import_dict(one) for one in done])
        return
    rows = [one.registration.row for one in done]
    header = ["name", "kind", "revision", "cases", "left out", "digest"]
    cells = [
        [
            row.name,
            row.kind,
            str(row.revision),
            str(row.case_count),
            str(len(one.left_out)),
            short_digest(row.suite_digest),
        ]
        for row, one in zip(rows, done, strict=True)
    ]
    click.echo(table(header, cells, right=(2, 3, 4)))
    for one in done:
        if not one.registration.created:
            note(f"`{one.registration.row.name}` is registered already; nothing was recorded")
        for left_out in one.left_out:
            note(f"left out `{left_out.id}`: {left_out.reason}")


def _import_dict(done: SuiteImport) -> dict[str, Any]:
    left_out = [{"id": one.id, "reason": one.reason} for one in done.left_out]
    return {**_row_dict(done.registration.row), "created": done.registration.created, "left_out": left_out}


def _tool_cells(figure: ToolFigure) -> list[str]:
    return [figure.tool, str(figure.n), "" if figure.value is None else f"{figure.value:.2f}"]


@suite.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--runs", type=click.IntRange(min=2), default=2, show_default=True, help="How often the champion answers."
)
@click.option(
    "--noise", type=click.FloatRange(min=0, max=1), default=0.0, metavar="SHARE",
    help="Disturb the weights of the later runs by this share of their spread, such as 0.02.",
)  # fmt: skip
@json_option
@pass_app
def audit(app: App, name: str, runs: int, noise: float, as_json: bool) -> None:
    """Find the cases of the suite NAME on which the champion disagrees with itself.

    The later runs ask in another order and in other batches; with --noise, of slightly other weights. Flaky
    cases are named in every decision that rests on the suite from then on.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle.audit import audit_suite

    with TerminalProgress() as progress:
        done = audit_suite(app.workspace(), name, runs=runs, noise=noise, progress=progress)
    if as_json:
        print_json(_audit_dict(done))
        return
    count = f"{len(done.flaky)} of {len(done.cases)} cases are flaky"
    also = f"; {len(done.reworded)} more are answered in other words and scored the same"
    click.echo(f"{count}{also if done.reworded else ''}")
    if done.flaky:
        rows = [[case.case_id, *(_answer(*one) for one in _answers(case))] for case in done.flaky]
        click.echo()
        click.echo(table(["case", *(f"run {at + 1}" for at in range(runs))], rows))


def _answers(case: AuditedCase) -> list[tuple[float, str]]:
    return list(zip(case.scores, case.outputs, strict=True))


def _answer(score: float, output: str) -> str:
    return f"{score:.4g} {_shortened(output, 40)}".rstrip()


def _audit_dict(done: Audit) -> dict[str, Any]:
    def plain(cases: Sequence[AuditedCase]) -> list[dict[str, Any]]:
        return [
            {"case": case.case_id, "scores": list(case.scores), "outputs": list(case.outputs)}
            for case in cases
        ]

    return {
        "suite": done.suite,
        "suite_digest": done.row.suite_digest,
        "version": done.version,
        "runs": done.row.runs,
        "noise": done.noise,
        "cases": len(done.cases),
        "flaky": plain(done.flaky),
        "reworded": plain(done.reworded),
        "report_digest": done.row.report_digest,
    }


def _print_row(row: Suite) -> None:
    shown = [
        ("suite", f"{row.name}, revision {row.revision}"),
        ("kind", row.kind),
        ("cases", str(row.case_count)),
        ("metric", f"{row.metric}, {'higher' if row.higher_is_better else 'lower'} is better"),
        ("digest", row.suite_digest),
        ("registered", f"{short_time(row.created_at)} by {row.author}"),
        ("note", row.note),
    ]
    click.echo(pairs(shown))


def _row_dict(row: Suite) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "revision": row.revision,
        "case_count": row.case_count,
        "metric": row.metric,
        "higher_is_better": row.higher_is_better,
        "digest": row.suite_digest,
        "object_digest": row.object_digest,
        "note": row.note,
        "author": row.author,
        "created_at": row.created_at,
    }


def _row_cells(row: Suite) -> list[str]:
    return [
        row.name,
        row.kind,
        str(row.revision),
        str(row.case_count),
        row.metric,
        short_digest(row.suite_digest),
        short_time(row.created_at),
        row.note,
    ]


def _case_dict(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "messages": list(case.messages),
        "tools": [tool["function"]["name"] for tool in case.tools],
        "accept": [{"name": call.name, "arguments": call.arguments} for call in case.accept],
        "answers": list(case.answers),
        "match": case.match,
        "choices": list(case.choices),
        "answer": case.answer,
        "check": dict(case.check),
        "calls": case.calls,
        "known_wrong": case.known_wrong,
    }


def _case_cells(case: Case) -> list[str]:
    last = str(case.messages[-1].get("content") or "") if case.messages else ""
    accepted = [
        *(call.name for call in case.accept),
        *(repr(answer) for answer in case.answers),
        *([repr(case.answer)] if case.choices else ()),
        *(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in case.check.items()),
    ]
    mark = "known wrong" if case.known_wrong else ""
    return [case.id, _shortened(last), ", ".join([*accepted, *([mark] if mark else [])])]


def _shortened(text: str, longest: int = 72) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
