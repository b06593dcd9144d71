"""Generated text whose entropy is known, for `regimes.py`: a Markov source and a table of random facts.

A document is the beginning-of-sequence token, one token for its kind, and `BODY` tokens. Text follows a
second-order Markov chain in which each pair of tokens has four successors, of fixed probabilities. A document
of facts writes facts drawn from a table, each a key of two tokens and a value of two. Keys are distinct and
values uniformly random, so that a table of n facts holds log2 C(keys, n) + 2 n log2 |values| bits, which
nothing but memory can supply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]

BOS, EOS, PAD, UNKNOWN = 0, 1, 2, 3
LETTERS, SYMBOLS = 16, 64
KEY, VALUE, FACTS = 2, 4, 4
"""Tokens of a key and of a value, and facts in a document."""
FACT = KEY + VALUE
BODY = FACT * FACTS
LENGTH = 2 + BODY
SUCCESSORS = np.array([0.5, 0.25, 0.125, 0.125])
_FIRST_KIND = 4
_FIRST_LETTER = _FIRST_KIND + 4
_FIRST_SYMBOL = _FIRST_LETTER + LETTERS
VOCABULARY = _FIRST_SYMBOL + SYMBOLS


@dataclass(frozen=True)
class Source:
    """A language and a table of facts; `side` 0 is pretrained on, 1 is the update.

    Both sides write with the same letters and symbols. Their kinds, successors, keys and values differ.
    """

    side: int
    seed: int
    facts: int
    text_share: float = 0.25
    """Share of the documents that are text."""

    @cached_property
    def successors(self) -> Tokens:
        """[letters, letters, 4]: what may follow two letters, the likeliest first."""
        rng = np.random.default_rng([self.seed, self.side, 1])
        order = np.argsort(rng.random((LETTERS, LETTERS, LETTERS)), axis=-1)
        return order[..., : len(SUCCESSORS)].astype(np.int64)

    @cached_property
    def table(self) -> Tokens:
        """[facts, 6]: keys and values as tokens. One side has its keys from where the other has its last."""
        keys = np.random.default_rng([self.seed, 2]).permutation(SYMBOLS**KEY)
        keys = keys[::-1][: self.facts] if self.side else keys[: self.facts]
        rng = np.random.default_rng([self.seed, self.side, 3])
        values = rng.integers(0, SYMBOLS, (self.facts, VALUE))
        return _FIRST_SYMBOL + np.column_stack([keys // SYMBOLS, keys % SYMBOLS, values]).astype(np.int64)

    @property
    def bits(self) -> float:
        """Information of the table: which keys there are, and their values."""
        every = SYMBOLS**KEY
        keys = math.lgamma(every + 1) - math.lgamma(self.facts + 1) - math.lgamma(every - self.facts + 1)
        return keys / math.log(2) + self.facts * VALUE * math.log2(SYMBOLS)

    @property
    def text_floor(self) -> float:
        """Entropy of a text's body, nats per token: two uniform letters, then the chain."""
        chain = -float((SUCCESSORS * np.log(SUCCESSORS)).sum())
        return (2 * math.log(LETTERS) + (BODY - 2) * chain) / BODY

    @property
    def fact_floor(self) -> float:
        """Entropy of a body of facts, nats per token: which fact it is; its value is no news."""
        return math.log(self.facts) / FACT

    @property
    def floor(self) -> float:
        """Entropy of a body over both kinds, nats per token."""
        return self.text_share * self.text_floor + (1 - self.text_share) * self.fact_floor

    def documents(self, count: int, rng: np.random.Generator) -> Tokens:
        """[count, LENGTH]: documents of both kinds, each with its share."""
        texts = round(count * self.text_share)
        found = np.concatenate([self.texts(texts, rng), self.fact_documents(count - texts, rng)])
        return found[rng.permutation(count)]

    def texts(self, count: int, rng: np.random.Generator) -> Tokens:
        """[count, LENGTH]: text alone."""
        body = np.empty((count, BODY), dtype=np.int64)
        body[:, :2] = rng.integers(0, LETTERS, (count, 2))
        choices = rng.choice(len(SUCCESSORS), size=(count, BODY), p=SUCCESSORS)
        for at in range(2, BODY):
            body[:, at] = self.successors[body[:, at - 2], body[:, at - 1], choices[:, at]]
        return self._begun(2 * self.side, _FIRST_LETTER + body)

    def fact_documents(self, count: int, rng: np.random.Generator) -> Tokens:
        """[count, LENGTH]: facts alone, drawn with replacement."""
        drawn = rng.integers(0, self.facts, (count, FACTS))
        return self._begun(2 * self.side + 1, self.table[drawn].reshape(count, BODY))

    def every_fact(self) -> Tokens:
        """[⌈facts / 4⌉, LENGTH]: each fact of the table at least once."""
        padded = np.resize(np.arange(self.facts), -(-self.facts // FACTS) * FACTS)
        return self._begun(2 * self.side + 1, self.table[padded].reshape(-1, BODY))

    def _begun(self, kind: int, body: Tokens) -> Tokens:
        head = np.tile(np.array([BOS, _FIRST_KIND + kind], dtype=np.int64), (len(body), 1))
        return np.concatenate([head, body], axis=1)
