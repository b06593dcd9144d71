"""Intervals and tests against published tables, scipy, and themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.evaluation.statistics import (
    BOOTSTRAP_RESAMPLES,
    BOOTSTRAP_SEED,
    PairedComparison,
    PairedTable,
    bca,
    compare,
    holm,
    mcnemar_exact,
    newcombe_paired,
    p_at_most,
    smallest_detectable_drop,
    smallest_detectable_shift,
    wilson,
)

counts = st.integers(0, 60)
tables = st.builds(PairedTable, counts, counts, counts, counts).filter(lambda table: table.n > 0)
margins = st.floats(0, 0.5)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


class Outcome(NamedTuple):
    case_id: str
    score: float


def outcomes(scores: list[float]) -> list[Outcome]:
    return [Outcome(str(index), float(score)) for index, score in enumerate(scores)]


def compared(candidate: list[float], champion: list[float], **settings: Any) -> PairedComparison:
    given_settings = {
        "margin": 0.05,
        "confidence": 0.95,
        "higher_is_better": True,
        "binary": True,
        **settings,
    }
    return compare(outcomes(candidate), outcomes(champion), **given_settings)


def of_table(table: PairedTable, **settings: Any) -> PairedComparison:
    champion = [1.0] * (table.both + table.broke) + [0.0] * (table.mended + table.neither)
    candidate = [1.0] * table.both + [0.0] * table.broke + [1.0] * table.mended + [0.0] * table.neither
    return compared(candidate, champion, **settings)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        pytest.param(
            PairedTable(1, 7, 1, 12), -0.507, -0.026, id="Bentur 2009, in Fagerland 2017, table 8.7"
        ),
        pytest.param(
            PairedTable(59, 16, 6, 80), -0.1186, -0.0046, id="Cavo 2012, in contingencytables for R"
        ),
    ],
)
def test_newcombe_gives_the_published_intervals(table: PairedTable, low: float, high: float) -> None:
    assert newcombe_paired(table) == pytest.approx((low, high), abs=6e-4)


def random_tables(count: int, most: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(7)
    cases = rng.integers(1, most, count)
    shares = rng.dirichlet([2, 0.4, 0.4, 1], count)
    return np.array([rng.multinomial(n, share) for n, share in zip(cases, shares, strict=True)])


def test_wilson_agrees_with_scipy() -> None:
    from scipy.stats import binomtest

    rng = np.random.default_rng(3)
    for n, share, confidence in zip(
        rng.integers(1, 400, 1500), rng.random(1500), rng.random(1500), strict=True
    ):
        hits, level = round(share * n), 0.5 + confidence * 0.499
        expected = binomtest(hits, int(n)).proportion_ci(level, "wilson")
        assert wilson(hits, int(n), level) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)


def wilson_limits(hits: np.ndarray[Any, Any], n: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Both limits at 95 %, as the roots of (p − share)² n = z² p (1 − p); shape (2, tables)."""
    z2, share = 1.959963984540054**2, hits / n
    half = np.sqrt((2 * n * share + z2) ** 2 - 4 * (n + z2) * n * share**2)
    return np.array([2 * n * share + z2 - half, 2 * n * share + z2 + half]) / (2 * (n + z2))


def test_newcombe_agrees_with_its_formula_on_thousands_of_tables() -> None:
    found = random_tables(4000, 300)
    both, broke, mended, neither = found.T
    n = found.sum(axis=1)
    p1, p2 = (both + mended) / n, (both + broke) / n
    (low1, high1), (low2, high2) = wilson_limits(both + mended, n), wilson_limits(both + broke, n)
    cross = (both * neither - broke * mended).astype(float)
    corrected = np.where(cross > n / 2, cross - n / 2, np.where(cross >= 0, 0.0, cross))
    product = (both + broke) * (mended + neither) * (both + mended) * (broke + neither)
    phi = np.where(product > 0, corrected / np.sqrt(np.maximum(product, 1)), 0.0)
    down = np.sqrt((p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2)
    up = np.sqrt((high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2)
    expected = np.column_stack([p1 - p2 - down, p1 - p2 + up])
    ours = np.array([newcombe_paired(PairedTable(*map(int, table))) for table in found])
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_mcnemar_agrees_with_the_binomial_distribution() -> None:
    from scipy.stats import binom

    broke, mended = np.meshgrid(np.arange(70), np.arange(70))
    expected = np.minimum(1.0, 2 * binom.cdf(np.minimum(broke, mended), broke + mended, 0.5))
    ours = np.vectorize(lambda b, m: mcnemar_exact(int(b), int(m)))(broke, mended)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(3000, 4000) < 1e-30


def test_mcnemar_and_wilson_agree_with_statsmodels_on_thousands_of_tables() -> None:
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.proportion import proportion_confint

    found = random_tables(3000, 400)
    expected = [
        mcnemar([[both, broke], [mended, no]], exact=True).pvalue for both, broke, mended, no in found
    ]
    ours = [mcnemar_exact(int(broke), int(mended)) for _, broke, mended, _ in found]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    right, n = found[:, 0] + found[:, 2], found.sum(axis=1)
    low, high = proportion_confint(right, n, alpha=0.05, method="wilson")
    intervals = np.array([wilson(int(hits), int(of)) for hits, of in zip(right, n, strict=True)])
    np.testing.assert_allclose(intervals, np.column_stack([low, high]), atol=1e-12)


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(5)
    for size in rng.integers(1, 25, 60):
        values = rng.random(size) ** 3
        expected = multipletests(values, method="holm")[1]
        assert holm(values.tolist()) == pytest.approx(expected.tolist(), abs=1e-12)


def closed_bonferroni(values: Sequence[float]) -> list[float]:
    """Holm's adjustment as a closed test: the worst Bonferroni p-value of any set with the hypothesis."""
    places = range(len(values))
    sets = [chosen for size in range(1, len(values) + 1) for chosen in combinations(places, size)]
    joint = {chosen: min(1.0, len(chosen) * min(values[place] for place in chosen)) for chosen in sets}
    return [max(p for chosen, p in joint.items() if place in chosen) for place in places]


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_the_closure_of_bonferroni(values: list[float]) -> None:
    assert holm(values) == pytest.approx(closed_bonferroni(values))


@pytest.mark.parametrize("shape", ["normal", "skewed", "few values"])
def test_bca_agrees_with_scipy(shape: str) -> None:
    from scipy.stats import bootstrap

    draw: dict[str, Callable[[np.random.Generator], Any]] = {
        "normal": lambda rng: rng.normal(0.1, 1, 60),
        "skewed": lambda rng: rng.exponential(1, 40) ** 2 - 0.5,
        "few values": lambda rng: rng.choice([-1.0, 0.0, 1.0], 80, p=[0.1, 0.8, 0.1]),
    }
    values = draw[shape](np.random.default_rng(11))
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    expected = bootstrap((values,), np.mean, n_resamples=BOOTSTRAP_RESAMPLES, method="BCa", rng=rng)
    interval = expected.confidence_interval
    assert bca(values.tolist()).interval(0.95) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_bca_is_the_same_each_time_and_does_not_depend_on_how_it_is_cut_up() -> None:
    values = np.random.default_rng(1).normal(0, 1, 700).tolist()  # more than is resampled at once
    assert bca(values).interval(0.95) == bca(values).interval(0.95)
    assert bca([0.25] * 30).interval(0.95) == (0.25, 0.25)
    with pytest.raises(ValueError, match="no differences"):
        bca([])


@given(tables, st.floats(-8, 8), st.floats(-8, 8))
def test_the_limit_falls_as_more_is_asked_for(table: PairedTable, first: float, second: float) -> None:
    from adaptman.evaluation.statistics import _newcombe_low

    near, far = sorted([first, second])
    assert _newcombe_low(table, far) <= _newcombe_low(table, near) + 1e-12


@given(tables, margins, confidences)
def test_the_p_value_and_the_interval_say_the_same(
    table: PairedTable, margin: float, confidence: float
) -> None:
    found = of_table(table, margin=margin, confidence=confidence)
    alpha = (1 - confidence) / 2
    if abs(found.low + margin) > 1e-9:
        assert (found.p_non_inferior < alpha) == (found.low > -margin)
    if abs(found.low) > 1e-9:
        assert (found.p_superior < alpha) == (found.low > 0)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=40), st.floats(0, 2), confidences)
def test_the_p_value_and_the_bootstrap_interval_say_the_same(
    differences: list[float], margin: float, confidence: float
) -> None:
    boot = bca(differences, resamples=500)
    low = boot.interval(confidence).low
    if abs(low + margin) > 1e-9:
        assert (p_at_most(boot.low, -margin) < (1 - confidence) / 2) == (low > -margin)


@given(tables)
def test_a_comparison_turned_round_is_its_mirror_image(table: PairedTable) -> None:
    champion = [1.0] * (table.both + table.broke) + [0.0] * (table.mended + table.neither)
    candidate = [1.0] * table.both + [0.0] * table.broke + [1.0] * table.mended + [0.0] * table.neither
    there, back = compared(candidate, champion), compared(champion, candidate)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert (there.broke, there.mended) == (back.mended, back.broke) == (table.broke, table.mended)
    assert there.p_worse == back.p_worse


@given(tables, confidences)
def test_an_interval_holds_the_difference(table: PairedTable, confidence: float) -> None:
    found = of_table(table, confidence=confidence)
    assert -1 - 1e-9 <= found.low <= found.difference <= found.high <= 1 + 1e-9
    assert found.n == table.n


def test_cases_are_paired_by_id_in_any_order() -> None:
    candidate = [Outcome("a", 1.0), Outcome("b", 0.0), Outcome("c", 1.0)]
    champion = [Outcome("c", 0.0), Outcome("b", 1.0), Outcome("a", 1.0)]
    found = compare(candidate, champion, margin=0.1, confidence=0.95, higher_is_better=True, binary=True)
    assert (found.broke, found.mended, found.difference) == (1, 1, 0.0)


@pytest.mark.parametrize(
    ("candidate", "champion"),
    [([], []), (["a"], ["b"]), (["a", "a"], ["a", "a"]), (["a"], ["a", "b"])],
    ids=["none", "others", "twice", "more"],
)
def test_runs_of_different_cases_are_not_compared(candidate: list[str], champion: list[str]) -> None:
    with pytest.raises(ValueError, match="the same cases"):
        compare(
            [Outcome(name, 1.0) for name in candidate],
            [Outcome(name, 1.0) for name in champion],
            margin=0.1,
            confidence=0.95,
            higher_is_better=True,
            binary=True,
        )


def test_lower_is_better_turns_the_margin_and_not_the_figures() -> None:
    rng = np.random.default_rng(2)
    champion = rng.normal(1.5, 0.3, 60)
    candidate = champion + rng.normal(0.05, 0.05, 60)
    found = compared(candidate.tolist(), champion.tolist(), margin=0.1, higher_is_better=False, binary=False)
    assert 0 < found.low < found.difference < found.high < 0.1
    assert found.difference == pytest.approx(0.05, abs=0.02)
    assert found.p_non_inferior < 0.025 < found.p_superior
    assert found.p_worse < 0.05
    strict = compared(
        candidate.tolist(), champion.tolist(), margin=0.01, higher_is_better=False, binary=False
    )
    assert strict.p_non_inferior > 0.025


def test_equal_runs_show_no_difference() -> None:
    graded = compared([1.5, 2.5, 0.5], [1.5, 2.5, 0.5], higher_is_better=False, binary=False)
    assert (graded.low, graded.difference, graded.high, graded.p_worse) == (0.0, 0.0, 0.0, 1.0)
    binary = compared([1.0] * 100, [1.0] * 100)
    assert binary.low == pytest.approx(-0.037, abs=1e-3)
    assert binary.p_worse == 1.0


def test_more_cases_and_less_discordance_show_smaller_drops() -> None:
    drops = [smallest_detectable_drop(n, 0.1) for n in (0, 3, 20, 50, 200, 1000)]
    assert drops == sorted(drops, reverse=True)
    assert drops[:2] == [1.0, 1.0]
    assert smallest_detectable_drop(500, 0.02) < smallest_detectable_drop(500, 0.2)
    assert smallest_detectable_shift(100, 1.0) == pytest.approx((1.959964 + 0.841621) / 10, abs=1e-6)


def test_the_detectable_drop_solves_connors_formula() -> None:
    quantile = NormalDist().inv_cdf
    drop = smallest_detectable_drop(300, 0.2)
    pairs = ((quantile(0.975) * math.sqrt(0.2) + quantile(0.8) * math.sqrt(0.2 - drop**2)) / drop) ** 2
    assert pairs == pytest.approx(300, rel=1e-6)


@pytest.mark.parametrize(
    ("margin", "n", "wrong", "broke", "mended", "shown"),
    [
        (0.10, 100, 5, 3, 2, True),
        (0.10, 100, 30, 3, 2, True),
        (0.10, 30, 3, 1, 1, False),
        (0.08, 100, 12, 3, 3, True),
        (0.08, 120, 12, 10, 0, False),
    ],
)
def test_what_the_built_in_policy_says_of_its_margins(
    margin: float, n: int, wrong: int, broke: int, mended: int, shown: bool
) -> None:
    low = newcombe_paired(PairedTable(n - broke - mended - wrong, broke, mended, wrong)).low
    assert (low > -margin) is shown
