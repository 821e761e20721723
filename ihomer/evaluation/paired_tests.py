"""Tests of learners that met the same data sets: Friedman, Nemenyi, Wilcoxon, and the Bayesian signed-rank test."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["higher", "lower"]
Array = NDArray[np.float64]

ALPHA = 0.05
"""Level of the tests."""

ROPE = 0.01
"""Half the width of the region of practical equivalence: differences of no more than this count as none."""

_SAMPLES = 50_000
_PRIOR = 0.5
"""Weight of the pseudo-observation 0 that stands for the prior; that of baycomp, by the paper's authors."""


@dataclass(frozen=True, slots=True)
class Friedman:
    """Friedman's test that all learners rank alike: chi-square, and the F of Iman and Davenport, with p-values."""

    chi_square: float
    chi_square_p: float
    f: float | None
    f_p: float


def average_ranks(table: ArrayLike, better: Direction = "higher") -> Array:
    """The mean over the rows of the place of each column: 1 for the best, equals share the mean of their places.

    Parameters
    ----------
    table
        Scores, a row a data set and a column a learner, all finite.
    better
        Whether the higher or the lower score is the better one.

    Examples
    --------
    >>> average_ranks([[0.9, 0.8, 0.8], [0.5, 0.6, 0.4]]).tolist()
    [1.5, 1.75, 2.75]
    """
    from scipy.stats import rankdata

    scores = np.asarray(table, np.float64)
    return np.asarray(rankdata(-scores if better == "higher" else scores, axis=1).mean(axis=0), np.float64)


def friedman_test(table: ArrayLike) -> Friedman:
    """Friedman's test over the rows of a table with a column for each of at least three learners.

    Notes
    -----
    Chi-square is corrected for ties (by SciPy), so with ties it is a little above that of Demšar's formula. Where all
    rows rank the learners alike, F has no finite value; its p is then the exact one, the probability that chance orders
    every row like the first. Where all are tied, nothing differs and p is 1.

    References
    ----------
    Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006, section 3.2.2.
    """
    from scipy import stats

    scores = np.asarray(table, np.float64)
    n, k = scores.shape
    if (scores == scores[:, :1]).all():
        return Friedman(0.0, 1.0, 0.0, 1.0)
    chi_square, p = stats.friedmanchisquare(*scores.T)
    rest = n * (k - 1) - chi_square
    if rest <= 1e-9 * n * k:
        orders = math.factorial(k) / math.prod(math.factorial(n_tied) for n_tied in Counter(scores[0]).values())
        return Friedman(float(chi_square), float(p), None, orders ** -(n - 1))
    f = (n - 1) * chi_square / rest
    return Friedman(float(chi_square), float(p), float(f), float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))))


def critical_difference(n_learners: int, n_sets: int, alpha: float = ALPHA) -> float:
    """How far average ranks must lie apart to differ by Nemenyi's test.

    References
    ----------
    Demšar 2006, section 3.2.2: q * sqrt(k (k + 1) / (6 N)), with q the studentized range divided by sqrt(2).

    Examples
    --------
    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, n_learners, math.inf)) / math.sqrt(2)
    return q * math.sqrt(n_learners * (n_learners + 1) / (6 * n_sets))


def not_different(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last place of the longest stretches of ascending ``ranks`` that span less than a difference.

    Examples
    --------
    >>> not_different([1.0, 1.5, 2.2, 4.0], 1.0)
    [(0, 1), (1, 2)]
    """
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(place for place in range(first, len(ranks)) if ranks[place] - ranks[first] < difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = highest
    return corrected


def wilcoxon_p(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test, exact with ties too.

    Notes
    -----
    The ranks of differences of 0 are shared out evenly between both sides (Demšar 2006, section 3.1.3). The sums of the
    other ranks are counted over all their signs, in O(n**3) for n sets; SciPy is exact without ties only.

    Examples
    --------
    >>> wilcoxon_p([0.9, 0.8, 0.7, 0.9, 0.8, 0.6], [0.5, 0.6, 0.6, 0.7, 0.7, 0.5])
    0.03125
    """
    from scipy.stats import rankdata

    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    # Twice the ranks are whole numbers.
    ranks = np.rint(2 * rankdata(np.abs(gaps))).astype(np.int64)
    chances = np.ones(1)
    for rank in ranks[gaps != 0]:
        more = np.zeros(len(chances) + rank)
        more[: len(chances)] += 0.5 * chances
        more[rank:] += 0.5 * chances
        chances = more
    above = int(ranks[gaps > 0].sum())
    below = len(chances) - 1 - above
    return float(min(1.0, 2 * chances[: min(above, below) + 1].sum()))


def signed_rank(
    a: ArrayLike, b: ArrayLike, rope: float = ROPE, *, n_samples: int = _SAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """The Bayesian signed-rank test: how likely a is greater by more than the rope, that neither is, and that b is.

    Parameters
    ----------
    a, b
        Scores of two learners on the same data sets, all finite.
    rope
        Half the width of the region of practical equivalence; 0 or more.
    n_samples
        Draws from the posterior; the answer has a standard error of at most 0.5 / sqrt(n_samples).
    seed
        Of the draws: the same seed gives the same answer.

    Notes
    -----
    The differences and a pseudo-observation of 0 with weight 0.5 get weights from a Dirichlet distribution. A draw is
    for a where the pairs of differences whose mean is above the rope weigh more than those below and those within.
    Costs O(n_samples * n**2) for n sets.

    References
    ----------
    Benavoli, Corani, Demšar, Zaffalon, Time for a change: a tutorial for comparing multiple classifiers through
    Bayesian analysis, JMLR 18, 2017, section 4.2.

    Examples
    --------
    >>> a_better, equivalent, b_better = signed_rank([0.7, 0.8, 0.6, 0.9], [0.6, 0.65, 0.58, 0.7])
    >>> a_better > 0.9 > equivalent > b_better
    True
    """
    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return posterior(gaps, rope, posterior_weights(len(gaps), n_samples, seed))


def posterior_weights(n: int, n_samples: int = _SAMPLES, seed: int = 0) -> Array:
    """Draws from the posterior: weights of the pseudo-observation and of ``n`` differences, a row a draw."""
    return np.random.default_rng(seed).dirichlet([_PRIOR, *[1.0] * n], n_samples)


def posterior(gaps: Array, rope: float, weights: Array) -> tuple[float, float, float]:
    """What `signed_rank` gives, of differences and of draws that comparisons of other learners can share."""
    values = np.concatenate(([0.0], gaps))
    sums = values[:, None] + values[None, :]

    def mass(pairs: Array) -> Array:
        """What the pairs weigh in each draw; a pair on the border counts half."""
        counted = (pairs > 2 * rope) + 0.5 * (pairs == 2 * rope)
        return np.asarray(np.einsum("si,si->s", weights @ counted, weights), np.float64)

    above, below = mass(sums), mass(-sums)
    shares = np.stack((above, 1.0 - above - below, below))
    # A draw in which two lie equally high, as both sides do where all differences are 0 and there is no rope, belongs
    # to both in equal parts.
    won = shares > shares.max(axis=0) - 1e-12
    won[1] &= rope > 0
    a_better, equivalent, b_better = (won / np.maximum(won.sum(axis=0), 1)).mean(axis=1).tolist()
    return a_better, equivalent, b_better
