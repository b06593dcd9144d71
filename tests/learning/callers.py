"""Models of random weights that seem to call tools: formats in which what they write is a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adaptman.learning.drawing import ToolPrompt
from adaptman.learning.recipe import ReplayRecipe
from adaptman.toolspec.formats import OutputFormat, Reply, ToolCall

RECIPE = ReplayRecipe(samples=12, max_tokens=10, top_k=6, free=1, chat=2, tools=1, irrelevant=1)
TOOLS = tuple(
    {
        "type": "function",
        "function": {"name": name, "description": f"Do {name}. Or not.", "parameters": {"type": "object"}},
    }
    for name in "abc"
)


def tool_prompts(accepted: bool = True) -> list[ToolPrompt]:
    """Each shows all tools, and asks for another one."""
    return [ToolPrompt(TOOLS[at:] + TOOLS[:at], lambda call: accepted) for at in range(len(TOOLS))]


class AnyText(OutputFormat):
    """A format in which every text is a call of `a`: a model of random weights answers with one, and makes a
    request that is one itself wherever it writes on."""

    name, version = "any-text", 1

    def spec(self) -> dict[str, Any]:
        return {}

    def parse(self, text: str) -> Reply:
        return Reply("", (ToolCall("a", {"text": text}),), ())

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        return f"{len(tools)} old tool <tools>" if tools else ""

    def _written(self, calls: Sequence[ToolCall]) -> str:
        return str(calls[0].arguments["text"])


class LongText(AnyText):
    """A format in which long texts are calls, as answers are, and short ones words, as requests are."""

    def parse(self, text: str) -> Reply:
        return super().parse(text) if len(text) > 5 else Reply(text, (), ())
