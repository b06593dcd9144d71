"""Output formats by name or by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats import BUILTIN, OutputFormat, ToolCall, output_format, own_from_text

_LARGEST = 1 << 20
"""Bytes that are read of a format's file; far more than `own_from_text` accepts."""

_CALLS = (
    ToolCall("get_weather", {"city": "Oslo", "days": 2}),
    ToolCall("send_mail", {"to": ["ada@lab"], "urgent": True}),
)
_TOOL = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def builtin_formats() -> tuple[OutputFormat, ...]:
    """The formats that need no file."""
    return tuple(BUILTIN.values())


def find_format(which: str) -> OutputFormat:
    """The built-in format of that name, or the one in that file: a path, or a name ending in .yaml or .yml.

    Raises:
        ToolDocumentError: no built-in format has that name, or the file cannot be read or is no format.
    """
    if "/" in which or "\\" in which or which.endswith((".yaml", ".yml")):
        return own_from_text(_text(Path(which)), which)
    return output_format(which)


@dataclass(frozen=True)
class ShownFormat:
    """A format by what it writes."""

    format: OutputFormat
    calls: str
    prompt: str

    def to_dict(self) -> dict[str, Any]:
        """Name, version and digest, the texts, and the specification, as plain JSON values."""
        return {
            "name": self.format.name,
            "version": self.format.version,
            "digest": self.format.digest,
            "calls": self.calls,
            "system_prompt": self.prompt,
            "spec": self.format.spec(),
        }


def show_format(which: str) -> ShownFormat:
    """What the format `which`, as `find_format` finds it, makes of two calls and a tool.

    Raises:
        ToolDocumentError: no built-in format has that name, or the file cannot be read or is no format.
    """
    found = find_format(which)
    return ShownFormat(found, found.render(_CALLS), found.system_prompt([_TOOL]))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ToolDocumentError(
            f"the output format `{path}` cannot be read: {reason}",
            hint="docs/reference/files.md tells how one is written",
        ) from error
