"""Rules for types, enums, numbers and strings: what differs, and values that may show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import chain, islice
from typing import Any, NamedTuple

from adaptman.toolspec.canonical import type_of, types_of
from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.engine import FORMAT_EXAMPLES
from adaptman.toolspec.findings import Finding, Samplers, Spot
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.merge import common_types
from adaptman.toolspec.patterns import UnsupportedPatternError, compile_pattern, example_texts
from adaptman.toolspec.samples import MAX_LENGTH, texts
from adaptman.toolspec.validate import shown

ALL_TYPES = ("array", "boolean", "null", "number", "object", "string")


def types_or_all(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that `node` allows."""
    return types_of(node) or ALL_TYPES


def type_words(node: Mapping[str, Any]) -> str:
    """`string`, `string or null`, `array of string`, `anything`."""
    types = types_of(node)
    if types is None:
        return "anything"
    items = node.get("items")
    inner = types_of(items) if isinstance(items, dict) else None
    words = [f"array of {' or '.join(inner)}" if kind == "array" and inner else kind for kind in types]
    return " or ".join(words)


def type_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    """Types that went and types that came."""
    old, new = types_or_all(spot.old), types_or_all(spot.new)
    gone = [kind for kind in old if not _allowed(kind, new)]
    came = [kind for kind in new if not _allowed(kind, old)]
    words = f"{spot.label}: {type_words(spot.old)} became {type_words(spot.new)}"
    if gone and set(gone) == {"null"} and not came:
        yield Finding("nullable-dropped", spot, f"{spot.label} may not be null any more", candidates=[None])
    elif gone:
        kind = "type-changed" if came or not common_types(old, new) else "type-narrowed"
        listed = (
            "items" in spot.new and came == ["array"] and set(old) & set(types_or_all_of(spot.new["items"]))
        )
        yield Finding(
            kind,
            spot,
            words + (", a list of what it was" if listed else ""),
            candidates=chain.from_iterable(_of_type(spot.old, kind, samplers) for kind in gone),
        )
    elif came and set(came) == {"null"}:
        yield Finding("nullable-added", spot, f"{spot.label} may be null now", ChangeClass.HABIT)
    elif came:
        yield Finding("type-widened", spot, words, ChangeClass.HABIT)


def types_or_all_of(node: Any) -> tuple[str, ...]:
    """Like `types_or_all`; none for the schema `false`."""
    return types_or_all(node) if isinstance(node, dict) else ()


def _allowed(kind: str, types: tuple[str, ...]) -> bool:
    return kind in types or (kind == "integer" and "number" in types)


def _of_type(node: Mapping[str, Any], kind: str, samplers: Samplers) -> list[Any]:
    if kind == "number":
        fractions = [value for base in (0.5, 1.5, 2.25) for value in (base, base + 10)]
        return [*fractions, *samplers.old.samples({**node, "type": kind})]
    return samplers.old.samples({**node, "type": kind})


def enum_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    """For schemas of which at least one has an enum; says all there is to say about the two."""
    old, new = spot.old.get("enum"), spot.new.get("enum")
    if old is None:
        if common_types(types_or_all(spot.old), types_or_all(spot.new)):
            pool = chain(samplers.old.samples(spot.old), _neighbours(new or []))
            reason = f"{spot.label} is limited to {_listed(new or [])} now"
            yield Finding("enum-narrowed", spot, reason, candidates=pool)
        else:
            yield from type_findings(spot, samplers)
        return
    wrong = _refused(old, spot.new, samplers)
    if new is None:
        yield from _enum_opened(spot, wrong, samplers)
        return
    known = {canonical_json(value) for value in old}
    fresh = [value for value in new if canonical_json(value) not in known]
    if len(old) == len(new) == 1 and wrong:
        reason = f"{spot.label} must be {shown(new[0])} now, it was {shown(old[0])}"
        yield Finding("const-changed", spot, reason, candidates=wrong)
        return
    if wrong:
        dropped = wrong == [None]
        reason = f"{spot.label} enum narrowed: {_listed(wrong)} no longer accepted"
        yield Finding("nullable-dropped" if dropped else "enum-narrowed", spot, reason, candidates=wrong)
    if fresh:
        reason = f"{spot.label} enum widened: {_listed(fresh)} accepted now"
        yield Finding("enum-widened", spot, reason, ChangeClass.HABIT)


def _refused(values: list[Any], node: dict[str, Any], samplers: Samplers) -> list[Any]:
    """Those of `values` that are not shown to be valid under `node`."""
    if node.keys() <= {"enum", "type"} and "enum" in node:
        allowed = {canonical_json(value) for value in node["enum"]}
        return [value for value in values if canonical_json(value) not in allowed]
    return [value for value in values if samplers.new.valid(node, value, counted=False) is not True]


def _enum_opened(spot: Spot, wrong: list[Any], samplers: Samplers) -> Iterator[Finding]:
    types = types_or_all(spot.new)
    if wrong and all(not _allowed(type_of(value), types) for value in spot.old["enum"]):
        yield from type_findings(spot, samplers)
    elif wrong:
        reason = f"{spot.label}: {_listed(wrong)} no longer accepted"
        yield Finding("enum-narrowed", spot, reason, candidates=wrong)
    else:
        reason = f"{spot.label} is no longer limited to a list: {type_words(spot.new)}"
        yield Finding("enum-widened", spot, reason, ChangeClass.HABIT)


def _neighbours(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, str):
            yield from (value + "x", value.swapcase())
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield from (value + 1, value - 1, value + 0.5)
    yield from ("other", 0, 1, 0.5, True, False, [], {}, None)


def _listed(values: list[Any]) -> str:
    text = ", ".join(shown(value, 40) for value in values[:6])
    return text + (f" and {len(values) - 6} more" if len(values) > 6 else "")


class _Bound(NamedTuple):
    """A bound of a number; `edge` is 1 where the bound itself is excluded."""

    value: Fraction
    edge: int

    def words(self, side: str) -> str:
        number = float(self.value)
        plain = int(number) if number.is_integer() else number
        at, beyond = ("at least", "above") if side == "low" else ("at most", "below")
        return f"{beyond if self.edge else at} {plain}"


def _bound(node: Mapping[str, Any], side: str) -> _Bound | None:
    plain, exclusive = ("minimum", "exclusiveMinimum") if side == "low" else ("maximum", "exclusiveMaximum")
    sign = 1 if side == "low" else -1
    found = [_Bound(Fraction(node[key]), edge) for key, edge in ((plain, 0), (exclusive, 1)) if key in node]
    if not found:
        return None
    tightest = max(found, key=lambda bound: (sign * bound.value, bound.edge))
    if types_of(node) == ("integer",):
        return _Bound(_whole(tightest, sign), 0)
    return tightest


def _whole(bound: _Bound, sign: int) -> Fraction:
    nearest = math.ceil(sign * bound.value)
    return Fraction(sign * (nearest + (1 if bound.edge and nearest == sign * bound.value else 0)))


def number_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    """Bounds and steps of numbers."""
    for side, sign, word in (("low", 1, "lower"), ("high", -1, "upper")):
        old, new = _bound(spot.old, side), _bound(spot.new, side)
        if old == new:
            continue
        tighter = old is None or (
            new is not None and (sign * new.value, new.edge) > (sign * old.value, old.edge)
        )
        before, now = (f"no {word} bound" if b is None else b.words(side) for b in (old, new))
        reason = f"{spot.label}: {now} now (was: {before})"
        if tighter and new is not None:
            pool = _near(new, sign, spot.old)
            yield Finding(
                "bounds-tightened", spot, reason, candidates=chain(pool, samplers.old.samples(spot.old))
            )
        else:
            yield Finding("bounds-loosened", spot, reason, ChangeClass.HABIT)
    yield from _step_findings(spot, samplers)


def _near(bound: _Bound, sign: int, node: Mapping[str, Any]) -> Iterator[Any]:
    """Values just outside of `bound`, then those at the bounds of `node`."""
    step = node.get("multipleOf", 1)
    edge = float(bound.value)
    if bound.edge:
        yield int(edge) if edge.is_integer() else edge
    for far in (1, 0.5, 0.25, 2, 10):
        value = edge - sign * far * step
        yield int(value) if value.is_integer() else value
    yield math.floor(edge) if sign > 0 else math.ceil(edge)
    outermost = _bound(node, "low" if sign > 0 else "high")
    if outermost is not None:
        middle = (edge + float(outermost.value)) / 2
        yield from (float(outermost.value), int(outermost.value), middle)


def _step_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    old, new = spot.old.get("multipleOf"), spot.new.get("multipleOf")
    if old == new:
        return
    reason = f"{spot.label}: multiples of {shown(new)} (were {shown(old)})"
    if new is None or (old is not None and Fraction(old) % Fraction(new) == 0):
        yield Finding("step-loosened", spot, reason, ChangeClass.HABIT)
        return
    step = 1 if old is None else old
    pool: list[int | float] = [step, 2 * step, 3 * step, 5 * step, 7 * step, -step]
    pool += [] if old is not None else [0.5, new / 2, new + 1, new + 0.5]
    yield Finding("step-tightened", spot, reason, candidates=chain(pool, samplers.old.samples(spot.old)))


def string_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    """Lengths, patterns and formats of strings."""
    yield from size_findings(spot, "Length", "length", "characters", _long_texts)
    yield from _pattern_findings(spot, samplers)
    yield from _format_findings(spot, samplers)


def size_findings(
    spot: Spot, suffix: str, kind: str, unit: str, candidates: Callable[[Spot, int], Iterator[Any]]
) -> Iterator[Finding]:
    """`minX` and `maxX`; `candidates` gives values of a wanted size."""
    for keyword, sign, word, default in (("min", 1, "at least", 0), ("max", -1, "at most", math.inf)):
        old = spot.old.get(keyword + suffix, default)
        new = spot.new.get(keyword + suffix, default)
        if old == new:
            continue
        words = [f"{word} {size} {unit}" if size not in (0, math.inf) else "no limit" for size in (new, old)]
        reason = f"{spot.label}: {words[0]} now (was: {words[1]})"
        if sign * new > sign * old:
            sizes = [new - sign] if new - sign <= MAX_LENGTH else []
            sizes += [old] if old <= MAX_LENGTH else []
            pool = chain.from_iterable(candidates(spot, int(size)) for size in sizes)
            yield Finding(f"{kind}-tightened", spot, reason, candidates=pool)
        else:
            yield Finding(f"{kind}-loosened", spot, reason, ChangeClass.HABIT)


def _long_texts(spot: Spot, size: int) -> Iterator[str]:
    yield "a" * size
    yield from texts({**spot.old, "minLength": max(size, spot.old.get("minLength", 0))})


def _pattern_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    old, new = spot.old.get("pattern"), spot.new.get("pattern")
    if old == new:
        return
    if new is None:
        reason = f"{spot.label} need not match `{shown(old)}` any more"
        yield Finding("pattern-loosened", spot, reason, ChangeClass.HABIT)
        return
    reason = f"{spot.label} must match the pattern {shown(new)} now"
    reason += "" if old is None else f" (was {shown(old)})"
    least = spot.old.get("minLength", 0)
    try:
        before = None if old is None else compile_pattern(old)
        differing = list(islice(example_texts(before, compile_pattern(new), at_least=least), 8))
    except UnsupportedPatternError as error:
        yield Finding(
            "pattern-changed", spot, f"{reason}; it cannot be decided: {error}", ChangeClass.UNKNOWN
        )
        return
    kind = "pattern-tightened" if old is None else "pattern-changed"
    yield Finding(kind, spot, reason, candidates=chain(samplers.old.samples(spot.old), differing))


def _format_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    old, new = spot.old.get("format"), spot.new.get("format")
    if old == new:
        return
    if new is None:
        reason = f"{spot.label} need not be in the format `{old}` any more"
        yield Finding("format-loosened", spot, reason, ChangeClass.HABIT)
        return
    reason = f"{spot.label} must be in the format `{new}` now" + (f" (was `{old}`)" if old else "")
    if new not in FORMAT_EXAMPLES:
        reason += "; what that allows is not known"
        yield Finding("format-changed", spot, reason, ChangeClass.UNKNOWN)
        return
    pool = chain(samplers.old.samples(spot.old), ["text", "a"])
    yield Finding("format-tightened" if old is None else "format-changed", spot, reason, candidates=pool)
