"""The replay of an update, from what the recipe says: tool documents, earlier requests or examples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adaptman.lifecycle import engine
from adaptman.lifecycle.examples import learned_examples
from adaptman.lifecycle.plan import UpdatePlan
from adaptman.lifecycle.progress import Progress
from adaptman.lifecycle.schema import taught_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import Example, same_tool
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json, sha256_of
from adaptman.toolspec.questions import calls_of, makes_calls
from adaptman.toolspec.readers import document_from_openai
from adaptman.toolspec.validate import fits, is_fitting_call

if TYPE_CHECKING:
    from adaptman.learning.drawing import ToolPrompt
    from adaptman.learning.earlier import EarlierExample
    from adaptman.learning.rendering import Rendering
    from adaptman.learning.replay import ReplaySet


def replay_of(
    workspace: Workspace, plan: UpdatePlan, reads: Rendering, workdir: Path, progress: Progress
) -> ReplaySet | None:
    """The replay set of a plan; taken from the working folder where a run that died has left it there.

    Raises:
        TrainingError: nothing is left that could be replayed.
    """
    from adaptman.learning.kept import kept_replay

    if plan.recipe.replay.kind == "none":
        return None
    path = workdir / f"replay-{_key(workspace, plan, reads)}.safetensors"
    return kept_replay(path, lambda: _SOURCES[plan.recipe.replay.kind](workspace, plan, progress))


def _key(workspace: Workspace, plan: UpdatePlan, reads: Rendering) -> str:
    """What a replay set is a function of; a file of another one, left by another registry, is not taken."""
    made_of = [
        plan.parent.base_digest,
        engine.adapter_digest(workspace, plan.parent),
        plan.recipe.digest,
        plan.declined,
        plan.output_format.digest,
        plan.document.digest,
        plan.replayed_tools,
        reads.digest,
    ]
    return sha256_of(canonical_json(made_of))[:16]


def _own(workspace: Workspace, plan: UpdatePlan, progress: Progress) -> ReplaySet:
    """Samples of the version that the update starts from."""
    from adaptman.learning.drawing import generate

    loaded = engine.load_version(workspace, plan.parent)
    recipe = plan.replay
    progress.start("replay", recipe.samples)
    replay = generate(
        loaded,
        engine.renderer_of(loaded, plan.output_format),
        recipe,
        _tool_prompts(workspace, plan),
        plan.recipe.seed,
        shown=plan.document.as_openai(),
        before=engine.renderer_of(loaded, plan.written_now) if plan.changes_format else None,
        on_done=progress.advance,
    )
    tools = replay.report.get("tools", {})
    held = f", calls of {sum(map(bool, tools.values()))} of {len(tools)} earlier tools" if tools else ""
    progress.finish(f"{replay.tokens} tokens of the champion's own{held}")
    return replay


def _exemplars(workspace: Workspace, plan: UpdatePlan, progress: Progress) -> ReplaySet:
    from adaptman.learning.earlier import exemplars

    renderer = engine.bare_renderer(workspace, plan.parent, plan.output_format)
    replay = exemplars(renderer, earlier_examples(workspace, plan), plan.recipe.replay, plan.recipe.seed)
    progress.start("replay", len(replay.samples))
    progress.finish(f"{len(replay.samples)} earlier examples")
    return replay


def _answers(workspace: Workspace, plan: UpdatePlan, progress: Progress) -> ReplaySet:
    from adaptman.learning.earlier import answered, kept

    earlier = earlier_examples(workspace, plan)
    loaded = engine.load_version(workspace, plan.parent)
    renderer = engine.renderer_of(loaded, plan.output_format)
    recipe, seed = plan.recipe.replay, plan.recipe.seed
    progress.start("replay", len(kept(earlier, recipe.share, seed)))
    replay = answered(loaded, renderer, earlier, recipe, seed, on_done=progress.advance)
    progress.finish(f"{len(replay.samples)} right answers of the champion's own")
    return replay


def _synthesized(workspace: Workspace, plan: UpdatePlan, progress: Progress) -> ReplaySet:
    from adaptman.learning.earlier import synthesized

    earlier = earlier_examples(workspace, plan)
    latest, base = engine.load_version(workspace, plan.parent), engine.load_base(workspace, plan.parent)
    renderer = engine.renderer_of(latest, plan.output_format)
    progress.start("replay", 0)
    recipe = plan.replay
    replay = synthesized(base, latest, renderer, earlier, recipe, plan.recipe.seed)
    progress.finish(f"{len(replay.samples)} synthesized examples")
    return replay


_SOURCES: dict[str, Callable[[Workspace, UpdatePlan, Progress], ReplaySet]] = {
    "self": _own,
    "exemplar": _exemplars,
    "opr": _answers,
    "ssr": _synthesized,
}


def _tool_prompts(workspace: Workspace, plan: UpdatePlan) -> list[ToolPrompt]:
    """One prompt for each earlier tool that stays as it is, with what makes a reply to it acceptable."""
    from adaptman.learning.drawing import ToolPrompt

    if not plan.replayed_tools:
        return []
    taught = _taught_by(workspace, plan)
    kept = plan.document.subset(plan.replayed_tools)
    return [
        ToolPrompt((tool,), partial(fits, plan.document), taught.get(tool["function"]["name"], 0))
        for tool in kept.as_openai()
    ]


def _taught_by(workspace: Workspace, plan: UpdatePlan) -> dict[str, int]:
    """The number of the version that was last taught each tool in another form than the one before it."""
    found: dict[str, int] = {}
    before = None
    with workspace.registry.read() as reader:
        ancestry = reader.ancestry(plan.parent)
    for version in ancestry:
        taught = taught_schema(workspace, version)
        if taught is None:
            continue
        for tool in taught.document.tools:
            known = before.get(tool.name) if before else None
            if known is None or known.canonical != tool.canonical:
                found[tool.name] = version.number
        before = taught.document
    return found


def earlier_examples(workspace: Workspace, plan: UpdatePlan) -> list[EarlierExample]:
    """The examples of the update's ancestors that are still right under the new document.

    Those of a tool that has changed since would teach what is wrong now, and are left out.
    """
    from adaptman.learning.earlier import EarlierExample

    shown = [
        (update, example, document_from_openai(example.tools))
        for update, example in learned_examples(workspace, plan.parent)
    ]
    return [
        EarlierExample(
            example.messages,
            example.tools,
            update,
            accepts=partial(_is_right, plan, calls_of(example.messages[-1])),
            valid=partial(_is_call, plan, document),
        )
        for update, example, document in shown
        if _still_right(plan, example, document)
    ]


def _still_right(plan: UpdatePlan, example: Example, shown: ToolDocument) -> bool:
    known = [plan.document.get(tool.name) for tool in shown.tools]
    same = all(now is not None and same_tool(now, tool) for now, tool in zip(known, shown.tools, strict=True))
    calls = [call for message in example.messages for call in calls_of(message)]
    return same and all(fits(plan.document, call) for call in calls)


def _is_right(plan: UpdatePlan, wanted: tuple[ToolCall, ...], reply: str) -> bool:
    """Whether a reply makes the calls of the example, and no others."""
    return makes_calls(plan.output_format.parse(reply), wanted)


def _is_call(plan: UpdatePlan, shown: ToolDocument, reply: str) -> bool:
    return is_fitting_call(shown, plan.output_format.parse(reply))
