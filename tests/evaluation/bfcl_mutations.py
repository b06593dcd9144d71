"""Right calls made from BFCL's accepted answers, and the ways in which they are made other or wrong.

A mutation takes the right calls of a case and gives others, or None where it has nothing to change.
"""

from __future__ import annotations

import copy
import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from adaptman.evaluation.suites import ExpectedCall
from adaptman.toolspec.formats import ToolCall

Calls = list[ToolCall]


@dataclass(frozen=True)
class Material:
    """A case's accepted calls, the schemas of all tools shown, and chance."""

    accept: Sequence[ExpectedCall]
    schemas: Mapping[str, Mapping[str, Any]]
    chance: random.Random

    def right(self, *, omit: bool, pick: int = 0) -> Calls:
        """Calls with the accepted value number `pick`; with `omit`, what may be left out is left out."""
        return [self._call(wanted, omit, pick) for wanted in self.accept]

    def _call(self, wanted: ExpectedCall, omit: bool, pick: int) -> ToolCall:
        required = self.schemas[wanted.name].get("required") or ()
        arguments = {}
        for name, accepted in wanted.arguments.items():
            values = [value for value in accepted if value != ""]
            if not values or (omit and "" in accepted and name not in required):
                continue
            arguments[name] = settled(values[min(pick, len(values) - 1)])
        return ToolCall(wanted.name, arguments)


def settled(value: Any) -> Any:
    """An accepted value as a caller writes it: of each key of an object the first accepted value."""
    if isinstance(value, dict):
        if all(isinstance(accepted, list) and accepted for accepted in value.values()):
            kept = {key: [one for one in accepted if one != ""] for key, accepted in value.items()}
            return {key: settled(accepted[0]) for key, accepted in kept.items() if accepted}
        return copy.deepcopy(value)
    return [settled(part) for part in value] if isinstance(value, list) else value


class Place(NamedTuple):
    """One argument of one call."""

    call: int
    name: str


Change = Callable[[Any, Material], Any]
NOTHING = object()
"""What a change gives where it has nothing to change."""


def _with(calls: Calls, place: Place, value: Any) -> Calls:
    changed = [ToolCall(call.name, dict(call.arguments)) for call in calls]
    changed[place.call].arguments[place.name] = value
    return changed


def _without(calls: Calls, place: Place) -> Calls:
    changed = [ToolCall(call.name, dict(call.arguments)) for call in calls]
    del changed[place.call].arguments[place.name]
    return changed


def _places(calls: Calls) -> list[Place]:
    return [Place(at, name) for at, call in enumerate(calls) for name in call.arguments]


def on_value(change: Change) -> Callable[[Material], Calls | None]:
    """A mutation of one argument, chosen by chance among those that the change fits."""

    def mutate(material: Material) -> Calls | None:
        calls = material.right(omit=False)
        places = _places(calls)
        material.chance.shuffle(places)
        for place in places:
            value = copy.deepcopy(calls[place.call].arguments[place.name])
            changed = change(value, material)
            if changed is not NOTHING:
                return _with(calls, place, changed)
        return None

    return mutate


def inside(change: Change) -> Change:
    """The change, made to one element of a list or one value of an object."""

    def changed(value: Any, material: Material) -> Any:
        keys = list(range(len(value))) if isinstance(value, list) else list(value) if _is(value, dict) else []
        material.chance.shuffle(keys)
        for key in keys:
            part = change(value[key], material)
            if part is not NOTHING:
                value[key] = part
                return value
        return NOTHING

    return changed


def _is(value: Any, *types: type) -> bool:
    return type(value) in types


def on_type(*types: type) -> Callable[[Callable[[Any], Any]], Change]:
    def decorate(change: Callable[[Any], Any]) -> Change:
        return lambda value, _: change(value) if _is(value, *types) else NOTHING

    return decorate


def _punctuated(text: str, material: Material) -> Any:
    if not _is(text, str) or not text:
        return NOTHING
    at = material.chance.randrange(len(text) + 1)
    return text[:at] + material.chance.choice(" ,./-_*^") + text[at:]


def _marked(text: str, material: Material) -> Any:
    if not _is(text, str) or not text:
        return NOTHING
    at = material.chance.randrange(len(text) + 1)
    return text[:at] + material.chance.choice("!?:;#\t\u00a0") + text[at:]


def _other_unicode(text: str) -> Any:
    changed = unicodedata.normalize("NFD", text)
    return changed if changed != text else text + "é"


VALUE_CHANGES: dict[str, Change] = {
    "text in capitals": on_type(str)(str.upper),
    "text in small letters": on_type(str)(str.lower),
    "text with ignored punctuation": _punctuated,
    "text with other punctuation": _marked,
    "text with space around": on_type(str)(lambda text: f"  {text} "),
    "text with other quotes": on_type(str)(
        lambda text: f"'{text}'" if "'" not in text else text.replace("'", '"')
    ),
    "text that goes on": on_type(str)(lambda text: f"{text} and more"),
    "text of other characters": on_type(str)(_other_unicode),
    "empty text": on_type(str)(lambda text: ""),
    "number for a text": on_type(str)(lambda text: 7351),
    "boolean for a text": on_type(str)(lambda text: True),
    "list for a text": on_type(str)(lambda text: [text]),
    "text for a number": on_type(int, float)(str),
    "another number": on_type(int, float)(lambda number: number + 1),
    "negative number": on_type(int, float)(lambda number: -number if number else NOTHING),
    "float for an integer": on_type(int)(float),
    "integer for a float": on_type(float)(lambda number: int(number) if number.is_integer() else NOTHING),
    "fraction for an integer": on_type(int)(lambda number: number + 0.5),
    "boolean for a number": on_type(int, float)(lambda number: number != 0),
    "number for a boolean": on_type(bool)(int),
    "text for a boolean": on_type(bool)(lambda value: str(value).lower()),
    "the other boolean": on_type(bool)(lambda value: not value),
    "null": lambda value, _: None,
    "list in another order": on_type(list)(lambda items: items[::-1] if items != items[::-1] else NOTHING),
    "shorter list": on_type(list)(lambda items: items[:-1] if items else NOTHING),
    "longer list": on_type(list)(lambda items: [*items, items[0]] if items else NOTHING),
    "empty list": on_type(list)(lambda items: []),
    "element for a list": on_type(list)(lambda items: items[0] if items else NOTHING),
    "list in a list": on_type(list)(lambda items: [items]),
    "object without a key": on_type(dict)(lambda value: dict(list(value.items())[1:]) if value else NOTHING),
    "object with another key": on_type(dict)(lambda value: {**value, "zz_other": 1}),
    "empty object": on_type(dict)(lambda value: {}),
    "text for an object": on_type(dict)(str),
    "list for an object": on_type(dict)(lambda value: [value]),
}
INSIDE = (
    "text in capitals",
    "text with ignored punctuation",
    "text that goes on",
    "text for a number",
    "number for a text",
    "another number",
    "float for an integer",
    "integer for a float",
    "boolean for a number",
    "number for a boolean",
    "null",
    "list in another order",
    "empty text",
)


def _first(calls: Calls, keep: Callable[[Place], bool]) -> Place | None:
    return next((place for place in _places(calls) if keep(place)), None)


def _left_out(material: Material, *, required: bool, omittable: bool) -> Calls | None:
    calls = material.right(omit=False)

    def fits(place: Place) -> bool:
        wanted = material.accept[place.call]
        is_required = place.name in (material.schemas[wanted.name].get("required") or ())
        return is_required == required and ("" in wanted.arguments[place.name]) == omittable

    place = _first(calls, fits)
    return _without(calls, place) if place else None


def _unknown_argument(material: Material) -> Calls:
    return _with(material.right(omit=True), Place(0, "zz_unknown"), 1)


def _unexpected_argument(material: Material) -> Calls | None:
    """A parameter that the tool has and the accepted answer does not."""
    wanted = material.accept[0]
    known = material.schemas[wanted.name].get("properties") or {}
    name = next((name for name in known if name not in wanted.arguments), None)
    return _with(material.right(omit=True), Place(0, name), "x") if name else None


def _wrong_function(material: Material) -> Calls:
    calls = material.right(omit=False)
    return [ToolCall(f"{calls[0].name}_other", calls[0].arguments), *calls[1:]]


def _another_tool(material: Material) -> Calls | None:
    calls = material.right(omit=False)
    other = next((name for name in material.schemas if name != calls[0].name), None)
    return [ToolCall(other, calls[0].arguments), *calls[1:]] if other else None


def _several(make: Callable[[Calls, Material], Calls]) -> Callable[[Material], Calls | None]:
    def mutate(material: Material) -> Calls | None:
        calls = material.right(omit=True)
        return make(calls, material) if len(calls) > 1 else None

    return mutate


def _shuffled(calls: Calls, material: Material) -> Calls:
    return material.chance.sample(calls, len(calls))


def _mixed(material: Material) -> Calls | None:
    """Right calls with two arguments exchanged between them."""
    calls = material.right(omit=False)
    for one, other in pairwise(calls):
        shared = [name for name in one.arguments if name in other.arguments]
        different = [name for name in shared if one.arguments[name] != other.arguments[name]]
        if one.name == other.name and different:
            changed = _with(calls, Place(calls.index(one), different[0]), other.arguments[different[0]])
            return _with(changed, Place(calls.index(other), different[0]), one.arguments[different[0]])
    return None


MUTATIONS: dict[str, Callable[[Material], Calls | None]] = {
    "right": lambda material: material.right(omit=False),
    "right, optional left out": lambda material: material.right(omit=True),
    "right, second accepted values": lambda material: material.right(omit=False, pick=1),
    "right, last accepted values": lambda material: material.right(omit=True, pick=99),
    "required left out": lambda m: _left_out(m, required=True, omittable=False),
    "required left out though accepted": lambda m: _left_out(m, required=True, omittable=True),
    "optional left out though expected": lambda m: _left_out(m, required=False, omittable=False),
    "no arguments": lambda m: [ToolCall(call.name, {}) for call in m.right(omit=True)],
    "unknown argument": _unknown_argument,
    "unexpected argument": _unexpected_argument,
    "unknown function": _wrong_function,
    "another tool": _another_tool,
    "no call": lambda material: [],
    "extra call": lambda m: [*m.right(omit=True), m.right(omit=True)[0]],
    "missing call": _several(lambda calls, _: calls[:-1]),
    "calls in another order": _several(_shuffled),
    "calls reversed": _several(lambda calls, _: calls[::-1]),
    "one call twice": _several(lambda calls, _: [calls[0], *calls[:-1]]),
    "arguments exchanged": _mixed,
    **{name: on_value(change) for name, change in VALUE_CHANGES.items()},
    **{f"{name}, inside": on_value(inside(VALUE_CHANGES[name])) for name in INSIDE},
    **{f"{name}, deep inside": on_value(inside(inside(VALUE_CHANGES[name]))) for name in INSIDE},
}
