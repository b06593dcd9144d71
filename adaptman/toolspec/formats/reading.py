"""Reading shared by all formats: where blocks begin, how a broken one is passed over, where JSON ends.

The time that `Blocks.read` takes is linear in the text, whatever a format's blocks look like: a block that
cannot be read is searched anew from behind its opening, since a whole one may stand within it, but only
while the text that was read twice is no more than `_REREAD` times the whole; from then on the search goes
on from where the reading stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from adaptman.toolspec.formats.base import Reply, ToolCall
from adaptman.toolspec.jsontext import MAX_NESTING, strict_loads

_REREAD = 8
_BLANKS = re.compile(r"\s*")
_TOKENS = re.compile(r"""[{}\[\]<\\]|"[^"\\]*(?:\\.[^"\\]*)*"?""", re.DOTALL)
_SHOWN = 128
"""Characters of a name that a problem quotes."""


class UnreadableError(Exception):
    """A block is not what the format asks for: `why`, and `at` which place reading stopped."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.why = why
        self.at = at


class Block(NamedTuple):
    """A block that was read, up to `end`. With `calls` None it is no block, and its text is content."""

    calls: tuple[ToolCall, ...] | None
    problems: tuple[str, ...]
    end: int


@dataclass(frozen=True)
class Blocks:
    """The blocks of a format: how one begins, how its text goes on, and what ends one that is broken."""

    opening: re.Pattern[str]
    """Never matches nothing, and takes linear time over a whole text."""
    read_at: Callable[[str, int], Block]
    """Reads from behind an opening; raises `UnreadableError`."""
    closing: str
    """What follows a broken block up to here belongs to it."""
    stray: bool = True
    """Whether a `closing` without a block is a problem."""
    what: str = "call block"

    def read(self, text: str) -> Reply:
        """The blocks of `text`, and the content around them."""
        pass_ = _Pass(self, text)
        while (opened := self.opening.search(text, pass_.at)) is not None:
            pass_.take(opened)
        return pass_.reply()


class _Pass:
    """One reading of a text: what was found so far."""

    def __init__(self, blocks: Blocks, text: str) -> None:
        self.blocks, self.text = blocks, text
        self.at = 0
        self._kept_to = 0  # content and blocks up to here are dealt with
        self._close = 0
        self._budget = _REREAD * len(text)
        self._content: list[str] = []
        self._calls: list[ToolCall] = []
        self._problems: list[str] = []

    def take(self, opened: re.Match[str]) -> None:
        try:
            block = self.blocks.read_at(self.text, opened.end())
        except UnreadableError as error:
            self._keep(opened.start())
            self._broken(opened.end(), error)
            return
        self.at = block.end
        if block.calls is None:
            return
        self._keep(opened.start())
        self._kept_to = block.end
        self._calls.extend(block.calls)
        self._problems.extend(block.problems)

    def _keep(self, end: int) -> None:
        self._content.append(self.text[self._kept_to : end])

    def _broken(self, begin: int, error: UnreadableError) -> None:
        self._problems.append(f"a {self.blocks.what} cannot be read: {error.why}")
        self._kept_to = self._closed(begin)
        self._budget -= error.at - begin
        self.at = begin if self._budget > 0 else max(begin, error.at)

    def _closed(self, begin: int) -> int:
        """Behind the next closing marker, or the text's end; found once, not for each block again."""
        if self._close < begin + len(self.blocks.closing):
            found = self.text.find(self.blocks.closing, begin)
            self._close = found + len(self.blocks.closing) if found >= 0 else len(self.text)
        return self._close

    def reply(self) -> Reply:
        self._keep(len(self.text))
        outside = "".join(self._content)
        if self.blocks.stray and self.blocks.closing in outside:
            self._problems.append(f"`{self.blocks.closing}` closes a call that was never opened")
        return Reply(outside.strip(), tuple(self._calls), tuple(self._problems))


def blanks_end(text: str, at: int) -> int:
    """Where the white space that begins at `at` ends."""
    match = _BLANKS.match(text, at)
    return match.end() if match else at


class JsonRead(NamedTuple):
    """A JSON value and where its text ends."""

    value: Any
    end: int


def read_json(text: str, begin: int, bracket: str = "{") -> JsonRead:
    """The object (or, with `[`, the array) that begins at `begin`.

    Raises:
        UnreadableError: it does not end, or is not strict JSON.
    """
    end = _json_end(text, begin, bracket)
    try:
        return JsonRead(strict_loads(text[begin:end]), end)
    except ValueError as error:
        words = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        raise UnreadableError(words, end) from None


def _json_end(text: str, begin: int, bracket: str) -> int:
    """Where the bracket at `begin` is closed.

    Found by brackets, not by a format's next marker: a model does not know that a marker inside a string
    wants escaping.
    """
    depth, at = 0, begin
    if text.startswith(bracket, begin):
        for token in _TOKENS.finditer(text, begin):
            kind, at = token[0][0], token.end()
            if kind in "<\\" or (kind == '"' and (len(token[0]) == 1 or not token[0].endswith('"'))):
                break
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(kind, 0)
            if depth > MAX_NESTING + 2:
                break
            if depth == 0:
                return at
        else:
            at = len(text)
    raise UnreadableError("its JSON does not end", at)


class CallRead(NamedTuple):
    """A call, if there is one, and what is wrong."""

    call: ToolCall | None
    problems: tuple[str, ...]


def call_of_json(value: Any, arguments_key: str = "arguments") -> CallRead:
    """The call that an object with the keys `name` and `arguments_key` holds."""
    if not isinstance(value, dict):
        return CallRead(None, ("a call is not an object",))
    name, arguments = value.get("name"), value.get(arguments_key)
    if not isinstance(name, str) or not name:
        return CallRead(None, ("a call block has no `name`",))
    if not isinstance(arguments, dict):
        missing = arguments_key not in value
        what = f"no `{arguments_key}`" if missing else f"`{arguments_key}` that are not an object"
        return CallRead(None, (f"the call of `{name[:_SHOWN]}` has {what}",))
    others = [key for key in value if key not in ("name", arguments_key)]
    told = (f"the call of `{name[:_SHOWN]}` has a key `{others[0][:40]}` too many",) if others else ()
    return CallRead(ToolCall(name, arguments), told)
