"""Cases of the Berkeley Function Calling Leaderboard, version 4, as cases of suites.

Read are the data files of the installed wheel `bfcl-eval`, or of a folder of the same layout; importing the
package would load the leaderboard's own dependencies. Only categories of a single turn have a place here:
a suite's case is one reply. BFCL writes types by the names of Python, Java or JavaScript; they are told by
JSON Schema's, so that arguments are JSON whatever the language (BFCL itself asks for Java and JavaScript
values as source text, and turns that into the same JSON before it compares).

Source: Patil et al., *The Berkeley Function Calling Leaderboard*, ICML 2025; data under Apache-2.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl_rules import is_parameter
from adaptman.evaluation.suites import SuiteKind, read_suite

WHEEL = "bfcl-eval"
LICENCE = "Apache-2.0"
_DATA = "bfcl_eval/data"
_INSTALL = f"pip install --no-deps {WHEEL}"
_OTHER_DATA = f"install a version with BFCL v4: `{_INSTALL}`, or name a folder that has its files"

CATEGORIES: Mapping[str, SuiteKind] = {
    "simple_python": SuiteKind.TOOLS,
    "simple_java": SuiteKind.TOOLS,
    "simple_javascript": SuiteKind.TOOLS,
    "multiple": SuiteKind.TOOLS,
    "parallel": SuiteKind.TOOLS,
    "parallel_multiple": SuiteKind.TOOLS,
    "irrelevance": SuiteKind.IRRELEVANCE,
    "live_simple": SuiteKind.TOOLS,
    "live_multiple": SuiteKind.TOOLS,
    "live_parallel": SuiteKind.TOOLS,
    "live_parallel_multiple": SuiteKind.TOOLS,
    "live_irrelevance": SuiteKind.IRRELEVANCE,
    "live_relevance": SuiteKind.FORMAT,
}
"""The categories of a single turn, and the kind of suite each becomes. `live_relevance` asks that something
is called, whatever it is; as `format` its calls must also fit their tools."""

# Names of types in Python, Java and JavaScript that JSON Schema calls otherwise.
_JSON_TYPES = {
    **dict.fromkeys(("dict", "HashMap", "Hashtable"), "object"),
    **dict.fromkeys(("tuple", "list", "Array", "ArrayList", "Set", "Queue", "Stack"), "array"),
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("byte", "short", "long", "Bigint"), "integer"),
    **dict.fromkeys(("Boolean", "bool"), "boolean"),
    **dict.fromkeys(("String", "char"), "string"),
}
_ANY = ("any", "Any", "")
_MAPS_OF_SCHEMAS = ("properties", "$defs", "patternProperties")
# BFCL marks a few parameters `optional`, which `required` already says.
_NOT_JSON_SCHEMA = ("optional",)


class BfclData(NamedTuple):
    """A folder with BFCL's files, and how it is called."""

    folder: Path
    origin: str

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The objects of the JSONL file `name`.

        Raises:
            SuiteError: there is no such file, or a line of it is no JSON object.
        """
        path = self.folder / name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise SuiteError(
                f"`{self.origin}` has no file `{name}`",
                hint=_OTHER_DATA,
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SuiteError(f"`{path}` cannot be read: {error}") from None
        return [_object(line, f"`{path}`, line {at}") for at, line in enumerate(lines, 1) if line.strip()]


class LeftOut(NamedTuple):
    """A case that has no place in a suite, and why."""

    id: str
    reason: str


class ImportedCases(NamedTuple):
    """Cases as a suite's file holds them, and those that have no place in it."""

    kind: SuiteKind
    records: tuple[dict[str, Any], ...]
    left_out: tuple[LeftOut, ...]


def wheel_data(wheel: str = WHEEL) -> BfclData:
    """The data of the installed wheel.

    Raises:
        SuiteError: the wheel is not installed, or holds no data.
    """
    try:
        distribution = metadata.distribution(wheel)
    except metadata.PackageNotFoundError:
        raise SuiteError(
            f"BFCL's data, the wheel `{wheel}`, is not installed",
            hint=f"`{_INSTALL}` installs it (data only)",
        ) from None
    origin = f"{wheel} {distribution.version}"
    if not any(str(file).startswith(f"{_DATA}/") for file in distribution.files or ()):
        raise SuiteError(f"`{origin}` has no folder `{_DATA}`", hint=_OTHER_DATA)
    return BfclData(Path(str(distribution.locate_file(_DATA))), origin)


def read_category(data: BfclData, category: str) -> ImportedCases:
    """The cases of one of `CATEGORIES`, in the file's order.

    Raises:
        SuiteError: there is no such category, or its files are missing or not what BFCL v4 has.
    """
    kind = CATEGORIES.get(category)
    if kind is None:
        known = ", ".join(f"`{name}`" for name in CATEGORIES)
        raise SuiteError(
            f"`{category}` is not a category of BFCL with a single turn", hint=f"there are {known}"
        )
    name = f"BFCL_v4_{category}.json"
    answers = (
        {row["id"]: row["ground_truth"] for row in data.rows(f"possible_answer/{name}")}
        if kind is SuiteKind.TOOLS
        else {}
    )
    try:
        found = [_case(row, answers.get(row["id"]), kind) for row in data.rows(name)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise SuiteError(f"`{data.origin}`, `{name}` is not in the form of BFCL v4: {error!r}") from None
    return sort_out(kind, found)


def sort_out(kind: SuiteKind, found: Sequence[dict[str, Any] | LeftOut]) -> ImportedCases:
    """Those of the cases that a suite of the kind can hold, and the others with what speaks against them."""
    records: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for one in found:
        problem = "" if isinstance(one, LeftOut) else _problem(one, kind)
        if isinstance(one, LeftOut):
            left_out.append(one)
        elif problem:
            left_out.append(LeftOut(one["id"], problem))
        else:
            records.append(one)
    return ImportedCases(kind, tuple(records), tuple(left_out))


def jsonl(records: Sequence[Mapping[str, Any]]) -> bytes:
    """A suite's file with these cases."""
    return "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records).encode()


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema with BFCL's type names told in JSON Schema's, at every depth.

    `any` has no counterpart: without a type, everything is allowed.
    """
    return dict(_told(schema))


def _told(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            if value not in _ANY:
                yield key, _JSON_TYPES.get(value, value)
        elif key in _MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            yield key, {name: json_schema(part) for name, part in value.items()}
        elif key == "items" and isinstance(value, Mapping):
            yield key, json_schema(value)
        elif key not in _NOT_JSON_SCHEMA:
            yield key, value


def _case(
    row: Mapping[str, Any], answer: Sequence[Mapping[str, Any]] | None, kind: SuiteKind
) -> dict[str, Any] | LeftOut:
    if len(row["question"]) != 1:
        return LeftOut(row["id"], f"{len(row['question'])} turns, and a case is one reply")
    case = {
        "id": row["id"],
        "messages": [_message(message) for message in row["question"][0]],
        "tools": [_tool(function) for function in row["function"]],
    }
    if kind is not SuiteKind.TOOLS:
        return case
    if not answer:
        return LeftOut(row["id"], "no accepted answer")
    calls = [{"name": name, "arguments": values} for call in answer for name, values in call.items()]
    missing = _missing_parameter(calls, case["tools"])
    if missing:
        return LeftOut(
            row["id"], f"no call is right: `{missing}` must be given, which the tool does not have"
        )
    return {**case, "accept": calls}


def _missing_parameter(calls: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    return next(
        (
            name
            for call in calls
            for name, accepted in call["arguments"].items()
            if "" not in accepted and not is_parameter(schemas.get(call["name"], {}), name)
        ),
        "",
    )


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": message["role"], "content": message["content"]}


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    written = {
        "name": function["name"],
        "description": function["description"],
        "parameters": json_schema(function["parameters"]),
    }
    return {"type": "function", "function": written}


def _problem(record: Mapping[str, Any], kind: SuiteKind) -> str:
    try:
        read_suite(jsonl([record]), name="import", kind=kind, origin="import")
    except SuiteError as error:
        return error.message.removeprefix("`import`, line 1, ")
    return ""


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise SuiteError(f"{place}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise SuiteError(f"{place}: a JSON object was expected")
    return value
