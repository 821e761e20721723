"""Comparisons of learners, step by step from the papers."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np


def ranks(row: list[float], higher_is_better: bool) -> list[float]:
    """Place of each value: the mean of the places that it could have among its equals."""
    signed = [-value if higher_is_better else value for value in row]
    places = []
    for value in signed:
        first = 1 + sum(other < value for other in signed)
        last = sum(other <= value for other in signed)
        places.append((first + last) / 2)
    return places


def friedman(table: list[list[float]]) -> tuple[float, float]:
    """Chi-square and F of Demšar 2006, section 3.2.2, for a table without ties."""
    n, k = len(table), len(table[0])
    average = np.mean([ranks(row, True) for row in table], axis=0)
    chi_square = 12 * n / (k * (k + 1)) * (sum(rank**2 for rank in average) - k * (k + 1) ** 2 / 4)
    return chi_square, (n - 1) * chi_square / (n * (k - 1) - chi_square)


def chance_of_agreement(row: list[float], n: int) -> float:
    """How likely n rows that are shuffled blindly all look alike."""
    alike = [order for order in permutations(row) if list(order) == row]
    return (len(alike) / len(list(permutations(row)))) ** (n - 1)


def wilcoxon(a: list[float], b: list[float]) -> float:
    """The share of all ways to choose signs in which the rank sums lie at least as far apart as they do."""
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    places = ranks([abs(gap) for gap in gaps], False)
    moving = [(place, gap > 0) for place, gap in zip(places, gaps, strict=True) if gap != 0]
    apart = abs(sum(place if up else -place for place, up in moving))
    sums = [
        abs(sum(place if up else -place for (place, _), up in zip(moving, signs, strict=True)))
        for signs in product([True, False], repeat=len(moving))
    ]
    return sum(one >= apart for one in sums) / len(sums)


def groups(average: list[float], difference: float) -> set[frozenset[int]]:
    """Sets of learners of which no two differ, and to which none can be added."""
    k = len(average)
    subsets = [frozenset(i for i in range(k) if bits >> i & 1) for bits in range(1 << k)]
    alike = {
        subset
        for subset in subsets
        if len(subset) > 1 and all(abs(average[i] - average[j]) < difference for i in subset for j in subset)
    }
    return {subset for subset in alike if not any(subset < other for other in alike)}


def signed_rank(a: list[float], b: list[float], rope: float, n_samples: int, seed: int) -> tuple[float, float, float]:
    """The Bayesian signed-rank test, draw by draw and pair by pair (Benavoli et al. 2017, section 4.2)."""
    rng = np.random.default_rng(seed)
    gaps = [0.0, *(x - y for x, y in zip(a, b, strict=True))]
    wins = [0.0, 0.0, 0.0]
    for _ in range(n_samples):
        # A Dirichlet draw is gamma draws over their sum.
        gammas = [rng.gamma(0.5), *(rng.gamma(1.0) for _ in gaps[1:])]
        weights = [gamma / sum(gammas) for gamma in gammas]
        shares = [0.0, 0.0, 0.0]
        for i, gap_i in enumerate(gaps):
            for j, gap_j in enumerate(gaps):
                weight, mean = weights[i] * weights[j], (gap_i + gap_j) / 2
                shares[0 if mean > rope else 2 if mean < -rope else 1] += weight
        wins[shares.index(max(shares))] += 1 / n_samples
    return wins[0], wins[1], wins[2]
