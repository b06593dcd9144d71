"""Python functions described as tools: `python describing.py MODULE NAME FILE`."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

_BY_NAME = ("properties", "$defs")
_ENTRY = re.compile(r"^[ ]{1,8}(\w+)(?: \([^)]*\))?:[ ]*(.+(?:\n[ ]{6,}\S.*)*)", re.MULTILINE)


class NoToolError(Exception):
    """Something that cannot be described; says what."""


def document(found: Any, name: str) -> list[dict[str, Any]]:
    """The tools of a function, or of a list or dict of functions, in OpenAI's chat form."""
    functions = list(_functions(found, name))
    if not functions:
        raise NoToolError(f"there is no function in `{name}`")
    return [{"type": "function", "function": _described(one, called)} for called, one in functions]


def _functions(found: Any, name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    if isinstance(found, Mapping):
        for key, one in found.items():
            yield str(key), _callable(one, f"{name}[{key!r}]")
    elif isinstance(found, (list, tuple)):
        for at, one in enumerate(found):
            yield _callable(one, f"{name}[{at}]").__name__, one
    else:
        yield _callable(found, name).__name__, found


def _callable(one: Any, where: str) -> Callable[..., Any]:
    if not callable(one) or not hasattr(one, "__name__"):
        raise NoToolError(f"`{where}` is no function but a {type(one).__name__}")
    return one  # type: ignore[no-any-return]


def _described(function: Callable[..., Any], name: str) -> dict[str, Any]:
    text, told = _docstring(inspect.getdoc(function) or "")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # an annotation is code of its author's
        raise NoToolError(f"`{name}`: its annotations cannot be read: {error}") from None
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise NoToolError(f"`{name}` takes `*{parameter.name}`: a tool names its parameters")
        hint = hints.get(parameter.name, Any)
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hint, _field(hint, default, told.get(parameter.name)))
    try:
        schema = create_model(name, **fields).model_json_schema()
    except Exception as error:  # pydantic raises errors of many kinds
        raise NoToolError(f"`{name}`: its parameters have no schema: {str(error).splitlines()[0]}") from None
    return {"name": name, "description": text, "parameters": _untitled(schema)}


def _field(hint: Any, default: Any, description: str | None) -> Any:
    """What an `Annotated` says stays; a docstring fills in where it says nothing."""
    own = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, FieldInfo) and one.description]
    return Field(default) if own or description is None else Field(default, description=description)


def _untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(one) for name, one in value.items()} if key in _BY_NAME else _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and the entries of `Args:`."""
    head, *sections = re.split(r"^(\w+):\s*$", text, flags=re.MULTILINE)
    told: dict[str, str] = {}
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title in ("Args", "Arguments", "Parameters"):
            for match in _ENTRY.finditer(body):
                told[match[1]] = " ".join(match[2].split())
    return " ".join(head.split()), told


def main(module: str, name: str, target: str) -> None:
    """Import, describe, write."""
    output, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        tools = document(found, name)
    except NoToolError as error:
        sys.exit(str(error))
    except ImportError as error:
        sys.exit(f"it cannot be imported: {error}")
    except AttributeError:
        sys.exit(f"`{module}` has no `{name}`")
    except Exception as error:
        sys.exit(f"it raises {type(error).__name__} when it is imported: {error}")
    finally:
        sys.stdout = output
    Path(target).write_text(json.dumps(tools, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:4])
