"""Two canonical schemas side by side: what is narrower, what is wider, and a value that shows it.

Covered: types, enums, bounds, lengths, formats, patterns (by their automata), objects, arrays, tuples,
null and other unions, recursion. Where `not`, `if`, overlapping `oneOf` or the like differ, examples are
tried; if none shows a narrowing, the answer is `unknown`, not `safe`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from adaptman.toolspec.canonical import Contract, types_of
from adaptman.toolspec.changes import Change, ChangeClass
from adaptman.toolspec.containers import (
    additional_spot,
    array_findings,
    item_spots,
    object_findings,
    object_parts,
    property_spot,
)
from adaptman.toolspec.findings import Finding, Samplers, Spot
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.keywords import ASSERTIONS, IN_PLACE_MAPS, LISTS, MAPS, ONE
from adaptman.toolspec.merge import CannotMergeError, common_types, conjoin
from adaptman.toolspec.samples import Sampler
from adaptman.toolspec.scalars import (
    enum_findings,
    number_findings,
    string_findings,
    type_findings,
    type_words,
    types_or_all,
    types_or_all_of,
)
from adaptman.toolspec.validate import shown

_HARD = frozenset(
    {
        *("not", "if", "then", "else", "allOf", "oneOf", "anyOf", "contains", "minContains", "maxContains"),
        *("patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)
"""Keywords that are compared as they stand; unions only when they cannot be taken apart."""
_UNIONS = frozenset({"allOf", "anyOf", "oneOf"})
_ONLY_WIDENS_WHEN_GONE = _HARD - {"patternProperties", "minContains", "maxContains", "if", "then", "else"}
_UNSAFE = (ChangeClass.BREAKING, ChangeClass.UNKNOWN)
MAX_CANDIDATES = 48
MAX_LIFTS = 4


def compare(old: Contract, new: Contract, hints: Collection[tuple[str, str]] = ()) -> list[Change]:
    """All changes from one contract to the other; each breaking one holds its witness.

    `hints` are parameter renames (old, new) found in other tools.
    """
    comparison = _Comparison(old, new, hints)
    root = Spot(old.schema, new.schema, "", lambda value: iter((value,)))
    comparison.visit(root)
    return comparison.changes


@dataclass
class _Comparison:
    old: Contract
    new: Contract
    hints: Collection[tuple[str, str]]
    changes: list[Change] = field(default_factory=list)
    _open: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.samplers = Samplers(Sampler(self.old), Sampler(self.new))
        self._same_definitions = canonical_json(self.old.definitions) == canonical_json(self.new.definitions)

    def visit(self, spot: Spot) -> None:
        """Compare the two schemas at `spot` and all below them."""
        key = (canonical_json(spot.old), canonical_json(spot.new))
        if (key[0] == key[1] and self._same(key[0])) or key in self._open:
            return
        self._open.add(key)
        spot = spot._replace(old=self.old.resolve(spot.old), new=self.new.resolve(spot.new))
        if spot.old is False or spot.new is False:
            self._forbidden(spot)
        else:
            self._told(spot)
            self._asserted(spot._replace(old=_asserted(spot.old), new=_asserted(spot.new)))
        self._open.discard(key)

    def _same(self, text: str) -> bool:
        return self._same_definitions or '"$ref"' not in text

    def _forbidden(self, spot: Spot) -> None:
        if spot.old is False and spot.new is not False:
            self._add(Finding("type-widened", spot, f"{spot.label} is allowed now", ChangeClass.HABIT))
        elif spot.old is not False:
            pool = self.samplers.old.samples(spot.old)
            self._add(
                Finding("type-narrowed", spot, f"{spot.label} is not allowed any more", candidates=pool)
            )

    def _told(self, spot: Spot) -> None:
        """Keywords that make no value invalid."""
        for keyword in sorted((spot.old.keys() | spot.new.keys()) - ASSERTIONS):
            before, now = spot.old.get(keyword), spot.new.get(keyword)
            absent = (keyword in spot.old) != (keyword in spot.new)
            if not absent and canonical_json(before) == canonical_json(now):
                continue
            kind, reason = _told_words(spot, keyword)
            self._add(Finding(kind, spot, reason, ChangeClass.MEANING))

    def _asserted(self, spot: Spot) -> None:
        spot = spot._replace(old=_flat(spot.old, self.old), new=_flat(spot.new, self.new))
        if spot.old is False or spot.new is False:
            self._forbidden(spot)
            return
        old, new = _branches(spot.old, self.old), _branches(spot.new, self.new)
        if old is not None and new is not None and len(old) * len(new) > 1:
            self._unions(spot, old, new)
            return
        if self._differing(spot) & _UNIONS:
            self._tried(spot)
            return
        self._hard(spot)
        self._plain(spot._replace(old=_without_hard(spot.old), new=_without_hard(spot.new)))

    def _plain(self, spot: Spot) -> None:
        if "enum" in spot.old or "enum" in spot.new:
            self._add_all(enum_findings(spot, self.samplers))
            return
        self._add_all(type_findings(spot, self.samplers))
        types = common_types(types_or_all(spot.old), types_or_all(spot.new))
        if "number" in types or "integer" in types:
            self._add_all(number_findings(spot, self.samplers))
        if "string" in types:
            self._add_all(string_findings(spot, self.samplers))
        if "object" in types:
            self._objects(spot)
        if "array" in types:
            self._add_all(array_findings(spot, self.samplers))
            for below in item_spots(spot, self.samplers):
                self.visit(below)

    def _objects(self, spot: Spot) -> None:
        parts = object_parts(spot, self.hints)
        self._add_all(object_findings(spot, parts, self.samplers))
        for name in parts.common:
            self.visit(property_spot(spot, name, self.samplers))
        for name, (new_name, _) in parts.renamed.items():
            self.visit(property_spot(spot, name, self.samplers, renamed_to=new_name))
        more = additional_spot(spot, self.samplers)
        if more is not None:
            self.visit(more)
        if spot.old.get("additionalProperties", {}) not in ({}, False):
            for name in parts.added:
                self.visit(property_spot(spot, name, self.samplers))

    def _unions(self, spot: Spot, old: list[Any], new: list[Any]) -> None:
        """Branches that both sides have cancel out; what is left is paired by type."""
        left = [branch for branch in old if not self._among(branch, new)]
        right = [branch for branch in new if not self._among(branch, old)]
        for branch in list(left):
            partner = self._partner(branch, right, alone=len(left) == 1 == len(right))
            if partner is not None:
                left.remove(branch)
                right.remove(partner)
                self.visit(spot._replace(old=branch, new=partner))
        for branch in left:
            self._branch_gone(spot, branch, new)
        for branch in right:
            null = branch.get("type") == "null"
            words = "may be null now" if null else f"may be {type_words(branch)} now"
            kind = "nullable-added" if null else "union-branch-added"
            self._add(Finding(kind, spot, f"{spot.label} {words}", ChangeClass.HABIT))

    def _among(self, branch: Any, others: list[Any]) -> bool:
        text = canonical_json(branch)
        return self._same(text) and any(canonical_json(other) == text for other in others)

    def _partner(self, branch: Any, others: list[Any], *, alone: bool) -> Any:
        """The branch that `branch` has become: of a common type, with the most property names in common."""
        kin = [
            other
            for other in others
            if common_types(
                types_or_all_of(self.old.resolve(branch)), types_or_all_of(self.new.resolve(other))
            )
        ]
        if not kin and alone and branch.get("type") != "null" and others[0].get("type") != "null":
            return others[0]
        names = self.old.resolve(branch).get("properties", {}).keys()
        return max(
            kin,
            key=lambda other: (
                self._same_constants(branch, other),
                len(names & self.new.resolve(other).get("properties", {}).keys()),
            ),
            default=None,
        )

    def _same_constants(self, one: Any, other: Any) -> int:
        """How many properties are fixed to the same value on both sides: what tells variants apart."""
        fixed = [_constants(self.old.resolve(one)), _constants(self.new.resolve(other))]
        return sum(1 for name in fixed[0].keys() & fixed[1].keys() if fixed[0][name] == fixed[1][name])

    def _branch_gone(self, spot: Spot, branch: Any, new: list[Any]) -> None:
        if any(self._covers(other, branch) for other in new):
            return
        pool = self.samplers.old.samples(branch)
        if branch.get("type") == "null":
            finding = Finding(
                "nullable-dropped", spot, f"{spot.label} may not be null any more", candidates=[None]
            )
        else:
            reason = f"{spot.label} may not be {type_words(branch)} of its former form any more"
            finding = Finding("union-branch-removed", spot, reason, candidates=pool)
        self._add(finding)

    def _covers(self, other: Any, branch: Any) -> bool:
        """Whether all that `branch` allowed is allowed by the one alternative `other`."""
        if not common_types(
            types_or_all_of(self.old.resolve(branch)), types_or_all_of(self.new.resolve(other))
        ):
            return False
        old, new = Contract(branch, self.old.definitions), Contract(other, self.new.definitions)
        inner = _Comparison(old, new, (), _open=set(self._open))
        inner.visit(Spot(branch, other, "", lambda value: iter((value,))))
        return not any(change.change_class in _UNSAFE for change in inner.changes)

    def _differing(self, spot: Spot) -> set[str]:
        """The hard keywords that are not the same on both sides."""

        def same(keyword: str) -> bool:
            text = canonical_json(spot.old.get(keyword))
            return text == canonical_json(spot.new.get(keyword)) and self._same(text)

        return {key for key in _HARD & (spot.old.keys() | spot.new.keys()) if not same(key)}

    def _tried(self, spot: Spot) -> None:
        """For alternatives that overlap: they cannot be compared one by one."""
        names = " and ".join(f"`{key}`" for key in sorted(self._differing(spot) & _UNIONS))
        pool = chain(*(self._tries(spot, keyword) for keyword in sorted(_UNIONS)))
        reason = f"{spot.label}: the alternatives of {names} have changed"
        self._add(Finding("condition-changed", spot, reason, candidates=pool))

    def _hard(self, spot: Spot) -> None:
        for keyword in sorted(self._differing(spot)):
            before, now = spot.old.get(keyword), spot.new.get(keyword)
            if now is None and keyword in _ONLY_WIDENS_WHEN_GONE:
                reason = f"{spot.label}: `{keyword}` is not asked for any more"
                self._add(Finding("condition-loosened", spot, reason, ChangeClass.HABIT))
                continue
            kind = "condition-tightened" if before is None else "condition-changed"
            reason = f"{spot.label}: `{keyword}` {'is asked for now' if before is None else 'has changed'}"
            self._add(Finding(kind, spot, reason, candidates=self._tries(spot, keyword)))

    def _tries(self, spot: Spot, keyword: str) -> Iterator[Any]:
        """Values that may show a difference in a keyword that is compared by trying."""
        yield from self.samplers.old.samples(spot.old)
        rest = {key: value for key, value in spot.old.items() if key != keyword}
        yield from self.samplers.old.samples(rest)
        for part in _schemas_in(keyword, spot.new.get(keyword)):
            yield from self.samplers.new.samples(part)
            try:
                yield from self.samplers.old.samples(conjoin(part, rest, self.old))
            except (CannotMergeError, KeyError):
                continue

    def _add_all(self, findings: Iterator[Finding]) -> None:
        for finding in findings:
            self._add(finding)

    def _add(self, finding: Finding) -> None:
        witness, verdict, reason = None, finding.change_class, finding.reason
        if verdict is None:
            witness = self._witness(finding)
            verdict = ChangeClass.UNKNOWN if witness is None else ChangeClass.BREAKING
            reason += "; no call was found that shows it" if witness is None else ""
        path = finding.spot.path if finding.path is None else finding.path
        self._append(Change(finding.kind, path, verdict, reason, witness, finding.to, finding.likelihood))

    def _append(self, change: Change) -> None:
        if not any(
            (c.kind, c.path, c.reason) == (change.kind, change.path, change.reason) for c in self.changes
        ):
            self.changes.append(change)

    def _witness(self, finding: Finding) -> dict[str, Any] | None:
        spot = finding.spot
        for value in islice(finding.candidates, MAX_CANDIDATES):
            if self.samplers.new.valid(spot.new, value) is not False:
                continue
            if not self.samplers.old.valid(spot.old, value):
                continue
            for arguments in islice(spot.lift(value), MAX_LIFTS):
                if self.confirms(arguments):
                    return dict(arguments)
        return None

    def confirms(self, arguments: Any) -> bool:
        """Whether `arguments` were right and are not any more."""
        return (
            isinstance(arguments, dict)
            and self.samplers.old.valid(self.old.schema, arguments) is True
            and self.samplers.new.valid(self.new.schema, arguments) is False
        )


def _asserted(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key in ASSERTIONS}


def _without_hard(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in _HARD}


def _flat(node: dict[str, Any], contract: Contract) -> Any:
    """`node` with `allOf` merged into it, where that can be said plainly."""
    if "allOf" not in node:
        return node
    merged: Any = {key: value for key, value in node.items() if key != "allOf"}
    try:
        for branch in node["allOf"]:
            merged = conjoin(merged, branch, contract)
    except CannotMergeError:
        return node
    return merged if merged is False else _asserted(merged)


def _branches(node: dict[str, Any], contract: Contract) -> list[Any] | None:
    """The alternatives of `node`, each with what stands beside them; None where they cannot be taken apart.

    A list of types counts as alternatives, too, and `oneOf` where no two can hold at once.
    """
    found = [keyword for keyword in ("anyOf", "oneOf") if keyword in node]
    if not found:
        return _by_type(node)
    if len(found) == 2 or (found == ["oneOf"] and not _exclusive(node["oneOf"], contract)):
        return None
    rest = {key: value for key, value in node.items() if key != found[0]}
    try:
        branches = [conjoin(rest, branch, contract) for branch in node[found[0]]]
    except CannotMergeError:
        return None
    asserted = [_asserted(contract.resolve(branch)) for branch in branches if branch is not False]
    flat = [part for branch in asserted for part in _branches(branch, contract) or [branch]]
    return flat if all(not _HARD & branch.keys() for branch in flat) else None


def _by_type(node: dict[str, Any]) -> list[Any]:
    types = types_of(node)
    if types is None or len(types) == 1:
        return [node]
    if "enum" in node:
        values = [value for value in node["enum"] if value is not None]
        if len(values) == len(node["enum"]) or not values:
            return [node]
        kinds = [kind for kind in types if kind != "null"]
        rest = {**node, "enum": values, "type": kinds[0] if len(kinds) == 1 else kinds}
        return [rest, {"type": "null"}]
    if set(types) - {"null"} and "null" in types:
        kinds = [kind for kind in types if kind != "null"]
        return [{**node, "type": kinds[0] if len(kinds) == 1 else kinds}, {"type": "null"}]
    return [node]


def _exclusive(branches: list[Any], contract: Contract) -> bool:
    """Whether no value is valid under two branches: other types, or another constant in one property."""
    resolved = [contract.resolve(branch) for branch in branches]
    pairs = ((a, b) for index, a in enumerate(resolved) for b in resolved[index + 1 :])
    return all(_disjoint(a, b) for a, b in pairs)


def _disjoint(one: Any, other: Any) -> bool:
    if one is False or other is False:
        return True
    if not common_types(types_or_all(one), types_or_all(other)):
        return True
    if "enum" in one and "enum" in other:
        return not {canonical_json(v) for v in one["enum"]} & {canonical_json(v) for v in other["enum"]}
    fixed = [_constants(node) for node in (one, other)]
    needed = [set(node.get("required", ())) for node in (one, other)]
    told_apart = needed[0] & needed[1] & fixed[0].keys() & fixed[1].keys()
    return types_of(one) == types_of(other) == ("object",) and (
        any(fixed[0][name] != fixed[1][name] for name in told_apart)
        or any(_refuses(other, name) for name in needed[0])
        or any(_refuses(one, name) for name in needed[1])
    )


def _refuses(node: Any, name: str) -> bool:
    """Whether an object may not have the property `name`."""
    unnamed = name not in node.get("properties", {}) and "patternProperties" not in node
    return unnamed and node.get("additionalProperties", {}) is False


def _constants(node: Any) -> dict[str, str]:
    """The properties that can have one value only, and that value."""
    named = node.get("properties", {}) if isinstance(node, dict) else {}
    return {
        name: canonical_json(schema["enum"][0])
        for name, schema in named.items()
        if isinstance(schema, dict) and len(schema.get("enum", ())) == 1
    }


def _schemas_in(keyword: str, value: Any) -> list[Any]:
    """The schemas that a keyword holds; those of names do not say what values are like."""
    if keyword in ONE or keyword in IN_PLACE_MAPS or keyword in LISTS:
        held = value if isinstance(value, list) else value.values() if keyword in MAPS and value else [value]
        return [schema for schema in held if isinstance(schema, dict)]
    return []


_TOLD = {"default": "default", "description": "description", "deprecated": "deprecation"}


def _told_words(spot: Spot, keyword: str) -> tuple[str, str]:
    kind = f"{_TOLD.get(keyword, 'annotation')}-changed"
    where = f"{spot.label}: " if spot.path else "the schema: "
    if keyword == "description":
        verb = "new" if keyword not in spot.old else "gone" if keyword not in spot.new else "reworded"
        return kind, f"{where}its description is {verb}"
    states = [shown(node[keyword]) if keyword in node else "none" for node in (spot.old, spot.new)]
    name = _TOLD.get(keyword, f"`{keyword}`")
    return kind, f"{where}its {name} is {states[1]} now (was {states[0]})"
