"""What the gate does in the long run: how often it lets a worse candidate pass and refuses an equal one."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.evaluation.statistics import (
    PairedTable,
    newcombe_paired,
    smallest_detectable_drop,
    sufficient_cases,
)

TRIALS = 4000
MARGIN = 0.08


class World(NamedTuple):
    """How candidate and champion truly are: shares of cases that break and mend, and the champion's score."""

    broke: float
    mended: float
    champion: float = 0.85

    def tables(self, n: int) -> Counter[PairedTable]:
        both = self.champion - self.broke
        shares = [both, self.broke, self.mended, 1 - self.champion - self.mended]
        drawn = np.random.default_rng(n).multinomial(n, shares, TRIALS)
        return Counter(PairedTable(*map(int, table)) for table in drawn)

    def passes(self, n: int, margin: float) -> float:
        shown = sum(times for table, times in self.tables(n).items() if newcombe_paired(table).low > -margin)
        return shown / TRIALS

    def drop_is_seen(self, n: int) -> float:
        seen = sum(times for table, times in self.tables(n).items() if newcombe_paired(table).high < 0)
        return seen / TRIALS


def sufficient(discordance: float) -> int:
    cases = sufficient_cases(MARGIN, discordance**0.5, binary=True)
    assert cases is not None
    return cases


@pytest.mark.parametrize("discordance", [0.02, 0.05, 0.10, 0.20])
@pytest.mark.parametrize("champion", [0.60, 0.85])
def test_an_equal_candidate_passes_where_the_cases_suffice(discordance: float, champion: float) -> None:
    # the tool goes by the discordance it saw, made a little larger where the cases are few
    n = next(n for n in range(20, 2000) if sufficient((discordance * n + 1.92) / (n + 3.84)) <= n)
    assert World(discordance / 2, discordance / 2, champion).passes(n, MARGIN) >= 0.93


@given(st.floats(0.01, 0.5), st.floats(0, 1))
def test_sufficient_cases_show_a_drop_of_the_margin(margin: float, discordance: float) -> None:
    n = sufficient_cases(margin, discordance**0.5, binary=True)
    assert n is not None
    assert smallest_detectable_drop(n, discordance) <= margin + 1e-9


def test_no_number_of_cases_suffices_for_no_margin() -> None:
    assert sufficient_cases(0.0, 0.3, binary=True) is None
    assert sufficient_cases(1e-9, 0.3, binary=False) is None


@pytest.mark.parametrize("discordance", [0.05, 0.10, 0.20])
def test_a_candidate_worse_by_twice_the_margin_is_refused(discordance: float) -> None:
    drop = 2 * MARGIN
    mended = max(0.0, (discordance - drop) / 2)
    for n in (30, 100, sufficient(discordance)):
        assert World(drop + mended, mended).passes(n, MARGIN) <= 0.05


@pytest.mark.parametrize("n", [50, 110, 300])
def test_a_candidate_worse_by_the_margin_seldom_passes(n: int) -> None:
    # 2.5 % is the nominal error; the interval is approximate
    assert World(MARGIN + 0.02, 0.02).passes(n, MARGIN) <= 0.04


@pytest.mark.parametrize("n", [50, 110, 300])
@pytest.mark.parametrize("discordance", [0.03, 0.08, 0.15])
def test_the_detectable_drop_is_seen_with_the_power_it_states(n: int, discordance: float) -> None:
    drop = smallest_detectable_drop(n, discordance)
    mended = max(0.0, (discordance - drop) / 2)
    assert World(drop + mended, mended).drop_is_seen(n) >= 0.78
    assert World(drop / 2 + mended, mended).drop_is_seen(n) < 0.65
