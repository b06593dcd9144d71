"""Gemma: `<start_function_call>` blocks, the one form of calls that Google documents for a Gemma model.

Gemma 3 itself has no such form: its page on function calling leaves it to the prompt. FunctionGemma (Gemma 3
270M) has. Source: ai.google.dev/gemma/docs/functiongemma/formatting-and-best-practices,
vllm/tool_parsers/functiongemma_tool_parser.py, and bfcl_eval's handler `functiongemma.py`.

Texts stand between `<escape>` markers as they are. That leaves no way to write a marker within a text, so
`<` of a marker is written `\\u003c`; backslashes before it, or before `u003c`, are doubled. Every other text,
backslashes and all, stays as documented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats.base import OutputFormat, Reply, ToolCall, shown_tools
from adaptman.toolspec.formats.reading import Block, Blocks, UnreadableError, blanks_end
from adaptman.toolspec.formats.writing import json_text
from adaptman.toolspec.jsontext import MAX_NESTING, strict_loads

_OPEN, _CLOSE, _ESCAPE = "<start_function_call>", "<end_function_call>", "<escape>"
_TAGS = re.compile(r"<(?=(?:start_function|end_function|escape))")
_HIDDEN = re.compile(r"(?<!\\)(\\*)(?:(<)(?=start_function|end_function|escape)|(?<=\\)u003c)")
_SHOWN = re.compile(r"(?<!\\)(\\+)u003c")
_HALF = re.compile("[\ud800-\udfff]")
_HOW = f"{_OPEN}call:NAME{{ARGUMENT:VALUE,...}}{_CLOSE}, a text between two {_ESCAPE}"
_NAME = re.compile(r"[^\s{}<:,]+")
_BARE = re.compile(r"\w+", re.ASCII)
_ATOM = re.compile(r"[-+.\w]+", re.ASCII)


@dataclass(frozen=True)
class GemmaFormat(OutputFormat):
    """`<start_function_call>call:name{a:<escape>x<escape>,b:1}<end_function_call>`, one after another."""

    name: str = "gemma"
    version: int = 1

    @property
    def markers(self) -> tuple[str, ...]:
        """Control tokens of FunctionGemma's tokenizer."""
        return (_OPEN, _CLOSE, _ESCAPE)

    def spec(self) -> dict[str, Any]:
        """Layout and the words of the system prompt."""
        return {
            "name": self.name,
            "version": self.version,
            "call": f"{_OPEN}call:{{name}}{{arguments}}{_CLOSE}",
            "text": {"between": _ESCAPE, "escaped": "<start_function, <end_function, <escape, \\u003c"},
            "system_prompt": shown_tools(_HOW, ["{tool}"]),
        }

    def _written(self, calls: Sequence[ToolCall]) -> str:
        for call in calls:
            if not _NAME.fullmatch(call.name):
                raise ToolDocumentError(
                    f"the tool name `{call.name}` cannot be written in the output format `gemma`",
                    hint="names in it hold no blanks, braces, `<`, `:` or `,`; choose another format",
                )
        return "".join(f"{_OPEN}call:{call.name}{_value(call.arguments)}{_CLOSE}" for call in calls)

    def parse(self, text: str) -> Reply:
        """The calls in `text`."""
        return _BLOCKS.read(text)

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """One sentence, and one line of JSON for each tool, its keys in the author's order."""
        lines = [json_text(tool.get("function", tool), _TAGS) for tool in tools]
        return shown_tools(_HOW, lines) if tools else ""


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_value(item) for item in value) + "]"
    return json_text(value, _TAGS)


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError("a key is not text")
    return key if _BARE.fullmatch(key) else _text(key)


def _text(value: str) -> str:
    if _HALF.search(value):
        raise ValueError("a text holds half of a surrogate pair")
    hidden = _HIDDEN.sub(lambda found: found[1] * 2 + ("\\" if found[2] else "") + "u003c", value)
    return f"{_ESCAPE}{hidden}{_ESCAPE}"


def _shown(written: str) -> str:
    return _SHOWN.sub(_unhidden, written)


def _unhidden(found: re.Match[str]) -> str:
    half, odd = divmod(len(found[1]), 2)
    return "\\" * half + ("<" if odd else "u003c")


class _Reader:
    """Reads one value from its beginning to its end; `at` is where it stands."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def value(self, depth: int) -> Any:
        if depth > MAX_NESTING + 1:
            raise UnreadableError(f"it is nested deeper than {MAX_NESTING} levels", self.at)
        if self._takes("{"):
            return self._mapping(depth)
        if self._takes("["):
            return self._list(depth)
        if self._takes(_ESCAPE):
            return self._escaped()
        return self._atom()

    def _takes(self, what: str) -> bool:
        found = self.text.startswith(what, self.at)
        self.at += len(what) if found else 0
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._closes("}", first=not found):
            key = self._name()
            self._blanks()
            if not self._takes(":"):
                raise UnreadableError("a name has no value", self.at)
            self._blanks()
            if key in found:
                raise UnreadableError(f"`{key[:128]}` stands twice", self.at)
            found[key] = self.value(depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self._closes("]", first=not found):
            found.append(self.value(depth + 1))
        return found

    def _closes(self, bracket: str, *, first: bool) -> bool:
        """True behind the bracket; False where the next item begins."""
        self._blanks()
        if self._takes(bracket):
            return True
        if not first and not self._takes(","):
            raise UnreadableError("it is not closed", self.at)
        self._blanks()
        return False

    def _blanks(self) -> None:
        self.at = blanks_end(self.text, self.at)

    def _name(self) -> str:
        if self._takes(_ESCAPE):
            return self._escaped()
        bare = _BARE.match(self.text, self.at)
        if bare is None:
            raise UnreadableError("a value has no name", self.at)
        self.at = bare.end()
        return bare[0]

    def _escaped(self) -> str:
        end = self.text.find(_ESCAPE, self.at)
        if end < 0:
            raise UnreadableError("a text does not end", len(self.text))
        written = self.text[self.at : end]
        self.at = end + len(_ESCAPE)
        return _shown(written)

    def _atom(self) -> Any:
        atom = _ATOM.match(self.text, self.at)
        try:
            value = strict_loads(atom[0] if atom else "")
        except ValueError:
            told = "a value is no number, true, false or null, and not between two `<escape>`"
            raise UnreadableError(told, atom.end() if atom else self.at) from None
        assert atom is not None
        self.at = atom.end()
        return value


def _read(text: str, begin: int) -> Block:
    at = blanks_end(text, begin)
    name = _NAME.match(text, at + len("call:")) if text.startswith("call:", at) else None
    if name is None:
        raise UnreadableError("no `call:` and name follow", at)
    reader = _Reader(text, blanks_end(text, name.end()))
    if not text.startswith("{", reader.at):
        raise UnreadableError("no arguments follow its name", reader.at)
    arguments = reader.value(1)
    after = blanks_end(text, reader.at)
    if not text.startswith(_CLOSE, after):
        cut = after == len(text)
        raise UnreadableError("it is not closed" if cut else "text follows its arguments", after)
    return Block((ToolCall(name[0], arguments),), (), after + len(_CLOSE))


_BLOCKS = Blocks(re.compile(re.escape(_OPEN)), _read, _CLOSE)
