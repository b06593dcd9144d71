"""Draws the samples that replay is made of: what the version that an update starts from says of itself.

The distribution is the model's own at temperature 1 without truncation (Marek et al., arXiv 2605.26097), but
under tools, where a small model that is drawn so writes few valid calls, at the temperature of the recipe.
Nothing of earlier training sets is stored: a sample begins from the beginning-of-sequence token, from the
header of a user turn, or under the tools of an earlier document. Two more sources know what an update does:
requests that no tool fits, which are to be answered in words as before; and, where calls are written
otherwise from now on, calls that the model makes in its old way, rewritten in the new one.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import torch

from adaptman.errors import ModelError, ToolDocumentError, TrainingError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.decoding import Continuation, DecodeSettings, OnDone, Row, decode
from adaptman.learning.limits import memory_told
from adaptman.learning.losses import TopK
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import ReplayRecipe
from adaptman.learning.replay import ReplaySample, ReplaySet, Source, report
from adaptman.learning.wording import asked_for, ended
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json

_MARK = "\u2063adaptman\u2063"
# Attempts for each tool sample wanted: most requests that a small model makes up lead to no valid call.
_ATTEMPTS = 2
_UNDER_TOOLS: tuple[Source, ...] = ("tools", "rewritten")
# In place of -inf, which has no product with zero.
_IMPOSSIBLE = -100.0


class ToolPrompt(NamedTuple):
    """Tools that a sample may be drawn under, whether a call is a right one of theirs, and the update that
    taught them: each update has the same share of the samples."""

    tools: Sequence[Mapping[str, Any]]
    accepts: Callable[[ToolCall], bool]
    update: int = 0


def generate(
    loaded: LoadedModel,
    renderer: ChatRenderer,
    recipe: ReplayRecipe,
    tool_prompts: Sequence[ToolPrompt],
    seed: int,
    *,
    shown: Sequence[Mapping[str, Any]] = (),
    before: ChatRenderer | None = None,
    on_done: Callable[[int], None] = lambda samples: None,
) -> ReplaySet:
    """Draw the replay set of a recipe from `loaded`; what `on_done` is told sums to `recipe.samples`.

    Without `tool_prompts` (a first update, or a change of every tool) their share goes to the other sources,
    and so does that of irrelevant requests without `shown`, the tools of which each has one before it.
    `before` writes as the model does now, where the update changes the output format.

    Raises:
        ModelError: the chat template does not show where a user's words stand.
        TrainingError: nothing usable could be drawn, or memory ran out.
    """
    wanted = quotas(recipe, has_tools=bool(tool_prompts), has_shown=bool(shown), rewrites=before is not None)
    generator = torch.Generator().manual_seed(seed)
    writer = _Writer(loaded, renderer, before or renderer, recipe, generator)
    with memory_told("while drawing replay", "draw shorter samples: `--set replay.max_tokens=…`"):
        drafts = writer.drafts(wanted, tool_prompts, shown, seed)
        written = writer.decode([draft.row for draft in drafts], recipe.top_k, _counted(drafts, on_done))
    right = [pair for pair in zip(drafts, written, strict=True) if pair[0].accepts(pair[1])]
    kept = [
        pair
        for source, count in wanted.items()
        for pair in [one for one in right if one[0].source == source][:count]
    ]
    if not kept:
        raise TrainingError(
            "the model generated nothing that could be replayed", hint="raise `replay.samples`"
        )
    samples = tuple(writer.sample(*pair) for pair in kept)
    told = report(
        samples,
        renderer,
        attempted=sum(draft.is_judged for draft in drafts),
        valid=sum(draft.is_judged for draft, _ in right),
        tools=_covered(drafts, [draft for draft, _ in kept]),
    )
    return ReplaySet(samples, told)


def quotas(
    recipe: ReplayRecipe, *, has_tools: bool, has_shown: bool = False, rewrites: bool = False
) -> dict[Source, int]:
    """How many samples each source gives: by weight, summing to `samples` (largest remainder)."""
    weights: dict[Source, float] = {
        "free": recipe.free,
        "chat": recipe.chat,
        "irrelevant": recipe.irrelevant * has_shown,
        "rewritten" if rewrites else "tools": recipe.tools * has_tools,
    }
    total = sum(weights.values())
    if total <= 0:
        weights, total = {**dict.fromkeys(weights, 0.0), "chat": 1.0}, 1.0
    exact = {source: recipe.samples * weight / total for source, weight in weights.items()}
    counts: dict[Source, int] = {source: math.floor(share) for source, share in exact.items()}
    rest = recipe.samples - sum(counts.values())
    for source in sorted(exact, key=lambda source: counts[source] - exact[source])[:rest]:
        counts[source] += 1
    return counts


class _Draft(NamedTuple):
    """What the model is to continue, and whether what it wrote will do; of one that may be rewritten, its
    tools and how its request begins."""

    source: Source
    row: Row
    accepts: Callable[[Sequence[Continuation]], bool] = lambda written: True
    tools: Sequence[Mapping[str, Any]] = ()
    begin: str = ""

    @property
    def is_judged(self) -> bool:
        """Whether what was written may have to be dropped."""
        return self.source not in ("free", "chat")


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("function", tool)["name"])


def _covered(drafts: Sequence[_Draft], kept: Sequence[_Draft]) -> dict[str, int]:
    """How many samples are kept of each tool that was asked for; the first that is shown is the one."""
    asked, found = (Counter(_name(one.tools[0]) for one in some if one.tools) for some in (drafts, kept))
    return {name: found[name] for name in sorted(asked)}


class _Writer:
    """Makes drafts of each source for one model, and samples of what it then writes.

    `renderer` writes as the update teaches it, `before` as the model does now.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        renderer: ChatRenderer,
        before: ChatRenderer,
        recipe: ReplayRecipe,
        generator: torch.Generator,
    ) -> None:
        self._loaded, self._renderer, self._before, self._generator = loaded, renderer, before, generator
        self._most, self._half = recipe.max_tokens, max(1, recipe.max_tokens // 2)
        self._temperature = recipe.tools_temperature

    def decode(self, rows: Sequence[Row], top_k: int, on_done: OnDone) -> list[list[Continuation]]:
        """What the model makes of the rows."""
        settings = DecodeSettings(self._loaded.stop_ids, sample=True, top_k=top_k)
        return decode(self._loaded.model, rows, settings, generator=self._generator, on_done=on_done)

    def drafts(
        self,
        wanted: Mapping[Source, int],
        prompts: Sequence[ToolPrompt],
        shown: Sequence[Mapping[str, Any]],
        seed: int,
    ) -> list[_Draft]:
        """As many as are wanted, under tools some more; the prompts shuffled, over again if need be."""
        source: Source = "rewritten" if "rewritten" in wanted else "tools"
        return [
            *(_Draft("free", self._free()) for _ in range(wanted["free"])),
            *(_Draft("chat", self._turn(self._renderer, (), self._half)) for _ in range(wanted["chat"])),
            *self._irrelevant(wanted["irrelevant"], shown, seed),
            *self._under_tools(source, wanted[source] * _ATTEMPTS, prompts, seed),
        ]

    def sample(self, draft: _Draft, written: Sequence[Continuation]) -> ReplaySample:
        """What becomes of a draft."""
        if draft.source == "rewritten":
            return self._rewritten(draft, written)
        return _sample(draft, written)

    def _free(self) -> Row:
        """From the beginning-of-sequence token alone."""
        tokenizer = self._loaded.tokenizer
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise TrainingError(
                "the tokenizer has no token that begins a text",
                hint="draw no free samples: `--set replay.free=0`",
            )
        return Row((start,), (self._most,))

    def _turn(
        self, renderer: ChatRenderer, tools: Sequence[Mapping[str, Any]], answer: int, begin: str = ""
    ) -> Row:
        """A user's turn, of which `begin` is given, then the answer to it.

        A question that does not end within its half is cut there: what there is remains the model's own.
        """
        parts = renderer.prompt([{"role": "user", "content": f"{begin}{_MARK}"}], tools).split(_MARK)
        none = "draw none: `--set replay.chat=0 --set replay.irrelevant=0 --set replay.tools=0`"
        if len(parts) != 2:
            raise ModelError(
                f"the chat template writes a user's words {len(parts) - 1} times, not once", hint=none
            )
        if not parts[0]:
            raise ModelError(
                "the chat template writes nothing before a user's words that could be gone on from", hint=none
            )
        tokenizer = self._loaded.tokenizer
        before, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
        return Row(tuple(before), (self._half, answer), tuple(after))

    def _under_tools(
        self, source: Source, count: int, prompts: Sequence[ToolPrompt], seed: int
    ) -> Iterator[_Draft]:
        """Every other request of a tool, and of an update, the model writes on itself."""
        sizes = Counter(prompt.update for prompt in prompts)
        for at, prompt in enumerate(islice(in_turns(prompts, seed), count)):
            again, place = divmod(at // len(sizes), sizes[prompt.update])
            turn, tool = again + place, prompt.tools[0]
            begin = asked_for(tool, at + again, tells=turn // 2 % 2 == 1)
            yield self._request(source, prompt, begin, alone=turn % 2 == 0)

    def _request(self, source: Source, prompt: ToolPrompt, begin: str, *, alone: bool) -> _Draft:
        """A request that begins as given, and ends there if `alone`.

        Left to itself, a small model asks for anything but what the tool is for, and is answered in words.
        """

        def accepts(written: Sequence[Continuation]) -> bool:
            *request, reply = written
            is_asked = all(_is_in_words(self._before, stretch) for stretch in request)
            return is_asked and self._is_right(reply, prompt)

        if begin and alone:
            begin = ended(begin)
        # Twice as much as others have: several calls at once would be cut, and a call that is cut is dropped.
        row = self._turn(self._before, prompt.tools, 2 * self._most, begin)
        if begin and alone:
            row = Row((*row.prompt, *row.bridge), row.limits[1:])
        row = row._replace(temperature=self._temperature)
        return _Draft(source, row, accepts, prompt.tools, begin)

    def _is_right(self, reply: Continuation, prompt: ToolPrompt) -> bool:
        """There are calls of these tools, which fit, none of them twice, and the new format can hold them."""
        _, calls, problems = self._before.output_format.parse(self._before.reply_text(reply.ids))
        names = {_name(tool) for tool in prompt.tools}
        different = {canonical_json(list(call)) for call in calls}
        if problems or len(different) < len(calls):
            return False
        if not all(call.name in names and prompt.accepts(call) for call in calls):
            return False
        with contextlib.suppress(ToolDocumentError):
            return bool(self._renderer.output_format.render(calls))
        return False

    def _irrelevant(self, count: int, shown: Sequence[Mapping[str, Any]], seed: int) -> Iterator[_Draft]:
        """Requests that the model makes with no tool in sight, each then asked with one of `shown`."""
        if not count:
            return
        alone = self._turn(self._renderer, (), self._half)
        asking = Row(alone.prompt, (self._half,))
        asked = self.decode([asking] * count, 0, lambda rows: None)

        def accepts(written: Sequence[Continuation]) -> bool:
            return all(_is_in_words(one, written[-1]) for one in (self._renderer, self._before))

        order = torch.randperm(len(shown), generator=torch.Generator().manual_seed(seed)).tolist()
        for at, (question,) in zip(islice(cycle(order), count), asked, strict=True):
            turn = self._turn(self._renderer, shown[at : at + 1], self._half)
            prompt = (*turn.prompt, *question.ids, *turn.put_in(question.ids))
            yield _Draft("irrelevant", Row(prompt, (self._half,)), accepts)

    def _rewritten(self, draft: _Draft, written: Sequence[Continuation]) -> ReplaySample:
        """The request and its calls as the update writes them."""
        *more, reply = (self._before.reply_text(stretch.ids) for stretch in written)
        request = {"role": "user", "content": draft.begin + "".join(more)}
        item = self._renderer.answered([request, self._before.message(reply)], draft.tools)
        tokens = torch.tensor(item.ids[item.prompt_length :], dtype=torch.int32)
        assert written[0].teacher is not None, "asked for in the settings"
        width = written[0].teacher.ids_TK.shape[1]
        ids_TK, log_probs_TK = tokens[:, None].repeat(1, width), torch.full((len(tokens), width), _IMPOSSIBLE)
        log_probs_TK[:, 0] = 0.0
        positions = torch.arange(item.prompt_length, len(item.ids))
        return ReplaySample("rewritten", item.ids, positions, TopK(ids_TK, log_probs_TK))


def _is_in_words(renderer: ChatRenderer, written: Continuation) -> bool:
    """No call, and nothing that was meant to be one."""
    parsed = renderer.output_format.parse(renderer.reply_text(written.ids))
    return not (parsed.calls or parsed.problems)


def in_turns(prompts: Sequence[ToolPrompt], seed: int) -> Iterator[ToolPrompt]:
    """The prompts without end, shuffled, each update's in turn, so that a small one is not drowned."""
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()
    updates: dict[int, list[ToolPrompt]] = {}
    for index in order:
        updates.setdefault(prompts[index].update, []).append(prompts[index])
    turns = [cycle(updates[update]) for update in sorted(updates)]
    while turns:
        yield from (next(turn) for turn in turns)


def _counted(drafts: Sequence[_Draft], on_done: Callable[[int], None]) -> Callable[[Sequence[int]], None]:
    """Tells of samples when it is told of drafts: of the ones under tools, `_ATTEMPTS` make one."""
    tried = 0

    def counted(rows: Sequence[int]) -> None:
        nonlocal tried
        under_tools = sum(drafts[row].source in _UNDER_TOOLS for row in rows)
        before, tried = tried // _ATTEMPTS, tried + under_tools
        on_done(len(rows) - under_tools + tried // _ATTEMPTS - before)

    return counted


def _sample(draft: _Draft, written: Sequence[Continuation]) -> ReplaySample:
    """The prompt, and what was written with the bridges in between, as one sample."""
    ids = list(draft.row.prompt)
    positions: list[int] = []
    for at, stretch in enumerate(written):
        ids += draft.row.put_in(written[at - 1].ids) if at else ()
        positions += range(len(ids), len(ids) + len(stretch.ids))
        ids += stretch.ids
    teachers = [stretch.teacher for stretch in written if stretch.teacher is not None]
    teacher = TopK(
        torch.cat([one.ids_TK for one in teachers]), torch.cat([one.log_probs_TK for one in teachers])
    )
    return ReplaySample(draft.source, ids, torch.tensor(positions), teacher)
