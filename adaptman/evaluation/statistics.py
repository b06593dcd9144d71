"""What two runs of one suite show: paired intervals, tests, and what the suite could have seen.

Everything is paired: candidate and champion answered the same cases. For 0/1 scores the interval of the
difference is Newcombe's method 10 and the test is McNemar's exact one; for graded scores both come from one
BCa bootstrap. One-sided p-values are found by inverting the interval, so that a p-value below
(1 − confidence) / 2 and an interval that excludes the margin are always the same statement.

Sources:
    Wilson (1927), J. Am. Stat. Assoc. 22, 209-212: score interval of one proportion.
    Newcombe (1998), Statistics in Medicine 17, 2635-2650: method 10, difference of paired proportions.
    McNemar (1947), Psychometrika 12, 153-157: in the exact binomial form.
    Efron (1987), J. Am. Stat. Assoc. 82, 171-185: bias-corrected and accelerated bootstrap.
    Holm (1979), Scand. J. Statistics 6, 65-70: step-down correction.
    Connor (1987), Biometrics 43, 207-211: size of a paired comparison from its discordance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BOOTSTRAP_RESAMPLES = 10_000
BOOTSTRAP_SEED = 20_240_601
POWER = 0.80
EQUAL_POWER = 0.95  # so that a decision over two such suites refuses an equal candidate in one of ten

_NORMAL = NormalDist()
_FAR = 8.0  # standard errors: beyond it a p-value is below 1e-15
_MOST_CASES = 1_000_000  # nobody writes a suite of more
_RESAMPLE_CELLS = 2_000_000  # indices held at once while resampling: 16 MB


class Interval(NamedTuple):
    """A two-sided interval; `low` ≤ `high`."""

    low: float
    high: float


class PairedTable(NamedTuple):
    """Counts of cases by (champion right?, candidate right?)."""

    both: int
    broke: int  # champion right, candidate wrong
    mended: int  # champion wrong, candidate right
    neither: int

    @property
    def n(self) -> int:
        return sum(self)


class Scored(Protocol):
    """A case's id and its score, as `CaseOutcome` has them."""

    @property
    def case_id(self) -> str: ...
    @property
    def score(self) -> float: ...


@dataclass(frozen=True)
class PairedComparison:
    """Candidate against champion on the same cases.

    `difference`, `low` and `high` are candidate − champion in the metric's own unit, whichever direction is
    better. `broke` and `mended` count the cases on which the candidate scored worse and better.
    `detectable_drop` is the smallest true worsening that `n` cases show with 80 % power, and `cases_needed`
    the number of cases that suffices for the margin, by `sufficient_cases`.
    """

    n: int
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    broke: int
    mended: int
    p_worse: float
    """Two-sided p-value of no difference at all."""
    p_non_inferior: float
    """One-sided p-value of "worse by the margin or more"."""
    p_superior: float
    """One-sided p-value of "not better"."""
    detectable_drop: float
    cases_needed: int | None
    method: str


def z_two_sided(confidence: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 0.95."""
    return _NORMAL.inv_cdf((1 + confidence) / 2)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion; (0, 1) where `n` is 0."""
    return _wilson_at(successes, n, z_two_sided(confidence))


def _wilson_at(successes: int, n: int, z: float) -> Interval:
    if n == 0:
        return Interval(0.0, 1.0)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # the exact ends are 0 and 1 where no case or every case succeeds; rounding must not move them
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return Interval(low, high)


def newcombe_paired(table: PairedTable, confidence: float = 0.95) -> Interval:
    """Newcombe's method 10 for the difference candidate − champion of paired proportions.

    Raises:
        ValueError: the table is empty.
    """
    z = z_two_sided(confidence)
    return Interval(_newcombe_low(table, z), _newcombe_low(table, -z))


def _newcombe_low(table: PairedTable, z: float) -> float:
    """Lower limit at `z` standard errors; a negative `z` gives the upper one."""
    n = table.n
    if n == 0:
        raise ValueError("an empty table has no difference")
    right_candidate, right_champion = table.both + table.mended, table.both + table.broke
    candidate, champion = _wilson_at(right_candidate, n, abs(z)), _wilson_at(right_champion, n, abs(z))
    p_candidate, p_champion = right_candidate / n, right_champion / n
    if z >= 0:
        first, second = p_candidate - candidate.low, champion.high - p_champion
    else:
        first, second = candidate.high - p_candidate, p_champion - champion.low
    square = first * first - 2 * _phi(table) * first * second + second * second
    return (table.mended - table.broke) / n - math.copysign(math.sqrt(max(square, 0.0)), z)


def _phi(table: PairedTable) -> float:
    """Correlation of the two outcomes, with method 10's continuity correction."""
    both, broke, mended, neither = table
    margins = (both + broke) * (mended + neither) * (both + mended) * (broke + neither)
    if margins == 0:
        return 0.0
    cross = float(both * neither - broke * mended)
    if cross > 0:
        cross = max(cross - table.n / 2, 0.0)
    return cross / math.sqrt(margins)


def mcnemar_exact(broke: int, mended: int) -> float:
    """Two-sided exact p-value that cases break and mend equally often."""
    discordant, fewer = broke + mended, min(broke, mended)
    tail, term = 1, 1
    for k in range(1, fewer + 1):
        term = term * (discordant - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / (1 << discordant))


@dataclass(frozen=True)
class Bootstrap:
    """Resampled means of paired differences, with what the BCa interval needs."""

    estimate: float
    means: Floats
    """Sorted means, shape (resamples,)."""
    bias: float
    acceleration: float

    def low(self, z: float) -> float:
        """Lower limit at `z` standard errors; a negative `z` gives the upper one."""
        import numpy as np

        shifted = self.bias - z
        level = _NORMAL.cdf(self.bias + shifted / _positive(1 - self.acceleration * shifted))
        return float(np.quantile(self.means, level))

    def interval(self, confidence: float) -> Interval:
        z = z_two_sided(confidence)
        return Interval(self.low(z), self.low(-z))


def _positive(value: float) -> float:
    """Efron's transform is monotone only while this stays positive; far tails are cut there."""
    return max(value, 1e-6)


def bca(
    differences: Sequence[float], *, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> Bootstrap:
    """BCa bootstrap of the mean of `differences`, one a case; the same seed gives the same interval.

    Raises:
        ValueError: there are no differences.
    """
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no differences to resample")
    estimate = float(values.mean())
    means = np.sort(_resampled_means(values, resamples, seed))
    below = (float((means < estimate).mean()) + float((means <= estimate).mean())) / 2
    edge = 0.5 / resamples
    bias = _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    return Bootstrap(estimate, means, bias, _acceleration(values - estimate))


def _resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    import numpy as np

    rng = np.random.default_rng(seed)
    step = max(1, _RESAMPLE_CELLS // values.size)
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate(
        [values[rng.integers(0, values.size, (size, values.size))].mean(axis=1) for size in sizes]
    )


def _acceleration(centred: Floats) -> float:
    """A sixth of the jackknife's skewness, which for a mean needs no jackknife."""
    largest = float(abs(centred).max())
    if largest == 0:
        return 0.0
    scaled = centred / largest  # so that no power of a tiny difference underflows
    square = float((scaled**2).sum())
    return float((scaled**3).sum()) / (6 * square * math.sqrt(square))


def p_at_most(low: Callable[[float], float], threshold: float) -> float:
    """One-sided p-value that the true value is at most `threshold`, by inverting an interval.

    `low(z)` is the lower limit at z standard errors and falls as z grows. The result is below α exactly
    where the lower limit of the two-sided 1 − 2α interval lies above `threshold`.
    """
    near, far = -_FAR, _FAR  # the limit is above the threshold at `near` and not above it at `far`
    if low(near) <= threshold:
        return 1.0
    if low(far) > threshold:
        return _NORMAL.cdf(-far)
    for _ in range(60):
        middle = (near + far) / 2
        if low(middle) > threshold:
            near = middle
        else:
            far = middle
    return _NORMAL.cdf(-near)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def smallest_detectable_drop(n: int, discordance: float, alpha: float = 0.05, power: float = POWER) -> float:
    """The smallest true drop of a proportion that `n` pairs show with `power`: an interval wholly below 0.

    `discordance` is the share of cases on which the two disagree; a drop cannot exceed it, so where the drop
    that would be needed does, the discordance is taken to be the drop (every disagreement a broken case).
    Connor (1987), solved for the difference. 1.0 where not even losing every case would be found.
    """
    if n <= 0:
        return 1.0
    return _bisect(lambda drop: _pairs_needed(drop, max(discordance, drop), alpha, power) <= n)


def _pairs_needed(drop: float, discordance: float, alpha: float, power: float) -> float:
    z_alpha, z_power = _NORMAL.inv_cdf(1 - alpha / 2), _NORMAL.inv_cdf(power)
    spread = z_alpha * math.sqrt(discordance) + z_power * math.sqrt(max(discordance - drop * drop, 0.0))
    return (spread / drop) ** 2


def _bisect(holds: Callable[[float], bool]) -> float:
    """The smallest value in (0, 1] from which on a condition holds; 1 where it never does."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def smallest_detectable_shift(n: int, deviation: float, alpha: float = 0.05, power: float = POWER) -> float:
    """The smallest shift of a mean found with `power` in `n` paired differences of this deviation."""
    return (_NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)) * deviation / math.sqrt(max(n, 1))


def sufficient_cases(margin: float, deviation: float, alpha: float = 0.05, *, binary: bool) -> int | None:
    """The cases that suffice for a margin: an equal candidate passes with 95 % power, and a drop of the
    margin is shown with 80 %.

    `deviation` is the standard deviation of the paired differences: the root of the discordance for 0/1
    scores, which come in steps and need 1 / margin cases more. None where the margin is 0, or too small for
    any practical number.
    """
    if margin * _MOST_CASES < 1:
        return None
    z = _NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(EQUAL_POWER)
    cases = (z * deviation / margin) ** 2  # more than the 80 % of a shift of the margin ask for
    if binary:
        shown = _pairs_needed(margin, max(deviation * deviation, margin), alpha, POWER)
        cases = max(cases + 1 / margin, shown)
    return max(2, math.ceil(cases)) if cases <= _MOST_CASES else None


def compare(
    candidate: Sequence[Scored],
    champion: Sequence[Scored],
    *,
    margin: float,
    confidence: float,
    higher_is_better: bool,
    binary: bool,
) -> PairedComparison:
    """Pair two runs of one suite by case id and compare them.

    Raises:
        ValueError: no cases, a case twice, or the two runs do not hold the same cases.
    """
    sign = 1.0 if higher_is_better else -1.0
    pairs = _paired(candidate, champion)
    gains = [sign * (new - old) for new, old in pairs]
    summary = _Summary(pairs, gains, margin, confidence)
    better = _binary(summary) if binary else _graded(summary)
    return better if higher_is_better else _turned(better)


class _Pair(NamedTuple):
    candidate: float
    champion: float


class _Summary(NamedTuple):
    pairs: Sequence[_Pair]
    gains: Sequence[float]  # candidate − champion, turned so that more is better
    margin: float
    confidence: float


def _paired(candidate: Sequence[Scored], champion: Sequence[Scored]) -> list[_Pair]:
    old = {outcome.case_id: outcome.score for outcome in champion}
    new = {outcome.case_id: outcome.score for outcome in candidate}
    if not new or len(new) != len(candidate) or len(old) != len(champion) or new.keys() != old.keys():
        raise ValueError("the two runs do not hold the same cases, each once")
    return [_Pair(score, old[case_id]) for case_id, score in new.items()]


def _binary(summary: _Summary) -> PairedComparison:
    table = _table(summary)
    alpha = 1 - summary.confidence
    discordance = _cautious_share(table.broke + table.mended, table.n)
    return _comparison(
        summary,
        low=partial(_newcombe_low, table),
        p_worse=mcnemar_exact(table.broke, table.mended),
        detectable_drop=smallest_detectable_drop(table.n, discordance, alpha),
        deviation=math.sqrt(discordance),
        method="Newcombe method 10, exact McNemar",
        binary=True,
    )


def _table(summary: _Summary) -> PairedTable:
    broke = sum(gain < 0 for gain in summary.gains)
    mended = sum(gain > 0 for gain in summary.gains)
    level = [max(pair) for pair, gain in zip(summary.pairs, summary.gains, strict=True) if gain == 0]
    right = sum(score > 0 for score in level)
    return PairedTable(right, broke, mended, len(level) - right)


def _cautious_share(count: int, n: int) -> float:
    """The centre of Wilson's interval: where nothing disagreed, that nothing ever will is not shown."""
    z = z_two_sided(0.95)
    return (count + z * z / 2) / (n + z * z)


def _graded(summary: _Summary) -> PairedComparison:
    boot = bca(summary.gains)
    deviation = stdev(summary.gains) if len(summary.gains) > 1 else 0.0
    return _comparison(
        summary,
        low=boot.low,
        p_worse=min(1.0, 2 * min(p_at_most(boot.low, 0.0), p_at_most(lambda z: -boot.low(-z), 0.0))),
        detectable_drop=smallest_detectable_shift(len(summary.gains), deviation, 1 - summary.confidence),
        deviation=deviation,
        method=f"BCa bootstrap, {BOOTSTRAP_RESAMPLES} resamples",
        binary=False,
    )


def _comparison(
    summary: _Summary,
    *,
    low: Callable[[float], float],
    p_worse: float,
    detectable_drop: float,
    deviation: float,
    method: str,
    binary: bool,
) -> PairedComparison:
    z = z_two_sided(summary.confidence)
    return PairedComparison(
        n=len(summary.pairs),
        candidate=fmean(pair.candidate for pair in summary.pairs),
        champion=fmean(pair.champion for pair in summary.pairs),
        difference=fmean(summary.gains),
        low=low(z),
        high=low(-z),
        confidence=summary.confidence,
        broke=sum(gain < 0 for gain in summary.gains),
        mended=sum(gain > 0 for gain in summary.gains),
        p_worse=p_worse,
        p_non_inferior=p_at_most(low, -summary.margin),
        p_superior=p_at_most(low, 0.0),
        detectable_drop=detectable_drop,
        cases_needed=sufficient_cases(summary.margin, deviation, 1 - summary.confidence, binary=binary),
        method=method,
    )


def _turned(better: PairedComparison) -> PairedComparison:
    """From "more is better" back to the metric's own direction."""
    return replace(better, difference=0.0 - better.difference, low=0.0 - better.high, high=0.0 - better.low)
