"""How a call is written and read back. Rendering and parsing are inverse to one another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.jsontext import MAX_NESTING, canonical_json, nesting, sha256_of, strict_loads


class ToolCall(NamedTuple):
    """A call of one tool."""

    name: str
    arguments: dict[str, Any]


class Reply(NamedTuple):
    """A model's answer, taken apart. `problems` tells in words which call blocks could not be read."""

    content: str
    calls: tuple[ToolCall, ...]
    problems: tuple[str, ...]


class OutputFormat(Protocol):
    """A way to write calls; `parse` reads what `render` wrote, and survives any other text."""

    @property
    def name(self) -> str:
        """The name by which it is asked for."""
        ...

    @property
    def version(self) -> int:
        """Goes up whenever `spec` changes."""
        ...

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON of `spec`."""
        ...

    def spec(self) -> dict[str, Any]:
        """Everything that decides which text is written, as JSON."""
        ...

    def render(self, calls: Sequence[ToolCall]) -> str:
        """The text of `calls`."""
        ...

    def parse(self, text: str) -> Reply:
        """The calls in `text`; never raises."""
        ...

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """What tells a model which tools there are and how to call them; empty without tools."""
        ...


_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_TAGS = re.compile(r"<(?=/?tool)")
_BLANKS = re.compile(r"\s*")
_HALVES = re.compile("[\ud800-\udfff]")


def _one_line(value: Any) -> str:
    """JSON in which no tag of this format can appear: its `<` is written as an escape."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text = _TAGS.sub(r"\\u003c", text)
    return _HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


@dataclass(frozen=True)
class HermesFormat:
    """`<tool_call>` blocks with a JSON object each, as Hermes and Qwen models write them."""

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
            "system_prompt": self._prompt(["{tool}"]),
        }

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON of `spec`."""
        return sha256_of(canonical_json(self.spec()))

    def render(self, calls: Sequence[ToolCall]) -> str:
        """One block for each call, each on lines of its own.

        Raises:
            ToolDocumentError: arguments that are not JSON.
        """
        return "\n".join(f"{_OPEN}\n{_call_line(call)}\n{_CLOSE}" for call in calls)

    def parse(self, text: str) -> Reply:
        """The calls in `text`, in time linear in its length; JSON outside of the tags is not a call."""
        content: list[str] = []
        calls: list[ToolCall] = []
        problems: list[str] = []
        at = 0
        reader = _BlockReader(text)
        while (start := text.find(_OPEN, at)) >= 0:
            content.append(text[at:start])
            block = reader.read(start + len(_OPEN))
            calls.extend(block.calls)
            problems.extend(block.problems)
            at = block.end
        content.append(text[at:])
        outside = "".join(content)
        if _CLOSE in outside:
            problems.append(f"`{_CLOSE}` closes a call that was never opened")
        return Reply(outside.strip(), tuple(calls), tuple(problems))

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """One sentence, and one line of JSON for each tool, its keys in the author's order."""
        return self._prompt([_one_line(tool.get("function", tool)) for tool in tools]) if tools else ""

    @staticmethod
    def _prompt(lines: Sequence[str]) -> str:
        how = f'{_OPEN}\n{{"name": NAME, "arguments": {{...}}}}\n{_CLOSE}'
        return "\n".join([f"To call a tool, write {how}", "<tools>", *lines, "</tools>"])


class _Block(NamedTuple):
    calls: tuple[ToolCall, ...]
    problems: tuple[str, ...]
    end: int


class _BlockReader:
    """Reads blocks of one text, from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._close = 0

    def read(self, begin: int) -> _Block:
        """The block whose opening tag ends at `begin`.

        The JSON's end is found by its brackets, not by the next closing tag: a model does not know that
        a tag inside a string wants escaping. After a block that cannot be read the search goes on behind
        its closing tag, or at the next opening one, so that no part of the text is read more than a few
        times.
        """
        begin = _blanks_end(self.text, begin)
        end = _json_end(self.text, begin)
        if end is None:
            return self._broken(begin, "its JSON does not end")
        after = _blanks_end(self.text, end)
        if not self.text.startswith(_CLOSE, after):
            cut = after == len(self.text)
            return self._broken(begin, "it is not closed" if cut else "text follows its JSON")
        try:
            value = strict_loads(self.text[begin:end])
        except ValueError as error:
            words = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
            return _Block((), (f"{_UNREADABLE}: {words}",), after + len(_CLOSE))
        call, problems = _as_call(value)
        return _Block(() if call is None else (call,), problems, after + len(_CLOSE))

    def _broken(self, at: int, why: str) -> _Block:
        close = self._next_close(at)
        opened = self.text.find(_OPEN, at, close)
        end = opened if opened >= 0 else min(close + len(_CLOSE), len(self.text))
        return _Block((), (f"{_UNREADABLE}: {why}",), end)

    def _next_close(self, at: int) -> int:
        """Where the next closing tag begins, or the text's end; found once, not for each block again."""
        if self._close < at:
            found = self.text.find(_CLOSE, at)
            self._close = found if found >= 0 else len(self.text)
        return self._close


_TOKENS = re.compile(r"""[{}\[\]<]|"[^"\\]*(?:\\.[^"\\]*)*"?""", re.DOTALL)
_UNREADABLE = "a call block cannot be read"


def _json_end(text: str, begin: int) -> int | None:
    """Where the object that begins at `begin` closes its last bracket; None if it never does."""
    if not text.startswith("{", begin):
        return None
    depth = 0
    for token in _TOKENS.finditer(text, begin):
        kind = token[0][0]
        if kind == "<" or (kind == '"' and (len(token[0]) == 1 or not token[0].endswith('"'))):
            return None
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(kind, 0)
        if depth > MAX_NESTING + 1:
            return None
        if depth == 0:
            return token.end()
    return None


def _blanks_end(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _as_call(value: dict[str, Any]) -> tuple[ToolCall | None, tuple[str, ...]]:
    name, arguments = value.get("name"), value.get("arguments")
    if not isinstance(name, str) or not name:
        return None, ("a call block has no `name`",)
    if not isinstance(arguments, dict):
        what = "no `arguments`" if "arguments" not in value else "`arguments` that are not an object"
        return None, (f"the call of `{name[:128]}` has {what}",)
    others = [key for key in value if key not in ("name", "arguments")]
    problems = (f"the call of `{name[:128]}` has a key `{others[0][:40]}` too many",) if others else ()
    return ToolCall(name, arguments), problems


def _call_line(call: ToolCall) -> str:
    if nesting(call.arguments) > MAX_NESTING:
        raise ToolDocumentError(
            f"the call of `{call.name}` is nested deeper than {MAX_NESTING} levels",
            hint="pass large structures as text",
        )
    try:
        return _one_line({"name": call.name, "arguments": call.arguments})
    except (TypeError, ValueError) as error:
        raise ToolDocumentError(
            f"the call of `{call.name}` cannot be written as JSON: {error}",
            hint="arguments are JSON values: no NaN, no Infinity, no other objects",
        ) from None


_FORMATS: Mapping[str, OutputFormat] = {"hermes": HermesFormat()}


def output_format(name: str) -> OutputFormat:
    """The output format of that name.

    Raises:
        ToolDocumentError: there is none; the hint names those that there are.
    """
    if name not in _FORMATS:
        raise ToolDocumentError(
            f"there is no output format `{name}`", hint="known ones: " + ", ".join(f"`{k}`" for k in _FORMATS)
        )
    return _FORMATS[name]
