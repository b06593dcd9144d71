"""`adaptman update`: plan an update, and carry it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._context import App, pass_app
from adaptman.cli._input import ACCEPT_RENDERING
from adaptman.cli._judged import echo_evaluation, evaluation_dict, loses_only
from adaptman.cli._output import json_option, note, pairs, print_json

if TYPE_CHECKING:
    from adaptman.lifecycle.plan import UpdatePlan, UpdateRequest


def _request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option(
            "--schema", type=click.IntRange(min=1), metavar="N", required=True, help="Tool schema to learn."
        ),
        click.option(
            "--examples",
            type=click.Path(path_type=Path),
            metavar="FILE",
            required=True,
            help="Training examples: JSONL, chat messages with tools and tool_calls in the OpenAI form.",
        ),
        click.option(
            "--format",
            "fmt",
            metavar="NAME|FILE",
            help="Output format: a built-in one, or a file in YAML. By default the champion's.",
        ),
        click.option(
            "--set",
            "settings",
            metavar="NAME=VALUE",
            multiple=True,
            help="A setting of the recipe, such as lr=5e-4 or replay.kind=none. May be repeated.",
        ),
        click.option("--note", "text", metavar="TEXT", default="", help="A note that the version keeps."),
        ACCEPT_RENDERING,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def update() -> None:
    """Teach the model a tool or format update."""


@update.command()
@_request_options
@json_option
@pass_app
def plan(app: App, /, as_json: bool, **options: Any) -> None:
    """Print what an update would do, and do nothing."""
    from adaptman.lifecycle.plan import make_plan

    made = make_plan(app.workspace(), _request(**options))
    if as_json:
        print_json(made.to_dict())
        return
    click.echo(plan_text(made))


@update.command()
@_request_options
@json_option
@pass_app
def run(app: App, /, as_json: bool, **options: Any) -> None:
    """Fine-tune a candidate from the champion, run the suites, let the gate decide.

    A run that was killed goes on where it was when the same command is given again. The candidate is not
    promoted: `adaptman promote N` does that. Exit code 0 when the candidate was trained, whatever the gate
    decided: `promote` is the command that fails when it refused.
    """
    from adaptman.cli._progress import TerminalProgress
    from adaptman.lifecycle.outbox import start_delivery
    from adaptman.lifecycle.plan import make_plan
    from adaptman.lifecycle.update import run_update

    workspace = app.workspace()
    made = make_plan(workspace, _request(**options))
    note(plan_text(made) + "\n")
    with TerminalProgress(goes_on=True) as progress:
        done = run_update(workspace, made, progress=progress)
    start_delivery(workspace)
    if as_json:
        print_json(
            {"version": done.version.number, "state": done.version.state, **evaluation_dict(done.evaluation)}
        )
        return
    click.echo(f"version {done.version.number} is {done.version.state}")
    echo_evaluation(done.evaluation)
    if done.evaluation is None:
        click.echo(_NOT_JUDGED.format(done.version.number))
    elif made.recipe.interpolate == 1 and loses_only(done.evaluation):
        click.echo(_LOSES_ONLY.format(made.parent.number))


_NOT_JUDGED = (
    "not judged: no suite is registered that could judge it; register one with "
    "`adaptman suite register FILE --kind KIND`, then run `adaptman evaluate {}`"
)
_LOSES_ONLY = (
    "\nit learned the update and lost too much: the same command with `--set interpolate=0.8`, or less, goes "
    "less far from version {}, and trains nothing again"
)


def plan_text(made: UpdatePlan) -> str:
    """The plan in a few lines."""
    counts = ", ".join(f"{count} {status}" for status, count in made.changes.counts.items() if count)
    suites = (
        ", ".join(f"{row.name} ({row.case_count})" for row in made.suites) or "none: nothing will judge it"
    )
    return pairs(
        [
            ("update", f"version {made.parent.number} → a candidate for tool schema {made.schema.number}"),
            ("rendering", f"accepted: {told}" if (told := made.rendering.told) else ""),
            ("changes", counts + (" (breaking)" if made.changes.breaking else "")),
            (
                "learn",
                f"{len(made.examples)} examples, {made.examples_seen} seen, format {_format_text(made)}",
            ),
            (
                "replay",
                _replay_text(made),
            ),
            ("suites", suites),
            (
                "recipe",
                f"{made.recipe.steps} steps, lr {made.recipe.lr:g}, {_trained_text(made)}",
            ),
            ("set", _settings_text(made)),
            ("weights", _weights_text(made)),
        ]
    )


_TOLD = {
    "steps", "lr", "lora.rank", "interpolate", "replay.kind", "replay.loss", "replay.coeff", "replay.samples",
    "replay.share",
}  # fmt: skip
"""Settings that the other lines tell."""


def _settings_text(made: UpdatePlan) -> str:
    """What else is not the default."""
    changed = made.recipe.changed.items()
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in changed}
    return ", ".join(f"{name}={value}" for name, value in values.items() if name not in _TOLD)


def _trained_text(made: UpdatePlan) -> str:
    return "all weights" if made.recipe.adapter == "full" else f"LoRA rank {made.recipe.lora.rank}"


def _weights_text(made: UpdatePlan) -> str:
    """How far the weights go; "" where they go all the way."""
    if made.recipe.interpolate == 1:
        return ""
    before = "the checkpoint" if made.recipe.adapter == "fresh" else f"version {made.parent.number}"
    text = f"{made.recipe.interpolate:g} of the way from {before}"
    return f"{text} to version {made.trained_as.number}: nothing is trained" if made.trained_as else text


def _format_text(made: UpdatePlan) -> str:
    name = made.output_format.name
    if made.format_before is None or not made.changes_format:
        return name
    if made.format_before.name == name:
        return f"{name} {made.format_before.version} → {made.output_format.version}"
    return f"{made.format_before.name} → {name}"


def _replay_text(made: UpdatePlan) -> str:
    replay = made.replay
    if replay.kind == "none":
        return "none: earlier skills are not protected"
    share = f"{replay.share:.0%} of the earlier"
    what = {
        "self": f"{replay.samples} samples from version {made.parent.number}",
        "exemplar": f"{share} examples",
        "opr": f"the right answers of version {made.parent.number} to {share} requests",
        "ssr": f"{replay.samples} samples synthesized from {share} examples",
    }
    text = f"{what[replay.kind]}, loss {replay.loss} × {replay.coeff:g}"
    if replay.kind != "self":
        return text
    if made.replayed_tools:
        rewritten = ", their calls rewritten" if made.changes_format else ""
        text += f"; under {len(made.replayed_tools)} unchanged tools{rewritten}"
    if made.withheld_tools:
        text += f"; not under {len(made.withheld_tools)} changed or removed ones"
    if made.declined and made.recipe.replay.irrelevant:
        less = "no" if made.declined == 1 else f"{made.declined:.0%} fewer"
        text += f"; {less} requests that no tool fits: the examples say how to answer those"
    return text


def _request(
    schema: int,
    examples: Path,
    fmt: str | None,
    settings: tuple[str, ...],
    text: str,
    accept_rendering: bool,
) -> UpdateRequest:
    from adaptman.lifecycle.plan import UpdateRequest

    for setting in settings:
        if "=" not in setting:
            raise click.BadParameter(f"`{setting}` is not NAME=VALUE", param_hint="--set")
    values = dict(setting.split("=", 1) for setting in settings)
    return UpdateRequest(schema, examples, fmt, values, text, accept_rendering)
