"""What an output format is: calls to text, text to calls, and the words that tell a model how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats.grammar import Layout
from adaptman.toolspec.jsontext import MAX_NESTING, canonical_json, nesting, sha256_of


class ToolCall(NamedTuple):
    """A call of one tool."""

    name: str
    arguments: dict[str, Any]


class Reply(NamedTuple):
    """A model's answer, taken apart. `problems` tells in words which call blocks could not be read."""

    content: str
    calls: tuple[ToolCall, ...]
    problems: tuple[str, ...]


class OutputFormat(ABC):
    """A way to write calls; `parse` reads what `render` wrote, and survives any other text."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name by which it is asked for."""

    @property
    @abstractmethod
    def version(self) -> int:
        """Goes up whenever `spec` changes."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Everything that decides which text is written, as JSON."""

    @abstractmethod
    def parse(self, text: str) -> Reply:
        """The calls in `text`, in time linear in its length; never raises."""

    @abstractmethod
    def system_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """What tells a model which tools there are and how to call them; empty without tools."""

    @abstractmethod
    def _written(self, calls: Sequence[ToolCall]) -> str:
        """The text of `calls`, whose arguments are not nested too deep.

        Raises:
            ToolDocumentError: a name that the format cannot hold.
            TypeError, ValueError: arguments that are not JSON.
        """

    @property
    def markers(self) -> tuple[str, ...]:
        """What stands in the text of calls that a tokenizer may have as a special token."""
        return ()

    @property
    def layout(self) -> Layout | None:
        """How calls are laid out, where that is all there is to say of their text."""
        return None

    def grammar(
        self, tools: Sequence[Mapping[str, Any]], count: int, special: Mapping[str, int]
    ) -> str | None:
        """The texts of `count` calls of `tools` (in OpenAI's form), as a grammar; None: it has none.

        Each is a text that `parse` reads; what `render` writes is among them where arguments come in the
        order of their schema. `special` holds the texts that are one token each to the tokenizer, with their
        numbers.
        """
        if self.layout is None or not tools or count < 1:
            return None
        return self.layout.grammar([tool.get("function", tool) for tool in tools], count, special)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON of `spec`."""
        return sha256_of(canonical_json(self.spec()))

    def render(self, calls: Sequence[ToolCall]) -> str:
        """The text of `calls`; empty without calls.

        Raises:
            ToolDocumentError: arguments that are not JSON, or a name that the format cannot hold.
        """
        for call in calls:
            self._check(call)
        return self._written(calls) if calls else ""

    def _check(self, call: ToolCall) -> None:
        if nesting(call.arguments) > MAX_NESTING:
            raise ToolDocumentError(
                f"the call of `{call.name}` is nested deeper than {MAX_NESTING} levels",
                hint="pass large structures as text",
            )
        try:
            self._written([call])
        except (TypeError, ValueError) as error:
            raise ToolDocumentError(
                f"the call of `{call.name}` cannot be written as JSON: {error}",
                hint="arguments are JSON values: no NaN, no Infinity, no other objects",
            ) from None


def shown_tools(how: str, lines: Sequence[str]) -> str:
    """The system prompt of the built-in formats: one sentence, then one line of JSON for each tool."""
    return "\n".join([f"To call a tool, write {how}", "<tools>", *lines, "</tools>"])
