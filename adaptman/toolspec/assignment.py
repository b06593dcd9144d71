"""Which old name became which new one: one-to-one pairs of the largest total likelihood."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_MAX_EXACT = 60


class Pairing(NamedTuple):
    """An old thing, the new one that it is likely to be, and how likely."""

    old: str
    new: str
    likelihood: float


def assign(scores: Mapping[tuple[str, str], float]) -> list[Pairing]:
    """One-to-one pairs of the largest total score, exact for groups of at most 60 names a side."""
    pairs: list[Pairing] = []
    for group in _groups(scores):
        rows = sorted({old for old, _ in group})
        columns = sorted({new for _, new in group})
        if max(len(rows), len(columns)) > _MAX_EXACT:
            pairs.extend(_greedy(group))
            continue
        table = [[group.get((old, new), 0.0) for new in columns] for old in rows]
        for row, column in enumerate(best_assignment(table)):
            if column is not None and table[row][column] > 0:
                pairs.append(Pairing(rows[row], columns[column], table[row][column]))
    return sorted(pairs)


def _groups(scores: Mapping[tuple[str, str], float]) -> list[dict[tuple[str, str], float]]:
    """The scores, apart by which names hang together through them."""
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for old, new in scores:
        parent[root((0, old))] = root((1, new))
    groups: dict[tuple[int, str], dict[tuple[str, str], float]] = defaultdict(dict)
    for pair, likely in scores.items():
        groups[root((0, pair[0]))][pair] = likely
    return list(groups.values())


def _greedy(scores: Mapping[tuple[str, str], float]) -> list[Pairing]:
    taken: set[tuple[int, str]] = set()
    pairs = []
    for (old, new), likely in sorted(scores.items(), key=lambda item: (-item[1], item[0])):
        if not taken & {(0, old), (1, new)}:
            taken |= {(0, old), (1, new)}
            pairs.append(Pairing(old, new, likely))
    return pairs


def best_assignment(table: Sequence[Sequence[float]]) -> list[int | None]:
    """For each row its column, so that the sum of scores is largest (Kuhn 1955, shortest augmenting paths).

    Rows beyond the number of columns get None.
    """
    rows, columns = len(table), len(table[0]) if table else 0
    size = max(rows, columns)
    cost = [[-table[r][c] if r < rows and c < columns else 0.0 for c in range(size)] for r in range(size)]
    row_price, column_price = [0.0] * (size + 1), [0.0] * (size + 1)
    row_of = [0] * (size + 1)
    for row in range(1, size + 1):
        _augment(row, cost, row_price, column_price, row_of)
    chosen: list[int | None] = [None] * rows
    for column in range(1, size + 1):
        if row_of[column] <= rows and column <= columns:
            chosen[row_of[column] - 1] = column - 1
    return chosen


def _augment(
    row: int,
    cost: Sequence[Sequence[float]],
    row_price: list[float],
    column_price: list[float],
    row_of: list[int],
) -> None:
    """Give `row` (from 1) a column; column 0 stands for none."""
    size = len(cost)
    row_of[0] = row
    column, slack, came_from = 0, [math.inf] * (size + 1), [0] * (size + 1)
    done = [False] * (size + 1)
    while row_of[column]:
        done[column] = True
        here, least, following = row_of[column], math.inf, 0
        for other in range(1, size + 1):
            if done[other]:
                continue
            reduced = cost[here - 1][other - 1] - row_price[here] - column_price[other]
            if reduced < slack[other]:
                slack[other], came_from[other] = reduced, column
            if slack[other] < least:
                least, following = slack[other], other
        for other in range(size + 1):
            if done[other]:
                row_price[row_of[other]] += least
                column_price[other] -= least
            else:
                slack[other] -= least
        column = following
    while column:
        row_of[column] = row_of[came_from[column]]
        column = came_from[column]
