"""Regular expressions of JSON Schema (ECMA-262) in time linear in the text.

A backtracking engine takes exponential time on `^(a+)+$`, and both the pattern and the text come from
strangers. This one runs all alternatives side by side (Thompson 1968) and never backtracks. What that
cannot do (look-around, back-references, Unicode properties) is refused by name, not approximated.
"""

from __future__ import annotations

import itertools
import string
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

MAX_STATES = 1_000
MAX_WORK = 5_000_000
MAX_PATTERN = 4_096

_TOP = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]
_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = (
    *((9, 13), (32, 32), (160, 160), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_ANCHORS = {"A": "^", "Z": "$", "z": "$", "b": "b", "B": "B"}


class UnsupportedPatternError(ValueError):
    """A pattern that is malformed, or needs more than a linear engine can do; says which part."""


def complement(ranges: Ranges) -> Ranges:
    """All characters that are in none of `ranges`."""
    left: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            left.append((start, low - 1))
        start = max(start, high + 1)
    return (*left, (start, _TOP)) if start <= _TOP else tuple(left)


@dataclass
class _Graph:
    """States by number: edges without a character (with the anchor they need), edges with one."""

    free: list[list[tuple[str, int]]] = field(default_factory=list)
    taking: list[list[tuple[Ranges, int]]] = field(default_factory=list)

    def add(self) -> int:
        if len(self.free) >= MAX_STATES:
            raise UnsupportedPatternError(f"it needs more than {MAX_STATES} states")
        self.free.append([])
        self.taking.append([])
        return len(self.free) - 1

    def link(self, source: int, target: int, anchor: str = "") -> None:
        self.free[source].append((anchor, target))


class _Piece(NamedTuple):
    """A part of the pattern: where it stands in the text, so that it can be built again for `{2,5}`."""

    kind: str
    ranges: Ranges = ()
    parts: tuple[_Piece, ...] = ()
    low: int = 1
    high: int | None = 1
    anchor: str = ""


class _Reader:
    """Recursive descent over the pattern's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def read(self) -> _Piece:
        piece = self._either()
        if self.at < len(self.text):
            raise UnsupportedPatternError(f"`)` at {self.at + 1} closes nothing")
        return piece

    def _peek(self, size: int = 1) -> str:
        return self.text[self.at : self.at + size]

    def _take(self, expected: str) -> bool:
        found = self.text.startswith(expected, self.at)
        self.at += len(expected) if found else 0
        return found

    def _either(self) -> _Piece:
        self.depth += 1
        if self.depth > 50:
            raise UnsupportedPatternError("its groups go deeper than 50 levels")
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else _Piece("either", parts=tuple(branches))

    def _sequence(self) -> _Piece:
        parts: list[_Piece] = []
        while self.at < len(self.text) and self._peek() not in "|)":
            parts.append(self._repeated(self._atom()))
        return _Piece("all", parts=tuple(parts))

    def _repeated(self, piece: _Piece) -> _Piece:
        bounds = self._bounds()
        if bounds is None:
            return piece
        self._take("?")  # lazy: which text matches is the same, only captures differ
        if self._peek() and self._peek() in "*+?":
            raise UnsupportedPatternError(f"`{self._peek()}` at {self.at + 1} repeats a repetition")
        return _Piece("repeat", parts=(piece,), low=bounds[0], high=bounds[1])

    def _bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        found = simple.get(self._peek())
        if found is not None:
            self.at += 1
            return found
        end = self.text.find("}", self.at) if self._peek() == "{" else -1
        low, comma, high = self.text[self.at + 1 : max(end, 0)].partition(",")
        if not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())):
            return None  # `{` that counts nothing is a plain character
        self.at = end + 1
        most = None if comma and not high else int((high or low)[:6])
        if most is not None and most < int(low[:6]):
            raise UnsupportedPatternError(f"`{{{low},{high}}}` counts backwards")
        return int(low[:6]), most

    def _atom(self) -> _Piece:
        char = self._peek()
        self.at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return _Piece("set", self._set())
        if char == "\\":
            return self._escape()
        if char in "^$":
            return _Piece("anchor", anchor=char)
        if char in "*+?":
            raise UnsupportedPatternError(f"`{char}` at {self.at} repeats nothing")
        return _Piece("set", complement(_LINE_ENDS) if char == "." else _one(ord(char)))

    def _group(self) -> _Piece:
        if self._take("?") and not self._take(":"):
            named = self._take("<") or self._take("P<")
            if not named or self._peek() in "=!":
                raise UnsupportedPatternError("look-around and flags are not supported")
            self.at = self.text.find(">", self.at) + 1
            if self.at == 0:
                raise UnsupportedPatternError("a group's name does not end")
        piece = self._either()
        if not self._take(")"):
            raise UnsupportedPatternError("a group does not end")
        return piece

    def _escape(self) -> _Piece:
        char = self._peek()
        if char in _ANCHORS and char:
            self.at += 1
            return _Piece("anchor", anchor=_ANCHORS[char])
        return _Piece("set", self._escaped())

    def _escaped(self) -> Ranges:
        char = self._peek()
        self.at += 1
        if not char:
            raise UnsupportedPatternError("it ends in a backslash")
        if char.lower() in _CLASSES:
            ranges = _CLASSES[char.lower()]
            return complement(ranges) if char.isupper() else ranges
        if char in _CONTROLS:
            return _one(_CONTROLS[char])
        if char in "xu":
            return _one(self._code(char))
        if char in "123456789kpPc":
            raise UnsupportedPatternError(f"`\\{char}` is not supported")
        return _one(ord(char))

    def _code(self, char: str) -> int:
        if char == "u" and self._take("{"):
            end = self.text.find("}", self.at)
            digits, after = self.text[self.at : max(end, self.at)], end + 1
        else:
            digits = self._peek(2 if char == "x" else 4)
            after = self.at + len(digits)
        if not digits or len(digits) > 6 or not set(digits) <= set(string.hexdigits):
            raise UnsupportedPatternError(f"`\\{char}` at {self.at} is not followed by hex digits")
        self.at = after
        code = int(digits, 16)
        if 0xD800 <= code < 0xDC00 and self._peek(2) == "\\u":
            self.at += 2
            return 0x10000 + ((code - 0xD800) << 10) + (self._code("u") - 0xDC00)
        return min(code, _TOP)

    def _set(self) -> Ranges:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            if self.at >= len(self.text):
                raise UnsupportedPatternError("a `[` does not end")
            first = self._member()
            if self._peek() == "-" and self._peek(2) not in ("-", "-]"):
                self.at += 1
                last = self._member()
                if not _is_one(first) or not _is_one(last) or last[0][0] < first[0][0]:
                    raise UnsupportedPatternError("a range in `[…]` runs backwards or between classes")
                ranges.append((first[0][0], last[0][0]))
            else:
                ranges.extend(first)
        return complement(tuple(ranges)) if negated else tuple(ranges)

    def _member(self) -> Ranges:
        char = self._peek()
        self.at += 1
        if char == "\\":
            if self._take("b"):
                return _one(8)
            return self._escaped()
        return _one(ord(char))


def _one(code: int) -> Ranges:
    return ((code, code),)


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _build(graph: _Graph, piece: _Piece, start: int) -> int:
    """Add `piece` behind the state `start`; the state behind it."""
    if piece.kind == "all":
        for part in piece.parts:
            start = _build(graph, part, start)
        return start
    if piece.kind == "repeat":
        return _build_repeat(graph, piece, start)
    end = graph.add()
    if piece.kind == "set":
        graph.taking[start].append((piece.ranges, end))
    elif piece.kind == "anchor":
        graph.link(start, end, piece.anchor)
    else:
        for part in piece.parts:
            first = graph.add()
            graph.link(start, first)
            graph.link(_build(graph, part, first), end)
    return end


def _build_repeat(graph: _Graph, piece: _Piece, start: int) -> int:
    inner = piece.parts[0]
    for _ in range(piece.low):
        before = len(graph.free)
        start = _build(graph, inner, start)
        if len(graph.free) == before:
            break  # nothing was added: repeating an empty piece adds nothing either
    end = graph.add()
    if piece.high is None:
        loop = graph.add()
        graph.link(start, loop)
        graph.link(_build(graph, inner, loop), loop)
        graph.link(loop, end)
        return end
    graph.link(start, end)
    for _ in range(piece.high - piece.low):
        before = len(graph.free)
        fresh = graph.add()
        graph.link(start, fresh)
        start = _build(graph, inner, fresh)
        graph.link(start, end)
        if len(graph.free) == before + 1:
            break
    return end


class _Spot(NamedTuple):
    """What anchors ask about a position between two characters."""

    first: bool
    last: bool
    boundary: bool


States = frozenset[int]


class Pattern:
    """A compiled pattern; like JSON Schema's `pattern`, it may match anywhere in a text."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN:
            raise UnsupportedPatternError(f"it is longer than {MAX_PATTERN} characters")
        self.text = text
        self._graph = _Graph()
        self._start = self._graph.add()
        self._end = _build(self._graph, _Reader(text).read(), self._start)
        self._closures: dict[tuple[States, _Spot], States] = {}
        self._steps: dict[tuple[States, str], States] = {}

    @property
    def bounded_by_words(self) -> bool:
        r"""Whether it uses `\b` or `\B`, which look at two characters at once."""
        return any(anchor in ("b", "B") for edges in self._graph.free for anchor, _ in edges)

    @property
    def initial(self) -> States:
        """The states before the first character."""
        return frozenset({self._start})

    def cut_points(self) -> set[int]:
        """Where a character's treatment may differ from that of the character before it."""
        edges = (ranges for state in self._graph.taking for ranges, _ in state)
        return {point for ranges in edges for low, high in ranges for point in (low, high + 1)}

    def search(self, text: str) -> bool:
        """Whether the pattern matches somewhere in `text`.

        Raises:
            UnsupportedPatternError: pattern and text are too large together.
        """
        if len(text) * len(self._graph.free) > MAX_WORK:
            raise UnsupportedPatternError(f"the text of {len(text)} characters is too long for it")
        states = self.initial
        for at in range(len(text) + 1):
            closed = self.closure(states, _spot(text, at))
            if self._end in closed:
                return True
            if at < len(text):
                states = self.step(closed, text[at])
        return False

    def closure(self, states: States, spot: _Spot) -> States:
        """`states` and all that can be reached from them without a character at `spot`."""
        key = (states, spot)
        if key not in self._closures:
            if len(self._closures) > 5_000:
                self._closures.clear()
            self._closures[key] = self._close(states, spot)
        return self._closures[key]

    def _close(self, states: States, spot: _Spot) -> States:
        seen = set(states)
        todo = list(states)
        while todo:
            for anchor, target in self._graph.free[todo.pop()]:
                if target not in seen and _holds(anchor, spot):
                    seen.add(target)
                    todo.append(target)
        return frozenset(seen)

    def step(self, closed: States, char: str) -> States:
        """The states after `char`; a match may begin behind it, too."""
        key = (closed, char)
        if key not in self._steps:
            if len(self._steps) > 20_000:
                self._steps.clear()
            code = ord(char)
            edges = (edge for state in closed for edge in self._graph.taking[state])
            taken = {target for ranges, target in edges if any(low <= code <= high for low, high in ranges)}
            self._steps[key] = frozenset(taken | {self._start})
        return self._steps[key]

    def accepts(self, closed: States) -> bool:
        """Whether `closed` holds the final state."""
        return self._end in closed


def _holds(anchor: str, spot: _Spot) -> bool:
    if anchor == "^":
        return spot.first
    if anchor == "$":
        return spot.last
    return spot.boundary == (anchor == "b") if anchor else True


def _spot(text: str, at: int) -> _Spot:
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    return _Spot(at == 0, at == len(text), before != after)


def _is_word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


@lru_cache(maxsize=512)
def compile_pattern(text: str) -> Pattern:
    """The compiled pattern.

    Raises:
        UnsupportedPatternError: malformed, too large, or beyond what runs in linear time.
    """
    return Pattern(text)


class _Node(NamedTuple):
    """A state of the search for example texts, one entry for each pattern."""

    states: tuple[States, ...]
    matched: tuple[bool, ...]
    length: int


def example_texts(
    matching: Pattern | None, not_matching: Pattern | None, *, at_least: int = 0, budget: int = 3_000
) -> Iterator[str]:
    """Short texts, shortest first, that match the one pattern and not the other (None: no condition).

    Ends after `budget` steps; ends earlier only when there are no texts of another kind.
    """
    patterns = tuple(pattern for pattern in (matching, not_matching) if pattern is not None)
    if any(pattern.bounded_by_words for pattern in patterns):
        return
    wanted = ((True,) if matching is not None else ()) + ((False,) if not_matching is not None else ())
    alphabet = _alphabet(patterns)
    start = _Node(tuple(pattern.initial for pattern in patterns), (False,) * len(patterns), 0)
    queue: deque[tuple[_Node, str]] = deque([(start, "")])
    seen = {start}
    while queue and budget > 0:
        node, text = queue.popleft()
        if len(text) >= at_least and _final(patterns, node, text) == wanted:
            yield text
        for char in alphabet:
            budget -= 1
            after = _advance(patterns, node, char, text, at_least)
            if after not in seen:
                seen.add(after)
                queue.append((after, text + char))


def _final(patterns: tuple[Pattern, ...], node: _Node, text: str) -> tuple[bool, ...]:
    spot = _Spot(not text, True, False)
    return tuple(
        matched or pattern.accepts(pattern.closure(states, spot))
        for pattern, states, matched in zip(patterns, node.states, node.matched, strict=True)
    )


def _advance(patterns: tuple[Pattern, ...], node: _Node, char: str, text: str, at_least: int) -> _Node:
    spot = _Spot(not text, False, False)
    closed = [p.closure(states, spot) for p, states in zip(patterns, node.states, strict=True)]
    matched = tuple(
        was or p.accepts(here) for p, here, was in zip(patterns, closed, node.matched, strict=True)
    )
    states = tuple(
        frozenset() if done else p.step(here, char)
        for p, here, done in zip(patterns, closed, matched, strict=True)
    )
    return _Node(states, matched, min(len(text) + 1, at_least))


_NICE = string.ascii_lowercase + string.digits + string.ascii_uppercase + " -_.:/@+#!"


def _alphabet(patterns: tuple[Pattern, ...]) -> list[str]:
    """One character for each group that the patterns treat alike; a readable one where there is one."""
    points = sorted({0, _TOP + 1}.union(*(pattern.cut_points() for pattern in patterns)))[:200]
    chars: list[str] = []
    for low, after in itertools.pairwise(points):
        nice = next((char for char in _NICE if low <= ord(char) < after), None)
        code = max(low, 33) if max(low, 33) < after else low
        if nice is not None or not 0xD800 <= code <= 0xDFFF:
            chars.append(nice or chr(code))
    return sorted(chars, key=lambda char: (_NICE + char).index(char))
