"""`adaptman examples`: carry training examples through a change of tools, import, check and split them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._input import read_input
from adaptman.cli._migration import migration_options
from adaptman.cli._output import json_option, listed, note, note_some, plain, print_json, table

if TYPE_CHECKING:
    from adaptman.lifecycle.examples import Checked, Migration
    from adaptman.lifecycle.workspace import Workspace
    from adaptman.toolspec.logs import ImportedLog

_SHOWN = 20
_OUT = click.Path(path_type=Path, dir_okay=False)


@click.group()
def examples() -> None:
    """Migrate, import, check and split training examples."""


@examples.command()
@click.argument("file", metavar="FILE")
@migration_options
@click.option("--out", type=_OUT, metavar="FILE", help="Where they go in their new form (default: stdout).")
@click.option("--needs", type=_OUT, metavar="FILE", help="Where those go that need somebody, as they were.")
@json_option
@pass_app
def migrate(
    app: App, /, file: str, out: Path | None, needs: Path | None, as_json: bool, **options: Any
) -> None:
    """Re-write the examples in FILE (- for standard input) for tool schema N.

    Renamed tools and parameters, values by --map, what is required now, one value where a list is asked for.
    What nobody can know is left as it was and listed, by line. Exit code 1 if any example needs somebody and
    --needs does not take it.
    """
    from adaptman.lifecycle.examples import migrate_examples

    _check_out(out, as_json)
    given = read_input(file)
    done = migrate_examples(app.workspace(), given.data, given.origin, **options)
    _write(out, done.rewriting.data, as_json)
    if needs is not None and done.rewriting.needs:
        needs.write_bytes(done.rewriting.rest)
    if as_json:
        print_json(_migration_dict(done))
    else:
        _tell_migration(done, given.origin, needs)
    if done.rewriting.needs and needs is None:
        click.get_current_context().exit(1)


@examples.command(name="import")
@click.argument("file", metavar="FILE")
@click.option("--schema", type=click.IntRange(min=1), metavar="N", help="Keep what is right under this one.")
@click.option("--out", type=_OUT, metavar="FILE", help="Where the examples go (default: stdout).")
@json_option
@pass_app
def import_(app: App, file: str, schema: int | None, out: Path | None, as_json: bool) -> None:
    """Make examples of the conversations in the log FILE (- for standard input).

    Requests to OpenAI's chat completions with their responses, batches, and exported MLflow traces; JSONL, a
    JSON list or one object. Each conversation once; what is no whole one is listed, with the reason.
    """
    from adaptman.evaluation.bfcl import jsonl
    from adaptman.lifecycle.examples import import_log

    _check_out(out, as_json)
    given = read_input(file)
    found = import_log(_workspace(app, schema), given.data, given.origin, schema=schema)
    _write(out, jsonl(found.examples), as_json)
    if as_json:
        print_json(_import_dict(found))
        return
    again = f", {found.repeated} repeated" if found.repeated else ""
    note(f"{_count(len(found.examples), 'example')} from {given.origin}{again}")
    if found.problems:
        note(f"{_count(len(found.problems), 'record')} left out:")
        note_some(f"record {one.record}: {one.reason}" for one in found.problems)


@examples.command()
@click.argument("file", metavar="FILE")
@click.option("--schema", type=click.IntRange(min=1), metavar="N", help="Check the calls against this one.")
@json_option
@pass_app
def check(app: App, file: str, schema: int | None, as_json: bool) -> None:
    """Say everything that is wrong with the examples in FILE, and which are nearly the same.

    Exit code 1 if any cannot be trained on.
    """
    from adaptman.lifecycle.examples import check_examples

    given = read_input(file)
    workspace = _workspace(app, schema)
    found = check_examples(workspace, given.data, given.origin, schema=schema)
    unused = found.never_called(_document(workspace, schema))
    if as_json:
        print_json(_check_dict(found, unused))
    else:
        _tell_check(found, unused, given.origin)
    if found.problems or not found.examples:
        click.get_current_context().exit(1)


@examples.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--held-out",
    "share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Part of the examples that is held out.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="S", help="Another seed, another split."
)
@click.option("--training", type=_OUT, required=True, metavar="FILE", help="Where the others go.")
@click.option("--test", type=_OUT, metavar="FILE", help="Where those that are held out go, as examples.")
@click.option("--suite", type=_OUT, metavar="FILE", help="Where they go as the cases of a suite.")
@click.option("--schema", type=click.IntRange(min=1), metavar="N", help="Check the calls against this one.")
@json_option
@pass_app
def split(
    app: App,
    file: str,
    share: float,
    seed: int,
    training: Path,
    test: Path | None,
    suite: Path | None,
    schema: int | None,
    as_json: bool,
) -> None:
    """Hold out a part of the examples in FILE, of each tool, to ask later what was learned.

    No two that are nearly the same lie on both sides. The same examples and seed make the same split.
    """
    from adaptman.evaluation.bfcl import jsonl
    from adaptman.lifecycle.examples import split_examples

    if test is None and suite is None:
        raise click.UsageError("say where the held-out examples go: `--test FILE`, `--suite FILE`, or both")
    given = read_input(file)
    done = split_examples(
        _workspace(app, schema), given.data, given.origin, share=share, seed=seed, schema=schema
    )
    training.write_bytes(done.training)
    if test is not None:
        test.write_bytes(done.held_out)
    if suite is not None:
        suite.write_bytes(jsonl(done.cases))
    counts = {
        "training": len(done.parts.training),
        "held_out": len(done.parts.held_out),
        "cases": len(done.cases),
    }
    if as_json:
        print_json({**counts, "seed": seed, "share": share})
        return
    click.echo(f"{counts['training']} for training, {counts['held_out']} held out (seed {seed})")
    if suite is not None and len(done.cases) < counts["held_out"]:
        note(f"{counts['held_out'] - len(done.cases)} are answered in words: they make no case")


def _check_out(out: Path | None, as_json: bool) -> None:
    if as_json and out is None:
        raise click.UsageError("`--json` prints a report: say where the examples go with `--out FILE`")


def _write(out: Path | None, data: bytes, as_json: bool) -> None:
    if out is not None:
        out.write_bytes(data)
    elif not as_json:
        click.echo(data.decode("utf-8"), nl=False)


def _workspace(app: App, schema: int | None) -> Workspace | None:
    """The workspace is needed where a document is named, and nowhere else."""
    return app.workspace() if schema is not None else None


def _document(workspace: Workspace | None, schema: int | None) -> Any:
    from adaptman.lifecycle.schema import registered_schema

    return registered_schema(workspace, schema).document if workspace else None


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _tell_migration(done: Migration, origin: str, needs: Path | None) -> None:
    rewriting = done.rewriting
    changed = sum(one.changed for one in rewriting.lines)
    left = len(rewriting.lines) - len(rewriting.needs) - changed
    note(
        f"schema {done.old} → {done.new}: {changed} re-written, {left} as they were, "
        f"{len(rewriting.needs)} need{'s' if len(rewriting.needs) == 1 else ''} you"
    )
    note_some(f"{kind.replace('-', ' ')}: {count}" for kind, count in sorted(rewriting.steps.items()))
    if rewriting.assumed:
        note("taken from the schema's default, which no request may have meant:")
        note_some(f"{name}: {count}" for name, count in sorted(rewriting.assumed.items()))
    if done.reworded:
        note(
            "valid as they are, but described in other words now: " + plain(", ".join(done.reworded[:_SHOWN]))
        )
    if rewriting.needs:
        note("these need you" + (f" (kept in {needs}):" if needs else ":"))
        note_some(f"{origin}:{one.line}: {one.needs}" for one in rewriting.needs)
        for hint in dict.fromkeys(one.hint for one in rewriting.needs if one.hint):
            note(f"hint: {hint}")


def _migration_dict(done: Migration) -> dict[str, Any]:
    rewriting = done.rewriting
    return {
        "from": done.old,
        "to": done.new,
        "rewritten": sum(one.changed for one in rewriting.lines),
        "unchanged": sum(one.data == one.raw for one in rewriting.lines),
        "steps": dict(sorted(rewriting.steps.items())),
        "assumed": dict(sorted(rewriting.assumed.items())),
        "reworded": list(done.reworded),
        "needs": [{"line": one.line, "why": one.needs, "hint": one.hint} for one in rewriting.needs],
    }


def _import_dict(found: ImportedLog) -> dict[str, Any]:
    return {
        "examples": len(found.examples),
        "repeated": found.repeated,
        "left_out": [{"record": one.record, "reason": one.reason} for one in found.problems],
    }


def _tell_check(found: Checked, unused: tuple[str, ...], origin: str) -> None:
    rows = [[name or "(in words)", str(count)] for name, count in found.by_tool.most_common()]
    if rows:
        click.echo(table(["tool", "examples"], rows, right=[1]))
        click.echo()
    click.echo(f"{_count(len(found.examples), 'example')} can be trained on")
    if unused:
        note(plain(f"never called: {listed(unused, _SHOWN)}"))
    if found.pairs:
        line = found.line_of
        note(f"{_count(len(found.pairs), 'pair')} nearly the same:")
        note_some(f"lines {line[one.left]} and {line[one.right]} ({one.likeness:.2f})" for one in found.pairs)
    if found.problems:
        note(f"{_count(len(found.problems), 'line')} cannot be trained on:")
        note_some(error.message for _, error in found.problems)


def _check_dict(found: Checked, unused: tuple[str, ...]) -> dict[str, Any]:
    line = found.line_of
    return {
        "examples": len(found.examples),
        "by_tool": dict(found.by_tool.most_common()),
        "never_called": list(unused),
        "near_duplicates": [
            {"lines": [line[one.left], line[one.right]], "likeness": round(one.likeness, 4)}
            for one in found.pairs
        ],
        "problems": [
            {"line": number, "message": error.message, "hint": error.hint} for number, error in found.problems
        ],
    }
