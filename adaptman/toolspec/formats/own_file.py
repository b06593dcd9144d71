"""The YAML file of an own format."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats.own import Description, OwnFormat, check
from adaptman.toolspec.yamltext import read_yaml

MAX_CHARACTERS = 64 * 1024
_HINT = "see docs/reference/files.md for the fields of an output format"


def read_own_format(text: str, origin: str) -> OwnFormat:
    """The format that `text`, YAML, describes.

    Raises:
        ToolDocumentError: too large, not YAML, a field that is missing, unknown or not valid, or a
            description that could be read in two ways; the message names `origin` and the field.
    """
    if len(text) > MAX_CHARACTERS:
        raise ToolDocumentError(
            f"`{origin}` has {len(text)} characters, at most {MAX_CHARACTERS} are read", hint=_HINT
        )
    content = read_yaml(text, origin, hint=_HINT)
    if not isinstance(content, dict):
        raise ToolDocumentError(f"`{origin}` is no output format: a mapping was expected", hint=_HINT)
    return own_format(content, origin)


def own_format(fields: dict[Any, Any], origin: str) -> OwnFormat:
    """The format of these fields.

    Raises:
        ToolDocumentError: a field that is missing, unknown or not valid, or an ambiguous description.
    """
    try:
        told = Description.model_validate(fields)
    except ValidationError as error:
        raise ToolDocumentError(f"`{origin}` is no output format: {_told(error)}", hint=_HINT) from None
    check(told, origin)
    return OwnFormat(told)


def _told(error: ValidationError) -> str:
    problems = [f"`{_place(one['loc'])}`: {one['msg'].lower()}" for one in error.errors(include_url=False)]
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:40] for part in loc)
