"""Each kind of change: its kind, path and class, and for a breaking one a witness that shows it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from adaptman.toolspec.changes import Change, ChangeClass
from adaptman.toolspec.engine import is_valid
from tests.toolspec.documents import changes_of, closed, opened, tool_of

BREAKING, MEANING, HABIT = ChangeClass.BREAKING, ChangeClass.MEANING, ChangeClass.HABIT
BYTES, UNKNOWN = ChangeClass.BYTES, ChangeClass.UNKNOWN

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer"}
NULL: dict[str, Any] = {"type": "null"}
PAIR = {"oneOf": [closed({"a": TEXT}, "a"), closed({"b": TEXT}, "b")]}


class Row(NamedTuple):
    """One change, and all that it is to be called: (kind, path, class)."""

    name: str
    old: dict[str, Any]
    new: dict[str, Any]
    expected: set[tuple[str, str, ChangeClass]]


def prop(old: Any, new: Any, *expected: tuple[str, ChangeClass] | tuple[str, ChangeClass, str]) -> Any:
    """A row about the one parameter `p`."""
    found = {(row[0], row[2] if len(row) == 3 else "p", row[1]) for row in expected}
    return closed({"p": old}), closed({"p": new}), found


def enum(*values: Any) -> dict[str, Any]:
    return {"enum": list(values)}


def array(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


NODE = closed({"value": TEXT, "next": {"$ref": "#/$defs/node"}})
LIMITED = closed({"value": {**TEXT, "maxLength": 3}, "next": {"$ref": "#/$defs/node"}})


def recursive(node: dict[str, Any]) -> dict[str, Any]:
    return {**closed({"head": {"$ref": "#/$defs/node"}}), "$defs": {"node": node}}


ROWS = [
    Row("parameter added", closed({}), closed({"q": TEXT}), {("parameter-added", "q", HABIT)}),
    Row(
        "parameter added, required",
        closed({}),
        closed({"q": TEXT}, "q"),
        {("parameter-added-required", "q", BREAKING)},
    ),
    Row(
        "required though it has a default",
        closed({}),
        closed({"q": {**TEXT, "default": "x"}}, "q"),
        {("parameter-added-required", "q", BREAKING)},
    ),
    Row("parameter removed, closed", closed({"q": TEXT}), closed({}), {("parameter-removed", "q", BREAKING)}),
    Row("parameter removed, open", opened({"q": TEXT}), opened({}), {("parameter-removed", "q", MEANING)}),
    Row(
        "parameter renamed, required",
        opened({"loc": TEXT}, "loc"),
        opened({"location": TEXT}, "location"),
        {("parameter-renamed", "loc", BREAKING)},
    ),
    Row(
        "parameter renamed, optional and open",
        opened({"loc": TEXT}),
        opened({"location": TEXT}),
        {("parameter-renamed", "loc", MEANING)},
    ),
    Row(
        "parameter renamed and narrowed",
        closed({"unit_name": enum("c", "k")}),
        closed({"unit": enum("c")}),
        {("parameter-renamed", "unit_name", BREAKING), ("enum-narrowed", "unit", BREAKING)},
    ),
    Row("now required", closed({"q": TEXT}), closed({"q": TEXT}, "q"), {("now-required", "q", BREAKING)}),
    Row("now optional", closed({"q": TEXT}, "q"), closed({"q": TEXT}), {("now-optional", "q", HABIT)}),
    Row(
        "required below",
        closed({"at": closed({"city": TEXT})}),
        closed({"at": closed({"city": TEXT}, "city")}),
        {("now-required", "at.city", BREAKING)},
    ),
    Row(
        "moved to another level",
        closed({"city": TEXT, "at": closed({"street": TEXT})}),
        closed({"at": closed({"street": TEXT, "city": TEXT})}),
        {("parameter-moved", "city", BREAKING), ("parameter-added", "at.city", HABIT)},
    ),
    Row("type widened", *prop(WHOLE, {"type": "number"}, ("type-widened", HABIT))),
    Row("type widened to more", *prop(TEXT, {"type": ["string", "integer"]}, ("type-widened", HABIT))),
    Row("type narrowed", *prop({"type": "number"}, WHOLE, ("type-narrowed", BREAKING))),
    Row("anything narrowed", *prop({}, TEXT, ("type-narrowed", BREAKING))),
    Row("type changed", *prop(TEXT, WHOLE, ("type-changed", BREAKING))),
    Row("one value becomes a list", *prop(TEXT, array(TEXT), ("type-changed", BREAKING))),
    Row("null dropped", *prop({"type": ["string", "null"]}, TEXT, ("nullable-dropped", BREAKING))),
    Row("null dropped from a union", *prop({"anyOf": [TEXT, NULL]}, TEXT, ("nullable-dropped", BREAKING))),
    Row("null dropped from an enum", *prop(enum("a", None), enum("a"), ("nullable-dropped", BREAKING))),
    Row("nullable: true dropped", *prop({**TEXT, "nullable": True}, TEXT, ("nullable-dropped", BREAKING))),
    Row("null added", *prop(TEXT, {"anyOf": [TEXT, NULL]}, ("nullable-added", HABIT))),
    Row(
        "null from items",
        *prop(array({"type": ["string", "null"]}), array(TEXT), ("nullable-dropped", BREAKING, "p[]")),
    ),
    Row("enum narrowed", *prop(enum("c", "k"), enum("c"), ("enum-narrowed", BREAKING))),
    Row("enum widened", *prop(enum("c"), enum("c", "k"), ("enum-widened", HABIT))),
    Row(
        "enum exchanged",
        *prop(enum("c", "k"), enum("c", "f"), ("enum-narrowed", BREAKING), ("enum-widened", HABIT)),
    ),
    Row("enum put on", *prop(TEXT, enum("c", "k"), ("enum-narrowed", BREAKING))),
    Row("enum taken off", *prop({**TEXT, **enum("c", "k")}, TEXT, ("enum-widened", HABIT))),
    Row(
        "enum of another type",
        *prop(enum("1", "2"), enum(1, 2), ("enum-narrowed", BREAKING), ("enum-widened", HABIT)),
    ),
    Row("const changed", *prop({"const": "v1"}, {"const": "v2"}, ("const-changed", BREAKING))),
    Row(
        "true is not 1",
        *prop(enum(True, "a"), enum(1, "a"), ("enum-narrowed", BREAKING), ("enum-widened", HABIT)),
    ),
    Row(
        "minimum raised",
        *prop({**WHOLE, "minimum": 0}, {**WHOLE, "minimum": 1}, ("bounds-tightened", BREAKING)),
    ),
    Row("minimum put on", *prop(WHOLE, {**WHOLE, "exclusiveMinimum": 0}, ("bounds-tightened", BREAKING))),
    Row(
        "maximum lowered",
        *prop({**WHOLE, "maximum": 9}, {**WHOLE, "maximum": 8}, ("bounds-tightened", BREAKING)),
    ),
    Row(
        "bound excluded",
        *prop(
            {"type": "number", "minimum": 0},
            {"type": "number", "exclusiveMinimum": 0},
            ("bounds-tightened", BREAKING),
        ),
    ),
    Row(
        "minimum lowered", *prop({**WHOLE, "minimum": 1}, {**WHOLE, "minimum": 0}, ("bounds-loosened", HABIT))
    ),
    Row("maximum taken off", *prop({**WHOLE, "maximum": 9}, WHOLE, ("bounds-loosened", HABIT))),
    Row("step put on", *prop(WHOLE, {**WHOLE, "multipleOf": 5}, ("step-tightened", BREAKING))),
    Row(
        "step coarser",
        *prop({**WHOLE, "multipleOf": 2}, {**WHOLE, "multipleOf": 6}, ("step-tightened", BREAKING)),
    ),
    Row(
        "step finer", *prop({**WHOLE, "multipleOf": 6}, {**WHOLE, "multipleOf": 2}, ("step-loosened", HABIT))
    ),
    Row(
        "shorter at most",
        *prop({**TEXT, "maxLength": 9}, {**TEXT, "maxLength": 5}, ("length-tightened", BREAKING)),
    ),
    Row("longer at least", *prop(TEXT, {**TEXT, "minLength": 1}, ("length-tightened", BREAKING))),
    Row("length taken off", *prop({**TEXT, "maxLength": 9}, TEXT, ("length-loosened", HABIT))),
    Row("pattern put on", *prop(TEXT, {**TEXT, "pattern": "^[a-z]+$"}, ("pattern-tightened", BREAKING))),
    Row(
        "pattern narrower",
        *prop(
            {**TEXT, "pattern": "^[a-z]+$"}, {**TEXT, "pattern": "^[a-m]+$"}, ("pattern-changed", BREAKING)
        ),
    ),
    Row("pattern not decidable", *prop(TEXT, {**TEXT, "pattern": "^(?!x)"}, ("pattern-changed", UNKNOWN))),
    Row("pattern taken off", *prop({**TEXT, "pattern": "^[a-z]+$"}, TEXT, ("pattern-loosened", HABIT))),
    Row("format put on", *prop(TEXT, {**TEXT, "format": "date"}, ("format-tightened", BREAKING))),
    Row(
        "format changed",
        *prop({**TEXT, "format": "date-time"}, {**TEXT, "format": "date"}, ("format-changed", BREAKING)),
    ),
    Row("format unheard of", *prop(TEXT, {**TEXT, "format": "iban"}, ("format-changed", UNKNOWN))),
    Row("format taken off", *prop({**TEXT, "format": "date"}, TEXT, ("format-loosened", HABIT))),
    Row("closed", opened({"q": TEXT}), closed({"q": TEXT}), {("additional-properties-closed", "", BREAKING)}),
    Row("opened", closed({"q": TEXT}), opened({"q": TEXT}), {("additional-properties-opened", "", BYTES)}),
    Row(
        "open for texts now",
        closed({"q": TEXT}),
        {**closed({"q": TEXT}), "additionalProperties": TEXT},
        {("additional-properties-opened", "", HABIT)},
    ),
    Row(
        "closed below",
        closed({"at": opened({"city": TEXT})}),
        closed({"at": closed({"city": TEXT})}),
        {("additional-properties-closed", "at", BREAKING)},
    ),
    Row(
        "values of a map narrowed",
        closed({"map": {"type": "object", "additionalProperties": {"type": "number"}}}),
        closed({"map": {"type": "object", "additionalProperties": WHOLE}}),
        {("type-narrowed", "map.*", BREAKING)},
    ),
    Row(
        "a name of a map is fixed",
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "properties": {"n": WHOLE}, "additionalProperties": TEXT},
        {("parameter-added", "n", HABIT), ("type-changed", "n", BREAKING)},
    ),
    Row(
        "fewest properties",
        *prop(opened({}), {**opened({}), "minProperties": 1}, ("property-count-tightened", BREAKING)),
    ),
    Row(
        "most properties",
        *prop({**opened({}), "maxProperties": 1}, opened({}), ("property-count-loosened", HABIT)),
    ),
    Row("union branch removed", *prop({"anyOf": [TEXT, WHOLE]}, TEXT, ("union-branch-removed", BREAKING))),
    Row("union branch added", *prop(TEXT, {"anyOf": [TEXT, WHOLE]}, ("union-branch-added", HABIT))),
    Row(
        "union branch narrowed",
        *prop(
            {"anyOf": [{**WHOLE, "minimum": 0}, NULL]},
            {"anyOf": [{**WHOLE, "minimum": 1}, NULL]},
            ("bounds-tightened", BREAKING),
        ),
    ),
    Row("variant removed", *prop(PAIR, PAIR["oneOf"][0], ("union-branch-removed", BREAKING))),
    Row("items narrowed", *prop(array({"type": "number"}), array(WHOLE), ("type-narrowed", BREAKING, "p[]"))),
    Row("items put on", *prop({"type": "array"}, array(TEXT), ("type-narrowed", BREAKING, "p[]"))),
    Row(
        "item's enum narrowed",
        *prop(array(enum("a", "b")), array(enum("a")), ("enum-narrowed", BREAKING, "p[]")),
    ),
    Row(
        "places exchanged",
        *prop(
            {"type": "array", "prefixItems": [TEXT, WHOLE], "items": False},
            {"type": "array", "prefixItems": [WHOLE, TEXT], "items": False},
            ("type-changed", BREAKING, "p[0]"),
            ("type-changed", BREAKING, "p[1]"),
        ),
    ),
    Row("fewest items", *prop(array(TEXT), array(TEXT, minItems=1), ("item-count-tightened", BREAKING))),
    Row("most items", *prop(array(TEXT), array(TEXT, maxItems=3), ("item-count-tightened", BREAKING))),
    Row("fewer items at least", *prop(array(TEXT, minItems=2), array(TEXT), ("item-count-loosened", HABIT))),
    Row("items unique", *prop(array(TEXT), array(TEXT, uniqueItems=True), ("unique-items-added", BREAKING))),
    Row(
        "items may repeat", *prop(array(TEXT, uniqueItems=True), array(TEXT), ("unique-items-dropped", HABIT))
    ),
    Row(
        "default changed",
        *prop({**TEXT, "default": "a"}, {**TEXT, "default": "b"}, ("default-changed", MEANING)),
    ),
    Row("default put on", *prop(TEXT, {**TEXT, "default": None}, ("default-changed", MEANING))),
    Row(
        "description changed",
        *prop({**TEXT, "description": "a"}, {**TEXT, "description": "b"}, ("description-changed", MEANING)),
    ),
    Row("deprecated", *prop(TEXT, {**TEXT, "deprecated": True}, ("deprecated-changed", MEANING))),
    Row("words of a vendor", *prop(TEXT, {**TEXT, "x-unit": "km"}, ("annotation-changed", MEANING))),
    Row("not put on", *prop(TEXT, {**TEXT, "not": {"const": "text"}}, ("condition-tightened", BREAKING))),
    Row("not taken off", *prop({**TEXT, "not": {"const": "x"}}, TEXT, ("condition-loosened", HABIT))),
    Row(
        "not changed where nothing shows it",
        *prop(
            {**TEXT, "not": {"const": "x"}},
            {**TEXT, "not": {"enum": ["x"], "minLength": 1}},
            ("condition-changed", UNKNOWN),
        ),
    ),
    Row(
        "one needs the other",
        closed({"a": TEXT, "b": TEXT}),
        {**closed({"a": TEXT, "b": TEXT}), "dependentRequired": {"a": ["b"]}},
        {("condition-tightened", "", BREAKING)},
    ),
    Row(
        "within a recursion",
        recursive(NODE),
        recursive(LIMITED),
        {("length-tightened", "head.value", BREAKING)},
    ),
    Row("not allowed at all", *prop(TEXT, False, ("type-narrowed", BREAKING))),
]


def _found(changes: tuple[Change, ...]) -> set[tuple[str, str, ChangeClass]]:
    return {(change.kind, change.path, change.change_class) for change in changes}


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_change_is_found_and_called_by_its_name(row: Row) -> None:
    changes = changes_of(row.old, row.new)
    expected = {
        (kind.replace("deprecated-", "deprecation-"), path, klass) for kind, path, klass in row.expected
    }
    assert _found(changes) == expected


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_witness_was_right_and_is_wrong(row: Row) -> None:
    old, new = tool_of(row.old).contract, tool_of(row.new).contract
    for change in changes_of(row.old, row.new):
        assert (change.witness is not None) == (change.change_class is BREAKING)
        if change.witness is not None:
            assert is_valid(old.rooted(old.schema), change.witness)
            assert not is_valid(new.rooted(new.schema), change.witness)


def test_a_witness_is_wrong_for_its_own_reason_only() -> None:
    old = closed({"city": TEXT, "unit": enum("c", "k"), "days": WHOLE}, "city")
    new = closed({"city": TEXT, "unit": enum("c"), "days": {**WHOLE, "maximum": 5}}, "city", "unit")
    witnesses = {change.kind: change.witness for change in changes_of(old, new)}
    assert witnesses == {
        "now-required": {"city": "text"},
        "enum-narrowed": {"city": "text", "unit": "k"},
        "bounds-tightened": {"city": "text", "unit": "c", "days": 6},
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "null"}, TEXT]}),
        ({"type": ["string", "null"]}, {"type": ["null", "string"]}),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"enum": ["a", "b"]}, {"type": "string", "enum": ["b", "a", "b"]}),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "exclusiveMinimum": 0}),
        (
            {"type": "integer", "exclusiveMinimum": True, "minimum": 0},
            {"type": "integer", "exclusiveMinimum": 0},
        ),
        (
            {"type": "array", "items": [TEXT], "additionalItems": False},
            {"type": "array", "prefixItems": [TEXT], "items": False},
        ),
        ({"allOf": [TEXT]}, TEXT),
        ({"allOf": [TEXT, {"maxLength": 3}]}, {"type": "string", "maxLength": 3}),
        ({"type": "integer", "maximum": 3}, {"type": "integer", "maximum": 3.0}),
        ({"type": "string", "title": "P"}, {"type": "string", "$comment": "x", "minLength": 0}),
        (opened({"a": TEXT}), {**opened({"a": TEXT}), "required": [], "additionalProperties": True}),
        (PAIR, {"oneOf": PAIR["oneOf"][::-1]}),
    ],
)
def test_other_words_for_the_same_are_no_change(old: Any, new: Any) -> None:
    for before, after in ((old, new), (new, old)):
        changes = changes_of(closed({"p": before}), closed({"p": after}))
        assert all(change.change_class is BYTES for change in changes), changes
