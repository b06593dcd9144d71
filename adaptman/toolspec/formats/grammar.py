"""A layout of calls: their text, and as a grammar exactly the replies of so many calls of the tools shown.

The grammar is in llguidance's form of Lark, in which `%json` stands for the text of a JSON value that fits a
schema and `<[7]>` for the token of that number (docs/syntax.md of github.com/guidance-ai/llguidance).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAME, ARGUMENTS = "{name}", "{arguments}"

# JSON as the formats write it. Keywords that the engine does not know are passed over.
_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}


@dataclass(frozen=True)
class Layout:
    """A reply with calls: `begin`, the calls with `between` among them, `end`.

    A call is its pieces one after another, `{name}` for the tool's name, within JSON if `in_json`, and
    `{arguments}` for the JSON object of its arguments.
    """

    call: tuple[str, ...]
    begin: str = ""
    between: str = "\n"
    end: str = ""
    in_json: bool = True

    def written(self, names: Sequence[str], arguments: Sequence[str]) -> str:
        """The text of calls, their names and arguments as they stand in it."""
        calls = (
            "".join({NAME: name, ARGUMENTS: given}.get(piece, piece) for piece in self.call)
            for name, given in zip(names, arguments, strict=True)
        )
        return f"{self.begin}{self.between.join(calls)}{self.end}"

    def in_text(self, calls: Sequence[tuple[str, Mapping[str, Any]]], text: Callable[[Any], str]) -> str:
        """`written`, with arguments as `text` writes JSON, and names too where they stand within JSON."""
        names = [text(name) if self.in_json else name for name, _ in calls]
        return self.written(names, [text(arguments) for _, arguments in calls])

    def grammar(self, tools: Sequence[Mapping[str, Any]], count: int, special: Mapping[str, int]) -> str:
        """The replies of `count` calls of `tools`, each with its name and its JSON Schema `parameters`.

        `special` holds the texts that are one token each to the tokenizer, with their numbers.
        """
        between = _literal(self.between, special)
        parts = [_literal(self.begin, special), *[f"call {between}"] * (count - 1), "call"]
        lines = [
            f"start: {' '.join([*parts, _literal(self.end, special)])}",
            "call: " + " | ".join(f"call_{number}" for number in range(len(tools))),
        ]
        for number, tool in enumerate(tools):
            pieces = (self._piece(piece, tool, number, special) for piece in self.call)
            lines.append(f"call_{number}: {' '.join(pieces)}")
            lines.append(f"arguments_{number}: %json {_schema(tool)}")
        return "\n".join(lines) + "\n"

    def _piece(self, piece: str, tool: Mapping[str, Any], number: int, special: Mapping[str, int]) -> str:
        if piece == ARGUMENTS:
            return f"arguments_{number}"
        if piece == NAME:
            name = str(tool["name"])
            return _literal(json.dumps(name, ensure_ascii=False) if self.in_json else name, special)
        return _literal(piece, special)


def _schema(tool: Mapping[str, Any]) -> str:
    schema = tool.get("parameters") or {}
    return json.dumps({"type": "object", **schema, "x-guidance": _JSON})


def _literal(text: str, special: Mapping[str, int]) -> str:
    """`text`, of which what is one token to the tokenizer is that token."""
    if not special:
        return json.dumps(text)
    longest_first = sorted(special, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
    found = [f"<[{special[part]}]>" if part in special else json.dumps(part) for part in parts if part]
    return " ".join(found) or '""'
