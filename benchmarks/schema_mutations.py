"""One change at a time whose effect is known by construction: does each program see that it breaks callers?

    python benchmarks/schema_mutations.py --folder DIR --python rivals/bin/python \\
        --node node_modules/.bin/json-schema-diff

DIR and the programs are those of `schema_rivals.py`. Each tool of each newest document is changed in every
way that its schema has a place for, at its first place, and compared with itself as it was.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from schema_rivals import flagged, json_schema_diff, raw_tools
from tool_histories import LABELS

from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.diff import diff
from adaptman.toolspec.readers import read_document

Schema = dict[str, Any]
Change = Callable[[Schema], bool]


def _properties(schema: Schema, kind: str) -> Iterator[Schema]:
    for one in schema.get("properties", {}).values():
        if isinstance(one, dict) and one.get("type") == kind:
            yield one


def _objects_below(schema: Schema) -> Iterator[Schema]:
    for one in schema.get("properties", {}).values():
        inner = one.get("items") if one.get("type") == "array" else one
        if isinstance(inner, dict) and inner.get("type") == "object":
            yield inner


def _now_required(schema: Schema) -> bool:
    free = [name for name in schema.get("properties", {}) if name not in schema.get("required", [])]
    schema["required"] = [*schema.get("required", []), *free[:1]]
    return bool(free)


def _required_below(schema: Schema) -> bool:
    return any(_now_required(one) for one in _objects_below(schema))


def _other_type(schema: Schema) -> bool:
    for one in _properties(schema, "string"):
        one.clear()
        one["type"] = "integer"
        return True
    return False


def _put(kind: str, keyword: str, value: Any) -> Change:
    def change(schema: Schema) -> bool:
        for one in _properties(schema, kind):
            if keyword not in one and "enum" not in one and "pattern" not in one:
                one[keyword] = value
                return True
        return False

    return change


def _enum(edit: Callable[[list[Any]], None]) -> Change:
    def change(schema: Schema) -> bool:
        for one in _properties(schema, "string"):
            if len(one.get("enum", [])) > 1:
                edit(one["enum"])
                return True
        return False

    return change


def _closed(schema: Schema) -> bool:
    was = schema.get("additionalProperties", True)
    schema["additionalProperties"] = False
    return was is not False


def _optional(schema: Schema) -> bool:
    listed = schema.get("required", [])
    if listed:
        listed.pop()
        return True
    return False


def _nullable(schema: Schema) -> bool:
    for one in _properties(schema, "string"):
        if "enum" not in one:
            one["type"] = ["string", "null"]
            return True
    return False


def _described(schema: Schema) -> bool:
    for one in schema.get("properties", {}).values():
        one["description"] = "Something else."
        return True
    return False


def _reordered(schema: Schema) -> bool:
    properties = schema.get("properties", {})
    schema["properties"] = dict(reversed(properties.items()))
    return len(properties) > 1


BREAKING: dict[str, Change] = {
    "now required": _now_required, "now required, below": _required_below, "another type": _other_type,
    "shorter text": _put("string", "maxLength", 1), "higher minimum": _put("number", "minimum", 10**6),
    "more items": _put("array", "minItems", 50), "enum narrowed": _enum(lambda values: values.pop()),
    "closed": _closed,
}  # fmt: skip
HARMLESS: dict[str, Change] = {
    "now optional": _optional, "enum widened": _enum(lambda values: values.append("one-more")),
    "null allowed": _nullable, "other words": _described, "other order": _reordered,
}  # fmt: skip


def mutants(tool: dict[str, Any], ways: dict[str, Change]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tool changed in each way that its schema has a place for."""
    for name, change in ways.items():
        made = copy.deepcopy(tool)
        if change(made["inputSchema"]):
            yield name, made


def ours(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether adaptman says that it breaks callers."""
    before, after = (read_document(json.dumps({"tools": [one]}).encode(), "t.json") for one in (old, new))
    return any(
        change.change_class is ChangeClass.BREAKING
        for tool in diff(before, after).tools
        for change in tool.changes
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--node", type=Path, required=True)
    told = parser.parse_args()
    versions = json.loads(LABELS.read_text(encoding="utf-8"))["versions"]
    tools = [
        tool for name, all_ in versions.items() for tool in raw_tools(told.folder / f"{name}-{all_[-1]}.json")
    ]
    for tool in tools:
        tool["inputSchema"].pop("$schema", None)  # json-schema-diff reads draft 7 only
    made = [(way, tool, new) for tool in tools for way, new in mutants(tool, BREAKING | HARMLESS)]
    rivals = flagged(told.python, [[[old], [new]] for _, old, new in made])
    says: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for (way, old, new), said in zip(made, rivals, strict=True):
        total[way] += 1
        answers = {name: bool(names) for name, names in said.items()}
        answers["adaptman"] = ours(old, new)
        answers["json-schema-diff"] = bool(
            json_schema_diff(told.node, old["inputSchema"], new["inputSchema"])
        )
        for name, answer in answers.items():
            says.setdefault(name, Counter())[way] += answer
    names = ("adaptman", "mcp-diff", "mcplock", "json-schema-diff")
    print(f"{len(tools)} tools\n\n| | changed | {' | '.join(names)} |\n|" + " --- |" * 6)
    for ways, effect in ((BREAKING, "breaks"), (HARMLESS, "does not")):
        for way in ways:
            print(
                f"| {way} ({effect}) | {total[way]} | {' | '.join(str(says[name][way]) for name in names)} |"
            )


if __name__ == "__main__":
    main()
