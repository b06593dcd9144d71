"""Rules for objects and arrays, and how a value of a part becomes a value of the whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.findings import Finding, Samplers, Spot, child_path
from adaptman.toolspec.likeness import parameter_renames
from adaptman.toolspec.merge import item_at
from adaptman.toolspec.samples import fresh_name, property_schema
from adaptman.toolspec.scalars import size_findings
from adaptman.toolspec.validate import shown


def common_example(old: Any, new: Any, samplers: Samplers) -> list[Any]:
    """One value of `old`, if possible one that is valid under `new`, too; empty where there is none."""
    pool = samplers.old.samples(old)
    good = [value for value in pool if samplers.new.valid(new, value)]
    return (good or pool)[:1]


def objects_with(spot: Spot, samplers: Samplers, name: str | None, values: Iterable[Any]) -> Iterator[Any]:
    """Objects that are as right on both sides as can be, and hold `name` with each of `values`.

    With `name` None they hold nothing in particular.
    """
    values = list(islice(values, 12)) if name is not None else [None]
    for base in _bases(spot, samplers, () if name is None else (name,)):
        for value in values:
            yield base if name is None else {**base, name: value}


def _bases(spot: Spot, samplers: Samplers, without: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Objects without the properties `without`: the fewest that both sides ask for, the old side's
    own, all.
    """
    old, new = spot.old, spot.new
    named = old.get("properties", {})
    needed = set(old.get("required", ()))
    shared = needed | (set(new.get("required", ())) & named.keys())
    for names in (shared, needed, needed | named.keys()):
        base: dict[str, Any] = {}
        for name in sorted(names - set(without)):
            found = common_example(property_schema(old, name), property_schema(new, name), samplers)
            base |= {name: found[0]} if found else {}
        yield base
        if samplers.old.valid(old, base) is False:
            filled = samplers.old.filled(old, [n for n in base if n not in set(without)])
            yield from [] if filled is None else [filled]


def property_spot(spot: Spot, name: str, samplers: Samplers, *, renamed_to: str | None = None) -> Spot:
    """The place of a property below `spot`."""
    new_name = name if renamed_to is None else renamed_to

    def lift(value: Any) -> Iterator[Any]:
        for whole in objects_with(spot, samplers, name, [value]):
            yield from spot.lift(whole)

    path = child_path(spot.path, new_name)
    return Spot(property_schema(spot.old, name), property_schema(spot.new, new_name), path, lift)


class ObjectParts(NamedTuple):
    """The properties of two objects, paired: by name and by likeness."""

    common: list[str]
    removed: list[str]
    added: list[str]
    renamed: dict[str, tuple[str, float]]


def object_parts(spot: Spot, hints: Collection[tuple[str, str]] = ()) -> ObjectParts:
    """Which properties stayed, went, came, or go by another name now."""
    old, new = spot.old.get("properties", {}), spot.new.get("properties", {})
    removed = [name for name in old if name not in new and old[name] is not False]
    added = [name for name in new if name not in old and new[name] is not False]
    needed_old, needed_new = set(spot.old.get("required", ())), set(spot.new.get("required", ()))
    renamed = parameter_renames(
        {name: (old[name], name in needed_old) for name in removed},
        {name: (new[name], name in needed_new) for name in added},
        hints,
    )
    taken = {new_name for new_name, _ in renamed.values()}
    return ObjectParts(
        [name for name in old if name in new],
        [name for name in removed if name not in renamed],
        [name for name in added if name not in taken],
        renamed,
    )


def object_findings(spot: Spot, parts: ObjectParts, samplers: Samplers) -> Iterator[Finding]:
    """What came, went or is required now; the properties' own schemas are compared elsewhere."""
    for name, (new_name, likely) in parts.renamed.items():
        yield _renamed(spot, name, new_name, likely, samplers)
    for name in parts.removed:
        yield _removed(spot, name, samplers)
    for name in parts.added:
        yield _added(spot, name, samplers)
    yield from _required(spot, parts, samplers)
    yield from _openness(spot, samplers)
    yield from size_findings(spot, "Properties", "property-count", "properties", _sized(spot, samplers))


def _renamed(spot: Spot, name: str, new_name: str, likely: float, samplers: Samplers) -> Finding:
    path, to = child_path(spot.path, name), child_path(spot.path, new_name)
    reason = f"`{path}` is called `{to}` now ({likely:.2f} likely)"
    must = new_name in spot.new.get("required", ())
    safe = not must and spot.new.get("additionalProperties", {}) == {}
    pool = samplers.old.samples(property_schema(spot.old, name))
    return Finding(
        "parameter-renamed",
        spot,
        reason + ("; the old name is ignored at best" if safe else ""),
        ChangeClass.MEANING if safe else None,
        objects_with(spot, samplers, name, pool),
        to=to,
        path=path,
        likelihood=round(likely, 4),
    )


def _removed(spot: Spot, name: str, samplers: Samplers) -> Finding:
    path = child_path(spot.path, name)
    pool = samplers.old.samples(property_schema(spot.old, name))
    if spot.new.get("additionalProperties", {}) == {} and "patternProperties" not in spot.new:
        reason = f"`{path}` is gone; calls that give it are still valid, but nothing says what it does"
        return Finding("parameter-removed", spot, reason, ChangeClass.MEANING, path=path)
    reason = f"`{path}` is gone, and names that are not listed are refused"
    found = objects_with(spot, samplers, name, pool)
    return Finding("parameter-removed", spot, reason, candidates=found, path=path)


def _added(spot: Spot, name: str, samplers: Samplers) -> Finding:
    path = child_path(spot.path, name)
    if name in spot.new.get("required", ()):
        told = _default_words(spot.new["properties"][name])
        found = objects_with(spot, samplers, None, ())
        return Finding(
            "parameter-added-required", spot, f"`{path}` is new and required{told}", None, found, path=path
        )
    return Finding("parameter-added", spot, f"`{path}` is new, optional", ChangeClass.HABIT, path=path)


def _default_words(schema: Any) -> str:
    if isinstance(schema, dict) and "default" in schema:
        return f", though it has a default ({shown(schema['default'], 30)})"
    return ""


def _required(spot: Spot, parts: ObjectParts, samplers: Samplers) -> Iterator[Finding]:
    old, new = set(spot.old.get("required", ())), set(spot.new.get("required", ()))
    fresh = new - old - set(parts.added) - {name for name, _ in parts.renamed.values()}
    for name in sorted(fresh):
        path = child_path(spot.path, name)
        told = _default_words(property_schema(spot.new, name))
        found = _bases(spot, samplers, (name,))
        yield Finding("now-required", spot, f"`{path}` is required now{told}", candidates=found, path=path)
    for name in sorted(old - new):
        path = child_path(spot.path, name)
        if name in parts.common:
            yield Finding("now-optional", spot, f"`{path}` is optional now", ChangeClass.HABIT, path=path)


def _openness(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    old = spot.old.get("additionalProperties", {})
    new = spot.new.get("additionalProperties", {})
    if new is False and old is not False:
        pool = [*samplers.old.samples(old, 2), "x", 1]
        name = fresh_name({**spot.old.get("properties", {}), **spot.new.get("properties", {})})
        reason = f"{spot.label}: names that are not listed are refused now"
        found = objects_with(spot, samplers, name, pool)
        yield Finding("additional-properties-closed", spot, reason, candidates=found)
    elif old is False and new == {}:
        reason = f"{spot.label}: names that are not listed are no longer refused"
        yield Finding("additional-properties-opened", spot, reason, ChangeClass.BYTES)
    elif old is False and new is not False:
        reason = f"{spot.label}: further properties are taken now"
        yield Finding("additional-properties-opened", spot, reason, ChangeClass.HABIT)


def additional_spot(spot: Spot, samplers: Samplers) -> Spot | None:
    """The place of the properties that are not named, where both sides have a schema for them."""
    old, new = spot.old.get("additionalProperties", {}), spot.new.get("additionalProperties", {})
    if old is False or new is False or new == {} == old:
        return None
    name = fresh_name({**spot.old.get("properties", {}), **spot.new.get("properties", {})})
    below = property_spot(spot, name, samplers)
    return below._replace(old=old, new=new, path=child_path(spot.path, "*"))


def _sized(spot: Spot, samplers: Samplers) -> Any:
    def candidates(_: Spot, size: int) -> Iterator[Any]:
        named = spot.old.get("properties", {})
        base: dict[str, Any] = next(objects_with(spot, samplers, None, ()), {})
        names = chain((n for n in named if n not in base), (f"extra{number}" for number in range(size)))
        whole = dict(base)
        while len(whole) < size:
            name = next(names)
            pool = samplers.old.samples(property_schema(spot.old, name), 1)
            whole[name] = pool[0] if pool else "x"
        yield whole

    return candidates


def item_spots(spot: Spot, samplers: Samplers) -> Iterator[Spot]:
    """The places of the items: each one that has a schema of its own, then the rest."""
    first_old, first_new = spot.old.get("prefixItems", []), spot.new.get("prefixItems", [])
    rest_old, rest_new = spot.old.get("items", {}), spot.new.get("items", {})
    places = max(len(first_old), len(first_new))
    for index in range(places):
        old, new = item_at(first_old, rest_old, index), item_at(first_new, rest_new, index)
        yield Spot(old, new, f"{spot.path}[{index}]", _item_lift(spot, samplers, index))
    if rest_old is not False:
        yield Spot(rest_old, rest_new, f"{spot.path}[]", _item_lift(spot, samplers, places))


def _item_lift(spot: Spot, samplers: Samplers, index: int) -> Any:
    def lift(value: Any) -> Iterator[Any]:
        for whole in _arrays_with(spot, samplers, index, value):
            yield from spot.lift(whole)

    return lift


def _arrays_with(spot: Spot, samplers: Samplers, index: int, value: Any) -> Iterator[list[Any]]:
    old, new = spot.old, spot.new
    pools = [
        common_example(
            item_at(old.get("prefixItems", []), old.get("items", {}), place),
            item_at(new.get("prefixItems", []), new.get("items", {}), place),
            samplers,
        )
        for place in range(index)
    ]
    head = [pool[0] if pool else None for pool in pools]
    least = min(old.get("minItems", 0), 200)
    missing = max(least - len(head) - 1, 0)
    yield [*head, value, *([value] * missing)]
    others = [item for item in samplers.old.samples(old.get("items", {}), 12) if item != value]
    if missing and others:
        yield [*head, value, *(others * missing)[:missing]]
        yield [*head, value, *others[:missing]]


def array_findings(spot: Spot, samplers: Samplers) -> Iterator[Finding]:
    """How many items there are, and whether they may repeat; the items are compared elsewhere."""
    yield from size_findings(spot, "Items", "item-count", "items", _arrays_of(samplers))
    old, new = spot.old.get("uniqueItems", False), spot.new.get("uniqueItems", False)
    if new and not old:
        pool = samplers.old.samples(spot.old.get("items", {}), 4)
        twice = [[item] * max(2, min(spot.old.get("minItems", 0), 200)) for item in pool]
        reason = f"{spot.label}: no item may stand twice now"
        yield Finding("unique-items-added", spot, reason, candidates=twice)
    elif old and not new:
        reason = f"{spot.label}: items may repeat now"
        yield Finding("unique-items-dropped", spot, reason, ChangeClass.HABIT)
    if spot.old.get("items", {}) is False and spot.new.get("items", {}) is not False:
        yield Finding("items-opened", spot, f"{spot.label}: may have more items now", ChangeClass.HABIT)


def _arrays_of(samplers: Samplers) -> Any:
    def candidates(spot: Spot, size: int) -> Iterator[Any]:
        size = min(size, 300)
        first: list[Any] = spot.old.get("prefixItems", [])
        head = [pool[0] for pool in (samplers.old.samples(item, 1) for item in first) if pool][:size]
        rest: Any = spot.old.get("items", {})
        good = common_example(rest, spot.new.get("items", {}), samplers)
        yield [*head, *(good * (size - len(head)))]
        pool = samplers.old.samples(rest)
        distinct = [*pool, *(f"a{number}" for number in range(size)), *range(size)]
        yield [*head, *distinct[: size - len(head)]]
        yield [*head, *range(100, 100 + size - len(head))]

    return candidates
