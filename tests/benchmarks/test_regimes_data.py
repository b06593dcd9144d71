"""The source that the regimes are shown on has the entropy that it says it has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.regimes_data import BODY, FACT, FACTS, KEY, SUCCESSORS, Source


def test_the_floor_of_text_is_what_a_reader_who_knows_the_chain_pays() -> None:
    source = Source(0, seed=3, facts=50)
    body = source.texts(4000, np.random.default_rng(0))[:, 2:]
    body -= body.min()
    place = (source.successors[body[:, :-2], body[:, 1:-1]] == body[:, 2:, None]).argmax(-1)
    paid = -np.log(SUCCESSORS[place]).sum(1) + 2 * math.log(16)
    assert paid.mean() / BODY == pytest.approx(source.text_floor, rel=0.01)


def test_every_key_of_a_table_has_one_value() -> None:
    source = Source(0, seed=3, facts=50)
    table = {tuple(row[:KEY]): tuple(row[KEY:]) for row in source.table.tolist()}
    assert len(table) == 50
    written = source.fact_documents(20, np.random.default_rng(0))[:, 2:].reshape(20 * FACTS, FACT)
    assert all(table[tuple(row[:KEY])] == tuple(row[KEY:]) for row in written.tolist())
    assert set(map(tuple, source.every_fact()[:, 2:].reshape(-1, FACT).tolist())) == set(
        map(tuple, source.table.tolist())
    )


def test_the_update_shares_no_key_and_no_kind_with_what_came_before() -> None:
    old, new = Source(0, seed=3, facts=2000), Source(1, seed=3, facts=100)
    assert not set(map(tuple, old.table[:, :KEY].tolist())) & set(map(tuple, new.table[:, :KEY].tolist()))
    rng = np.random.default_rng(0)
    assert not set(old.documents(40, rng)[:, 1].tolist()) & set(new.documents(40, rng)[:, 1].tolist())


def test_the_bits_of_a_table_count_its_keys_and_its_values() -> None:
    assert Source(0, seed=0, facts=1).bits == pytest.approx(12 + 24)
    assert Source(0, seed=0, facts=4096).bits == pytest.approx(24 * 4096)
