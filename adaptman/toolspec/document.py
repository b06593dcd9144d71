"""What a tool document is once it has been read."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from adaptman.toolspec.canonical import Contract, canonical_schema
from adaptman.toolspec.jsontext import canonical_json, sha256_of

# Where a vendor says nothing, a hint has this value (Model Context Protocol, ToolAnnotations).
ANNOTATION_DEFAULTS = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}


class SourceFormat(StrEnum):
    """Whose form a document was written in."""

    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC = "anthropic"
    MCP = "mcp"
    HUGGINGFACE = "huggingface"
    GEMINI = "gemini"
    OPENAPI = "openapi"
    JSON_SCHEMA = "json-schema"


@dataclass(frozen=True)
class Tool:
    """One tool. `parameters` is the JSON Schema of its arguments object, as its author wrote it."""

    name: str
    description: str
    parameters: dict[str, Any]
    annotations: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] | None = field(default=None, repr=False)
    """The whole function object, where the author wrote one in OpenAI's chat form."""

    @cached_property
    def contract(self) -> Contract:
        """The canonical form of `parameters`.

        Raises:
            ToolDocumentError: a schema that cannot be used.
        """
        return canonical_schema(self.parameters)

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """Name, description, hints and contract, with everything gone that changes no call."""
        hints = {
            key: value
            for key, value in self.annotations.items()
            if key != "title" and ANNOTATION_DEFAULTS.get(key) != value
        }
        return {
            "name": self.name,
            "description": self.description,
            "annotations": hints,
            "parameters": self.contract.rooted(self.contract.schema),
        }

    def as_function(self) -> dict[str, Any]:
        """The function object of OpenAI's chat form, its keys in the author's order."""
        if self.written is not None:
            return copy.deepcopy(self.written)
        return {
            "name": self.name,
            "description": self.description,
            "parameters": copy.deepcopy(self.parameters),
        }


@dataclass(frozen=True)
class ToolDocument:
    """The tools of one document, in the author's order; `source` is its JSON as written."""

    tools: tuple[Tool, ...]
    source_format: SourceFormat
    source: Any = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """Contract digest: sha256 (hex) of the canonical JSON. Equal digests: the same calls are right."""
        return sha256_of(canonical_json(sorted((tool.canonical for tool in self.tools), key=_name_of)))

    @cached_property
    def document_digest(self) -> str:
        """sha256 (hex) of the document as written: its keys in their order, its blanks ignored."""
        return sha256_of(json.dumps(self.source, separators=(",", ":"), ensure_ascii=True))

    @cached_property
    def _by_name(self) -> dict[str, Tool]:
        return {tool.name: tool for tool in self.tools}

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names in the author's order."""
        return tuple(tool.name for tool in self.tools)

    def get(self, name: str) -> Tool | None:
        """The tool of that name, or None."""
        return self._by_name.get(name)

    def as_openai(self) -> list[dict[str, Any]]:
        """The tools in OpenAI's chat form; what the author wrote is never re-ordered."""
        return as_openai(self.tools)

    def subset(self, names: Collection[str]) -> ToolDocument:
        """The document with only these tools, in the author's order; unknown names are left out."""
        kept = replace(self, tools=tuple(tool for tool in self.tools if tool.name in set(names)))
        return replace(kept, source=kept.as_openai(), source_format=SourceFormat.OPENAI_CHAT)


def _name_of(tool: dict[str, Any]) -> str:
    return str(tool["name"])


def first_sentence(description: str) -> str:
    """The first sentence, or the first line where that is shorter, without the mark at its end."""
    return re.split(r"[.!?](?:\s|$)|\n", description.strip(), maxsplit=1)[0].strip()


def as_openai(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Tools in OpenAI's chat form; what their author wrote is never re-ordered."""
    return [{"type": "function", "function": tool.as_function()} for tool in tools]
