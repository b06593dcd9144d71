"""The leaderboard's cases of one tool and one call, from which the demo makes its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from adaptman.evaluation.bfcl import WHEEL, read_category, wheel_data


@dataclass(frozen=True)
class BfclCase:
    """One request with the tool that is shown for it.

    `tool` is in the form of OpenAI's chat completions. `accept` holds the accepted values of each parameter,
    `""` among them where the parameter may be left out.
    """

    id: str
    question: str
    tool: dict[str, Any]
    accept: dict[str, list[Any]]

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.tool["function"]["name"])

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of the tool's arguments."""
        schema: dict[str, Any] = self.tool["function"]["parameters"]
        return schema

    @property
    def length(self) -> int:
        """Characters of tool, question and accepted answer as JSON: what the model has to read and write."""
        return sum(
            len(json.dumps(part, ensure_ascii=False)) for part in (self.tool, self.question, self.accept)
        )


def simple_python() -> tuple[BfclCase, ...]:
    """The cases of `simple_python` in the wheel's order.

    Raises:
        SuiteError: the wheel is not installed, or does not hold the category.
    """
    records = read_category(wheel_data(), "simple_python").records
    return tuple(
        BfclCase(
            id=record["id"],
            question=record["messages"][0]["content"],
            tool=record["tools"][0],
            accept=record["accept"][0]["arguments"],
        )
        for record in records
    )


def source() -> str:
    """Where the cases come from: the wheel and its version.

    Raises:
        SuiteError: the wheel is not installed.
    """
    return f"{wheel_data(WHEEL).origin}, BFCL v4"
