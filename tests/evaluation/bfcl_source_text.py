"""Java and JavaScript source text of JSON values, as BFCL's converters read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_LITERAL = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?[fFlLn]?|true|false")
_SUFFIXES = {"long": "L", "float": "f", "Bigint": "n"}

Convert = Callable[..., Any]


def source_text(value: Any, schema: Mapping[str, Any], language: str) -> str:
    """The text that stands for `value` where a parameter of this type is written in Java or JavaScript."""
    declared = schema["type"]
    if isinstance(value, str):
        is_text = declared in ("String", "any", "char")
        return value if is_text or not _LITERAL.fullmatch(value) else json.dumps(value)
    if isinstance(value, list):
        return _list(value, schema, language)
    if isinstance(value, dict):
        return _object(value, language)
    return _scalar(value, declared if language == "java" or declared == "Bigint" else "")


def _scalar(value: Any, declared: str) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    suffix = _SUFFIXES.get(declared, "")
    return f"{value}{suffix}" if isinstance(value, int) or suffix != "L" else str(value)


def _list(items: list[Any], schema: Mapping[str, Any], language: str) -> str:
    nested = (schema.get("items") or {}).get("type", "any")
    if language == "javascript":
        return f"[{', '.join(_element(item, nested, quoted=True) for item in items)}]"
    if schema["type"] == "Array":  # whose texts BFCL reads without taking quotes away
        return (
            f"new Object[]{{{', '.join(_element(item, nested, quoted=nested == 'any') for item in items)}}}"
        )
    inner = ", ".join(_element(item, nested, quoted=nested == "String") for item in items)
    return f"new ArrayList<>(Arrays.asList({inner}))" if items else "new ArrayList<>()"


def _element(item: Any, nested: str, *, quoted: bool) -> str:
    if isinstance(item, str):
        return json.dumps(item, ensure_ascii=False) if quoted else item
    return json.dumps(item) if isinstance(item, (list, dict)) else _scalar(item, nested)


def _object(value: dict[str, Any], language: str) -> str:
    if language == "javascript":
        return json.dumps(value, ensure_ascii=False)
    puts = " ".join(f"put({json.dumps(key)}, {json.dumps(part)});" for key, part in value.items())
    return f"new HashMap<String, Object>() {{{{ {puts} }}}}" if value else "new HashMap<>()"


def can_be_written(value: Any, schema: Mapping[str, Any], language: str, convert: Convert) -> bool:
    """Whether BFCL reads the source text of a value back as the value, if it is of the declared type.

    JSON's null has no text, and a text that looks like a list or an object is read as one.
    """
    if value is None:
        return False
    arguments = [source_text(value, schema, language), schema["type"]]
    if schema["type"] in ("Array", "ArrayList", "array"):
        arguments.append(schema["items"]["type"])
    read = convert(*arguments)
    if isinstance(value, str) and not isinstance(read, str):
        return False
    return type(read) is not type(value) or (read == value and repr(read) == repr(value))
