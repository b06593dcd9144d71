"""JSON values as Python literals: written so that `ast.literal_eval` agrees, read without running Python."""

from __future__ import annotations

import json
import keyword
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from adaptman.toolspec.formats.reading import UnreadableError, blanks_end
from adaptman.toolspec.formats.writing import json_text
from adaptman.toolspec.jsontext import MAX_NESTING, strict_loads

# Either quote, no line break inside, as in Python; the last group of its kind is the closing quote.
_STRING = re.compile(r""""[^"\\\n]*(?:\\.[^"\\\n]*)*("?)""" + "|" + r"""'[^'\\\n]*(?:\\.[^'\\\n]*)*('?)""")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
_ESCAPES |= {"\\": "\\", '"': '"', "'": "'"}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD = re.compile(r"[^\W\d]\w*")
# vLLM's pythonic parser takes JSON's words for Python's as well.
_WORDS = {"None": None, "True": True, "False": False, "null": None, "true": True, "false": False}
_PYTHON = {"null": "None", "true": "True", "false": "False"}
# Outside of strings these words are what `json.dumps` writes for the three values.
_JSON_WORDS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|null|true|false')


def is_argument_name(name: str) -> bool:
    """Whether Python takes `name=` as a keyword argument, and reads the very same name."""
    if not name.isidentifier() or not _WORD.fullmatch(name):
        return False
    return not keyword.iskeyword(name) and unicodedata.normalize("NFKC", name) == name


def literal(value: Any, markers: re.Pattern[str]) -> str:
    """`value` as a Python literal; JSON's escapes are Python's too, so only three words differ.

    Raises:
        TypeError, ValueError: not JSON.
    """
    return _JSON_WORDS.sub(lambda found: _PYTHON.get(found[0], found[0]), json_text(value, markers))


def arguments_text(arguments: Mapping[str, Any], markers: re.Pattern[str]) -> str:
    """`a=1, b="x"`; names that are none in Python are written `**{"my-key": 1}`, in their place."""
    if not all(isinstance(name, str) for name in arguments):
        raise TypeError("a name of an argument is not text")
    written = (
        f"{name}={literal(value, markers)}"
        if is_argument_name(name)
        else f"**{literal({name: value}, markers)}"
        for name, value in arguments.items()
    )
    return ", ".join(written)


class LiteralRead(NamedTuple):
    """A value and where its text ends."""

    value: Any
    end: int


class ArgumentsRead(NamedTuple):
    """The arguments of a call and where their text, trailing blanks included, ends."""

    arguments: dict[str, Any]
    end: int


def read_arguments(text: str, at: int) -> ArgumentsRead:
    """Keyword arguments and `**{…}` from `at` to what is neither; each name once.

    Raises:
        UnreadableError: a value is no JSON value in Python's words, or a name stands twice.
    """
    found: dict[str, Any] = {}
    at = blanks_end(text, at)
    while True:
        if text.startswith("**", at):
            value, end = read_literal(text, blanks_end(text, at + 2))
            if not isinstance(value, dict):
                raise UnreadableError("what follows `**` is not a dict", end)
            _add(found, value, end)
        elif (word := _WORD.match(text, at)) is not None:
            equals = blanks_end(text, word.end())
            if not text.startswith("=", equals):
                raise UnreadableError("an argument has no name", equals)
            if not is_argument_name(word[0]):
                raise UnreadableError(f"`{word[0][:128]}` is no name of an argument in Python", equals)
            value, end = read_literal(text, blanks_end(text, equals + 1))
            _add(found, {word[0]: value}, end)
        else:
            return ArgumentsRead(found, at)
        at = blanks_end(text, end)
        if not text.startswith(",", at):
            return ArgumentsRead(found, at)
        at = blanks_end(text, at + 1)


def _add(found: dict[str, Any], more: Mapping[str, Any], at: int) -> None:
    for name, value in more.items():
        if name in found:
            raise UnreadableError(f"the argument `{name[:128]}` stands twice", at)
        found[name] = value


def read_literal(text: str, at: int, depth: int = 1) -> LiteralRead:
    """The literal at `at`: text, number, list, dict, True, False or None.

    Raises:
        UnreadableError: it is none of these, or nested too deep.
    """
    opening = text[at : at + 1]
    if opening in ("[", "{") and opening:
        if depth > MAX_NESTING + 1:
            raise UnreadableError(f"it is nested deeper than {MAX_NESTING} levels", at)
        return _read_list(text, at + 1, depth) if opening == "[" else _read_dict(text, at + 1, depth)
    if opening in ('"', "'") and opening:
        return _read_string(text, at)
    return _read_atom(text, at)


def _read_list(text: str, at: int, depth: int) -> LiteralRead:
    items: list[Any] = []
    at = blanks_end(text, at)
    while not text.startswith("]", at):
        item, end = read_literal(text, at, depth + 1)
        items.append(item)
        at = _next(text, end, "]")
    return LiteralRead(items, at + 1)


def _read_dict(text: str, at: int, depth: int) -> LiteralRead:
    found: dict[str, Any] = {}
    at = blanks_end(text, at)
    while not text.startswith("}", at):
        if text[at : at + 1] not in ('"', "'"):
            raise UnreadableError("a key is not a text", at)
        key, end = _read_string(text, at)
        colon = blanks_end(text, end)
        if not text.startswith(":", colon):
            raise UnreadableError("a key has no value", colon)
        value, end = read_literal(text, blanks_end(text, colon + 1), depth + 1)
        if key in found:
            raise UnreadableError(f"the key `{key[:128]}` stands twice in one dict", end)
        found[key] = value
        at = _next(text, end, "}")
    return LiteralRead(found, at + 1)


def _next(text: str, at: int, closing: str) -> int:
    """Behind the comma, or at the closing bracket."""
    at = blanks_end(text, at)
    if text.startswith(",", at):
        return blanks_end(text, at + 1)
    if text.startswith(closing, at):
        return at
    raise UnreadableError("it is not closed" if at == len(text) else "a value is followed by other text", at)


def _read_string(text: str, at: int) -> LiteralRead:
    found = _STRING.match(text, at)
    if found is None or not (found[1] or found[2]):
        raise UnreadableError("a text does not end", found.end() if found else at)
    end = found.end()
    return LiteralRead(_ESCAPE.sub(lambda one: _unescaped(one, end), found[0][1:-1]), end)


def _unescaped(found: re.Match[str], at: int) -> str:
    digits = found[1] or found[2] or found[3]
    if digits and int(digits, 16) <= 0x10FFFF:
        return chr(int(digits, 16))
    if found[4] in _ESCAPES:
        return _ESCAPES[found[4]]
    raise UnreadableError(f"`{found[0]}` is not an escape that is read", at)


def _read_atom(text: str, at: int) -> LiteralRead:
    if (number := _NUMBER.match(text, at)) is not None:
        try:
            return LiteralRead(strict_loads(number[0]), number.end())
        except json.JSONDecodeError:
            raise UnreadableError("it holds no JSON value", number.end()) from None
        except ValueError as error:
            raise UnreadableError(str(error), number.end()) from None
    word = _WORD.match(text, at)
    if word is not None and word[0] in _WORDS:
        return LiteralRead(_WORDS[word[0]], word.end())
    end = word.end() if word is not None else at
    cut = at == len(text)
    raise UnreadableError("it is not closed" if cut else "a value is no JSON value in Python's words", end)
