"""An own format: a layout given in a few fields, from which both the writing and the reading follow.

A reply with calls is `begin`, each call as `call` has it with `separator` between them, then `end`. The
reader walks the same description; that it finds the way back without guessing is what `check` makes sure
of. Where the description has white space, any or none is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats.base import OutputFormat, Reply, ToolCall
from adaptman.toolspec.formats.grammar import ARGUMENTS, NAME, Layout
from adaptman.toolspec.formats.literals import arguments_text, read_arguments
from adaptman.toolspec.formats.pythonic import check_python_name
from adaptman.toolspec.formats.reading import Block, Blocks, UnreadableError, blanks_end, read_json
from adaptman.toolspec.formats.writing import json_text

TOOLS = "{tools}"
_NAME = re.compile(r"[\w./-]+")
_NEVER = re.compile(r"(?!)")
# What the text of arguments is made of outside of strings, and within the escapes of strings.
_JSON_CHARACTERS = frozenset('{}[],:"\\ +-.0123456789eEabcdfunlrts/')
_PYTHON_CHARACTERS = frozenset("{}[](),:=\"'\\ +-.*")

Marker = Annotated[str, Field(min_length=1, max_length=200)]


class Description(BaseModel):
    """The fields of an own format's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """A change of any other field needs a new one."""
    begin: Marker
    """Before the first call."""
    end: Marker
    """Behind the last call."""
    call: Annotated[str, Field(max_length=1000)]
    """One call; `{name}` and `{arguments}` stand in it once each, every other brace for itself."""
    separator: Marker = "\n"
    """Between two calls."""
    arguments: Literal["json", "pythonic"] = "json"
    """A JSON object, or `a=1, b="x"`."""
    system_prompt: Annotated[str, Field(max_length=10_000)]
    """What tells a model how to call; `{tools}` becomes one line of JSON for each tool."""


@dataclass(frozen=True)
class OwnFormat(OutputFormat):
    """A format by its description, which must have passed `check`."""

    description: Description

    @property
    def name(self) -> str:
        """The description's."""
        return self.description.name

    @property
    def version(self) -> int:
        """The description's."""
        return self.description.version

    @property
    def markers(self) -> tuple[str, ...]:
        """Every word of the description that a call's text has."""
        told = self.description
        return tuple(f"{told.begin} {told.end} {told.separator} {' '.join(self._layout.call)}".split())

    @property
    def layout(self) -> Layout | None:
        """The description's, where arguments are JSON."""
        return self._layout if self.description.arguments == "json" else None

    @cached_property
    def _layout(self) -> Layout:
        told = self.description
        return Layout(_pieces(told.call), told.begin, told.separator, told.end, in_json=False)

    def spec(self) -> dict[str, Any]:
        """The description, and that it is one."""
        return {"kind": "own", **self.description.model_dump(mode="json")}

    def _written(self, calls: Sequence[ToolCall]) -> str:
        return self._layout.written([call.name for call in calls], [self._arguments(call) for call in calls])

    def _arguments(self, call: ToolCall) -> str:
        if not _NAME.fullmatch(call.name):
            raise ToolDocumentError(
                f"the tool name `{call.name}` cannot be written in the output format `{self.name}`",
                hint="names in it are letters, digits, `_`, `-`, `.` and `/`; rename the tool",
            )
        if self.description.arguments == "pythonic":
            check_python_name(call.name, self.name)
            arguments = arguments_text(call.arguments, _NEVER)
        else:
            arguments = json_text(dict(call.arguments), _NEVER)
        return self._hidden(arguments)

    def _hidden(self, text: str) -> str:
        """`text` without a marker in it: an own character of each is written as an escape."""
        markers = [self.description.begin.strip(), self.description.end.strip()]
        if any(marker in text for marker in markers):
            for marker in markers:
                character = _own_character(marker, self.description.arguments)
                text = text.replace(character, f"\\u{ord(character):04x}")
        return text

    def parse(self, text: str) -> Reply:
        """The calls in `text`."""
        return self._blocks.read(text)

    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """The description's, with one line of JSON for each tool, its keys in the author's order."""
        lines = [self._hidden(json_text(tool.get("function", tool), _NEVER)) for tool in tools]
        return self.description.system_prompt.replace(TOOLS, "\n".join(lines)) if tools else ""

    @cached_property
    def _blocks(self) -> Blocks:
        opening = r"\s*".join(re.escape(word) for word in self.description.begin.split())
        end = self.description.end.strip()
        # Behind three backquotes that are no call's end there is code, not a mistake.
        return Blocks(re.compile(opening), self._read, end, stray=end not in self.description.begin)

    def _read(self, text: str, at: int) -> Block:
        calls: list[ToolCall] = []
        at = blanks_end(text, at) if self.description.begin[-1].isspace() else at
        while True:
            call, at = self._read_call(text, at)
            calls.append(call)
            separated = _behind(text, at, self.description.separator)
            ended = _behind(text, at, self.description.end)
            between = bool(self.description.separator.strip())
            if separated is not None and (between or ended is None):
                at = separated
            elif ended is not None:
                return Block(tuple(calls), (), ended)
            else:
                at = blanks_end(text, at)
                raise UnreadableError("it is not closed" if at == len(text) else "text follows a call", at)

    def _read_call(self, text: str, at: int) -> _CallRead:
        name = ""
        arguments: dict[str, Any] = {}
        for piece in self._layout.call:
            if piece == NAME:
                found = _NAME.match(text, at)
                if found is None:
                    raise UnreadableError("it has no name", at)
                name, at = found[0], found.end()
            elif piece == ARGUMENTS and self.description.arguments == "json":
                arguments, at = read_json(text, blanks_end(text, at))
            elif piece == ARGUMENTS:
                arguments, at = read_arguments(text, at)
            else:
                at = _expect(text, at, piece)
        return _CallRead(ToolCall(name, arguments), at)


class _CallRead(NamedTuple):
    call: ToolCall
    end: int


def _expect(text: str, at: int, piece: str) -> int:
    behind = _behind(text, at, piece)
    if behind is None:
        at = blanks_end(text, at)
        shown = " ".join(piece.split())
        raise UnreadableError("it is not closed" if at == len(text) else f"`{shown}` is missing", at)
    return behind


def _behind(text: str, at: int, piece: str) -> int | None:
    """Where `piece` ends that begins at `at`, white space in it and before it counted as any or none."""
    for word in piece.split():
        at = blanks_end(text, at)
        if not text.startswith(word, at):
            return None
        at += len(word)
    return blanks_end(text, at) if piece[-1:].isspace() else at


def _pieces(call: str) -> tuple[str, ...]:
    return tuple(piece for piece in re.split(r"(\{name\}|\{arguments\})", call) if piece)


def check(told: Description, origin: str) -> None:
    """Refuse a description by which a text could be read in two ways.

    Raises:
        ToolDocumentError: names `origin`, the field, and what is ambiguous about it.
    """
    refuse = _Refusal(origin)
    _check_placeholders(told, refuse)
    begin, end, separator = (_squeezed(text) for text in (told.begin, told.end, told.separator))
    for field, marker in (("begin", told.begin.strip()), ("end", told.end.strip())):
        _check_marker(told, field, marker, refuse)
    if begin == end:
        refuse("end", "it is the same as `begin`")
    if separator and end.startswith(separator):
        refuse("separator", "`end` begins with it, so that the last call would seem to go on")
    _check_name_ends(told, refuse)
    _check_start(told, end, refuse)


@dataclass(frozen=True)
class _Refusal:
    origin: str

    def __call__(self, field: str, problem: str) -> NoReturn:
        raise ToolDocumentError(
            f"`{self.origin}`, `{field}`: {problem}",
            hint="a format must be read back as it was written; see docs/reference/files.md",
        )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _check_placeholders(told: Description, refuse: _Refusal) -> None:
    for field, text, placeholder in (
        ("call", told.call, NAME),
        ("call", told.call, ARGUMENTS),
        ("system_prompt", told.system_prompt, TOOLS),
    ):
        if text.count(placeholder) != 1:
            refuse(field, f"`{placeholder}` must stand in it once")
    if told.arguments == "pythonic" and f"({ARGUMENTS})" not in told.call:
        refuse("call", f"pythonic arguments stand between brackets: `({ARGUMENTS})`")


def _check_marker(told: Description, field: str, marker: str, refuse: _Refusal) -> None:
    if not marker:
        refuse(field, "a marker of white space only cannot be found")
    if not _own_character(marker, told.arguments) or _NAME.fullmatch(marker):
        refuse(
            field,
            f"`{marker}` may stand in a name or in the text of arguments; use a marker with a character "
            "of its own, such as `<`, `|`, `@` or `#`",
        )


def _own_character(marker: str, arguments: str) -> str:
    """A character of `marker` that stands in arguments within strings only, and so can be escaped; or ""."""
    return next((one for one in marker if _is_own(one, arguments)), "")


def _is_own(character: str, arguments: str) -> bool:
    if character.isspace() or not 0x20 < ord(character) < 0xD800:
        return False
    if arguments == "json":
        return character not in _JSON_CHARACTERS
    # The names of arguments stand outside of strings too.
    return character not in _PYTHON_CHARACTERS and not (character.isalnum() or character == "_")


def _check_name_ends(told: Description, refuse: _Refusal) -> None:
    """What follows the name must be told from the name."""
    behind = told.call.split(NAME)[1]
    followers = [("call", behind)] if behind else [("separator", told.separator), ("end", told.end)]
    for field, text in followers:
        if _NAME.match(text):
            refuse(field, f"it follows `{NAME}` and begins with what a name may hold")


def _check_start(told: Description, end: str, refuse: _Refusal) -> None:
    """What begins a call must be told from what ends the calls."""
    if not told.separator.strip() and _squeezed(told.call).startswith(end):
        refuse("end", "a call begins with it, so that the next call would seem to be the end")
    if told.call.lstrip().startswith(NAME) and _NAME.match(end):
        refuse("end", f"calls begin with `{NAME}`, and it begins with what a name may hold")
    if told.call.lstrip().startswith(ARGUMENTS) and end.startswith("{"):
        refuse("end", f"calls begin with `{ARGUMENTS}`, and it begins with `{{`")
