"""Pythonic: a list of Python calls, as Llama 3.2 and 4 write them and vLLM's parser `pythonic` reads them.

Source: llama.com/docs/model-cards-and-prompt-formats/llama3_2 (function calling) and
vllm/tool_parsers/pythonic_tool_parser.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats.base import OutputFormat, Reply, ToolCall, shown_tools
from adaptman.toolspec.formats.literals import arguments_text, is_argument_name, read_arguments
from adaptman.toolspec.formats.reading import Block, Blocks, UnreadableError, blanks_end
from adaptman.toolspec.formats.writing import json_text

_MARKERS = re.compile(r"<(?=\|)")
_HOW = "[NAME(ARGUMENT=VALUE, ...), ...], the values as Python writes them"
_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_CALLED = re.compile(rf"({_NAME})\s*\(")
# A list of calls is told from other brackets by its place, the first on a line, and by the name and `(`.
_OPENING = re.compile(rf"^[ \t]*(?:<\|python_start\|>\s*)?\[(?=\s*{_NAME}\()", re.MULTILINE)
_END = "<|python_end|>"


@dataclass(frozen=True)
class PythonicFormat(OutputFormat):
    """`[f(a=1, b="x"), g()]` at the beginning of a line; Llama 4's `<|python_start|>` is read too."""

    name: str = "pythonic"
    version: int = 1

    def spec(self) -> dict[str, Any]:
        """Layout and the words of the system prompt."""
        return {
            "name": self.name,
            "version": self.version,
            "calls": "[{name}({arguments}), {name}({arguments})]",
            "arguments": {"named": "{name}={value}", "other": "**{{name}: {value}}", "escaped": "<|"},
            "system_prompt": shown_tools(_HOW, ["{tool}"]),
        }

    def _written(self, calls: Sequence[ToolCall]) -> str:
        return f"[{', '.join(_call(call) for call in calls)}]"

    def parse(self, text: str) -> Reply:
        """The calls in `text`; a list that cannot be read ends with its line."""
        return _BLOCKS.read(text)

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """One sentence, and one line of JSON for each tool, its keys in the author's order."""
        lines = [json_text(tool.get("function", tool), _MARKERS) for tool in tools]
        return shown_tools(_HOW, lines) if tools else ""


def check_python_name(name: str, fmt: str) -> None:
    """Refuse a tool name that Python could not call.

    Raises:
        ToolDocumentError: it is not made of Python names with dots between them.
    """
    if not all(is_argument_name(part) for part in name.split(".")):
        raise ToolDocumentError(
            f"the tool name `{name}` cannot be written in the output format `{fmt}`",
            hint="it is not a name in Python; choose another format, or rename the tool",
        )


def _call(call: ToolCall) -> str:
    check_python_name(call.name, "pythonic")
    return f"{call.name}({arguments_text(call.arguments, _MARKERS)})"


def _read(text: str, at: int) -> Block:
    calls: list[ToolCall] = []
    while True:
        called = _CALLED.match(text, at := blanks_end(text, at))
        if called is None:
            raise UnreadableError("what stands in the list is not a call", at)
        arguments, at = read_arguments(text, called.end())
        if not text.startswith(")", at):
            raise UnreadableError("a call is not closed", at)
        calls.append(ToolCall(called[1], arguments))
        at = blanks_end(text, at + 1)
        if text.startswith(",", at):
            at = blanks_end(text, at + 1)
        elif not text.startswith("]", at):
            raise UnreadableError("the list is not closed", at)
        if text.startswith("]", at):
            return Block(tuple(calls), (), _behind(text, at + 1))


def _behind(text: str, at: int) -> int:
    after = blanks_end(text, at)
    return after + len(_END) if text.startswith(_END, after) else at


_BLOCKS = Blocks(_OPENING, _read, "\n", stray=False, what="call list")
