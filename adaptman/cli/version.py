"""`adaptman version`: list versions; show, render, trace, export, sign, verify or discard one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._history_table import figure
from adaptman.cli._output import (
    json_option,
    jsonable,
    listed,
    note,
    pairs,
    plain,
    print_json,
    short_digest,
    short_time,
    table,
)

if TYPE_CHECKING:
    from adaptman.lifecycle.rendering import ExampleLine, ShownRendering
    from adaptman.lifecycle.signing import Verification
    from adaptman.lifecycle.versions import Judgement, NamedRun, VersionDetails, VersionLine
    from registry.tables import Signature

_NAMED = 5
NUMBER = click.argument("number", type=click.IntRange(min=1), metavar="N")


@click.group()
def version() -> None:
    """List versions; show, render, trace, export, sign, verify or discard one."""


@version.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the versions."""
    from adaptman.lifecycle.versions import list_versions

    lines = list_versions(app.workspace())
    if as_json:
        print_json([_line_dict(line) for line in lines])
        return
    header = ["version", "state", "parent", "schema", "adapter", "made", "note"]
    click.echo(table(header, [_line_cells(line) for line in lines], right=(0, 2, 3, 4)))


@version.command()
@NUMBER
@json_option
@pass_app
def show(app: App, number: int, as_json: bool) -> None:
    """Show version N and everything it was made from."""
    from adaptman.lifecycle.versions import version_details

    details = version_details(app.workspace(), number, by_tool=as_json)
    if as_json:
        print_json(details.to_dict())
        return
    click.echo(pairs(_facts(details)))
    if details.runs:
        click.echo(
            "\n" + table(["suite", "kind", "value", "95 %", "cases"], _run_rows(details), right=(2, 3, 4))
        )
    if details.row.recipe:
        click.echo("\n" + click.style("recipe", bold=True))
        click.echo(pairs([(key, _brief(value)) for key, value in details.row.recipe.items()]))
    for one in details.decisions[-1:]:
        click.echo("\n" + _decision_text(one))


def _example_line(_: click.Context, param: click.Parameter, value: str | None) -> ExampleLine | None:
    """`FILE:LINE`."""
    if value is None:
        return None
    from adaptman.lifecycle.rendering import ExampleLine

    path, separator, line = value.rpartition(":")
    if not separator or not path or not (line.isascii() and line.isdigit()) or int(line) < 1:
        raise click.BadParameter(f"`{value}` is not of the form FILE:LINE", param=param)
    return ExampleLine(Path(path), int(line))


@version.command()
@NUMBER
@click.option(
    "--example",
    callback=_example_line,
    metavar="FILE:LINE",
    help="An example of training instead, with the tools that it shows.",
)
@click.option("--recorded", is_flag=True, help="What it was trained to read, from the record.")
@json_option
@pass_app
def render(app: App, number: int, example: ExampleLine | None, recorded: bool, as_json: bool) -> None:
    """Print what version N reads, byte for byte.

    That is a made-up conversation under the tools of its update, in its output format and the model's chat
    template, as training and serving render it. On stdout nothing is added; on a terminal, what would be
    learned is green, and control characters are shown. Whether the version was trained to read just this is
    told on stderr.
    """
    from adaptman.lifecycle.rendering import show_rendering

    if example is not None and recorded:
        raise click.UsageError("--example and --recorded exclude each other")
    shown = show_rendering(app.workspace(), number, example=example, recorded=recorded)
    if as_json:
        print_json(shown.to_dict())
        return
    _print_rendering(shown)


def _print_rendering(shown: ShownRendering) -> None:
    text = shown.rendering
    if sys.stdout.isatty():
        click.echo(plain(text.prompt) + click.style(plain(text.answer), fg="green"))
    else:
        sys.stdout.buffer.write(text.text.encode())
    counts = f"{len(text.ids)} tokens, the last {len(text.answer_ids)} of them learned"
    note(plain(f"\n{counts}; render digest {short_digest(text.digest)}, {_as_recorded(shown)}"))


def _as_recorded(shown: ShownRendering) -> str:
    if shown.check.recorded is None:
        return "none is on record"
    if shown.check.difference is not None:
        return shown.check.told
    return f"version {shown.check.number} reads what it was trained to read"


@version.command()
@NUMBER
@json_option
@pass_app
def lineage(app: App, number: int, as_json: bool) -> None:
    """Trace version N back to the base, with what went into each step."""
    from adaptman.lifecycle.versions import version_lineage

    found = version_lineage(app.workspace(), number)
    if as_json:
        print_json(found.to_dict())
        return
    for depth, details in enumerate(found.chain):
        _print_step(depth, details, found.base_source)


@version.command()
@NUMBER
@click.option(
    "--to", "target", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Directory to make."
)
@click.option("--merged", is_flag=True, help="A whole checkpoint instead of a PEFT adapter.")
@pass_app
def export(app: App, number: int, target: Path, merged: bool) -> None:
    """Write version N as what transformers and PEFT load."""
    from adaptman.lifecycle.export import export_version

    done = export_version(app.workspace(), number, target, merged=merged)
    loader = "AutoModelForCausalLM.from_pretrained" if merged else "PeftModel.from_pretrained"
    click.echo(f"version {done.number} is in {done.target}; load it with {loader}")
    if not merged and done.base > 1:
        click.echo(f"the adapter's base is version {done.base}, which `--merged` exports whole")


@version.command()
@NUMBER
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="Ed25519 private key in PEM; its passphrase, if it has one, in ADAPTMAN_SIGNING_PASSPHRASE.",
)
@pass_app
def sign(app: App, number: int, key: Path) -> None:
    """Sign version N: what it was made from, and its newest decision."""
    from adaptman.lifecycle.signing import sign_version

    done = sign_version(app.workspace(), number, key)
    already = "" if done.created else " already, nothing is recorded"
    click.echo(f"version {number} is signed with key {short_digest(done.row.key_id)}{already}")


@version.command()
@NUMBER
@click.option(
    "--key",
    "keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Ed25519 public key in PEM that counts; may be given again (default: the setting trusted_keys).",
)
@json_option
@pass_app
def verify(app: App, number: int, keys: tuple[Path, ...], as_json: bool) -> None:
    """Read version N's artifacts again and verify its signatures.

    Exit code 1 when an artifact is not whole, or no signature by a trusted key holds.
    """
    from adaptman.lifecycle.signing import verify_version

    found = verify_version(app.workspace(), number, keys)
    if as_json:
        print_json(found.to_dict())
    else:
        _print_verification(found)
    click.get_current_context().exit(0 if found.ok else 1)


@version.command()
@NUMBER
@click.option("--reason", metavar="TEXT", required=True, help="Why; recorded for ever.")
@pass_app
def discard(app: App, number: int, reason: str) -> None:
    """Rule out version N for good: it can never become champion.

    A champion, and a former one, cannot be discarded.
    """
    from adaptman.lifecycle.versions import discard_version

    if not reason.strip():
        raise click.BadParameter("discarding needs a reason", param_hint="--reason")
    discard_version(app.workspace(), number, reason)
    click.echo(f"version {number} is discarded")


def _print_verification(found: Verification) -> None:
    for one in found.artifacts:
        click.echo(
            plain(f"  {'✗' if one.problem else '✓'} {one.name} {one.digest}: {one.problem or 'whole'}")
        )
    for signed in found.signatures:
        mark = {"valid": "✓", "broken": "✗", "changed": "✗"}.get(signed.status.value, "·")
        by = f"signature by {signed.actor} with key {short_digest(signed.key_id)}"
        click.echo(plain(f"  {mark} {by}: {signed.status.value}, {signed.told}"))
    if not found.signatures:
        click.echo("  ✗ there is no signature")
    click.echo(f"version {found.number} {'is what was signed' if found.ok else 'cannot be vouched for'}")


def _print_step(depth: int, details: VersionDetails, base_source: str) -> None:
    head = "   " * (depth - 1) + "└─ " if depth else ""
    body = "   " * depth + "   "
    title = click.style(f"version {details.row.number}", bold=True)
    click.echo(f"{head}{title}  {details.row.state.value}")
    for line in pairs(_lineage_facts(details, base_source)).splitlines():
        click.echo(body + line)


def _lineage_facts(details: VersionDetails, base_source: str) -> list[tuple[str, str]]:
    if details.parent is None and details.adapter is None:
        made_from = [("base", base_source), ("base digest", short_digest(details.row.base_digest))]
    else:
        made_from = [
            ("base digest", short_digest(details.row.base_digest)),
            *_ingredients(details, short=True),
        ]
    verdict = [("decision", _verdict(one)) for one in details.decisions[-1:]]
    promoted = [("champion", _promotion(move)) for move in details.moves]
    return [*made_from, *verdict, *promoted, ("note", details.row.note)]


def _facts(details: VersionDetails) -> list[tuple[str, str]]:
    row = details.row
    return [
        ("version", str(row.number)),
        ("state", row.state.value),
        ("reason", row.reason),
        ("parent", "" if details.parent is None else f"version {details.parent}"),
        ("base digest", row.base_digest),
        *_ingredients(details, short=False),
        ("rendering", row.rendering_digest or ""),
        ("made", short_time(row.created_at) + (f" by {row.author}" if row.author else "")),
        ("finished", short_time(row.finished_at)),
        *(("signed", _signature(one)) for one in details.signatures),
        *(("champion", _promotion(move)) for move in details.moves),
        ("note", row.note),
    ]


def _signature(row: Signature) -> str:
    return f"by {row.actor} with key {short_digest(row.key_id)}, {short_time(row.at)}"


def _ingredients(details: VersionDetails, *, short: bool) -> list[tuple[str, str]]:
    """What a version was made from; an entry that it lacks is empty."""
    digest = short_digest if short else str
    schema, format_, examples, replay = (
        details.schema,
        details.output_format,
        details.examples,
        details.replay,
    )
    adapter = details.adapter
    return [
        ("folded", _folded_words(details)),
        ("trained as", _trained_words(details)),
        ("adapter", f"{digest(adapter.tree_digest)}, {size(adapter.size_bytes)}" if adapter else ""),
        (
            "schema",
            f"{schema.number}, {digest(schema.contract_digest)}, {schema.tool_count} tools" if schema else "",
        ),
        ("format", f"{format_.name} {format_.version}" if format_ else ""),
        ("recipe", digest(details.row.recipe_digest) if details.row.recipe_digest else ""),
        ("examples", f"{examples.count}, {digest(examples.object_digest)}" if examples else ""),
        ("replay", _replay_words(details, digest(replay.object_digest)) if replay else ""),
        ("calls held", _covered_words(replay.report.get("tools", {})) if replay else ""),
    ]


def _folded_words(details: VersionDetails) -> str:
    folded = (details.row.summary or {}).get("folded")
    if folded is None:
        return ""
    return f"from version {details.parent}; logits differ by at most {folded['largest_difference']:.1e}"


def _trained_words(details: VersionDetails) -> str:
    """The version that it shares a training with, where its weights were moved back from that one's."""
    whole = (details.row.summary or {}).get("trained_as")
    recipe = details.row.recipe or {}
    return "" if whole is None else f"version {whole}, moved back to {recipe['interpolate']:g} of the way"


def _replay_words(details: VersionDetails, digest: str) -> str:
    assert details.replay is not None
    teacher = f", written by version {details.replay_teacher}" if details.replay_teacher else ""
    return f"{details.replay.count} samples, {details.replay.tokens} tokens, {digest}{teacher}"


def _covered_words(tools: Mapping[str, int]) -> str:
    """Of how many earlier tools calls were replayed, and of which none; "" where none was asked for."""
    if not tools:
        return ""
    missed = [name for name, count in tools.items() if not count]
    text = f"of {len(tools) - len(missed)} of {len(tools)} earlier tools"
    return f"{text}, none of {listed(missed, _NAMED)}" if missed else text


def _verdict(one: Judgement) -> str:
    against = f" against version {one.champion}" if one.champion else ""
    failed = sum(not reason["passed"] for reason in one.row.reasons)
    counted = f"{failed} of {len(one.row.reasons)} conditions failed" if failed else "all conditions hold"
    return f"{one.row.verdict}{against}, policy {one.row.policy_name}: {counted}"


def _decision_text(one: Judgement) -> str:
    from adaptman.lifecycle.promote import reason_lines, stale_lines

    lines = [
        click.style("decision", bold=True) + f"  {_verdict(one)}",
        *map(plain, reason_lines(one.row.reasons)),
        *map(plain, stale_lines(one.row.evidence)),
    ]
    lines += [plain(f"  ! {warning}") for warning in one.row.warnings]
    lines += [
        plain(f'  approved by {given.actor}, {short_time(given.at)}: "{given.note}"')
        for given in one.approvals
    ]
    return "\n".join(lines)


def _promotion(move: Any) -> str:
    words = {"promote": "promoted", "rollback": "by rollback", "init": "as the base"}[move.cause]
    waived = f', waived: "{move.waiver}"' if move.waiver is not None else ""
    return f"{words} by {move.actor}, {short_time(move.at)}{waived}"


def _run_rows(details: VersionDetails) -> list[list[str]]:
    return [_run_cells(run) for run in details.runs]


def _run_cells(named: NamedRun) -> list[str]:
    run = named.run
    return [named.suite, named.kind, figure(run.value), f"{figure(run.low)}–{figure(run.high)}", str(run.n)]


def _line_cells(line: VersionLine) -> list[str]:
    return [
        str(line.row.number),
        line.row.state.value,
        "" if line.parent is None else str(line.parent),
        "" if line.schema is None else str(line.schema),
        "" if line.adapter_bytes is None else size(line.adapter_bytes),
        short_time(line.row.created_at),
        line.row.note,
    ]


def _line_dict(line: VersionLine) -> dict[str, Any]:
    return {
        "version": line.row.number,
        "state": line.row.state.value,
        "parent": line.parent,
        "tool_schema": line.schema,
        "adapter_bytes": line.adapter_bytes,
        "note": line.row.note,
        "reason": line.row.reason,
        "created_at": line.row.created_at,
        "finished_at": line.row.finished_at,
    }


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a number of at least one."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
