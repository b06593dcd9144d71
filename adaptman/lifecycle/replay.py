"""The replay of an update, from what the recipe says: tool documents, earlier requests or examples."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adaptman.errors import TrainingError
from adaptman.lifecycle import engine
from adaptman.lifecycle.plan import UpdatePlan
from adaptman.lifecycle.progress import Progress
from adaptman.lifecycle.schema import registered_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.examples import Example, read_examples, same_tool
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json, sha256_of
from adaptman.toolspec.questions import calls_of
from adaptman.toolspec.readers import document_from_openai
from adaptman.toolspec.validate import validate_call

if TYPE_CHECKING:
    from adaptman.learning.earlier import EarlierExample
    from adaptman.learning.rendering import Rendering
    from adaptman.learning.replay import ReplaySet, ToolPrompt
    from registry.tables import ModelVersion


def replay_of(
    workspace: Workspace, plan: UpdatePlan, reads: Rendering, workdir: Path, progress: Progress
) -> ReplaySet | None:
    """The replay set of a plan; taken from the working folder where a run that died has left it there.

    Raises:
        TrainingError: nothing is left that could be replayed.
    """
    from adaptman.learning.replay import ReplaySet

    if plan.recipe.replay.kind == "none":
        return None
    path = workdir / f"replay-{_key(workspace, plan, reads)}.safetensors"
    # A file that the power cut in two is drawn again; it is a function of the seed.
    with contextlib.suppress(TrainingError):
        return ReplaySet.from_file(str(path))
    replay = _SOURCES[plan.recipe.replay.kind](workspace, plan, progress)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(replay.to_bytes())
    os.replace(temporary, path)
    return replay


def _key(workspace: Workspace, plan: UpdatePlan, reads: Rendering) -> str:
    """What a replay set is a function of; a file of another one, left by another registry, is not taken."""
    made_of = [
        plan.parent.base_digest,
        engine.adapter_digest(workspace, plan.parent),
        plan.recipe.digest,
        plan.output_format.digest,
        plan.document.digest,
        plan.replayed_tools,
        reads.digest,
    ]
    return sha256_of(canonical_json(made_of))[:16]


def _own(workspace: Workspace, plan: UpdatePlan, progress: Progress) -> ReplaySet:
    """Samples of the version that the update starts from."""
    from adaptman.learning.replay import generate

    loaded = engine.load_version(workspace, plan.parent)
    renderer = engine.renderer_of(loaded, plan.output_format)
    recipe = plan.recipe.drawn
    prompts = _tool_prompts(workspace, plan)
    progress.start("replay", recipe.samples)
    replay = generate(loaded, renderer, recipe, prompts, plan.recipe.seed, on_done=progress.advance)
    progress.finish(f"{replay.tokens} tokens of the champion's own")
    return replay


def _exemplars(workspace: Workspace, plan: UpdatePlan, progress: Progress) -> ReplaySet:
    from adaptman.learning import models
    from adaptman.learning.chat import ChatRenderer
    from adaptman.learning.earlier import exemplars

    renderer = ChatRenderer(
        models.load_tokenizer(engine.base_path(workspace, plan.parent)), plan.output_format
    )
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
    recipe = plan.recipe.drawn
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
    from adaptman.learning.replay import ToolPrompt

    if not plan.replayed_tools:
        return []
    taught = _taught_by(workspace, plan)
    kept = plan.document.subset(plan.replayed_tools)
    return [
        ToolPrompt((tool,), lambda reply: _is_valid(plan, reply), taught.get(tool["function"]["name"], 0))
        for tool in kept.as_openai()
    ]


def _taught_by(workspace: Workspace, plan: UpdatePlan) -> dict[str, int]:
    """The number of the version that was last taught each tool in another form than the one before it."""
    found: dict[str, int] = {}
    before = None
    for version in _ancestors(workspace, plan):
        number = _schema_number(workspace, version)
        document = registered_schema(workspace, number).document if number is not None else None
        for tool in document.tools if document else ():
            known = before.get(tool.name) if before else None
            if known is None or known.canonical != tool.canonical:
                found[tool.name] = version.number
        before = document or before
    return found


def _schema_number(workspace: Workspace, version: ModelVersion) -> int | None:
    if version.tool_schema_id is None:
        return None
    with workspace.registry.read() as reader:
        return reader.tool_schema_by_id(version.tool_schema_id).number


def _ancestors(workspace: Workspace, plan: UpdatePlan) -> list[ModelVersion]:
    """The parent and what it was made from, the oldest first."""
    found = [plan.parent]
    with workspace.registry.read() as reader:
        while found[-1].parent_id is not None:
            found.append(reader.version_by_id(found[-1].parent_id))
    return found[::-1]


def earlier_examples(workspace: Workspace, plan: UpdatePlan) -> list[EarlierExample]:
    """The examples of the update's ancestors that are still right under the new document.

    Those of a tool that has changed since would teach what is wrong now, and are left out.
    """
    from adaptman.learning.earlier import EarlierExample

    return [
        EarlierExample(
            example.messages,
            example.tools,
            update,
            accepts=partial(_is_right, plan, calls_of(example.messages[-1])),
            valid=partial(_is_call, plan),
        )
        for update, example in _kept_examples(workspace, plan)
    ]


def _kept_examples(workspace: Workspace, plan: UpdatePlan) -> Iterator[tuple[int, Example]]:
    for version in _ancestors(workspace, plan):
        if version.example_set_id is None:
            continue
        with workspace.registry.read() as reader:
            digest = reader.example_set(version.example_set_id).object_digest
        data = workspace.store.get_bytes(digest)
        for example in read_examples(data, f"the examples of version {version.number}", None):
            if _still_right(plan, example):
                yield version.number, example


def _still_right(plan: UpdatePlan, example: Example) -> bool:
    shown = document_from_openai(example.tools)
    known = [plan.document.get(tool.name) for tool in shown.tools]
    same = all(now is not None and same_tool(now, tool) for now, tool in zip(known, shown.tools, strict=True))
    calls = [call for message in example.messages for call in calls_of(message)]
    return same and not any(validate_call(plan.document, call) for call in calls)


def _is_right(plan: UpdatePlan, wanted: tuple[ToolCall, ...], reply: str) -> bool:
    """Whether a reply makes the calls of the example, and no others."""
    parsed = plan.output_format.parse(reply)
    return not parsed.problems and canonical_json([list(call) for call in parsed.calls]) == canonical_json(
        [list(call) for call in wanted]
    )


def _is_call(plan: UpdatePlan, reply: str) -> bool:
    return bool(plan.output_format.parse(reply).calls) and _is_valid(plan, reply)


def _is_valid(plan: UpdatePlan, reply: str) -> bool:
    """Every call of the reply fits the new document; a reply in words is the model's own way, and is kept."""
    parsed = plan.output_format.parse(reply)
    return not parsed.problems and not any(validate_call(plan.document, call) for call in parsed.calls)
