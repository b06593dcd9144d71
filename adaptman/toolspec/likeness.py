"""How alike two tools or two parameters are: their names, their descriptions, their parameters.

Names are split at case and punctuation, and a word that many tools share weighs less.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from adaptman.toolspec.assignment import assign
from adaptman.toolspec.canonical import types_of
from adaptman.toolspec.document import Tool
from adaptman.toolspec.jsontext import canonical_json

LIKELY = 0.5
_MAX_PAIRS = 10_000
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_0-9a-zA-Z]+")
_EMPTY = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "for",
        "from",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "this",
        "to",
        "use",
        "used",
        "uses",
        "using",
        "when",
        "which",
        "will",
        "with",
        "you",
        "your",
    ]
)
_GENERIC = frozenset(
    [
        "get",
        "list",
        "do",
        "run",
        "make",
        "fetch",
        "trigger",
        "execute",
        "perform",
        "return",
        "returns",
        "set",
        "new",
    ]
)

Words = frozenset[str]


@lru_cache(maxsize=4_096)
def words_of(text: str) -> Words:
    """The words of a name or a sentence: split at case and punctuation, lower case, without plurals."""
    found = (word.lower() for word in _WORDS.findall(text))
    return frozenset(_stem(word) for word in found if word not in _EMPTY)


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word


Weights = Callable[[str], float]


def word_weights(texts: Iterable[Words]) -> Weights:
    """Rare words weigh more: log(1 + n / n with the word); generic verbs weigh half."""
    all_texts = list(texts)
    counts = Counter(word for words in all_texts for word in words)

    def weight(word: str) -> float:
        rare = math.log(1 + len(all_texts) / counts[word]) if counts[word] else math.log(1 + len(all_texts))
        return rare * (0.5 if word in _GENERIC else 1.0)

    return weight


def words_likeness(one: Words, other: Words, weight: Weights) -> float:
    """Weighted Dice coefficient, 0 to 1; words of which one begins the other count as near."""
    total = sum(map(weight, one)) + sum(map(weight, other))
    if not total:
        return 0.0
    same = sum(2 * weight(word) for word in one & other)
    left, right = one - other, set(other - one)
    for word in sorted(left):
        near = next((w for w in sorted(right) if _near(word, w)), None)
        if near is not None:
            right.discard(near)
            same += 0.8 * (weight(word) + weight(near))
    return same / total


def _near(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return len(short) >= 3 and long.startswith(short)


def _likelihood(evidence: Sequence[tuple[float, float]]) -> float:
    """From (weight, likeness) to a likelihood: a logistic curve, 0.5 at a mean likeness of 0.42.

    A guess is never certain: 1.0 is for what an author confirmed.
    """
    total = sum(weight for weight, _ in evidence)
    mean = sum(weight * value for weight, value in evidence) / total if total else 0.0
    return min(1 / (1 + math.exp(-11 * (mean - 0.42))), 0.99)


class _Portrait(NamedTuple):
    """What is compared of a tool."""

    name: Words
    description: Words
    parameters: dict[str, tuple[str, ...]]
    vocabulary: Words
    """All words of the tool: also those of its parameters and of their enums."""


def _portrait(tool: Tool) -> _Portrait:
    properties = tool.contract.schema.get("properties", {})
    kinds = {name: _kinds(schema) for name, schema in properties.items()}
    name, text = words_of(tool.name), words_of(tool.description)
    enums = (
        value
        for schema in properties.values()
        if isinstance(schema, dict)
        for value in schema.get("enum", ())
    )
    more = words_of(" ".join([*properties, *(value for value in enums if isinstance(value, str))]))
    return _Portrait(name, text, kinds, name | text | more)


def _kinds(schema: Any) -> tuple[str, ...]:
    return (types_of(schema) or ()) if isinstance(schema, dict) else ()


class ToolLikeness:
    """How likely a tool of the old document is one of the new; rare words are rare among both."""

    def __init__(self, old: Sequence[Tool], new: Sequence[Tool]) -> None:
        self._portraits = {id(tool): _portrait(tool) for tool in (*old, *new)}
        self._keep_alive = (old, new)
        portraits = self._portraits.values()
        self._name_weight = word_weights(p.name for p in portraits)
        self._text_weight = word_weights(p.description for p in portraits)
        self._parameter_weight = word_weights(frozenset(p.parameters) for p in portraits)

    @cached_property
    def _known(self) -> dict[tuple[int, int], float]:
        return {}

    def __call__(self, old: Tool, new: Tool) -> float:
        key = (id(old), id(new))
        if key not in self._known:
            self._known[key] = self._compare(self._portraits[key[0]], self._portraits[key[1]])
        return self._known[key]

    def _compare(self, one: _Portrait, other: _Portrait) -> float:
        evidence = [(0.35, words_likeness(one.name, other.name, self._name_weight))]
        if one.description and other.description:
            text = words_likeness(one.description, other.description, self._text_weight)
            evidence.append((0.4, text))
        if one.parameters or other.parameters:
            evidence.append(self._parameters(one.parameters, other.parameters))
        return _likelihood(evidence)

    def _parameters(
        self, one: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]
    ) -> tuple[float, float]:
        """Weighted Dice coefficient of the parameters' names, and how much it says.

        Another type counts less; names that all tools have say little.
        """
        weight = self._parameter_weight
        names = [*one, *other]
        total = sum(map(weight, names))
        shared = one.keys() & other.keys()
        same = sum(2 * weight(name) * (1.0 if one[name] == other[name] else 0.7) for name in shared)
        rarity = total / len(names) / math.log(1 + len(self._portraits))
        return 0.25 * min(rarity, 1.0), same / total

    def part_of(self, part: Tool, whole: Tool) -> float:
        """How likely `whole` does, among other things, what `part` does; 0 where nothing points there.

        All words of the part's name must be words of the whole, and one of them, not common to all
        tools, must be in its name.
        """
        small, large = self._portraits[id(part)], self._portraits[id(whole)]
        if not small.name or not small.name <= large.vocabulary:
            return 0.0
        own = (small.name & large.name) - _GENERIC - self._common_words
        if not own:
            return 0.0
        weight = self._text_weight
        total = sum(map(weight, small.description))
        told = sum(map(weight, small.description & large.vocabulary)) / total if total else 0.5
        return 0.5 + 0.45 * told

    @cached_property
    def _common_words(self) -> Words:
        """Words of more than half of the tools' names, as `browser` in `browser_click`."""
        counts = Counter(word for portrait in self._portraits.values() for word in portrait.name)
        return frozenset(word for word, count in counts.items() if count > len(self._portraits) / 2 > 3)

    def words(self, tool: Tool) -> Words:
        """The words of the tool's name and description."""
        portrait = self._portraits[id(tool)]
        return portrait.name | portrait.description


Parameters = Mapping[str, tuple[Any, bool]]
"""Schema and whether it is required, by name."""


def parameter_renames(
    removed: Parameters, added: Parameters, hints: Collection[tuple[str, str]] = ()
) -> dict[str, tuple[str, float]]:
    """Old name → new name and its likelihood, for the parameters of one object.

    `hints` are renames that were found in other tools of the document: authors rename everywhere at once.
    """
    alone = len(removed) == 1 == len(added)
    many = len(removed) * len(added) > _MAX_PAIRS
    scores = {}
    for old, (old_schema, old_needed) in removed.items():
        for new, (new_schema, new_needed) in added.items():
            if not isinstance(old_schema, dict) or not isinstance(new_schema, dict):
                continue
            if many and not words_of(old) & words_of(new):
                continue
            name = 1.0 if (old, new) in hints else words_likeness(words_of(old), words_of(new), _evenly)
            likely = _parameter_likelihood(name, old_schema, new_schema)
            if alone and old_needed == new_needed and _comparable(old_schema, new_schema):
                likely = max(likely, 0.55)
            if likely >= LIKELY:
                scores[old, new] = likely
    return {pair.old: (pair.new, pair.likelihood) for pair in assign(scores)}


def _evenly(_: str) -> float:
    return 1.0


def _comparable(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Of the same type, and without descriptions that tell the two apart."""
    told = old.get("description") and new.get("description")
    return types_of(old) == types_of(new) and not told


def _parameter_likelihood(name: float, old: dict[str, Any], new: dict[str, Any]) -> float:
    evidence = [(0.4, name), (0.2, _shape_likeness(old, new))]
    texts = [words_of(schema.get("description", "")) for schema in (old, new)]
    if all(texts):
        kept = len(texts[0] & texts[1]) / min(len(texts[0]), len(texts[1]))
        evidence.append((0.4, (words_likeness(texts[0], texts[1], _evenly) + kept) / 2))
    return _likelihood(evidence)


def _shape_likeness(old: dict[str, Any], new: dict[str, Any]) -> float:
    told = ("description", "default", "examples")
    shapes = [{key: value for key, value in schema.items() if key not in told} for schema in (old, new)]
    if canonical_json(shapes[0]) == canonical_json(shapes[1]):
        return 1.0 if len(shapes[0]) > 1 else 0.6
    return 0.5 if types_of(old) == types_of(new) else 0.0
