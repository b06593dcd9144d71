"""Two tool documents side by side."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.assignment import Pairing
from adaptman.toolspec.changes import Change, ChangeClass, ChangeSet, ToolChange
from adaptman.toolspec.containers import object_parts
from adaptman.toolspec.describe import describe
from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.findings import Spot
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.likeness import ToolLikeness
from adaptman.toolspec.renames import Renames, find_renames, worth_comparing
from adaptman.toolspec.samples import Sampler
from adaptman.toolspec.subsumption import compare
from adaptman.toolspec.validate import shown

__all__ = ["describe", "diff", "tool_changes"]

_NO_RENAMES: Mapping[str, str] = {}
_OVERLAP = 0.9
_LIKELY_ALONE = 0.6


def diff(
    old: ToolDocument | None,
    new: ToolDocument,
    *,
    renamed: Mapping[str, str] = _NO_RENAMES,
    not_renamed: Collection[str] = (),
) -> ChangeSet:
    """What changed from `old` (None: there was none) to `new`.

    `renamed` confirms renames (old name → new name). `not_renamed` denies them: an old name, or
    `old=new` for one guess only.

    Raises:
        ToolDocumentError: `renamed` or `not_renamed` names a tool that is not there.
    """
    before = old.tools if old is not None else ()
    _check_names(before, new, renamed, not_renamed)
    return _Diff(before, new, renamed, not_renamed).changes()


def _check_names(
    before: Sequence[Tool], new: ToolDocument, renamed: Mapping[str, str], not_renamed: Collection[str]
) -> None:
    known = {tool.name for tool in before}
    for old_name, new_name in renamed.items():
        missing = old_name if old_name not in known else new_name if new.get(new_name) is None else None
        if missing is not None:
            which = "old" if missing == old_name else "new"
            raise ToolDocumentError(
                f"`{missing}` cannot be renamed: the {which} document has no such tool",
                hint="write `old=new`, both as the documents write them",
            )
        if new.get(old_name) is not None and old_name not in renamed.values():
            raise ToolDocumentError(
                f"`{old_name}` was not renamed to `{new_name}`: the new document still has it",
                hint="a tool that is copied under another name is an added one",
            )
    if len(set(renamed.values())) < len(renamed):
        raise ToolDocumentError("two tools cannot be renamed to one", hint="confirm one of the two renames")
    for denied in not_renamed:
        if denied.partition("=")[0] not in known and denied not in known:
            raise ToolDocumentError(
                f"`{denied}` is not a tool of the old document",
                hint="deny a rename by the tool's old name, or by `old=new`",
            )


def _denied(not_renamed: Collection[str]) -> set[tuple[str, str | None]]:
    pairs = (text.partition("=") for text in not_renamed)
    return {(old, new or None) for old, _, new in pairs}


class _Diff:
    """Two documents, and what is known of them as a whole."""

    def __init__(
        self,
        before: Sequence[Tool],
        new: ToolDocument,
        renamed: Mapping[str, str],
        not_renamed: Collection[str],
    ) -> None:
        self.before, self.new = before, new
        self.known = {tool.name: tool for tool in before}
        claimed = set(renamed.values())
        self.removed = [
            tool
            for tool in before
            if tool.name not in renamed and (new.get(tool.name) is None or tool.name in claimed)
        ]
        self.added = [tool for tool in new.tools if tool.name not in claimed and tool.name not in self.known]
        self.likeness = ToolLikeness(before, new.tools)
        self.found = find_renames(self.removed, self.added, self.likeness, _denied(not_renamed))
        self.sources = {pair.new: pair for pair in self.found.pairs}
        self.sources |= {name: Pairing(old_name, name, 1.0) for old_name, name in renamed.items()}
        self.hints = self._parameter_hints()
        self.overlaps = self._overlaps()

    def changes(self) -> ChangeSet:
        """The tools of the new document, then those that are gone."""
        moved = {pair.old for pair in self.sources.values()}
        gone = [_gone(tool, self.found) for tool in self.removed if tool.name not in moved]
        return ChangeSet((*(self._tool(tool) for tool in self.new.tools), *gone))

    def _former(self, tool: Tool) -> Tool | None:
        pair = self.sources.get(tool.name)
        return self.known.get(tool.name if pair is None else pair.old)

    def _tool(self, tool: Tool) -> ToolChange:
        former = self._former(tool)
        if former is None:
            return ToolChange("added", tool.name, changes=tuple(self._added(tool)))
        changes = tuple(tool_changes(former, tool, self.hints))
        if tool.name in self.sources:
            return _renamed(former, tool, self.sources[tool.name].likelihood, changes)
        real = any(change.change_class is not ChangeClass.BYTES for change in changes)
        return ToolChange("changed" if real else "unchanged", tool.name, changes=changes)

    def _parameter_hints(self) -> set[tuple[str, str]]:
        """Parameter renames that several tools hint at, or one makes likely by itself."""
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for tool in self.new.tools:
            former = self._former(tool)
            if former is None or former.contract == tool.contract:
                continue
            spot = Spot(former.contract.schema, tool.contract.schema, "", lambda _: iter(()))
            for old_name, (name, likely) in object_parts(spot).renamed.items():
                found[old_name, name].append(likely)
        return {pair for pair, likely in found.items() if len(likely) > 1 or likely[0] >= _LIKELY_ALONE}

    def _overlaps(self) -> dict[str, str]:
        """Added tools that are very like one that stays."""
        gone = {tool.name for tool in self.removed} | {pair.old for pair in self.sources.values()}
        stayed = [tool for tool in self.before if tool.name not in gone and tool.description]
        best: dict[str, tuple[float, str]] = {}
        for old, new in worth_comparing(stayed, self.added, self.likeness) if self.added else ():
            likely = self.likeness(old, new) if new.description else 0.0
            if likely >= _OVERLAP:
                best[new.name] = max(best.get(new.name, (0.0, "")), (likely, old.name))
        return {name: near for name, (_, near) in best.items()}

    def _added(self, tool: Tool) -> Iterator[Change]:
        for move in (*self.found.merges, *self.found.splits):
            if tool.name in move.new:
                merged = len(move.old) > 1
                words = "does now what {} did" if merged else "a part of what {} did"
                reason = words.format(_names(move.old)) + f", as it seems ({move.likelihood:.2f} likely)"
                yield Change("merged-from" if merged else "split-from", "", ChangeClass.HABIT, reason)
                return
        if tool.name in self.overlaps:
            reason = f"its purpose overlaps with that of `{self.overlaps[tool.name]}`"
            yield Change("purpose-overlaps", "", ChangeClass.MEANING, reason)


def _names(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _renamed(old: Tool, new: Tool, likelihood: float, changes: Iterable[Change]) -> ToolChange:
    reason = f"`{old.name}` is called `{new.name}` now"
    reason += "" if likelihood == 1.0 else f", as it seems ({likelihood:.2f} likely)"
    head = _lost(old, "tool-renamed", reason, to=new.name)
    below = (change for change in changes if change.change_class is not ChangeClass.BYTES)
    return ToolChange("renamed", new.name, old.name, round(likelihood, 4), (head, *below))


def _gone(tool: Tool, found: Renames) -> ToolChange:
    kind, to, reason = "tool-removed", "", "the tool is gone"
    for move in (*found.merges, *found.splits):
        if tool.name in move.old:
            kind = "tool-merged" if len(move.old) > 1 else "tool-split"
            to = ", ".join(move.new)
            reason = f"the tool is gone; {_names(move.new)} does that now, as it seems"
            reason += f" ({move.likelihood:.2f} likely)"
    return ToolChange("removed", tool.name, changes=(_lost(tool, kind, reason, to=to),))


def _lost(tool: Tool, kind: str, reason: str, *, to: str = "") -> Change:
    """Every call of the tool is wrong now; one is shown, if the tool could be called at all."""
    calls = Sampler(tool.contract).samples(tool.contract.schema, 1)
    if not calls:
        return Change(kind, "", ChangeClass.UNKNOWN, f"{reason}; no call of it could be made", to=to)
    return Change(kind, "", ChangeClass.BREAKING, reason, calls[0], to)


def tool_changes(old: Tool, new: Tool, hints: Collection[tuple[str, str]] = ()) -> Iterator[Change]:
    """The changes of one tool; a change of its name is not among them."""
    if old.description != new.description:
        verb = "new" if not old.description else "gone" if not new.description else "reworded"
        yield Change("description-changed", "", ChangeClass.MEANING, f"the tool's description is {verb}")
    yield from _annotation_changes(old, new)
    found = compare(old.contract, new.contract, hints)
    yield from _moved(found)
    if not found:
        yield from _rendering(old, new)


def _annotation_changes(old: Tool, new: Tool) -> Iterator[Change]:
    """A hint that is told for the first time is no flip: the server knew it before, too."""
    for name in sorted((old.annotations.keys() | new.annotations.keys()) - {"title"}):
        before, now = old.annotations.get(name), new.annotations.get(name)
        if canonical_json(before) == canonical_json(now):
            continue
        if before is None or now is None:
            verb = f"is told: {shown(now)}" if before is None else "is not told any more"
            yield Change("annotation-told", "", ChangeClass.BYTES, f"the hint `{name}` {verb}")
        else:
            reason = f"the hint `{name}` was {shown(before)} and is {shown(now)} now"
            yield Change("annotations-changed", "", ChangeClass.MEANING, reason)


def _moved(changes: list[Change]) -> list[Change]:
    """A parameter that is gone at one level and new at another has moved."""
    came = {
        change.path.rpartition(".")[2]: change
        for change in changes
        if change.kind.startswith("parameter-added")
    }
    result = []
    for change in changes:
        arrival = came.get(change.path.rpartition(".")[2])
        if change.kind == "parameter-removed" and arrival is not None and arrival.path != change.path:
            reason = f"`{change.path}` is at `{arrival.path}` now"
            change = replace(change, kind="parameter-moved", reason=reason, to=arrival.path)
        result.append(change)
    return result


def _rendering(old: Tool, new: Tool) -> Iterator[Change]:
    before, now = _as_written(old), _as_written(new)
    if json.dumps(before) == json.dumps(now) or old.description != new.description:
        return
    same = canonical_json(before) == canonical_json(now)
    what = "its keys stand in another order" if same else "the same contract in other words of JSON Schema"
    yield Change("rendering", "", ChangeClass.BYTES, what)


def _as_written(tool: Tool) -> Any:
    return [tool.as_function(), tool.parameters]
