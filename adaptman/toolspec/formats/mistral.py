"""Mistral: `[TOOL_CALLS]` and a list of calls, or, from tokenizer v11 on, a name and its arguments.

Source: github.com/mistralai/mistral-common (tokens/tokenizers/instruct.py, InstructTokenizerV3 and V11) and
vllm/tool_parsers/mistral_tool_parser.py, which tells the two apart by the tokenizer's version as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptman.errors import ToolDocumentError
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

_OPEN = "[TOOL_CALLS]"
_ARGS = "[ARGS]"
# Control tokens are `[` and capitals: outside of a string no JSON looks like that.
_MARKERS = re.compile(r"\[(?=/?[A-Z_]+\])")
_NAME = re.compile(r"[^\s\[\]{}]+")
# Tokenizer v11 may write an id here, v13 does not.
_CALL_ID = re.compile(r"(?:\[CALL_ID\][^\s\[\]{}]*)?\s*")


def _read_list(text: str, begin: int) -> Block:
    values, end = read_json(text, blanks_end(text, begin), "[")
    reads = [call_of_json(value) for value in values]
    problems = [problem for read in reads for problem in read.problems]
    if not reads:
        problems = ["a call block holds no call"]
    return Block(tuple(read.call for read in reads if read.call is not None), tuple(problems), end)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ToolDocumentError(
            f"the tool name `{name}` cannot be written in the output format `mistral-v11`",
            hint="names in it hold no blanks, brackets or braces; choose another format",
        )


def _read_named(text: str, begin: int) -> Block:
    name = _NAME.match(text, begin := blanks_end(text, begin))
    if name is None:
        raise UnreadableError("it has no name", begin)
    call_id = _CALL_ID.match(text, blanks_end(text, name.end()))
    after = call_id.end() if call_id is not None else name.end()
    if not text.startswith(_ARGS, after):
        raise UnreadableError(f"no `{_ARGS}` follows its name", after)
    value, end = read_json(text, blanks_end(text, after + len(_ARGS)))
    return Block((ToolCall(name[0], value),), (), end)


@dataclass(frozen=True)
class _Style:
    example: str
    layout: Layout
    blocks: Blocks


_OPENING = re.compile(re.escape(_OPEN))
_LIST = _Style(
    f'{_OPEN}[{{"name": NAME, "arguments": {{...}}}}, ...]',
    Layout(('{"name": ', NAME, ', "arguments": ', ARGUMENTS, "}"), f"{_OPEN}[", ", ", "]"),
    Blocks(_OPENING, _read_list, "\n", stray=False),
)
_NAMED = _Style(
    f"{_OPEN}NAME{_ARGS}{{...}}",
    Layout((_OPEN, NAME, _ARGS, ARGUMENTS), between="", in_json=False),
    Blocks(_OPENING, _read_named, "\n", stray=False),
)


@dataclass(frozen=True)
class MistralFormat(OutputFormat):
    """One of the two layouts."""

    style: _Style = _LIST
    name: str = "mistral"
    version: int = 1

    @property
    def markers(self) -> tuple[str, ...]:
        """Control tokens of Mistral's tokenizers."""
        return (_OPEN, "[CALL_ID]", _ARGS)

    @property
    def layout(self) -> Layout:
        """The style's."""
        return self.style.layout

    def spec(self) -> dict[str, Any]:
        """Layout and the words of the system prompt."""
        return {
            "name": self.name,
            "version": self.version,
            "calls": self.style.example,
            "json": {"separators": [", ", ": "], "escaped": "[CONTROL_TOKEN]"},
            "system_prompt": shown_tools(self.style.example, ["{tool}"]),
        }

    def _written(self, calls: Sequence[ToolCall]) -> str:
        if not self.layout.in_json:
            for call in calls:
                _check_name(call.name)
        return self.layout.in_text(calls, lambda value: json_text(value, _MARKERS))

    def parse(self, text: str) -> Reply:
        """The calls in `text`; a block that cannot be read ends with its line."""
        return self.style.blocks.read(text)

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """One sentence, and one line of JSON for each tool, its keys in the author's order."""
        lines = [json_text(tool.get("function", tool), _MARKERS) for tool in tools]
        return shown_tools(self.style.example, lines) if tools else ""


MISTRAL_LIST = MistralFormat()
MISTRAL_NAMED = MistralFormat(_NAMED, "mistral-v11")
