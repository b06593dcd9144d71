"""What became of the tools whose names are gone: renamed, merged into one, split into several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from adaptman.toolspec.assignment import Pairing, assign
from adaptman.toolspec.document import Tool
from adaptman.toolspec.likeness import LIKELY, ToolLikeness

_SURE = 0.97
_MAX_PAIRS = 40_000


class Move(NamedTuple):
    """Several tools that became one (`old` many, `new` one), or one that became several."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    likelihood: float


class Renames(NamedTuple):
    """What became of the tools whose names are gone."""

    pairs: tuple[Pairing, ...]
    merges: tuple[Move, ...]
    splits: tuple[Move, ...]


def find_renames(
    removed: Sequence[Tool],
    added: Sequence[Tool],
    likeness: ToolLikeness,
    denied: Collection[tuple[str, str | None]] = (),
) -> Renames:
    """Likely renames, merges and splits; `denied` holds (old, new) pairs, or (old, None) for any."""
    scores: dict[tuple[str, str], float] = {}
    merged: dict[tuple[str, str], float] = {}
    split: dict[tuple[str, str], float] = {}
    for old, new in worth_comparing(removed, added, likeness):
        if (old.name, new.name) in denied or (old.name, None) in denied:
            continue
        scores[old.name, new.name] = likeness(old, new)
        merged[old.name, new.name] = likeness.part_of(old, new)
        split[new.name, old.name] = likeness.part_of(new, old)
    same = {name for pair, likely in scores.items() if likely >= _SURE for name in pair}
    merges = _moves(merged, same)
    splits = [Move(move.new, move.old, move.likelihood) for move in _moves(split, same)]
    gone = {name for move in (*merges, *splits) for name in (*move.old, *move.new)}
    left = {pair: likely for pair, likely in scores.items() if likely >= LIKELY and not gone & set(pair)}
    return Renames(tuple(assign(left)), tuple(merges), tuple(splits))


def worth_comparing(
    removed: Sequence[Tool], added: Sequence[Tool], likeness: ToolLikeness
) -> Iterable[tuple[Tool, Tool]]:
    """All pairs; in large documents those that share a word that is rare there."""
    if len(removed) * len(added) <= _MAX_PAIRS:
        return ((old, new) for old in removed for new in added)
    by_word: dict[str, list[Tool]] = defaultdict(list)
    for tool in added:
        for word in likeness.words(tool):
            by_word[word].append(tool)
    return (
        pair
        for old in removed
        for pair in {
            new.name: (old, new)
            for word in likeness.words(old)
            for new in (by_word[word] if len(by_word[word]) <= 8 else ())
        }.values()
    )


def _moves(parts: Mapping[tuple[str, str], float], same: Collection[str]) -> list[Move]:
    """Wholes that several parts point to; what surely has another name only is no part."""
    best: dict[str, tuple[float, str]] = {}
    for (part, whole), likely in parts.items():
        if likely and part not in same and whole not in same:
            best[part] = max(best.get(part, (0.0, "")), (likely, whole))
    by_whole: dict[str, list[str]] = defaultdict(list)
    for part, (_, whole) in best.items():
        by_whole[whole].append(part)
    return [
        Move(tuple(found), (whole,), sum(best[part][0] for part in found) / len(found))
        for whole, found in by_whole.items()
        if len(found) > 1
    ]
