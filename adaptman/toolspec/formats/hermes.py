"""Hermes: the calls of Hermes 2 Pro and Qwen 2.5/3, as vLLM's parser `hermes` reads them.

Source: github.com/NousResearch/Hermes-Function-Calling, the chat templates of Qwen2.5-Instruct, and
vllm/tool_parsers/hermes_tool_parser.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptman.toolspec.formats.base import OutputFormat, Reply, ToolCall, shown_tools
from adaptman.toolspec.formats.grammar import ARGUMENTS, NAME, Layout
from adaptman.toolspec.formats.reading import (
    Block,
    Blocks,
    UnreadableError,
    blanks_end,
    call_of_json,
    read_json,
)
from adaptman.toolspec.formats.writing import json_text

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_LAYOUT = Layout((f'{_OPEN}\n{{"name": ', NAME, ', "arguments": ', ARGUMENTS, f"}}\n{_CLOSE}"))
_TAGS = re.compile(r"<(?=/?tool)")


@dataclass(frozen=True)
class HermesFormat(OutputFormat):
    """`<tool_call>` blocks with a JSON object each."""

    name: str = "hermes"
    version: int = 1

    def spec(self) -> dict[str, Any]:
        """Tags, layout and the words of the system prompt."""
        return {
            "name": self.name,
            "version": self.version,
            "call": f"{_OPEN}\n{{json}}\n{_CLOSE}",
            "between_calls": "\n",
            "json": {"keys": ["name", "arguments"], "separators": [", ", ": "], "escaped": "<tool, </tool"},
            "system_prompt": shown_tools(_HOW, ["{tool}"]),
        }

    def _written(self, calls: Sequence[ToolCall]) -> str:
        return self.layout.in_text(calls, lambda value: json_text(value, _TAGS))

    @property
    def markers(self) -> tuple[str, ...]:
        """The tags, which Qwen's tokenizers have as tokens."""
        return (_OPEN, _CLOSE)

    @property
    def layout(self) -> Layout:
        """A block for each call."""
        return _LAYOUT

    def parse(self, text: str) -> Reply:
        """The calls in `text`; JSON outside of the tags is not a call."""
        return _BLOCKS.read(text)

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """One sentence, and one line of JSON for each tool, its keys in the author's order."""
        lines = [json_text(tool.get("function", tool), _TAGS) for tool in tools]
        return shown_tools(_HOW, lines) if tools else ""


_HOW = f'{_OPEN}\n{{"name": NAME, "arguments": {{...}}}}\n{_CLOSE}'


def _read(text: str, begin: int) -> Block:
    value, end = read_json(text, blanks_end(text, begin))
    after = blanks_end(text, end)
    if not text.startswith(_CLOSE, after):
        cut = after == len(text)
        raise UnreadableError("it is not closed" if cut else "text follows its JSON", after)
    call, problems = call_of_json(value)
    return Block(() if call is None else (call,), problems, after + len(_CLOSE))


_BLOCKS = Blocks(re.compile(re.escape(_OPEN)), _read, _CLOSE)
