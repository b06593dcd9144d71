"""Llama 3 JSON: the calls of Llama 3.1 and 3.2, as vLLM's parser `llama3_json` reads them.

Source: llama.com/docs/model-cards-and-prompt-formats/llama3_1 (JSON based tool calling) and
vllm/tool_parsers/llama_tool_parser.py, which splits several calls at `; `.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptman.toolspec.formats.base import OutputFormat, Reply, ToolCall, shown_tools
from adaptman.toolspec.formats.grammar import ARGUMENTS, NAME, Layout
from adaptman.toolspec.formats.reading import Block, Blocks, blanks_end, call_of_json, read_json
from adaptman.toolspec.formats.writing import json_text

_TAG = "<|python_tag|>"
_BETWEEN = "; "
_LAYOUT = Layout(('{"name": ', NAME, ', "parameters": ', ARGUMENTS, "}"), between=_BETWEEN)
_MARKERS = re.compile(r"<(?=\|)")
_HOW = f'{{"name": NAME, "parameters": {{...}}}}, several calls on one line with `{_BETWEEN}` between them'
# Nothing but its place and its first key tells a call from other JSON: the first on a line.
_OPENING = re.compile(
    r"""^[ \t]*(?:<\|python_tag\|>\s*)?\{(?=\s*"(?:name|parameters|type|function)")""", re.MULTILINE
)


@dataclass(frozen=True)
class LlamaFormat(OutputFormat):
    """`{"name": …, "parameters": {…}}` at the beginning of a line; `<|python_tag|>` before it is read too."""

    name: str = "llama3"
    version: int = 1

    def spec(self) -> dict[str, Any]:
        """Keys, layout and the words of the system prompt."""
        return {
            "name": self.name,
            "version": self.version,
            "between_calls": _BETWEEN,
            "json": {"keys": ["name", "parameters"], "separators": [", ", ": "], "escaped": "<|"},
            "system_prompt": shown_tools(_HOW, ["{tool}"]),
        }

    def _written(self, calls: Sequence[ToolCall]) -> str:
        return self.layout.in_text(calls, lambda value: json_text(value, _MARKERS))

    @property
    def layout(self) -> Layout:
        """An object for each call, all on one line."""
        return _LAYOUT

    def parse(self, text: str) -> Reply:
        """The calls in `text`; JSON that has not both a name and parameters is content."""
        return _BLOCKS.read(text)

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """One sentence, and one line of JSON for each tool, its keys in the author's order."""
        lines = [json_text(tool.get("function", tool), _MARKERS) for tool in tools]
        return shown_tools(_HOW, lines) if tools else ""


def _read(text: str, begin: int) -> Block:
    calls: list[ToolCall] = []
    problems: list[str] = []
    end, begun = 0, begin - 1
    while True:
        value, behind = read_json(text, begun)
        if not _is_call(value):
            return Block(tuple(calls), tuple(problems), end) if end else Block(None, (), behind)
        call, told = call_of_json(value, "parameters")
        calls += [] if call is None else [call]
        problems += told
        end = behind
        between = blanks_end(text, end)
        begun = blanks_end(text, between + 1)
        if not (text.startswith(";", between) and text.startswith("{", begun)):
            return Block(tuple(calls), tuple(problems), end)


def _is_call(value: Mapping[str, Any]) -> bool:
    return "name" in value and ("parameters" in value or "arguments" in value)


_BLOCKS = Blocks(_OPENING, _read, "\n", stray=False)
