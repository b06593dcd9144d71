"""Which texts are nearly the same: the words that two have in common, as a share of those of either.

The likeness is the Jaccard index of the two bags of words, numbers among them, upper and lower case alike.
All pairs above a bound are found without comparing each with each: sorted by how rare they are, two such
texts share one of their first words (prefix filtering, Chaudhuri et al., ICDE 2006).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from adaptman.toolspec.jsontext import canonical_json

NEAR = 0.65
"""From here on two texts are nearly the same; of three words and more, one may always be another."""
_FEWEST = 3
_TINY = 1e-9
# Where no blanks stand between words (Thai, Chinese, Japanese, Korean), each character counts as one.
_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")

Bag = tuple[int, ...]
"""The words of a text by number, the rarest first; a word that stands there twice is two."""


class NearPair(NamedTuple):
    """Indices of two texts and their likeness, from the bound to 1."""

    left: int
    right: int
    likeness: float


def question_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What is asked: all that is said before the answer, which is the last message if the assistant's."""
    asked = messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages
    parts = []
    for message in asked:
        parts.append(str(message.get("content") or ""))
        if message.get("tool_calls"):
            parts.append(canonical_json(message["tool_calls"]))
    return "\n".join(parts)


def near_pairs(
    left: Sequence[str], right: Sequence[str] | None = None, *, least: float = NEAR
) -> list[NearPair]:
    """The pairs of texts of `left` and `right` that are nearly the same, in order: their likeness is at least
    `least`, or they have three words and more, of which one differs.

    Without `right` the pairs within `left`, each once. Texts without any word are like none.
    """
    within = right is None
    bags = _bags([*left, *(right or ())])
    mine, others = bags[: len(left)], bags if within else bags[len(left) :]
    index: dict[int, list[int]] = defaultdict(list)
    for number, bag in enumerate(others):
        for word in bag[: _prefix(len(bag), least)]:
            index[word].append(number)
    found = []
    for number, bag in enumerate(mine):
        for other in _candidates(bag, index, least):
            if within and other <= number:
                continue
            likeness = _near(bag, others[other], least)
            if likeness is not None:
                found.append(NearPair(number, other, likeness))
    return sorted(found)


def likeness_of(one: str, other: str) -> float:
    """The likeness of two texts, 0 to 1."""
    first, second = _bags([one, other])
    return _jaccard(first, second)[0]


def groups(count: int, pairs: Sequence[NearPair]) -> list[list[int]]:
    """The indices from 0 to `count`, together where a chain of pairs leads from one to the other."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for pair in pairs:
        low, high = sorted((root(pair.left), root(pair.right)))
        parent[high] = low
    found: dict[int, list[int]] = {}
    for index in range(count):
        found.setdefault(root(index), []).append(index)
    return list(found.values())


def _bags(texts: Sequence[str]) -> list[Bag]:
    """Each text as numbers; the same word for the second time in a text is another one."""
    counted = [_numbered(_WORD.findall(text.casefold())) for text in texts]
    frequency = Counter(word for words in counted for word in words)
    order = sorted(frequency, key=lambda word: (frequency[word], word))
    place = {word: number for number, word in enumerate(order)}
    return [tuple(sorted(place[word] for word in words)) for words in counted]


def _numbered(words: Sequence[str]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    found = []
    for word in words:
        found.append((word, seen[word]))
        seen[word] += 1
    return found


def _one_word(size: int) -> int:
    """So many words two texts of that size, or a word less, have in common when one word differs."""
    return size - 1 if size >= _FEWEST else size


def _prefix(size: int, least: float) -> int:
    """So many of the rarest words: a text that is near must hold one of them among its own."""
    return size - min(math.ceil(least * size - _TINY), _one_word(size)) + 1 if size else 0


def _candidates(bag: Bag, index: Mapping[int, list[int]], least: float) -> Iterator[int]:
    seen: set[int] = set()
    for word in bag[: _prefix(len(bag), least)]:
        for other in index.get(word, ()):
            if other not in seen:
                seen.add(other)
                yield other


def _near(one: Bag, other: Bag, least: float) -> float | None:
    """The likeness of two texts that are nearly the same."""
    small, large = sorted((len(one), len(other)))
    needed = min(least * large, _one_word(large) if small >= _FEWEST else large)
    if small < needed - _TINY:
        return None
    likeness, same = _jaccard(one, other)
    return likeness if likeness >= least - _TINY or (small >= _FEWEST and same >= large - 1) else None


def _jaccard(one: Bag, other: Bag) -> tuple[float, int]:
    same = len(set(one) & set(other))
    return (same / (len(one) + len(other) - same) if same else 0.0), same
