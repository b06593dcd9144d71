"""Cases of the Berkeley Function Calling Leaderboard, read from the files of the installed wheel `bfcl-eval`.

Only the wheel's data files are opened: importing the package would load the leaderboard's own dependencies.
Read is version 4's category `simple_python`: one request, one tool that fits, the accepted values of each
argument. BFCL writes types by Python's names; they are told here by JSON Schema's.

Source: Patil et al., *The Berkeley Function Calling Leaderboard*, ICML 2025; data under Apache-2.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from adaptman.errors import AdaptmanError

WHEEL = "bfcl-eval"
_DATA = "bfcl_eval/data"
_INSTALL = f"pip install --no-deps {WHEEL}"

# BFCL's names of types that JSON Schema calls otherwise; `any` has no counterpart and allows everything.
_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_MAPS_OF_SCHEMAS = ("properties", "$defs", "patternProperties")
# BFCL marks a few parameters `optional`, which `required` already says.
_NOT_JSON_SCHEMA = ("optional",)


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


def simple_python(*, wheel: str = WHEEL) -> tuple[BfclCase, ...]:
    """The cases of `simple_python` in the wheel's order.

    Raises:
        AdaptmanError: the wheel is not installed, or does not hold the category.
    """
    answers = {
        row["id"]: row["ground_truth"] for row in _rows("possible_answer/BFCL_v4_simple_python.json", wheel)
    }
    cases = (_case(row, answers.get(row["id"], [])) for row in _rows("BFCL_v4_simple_python.json", wheel))
    return tuple(case for case in cases if case is not None and case.accept)


def wheel_version(*, wheel: str = WHEEL) -> str:
    """The version of the installed wheel.

    Raises:
        AdaptmanError: the wheel is not installed.
    """
    return _distribution(wheel).version


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema with BFCL's type names told in JSON Schema's, at every depth."""
    told: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            told.update(_json_type(value))
        elif key in _MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            told[key] = {name: json_schema(part) for name, part in value.items()}
        elif key == "items" and isinstance(value, Mapping):
            told[key] = json_schema(value)
        elif key not in _NOT_JSON_SCHEMA:
            told[key] = value
    return told


def _json_type(name: str) -> dict[str, str]:
    return {} if name == "any" else {"type": _JSON_TYPES.get(name, name)}


def _case(row: Mapping[str, Any], answers: list[Mapping[str, Any]]) -> BfclCase | None:
    """The case of a row, or None where it is not one request of one user with one tool."""
    turns, functions = row["question"], row["function"]
    if len(turns) != 1 or len(turns[0]) != 1 or turns[0][0]["role"] != "user" or len(functions) != 1:
        return None
    function = functions[0]
    written = {
        "name": function["name"],
        "description": function["description"],
        "parameters": json_schema(function["parameters"]),
    }
    accept = dict(answers[0][function["name"]]) if answers else {}
    return BfclCase(row["id"], turns[0][0]["content"], {"type": "function", "function": written}, accept)


def _rows(name: str, wheel: str) -> list[dict[str, Any]]:
    distribution = _distribution(wheel)
    inside = f"{_DATA}/{name}"
    for file in distribution.files or ():
        if str(file) == inside:
            text = Path(str(file.locate())).read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    raise AdaptmanError(
        f"`{wheel}` {distribution.version} has no file `{inside}`",
        hint=f"install a version with BFCL v4: `{_INSTALL}`",
    )


def _distribution(wheel: str) -> metadata.Distribution:
    try:
        return metadata.distribution(wheel)
    except metadata.PackageNotFoundError as error:
        raise AdaptmanError(
            f"the demo's data, the wheel `{wheel}`, is not installed",
            hint=f"`{_INSTALL}` installs it (data only)",
        ) from error
