"""Requests in plain words for a tool's arguments, where nobody has asked anything yet; all by chance alone.

They are no match for what people ask, and say of themselves that they were made from a schema.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Mapping
from typing import Any

from adaptman.toolspec.canonical import types_of
from adaptman.toolspec.document import Tool, first_sentence
from adaptman.toolspec.samples import Sampler
from adaptman.toolspec.validate import validate_arguments

_WORDINGS = (
    "{purpose} {values}.",
    "I need help with this: {purpose} {values}.",
    "Please do the following. {purpose} {values}.",
    "{values}. {purpose}",
)
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("city|town|location|place|destination|origin", ("Oslo", "Lisbon", "Nairobi", "Quito", "Kyoto")),
    ("country|region|nation", ("Norway", "Portugal", "Kenya", "Ecuador", "Japan")),
    ("path|file|folder|directory", ("notes/today.txt", "reports/may.csv", "src/main.py", "data/list.json")),
    ("url|uri|link|site", ("https://example.org/a", "https://example.org/news", "https://example.org/b/c")),
    ("mail", ("ada@example.org", "grace@example.org", "alan@example.org")),
    ("date|day", ("2024-05-17", "2025-01-08", "2025-11-30")),
    ("time", ("09:30", "14:05", "21:45")),
    ("colou?r", ("red", "blue", "green", "yellow")),
    ("name|author|artist|person|user|player", ("Ada", "Grace", "Alan", "Edsger", "Barbara")),
    ("id$|ids$|key|ref|code", ("A-1042", "B-77", "C-350", "D-9")),
    ("query|search|question|text|message|content|title", ("open tickets", "spring sale", "weekly report")),
)
_PLAIN = ("maple", "harbour", "violet", "summit", "river", "lantern")


def arguments_for(tool: Tool, chance: random.Random, *, give: Collection[str]) -> dict[str, Any] | None:
    """Arguments that are right for the tool, those in `give` among them; None where none are found.

    What is required is there, and where nothing is to be given, now and then something else.
    """
    schema = tool.contract.schema
    sampler = Sampler(tool.contract)
    found: dict[str, Any] = {}
    for name, known in schema.get("properties", {}).items():
        needed = name in schema.get("required", ()) or name in give
        if known is False or not (needed or (not give and chance.random() < 0.3)):
            continue
        value = _value(name, tool.contract.resolve(known), sampler, chance)
        if value is not None:
            found[name] = value
    if not validate_arguments(tool, found):
        return found
    return next(
        (one for one in sampler.samples(schema) if isinstance(one, dict) and set(give) <= set(one)), None
    )


def _value(name: str, schema: Any, sampler: Sampler, chance: random.Random) -> Any:
    """Something that fits, and is something else each time where it may be."""
    pool = sampler.samples(schema)
    kinds = types_of(schema) if isinstance(schema, dict) else None
    own = _own(name, schema, kinds[0] if kinds else "", chance) if isinstance(schema, dict) else None
    if own is not None and sampler.valid(schema, own):
        return own
    return chance.choice(pool) if pool else None


def _own(name: str, schema: Mapping[str, Any], kind: str, chance: random.Random) -> Any:
    if "enum" in schema or "const" in schema or "anyOf" in schema or "oneOf" in schema:
        return None
    if kind == "string" and "format" not in schema and "pattern" not in schema:
        return chance.choice(_quoted(schema) or _texts(name))
    if kind in ("integer", "number"):
        low = schema.get("minimum", 2)
        return chance.randint(int(low), max(int(low), int(schema.get("maximum", 60))))
    if kind == "array" and isinstance(schema.get("items"), dict):
        items = schema["items"]
        kinds = types_of(items)
        return [_own(name, items, kinds[0] if kinds else "", chance) for _ in range(chance.randint(1, 2))]
    return None


def _quoted(schema: Mapping[str, Any]) -> list[str]:
    """Values that the description names: `Default is 'cm'`."""
    return re.findall(r"['\"`]([^'\"`\n]{1,40})['\"`]", str(schema.get("description", "")))


def _texts(name: str) -> tuple[str, ...]:
    return next((texts for words, texts in _TEXTS if re.search(words, name.lower())), _PLAIN)


def request_for(tool: Tool, arguments: Mapping[str, Any], chance: random.Random) -> str:
    """What somebody might say who wants the tool called with these arguments; it does not name the tool."""
    purpose = _purpose(tool)
    values = ", ".join(f"{_spoken(name)} is {_said(value)}" for name, value in arguments.items())
    if not values:
        return purpose
    return chance.choice(_WORDINGS).format(purpose=purpose, values=values[:1].upper() + values[1:])


def _purpose(tool: Tool) -> str:
    first = first_sentence(tool.description)
    return f"{first if 0 < len(first) <= 200 else _spoken(tool.name).capitalize()}."


def _spoken(name: str) -> str:
    """`startRef`, `start_ref` → start ref."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)).lower() or name


def _said(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return "yes" if value is True else "no" if value is False else json.dumps(value, ensure_ascii=False)
