"""Which examples ask the same question: near duplicates, and a split that leaves none on both sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.examples import Example, call_of
from adaptman.toolspec.formats import Reply, ToolCall
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.nearness import NearPair, groups, near_pairs, question_text

_Records = Sequence[Mapping[str, Any]]


class HeldOut(NamedTuple):
    """Indices of examples, each list in the order of the file."""

    training: list[int]
    held_out: list[int]


def calls_of(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The calls of a message."""
    return tuple(call_of(entry) for entry in message.get("tool_calls") or ())


def duplicates(examples: Sequence[Example]) -> list[NearPair]:
    """Pairs that ask nearly the same and are answered by the same calls.

    Two requests in the same words for other values are two questions: their calls differ.
    """
    answers = [answer_key(example.messages[-1]) for example in examples]
    found = near_pairs([question_text(example.messages) for example in examples])
    return [pair for pair in found if answers[pair.left] == answers[pair.right]]


def answer_key(message: Mapping[str, Any]) -> str:
    """Equal where the calls of two answers are; all answers in words are alike."""
    return _calls_key(calls_of(message))


def share_declined(conversations: Sequence[tuple[_Records, _Records]]) -> float:
    """The part of some conversations, each of messages and tools, that shows tools and calls none."""
    declined = [
        bool(tools) and not any(message.get("tool_calls") for message in messages)
        for messages, tools in conversations
    ]
    return sum(declined) / len(declined)


def makes_calls(reply: Reply, wanted: Sequence[ToolCall]) -> bool:
    """Whether `reply` makes the calls that are wanted, in their order, and no others."""
    return not reply.problems and _calls_key(reply.calls) == _calls_key(wanted)


def _calls_key(calls: Sequence[ToolCall]) -> str:
    return canonical_json([list(call) for call in calls])


def hold_out(examples: Sequence[Example], share: float, *, seed: int) -> HeldOut:
    """Split off about `share` of the examples, of each tool, so that no near duplicate lies on both sides.

    Which ones they are depends on their content and the seed, not on their order.
    """
    by_tool: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups(len(examples), duplicates(examples)):
        by_tool[min(_tools_called(examples[index]) for index in group)].append(group)
    chosen: set[int] = set()
    owed = 0.0
    for tool in sorted(by_tool):
        for group in sorted(by_tool[tool], key=lambda one: min(_lot(examples[i], seed) for i in one)):
            if owed + share * sum(map(len, by_tool[tool])) >= len(group) - 0.5:
                chosen.update(group)
                owed -= len(group)
        owed += share * sum(map(len, by_tool[tool]))
    everything = range(len(examples))
    return HeldOut([i for i in everything if i not in chosen], [i for i in everything if i in chosen])


def _tools_called(example: Example) -> str:
    return ", ".join(sorted({call.name for call in calls_of(example.messages[-1])}))


def _lot(example: Example, seed: int) -> str:
    content = canonical_json([list(example.messages), list(example.tools)])
    return hashlib.sha256(f"{seed}/{content}".encode()).hexdigest()


def suite_cases(examples: Sequence[Example], document: ToolDocument | None) -> Iterator[dict[str, Any]]:
    """A case for each example that is answered by calls: the same calls are right.

    A parameter that the example leaves out may be given its default.
    """
    for example in examples:
        calls = calls_of(example.messages[-1])
        if calls:
            yield {
                "id": example.id,
                "messages": list(example.messages[:-1]),
                "tools": list(example.tools),
                "accept": [
                    {"name": call.name, "arguments": accepted_arguments(call, _tool(call, document))}
                    for call in calls
                ],
            }


def _tool(call: ToolCall, document: ToolDocument | None) -> Tool | None:
    return document.get(call.name) if document else None


def accepted_arguments(call: ToolCall, tool: Tool | None) -> dict[str, list[Any]]:
    """A call as a case accepts it: its values, and for what it leaves out the default, or nothing."""
    found: dict[str, list[Any]] = {name: [value] for name, value in call.arguments.items()}
    for name, schema in tool.contract.schema.get("properties", {}).items() if tool else ():
        if name not in found and isinstance(schema, dict) and "default" in schema:
            found[name] = [schema["default"], ""]
    return found
