"""Feature drift by the population stability index: how much the shares of a feature's bins have moved."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drift.base import check_at_least, check_probability
from drift.feature_windows import FeatureDetector
from drift.multiple_tests import check_control

_PRIOR = 0.5
"""Added to every bin's count, as an empty one would make the index infinite."""


class PopulationStabilityDrift(FeatureDetector):
    """Tells which features have moved between the bins that their first values made, missing values being one of them.

    Parameters
    ----------
    delta
        Bound on false alarms at a check over all features, in (0, 1), as ``control`` has it.
    reference_size
        First rows since the start, at least 20.
    window_size
        Newest rows, at least 20.
    clock
        There is a check at every ``clock``-th row, at least 1.
    n_bins
        Bins of equal shares of the reference, at least 2; ties make them fewer.
    control
        ``bonferroni`` or ``benjamini-hochberg``, as in `PriorShift`.
    least_index
        Index below which no change is told, be it ever so significant, at least 0. In credit scoring 0.1 is a small and
        0.25 a large one.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    With p and q the shares of a bin in reference and window, the index is Σ (p - q) ln(p / q). For samples of one
    source, index / (1 / n + 1 / m) has nearly a χ² distribution with one degree of freedom less than there are bins,
    which gives the p-value; the fixed bounds of practice have false alarms that depend on the sizes. `statistic` is the
    smallest p-value after control. An alarm forgets everything; `features` tells the columns that raised the last.

    A check costs O((n + m) log n) a feature, a row nothing but its copy. Missing values are counted, and are a bin of
    their own, so that a feature that has gone missing is told.

    References
    ----------
    Yurdakul, Naranjo: "Statistical properties of the population stability index", Journal of Risk Model Validation 14,
    2020, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(4000, 3))
    >>> x[2000::2, 1] = np.nan
    >>> detector = PopulationStabilityDrift()
    >>> detector.update_many(x).tolist(), detector.features.tolist()
    ([2099], [1])
    """

    def __init__(
        self,
        delta: float = 1e-6,
        reference_size: int = 1000,
        window_size: int = 500,
        clock: int = 100,
        n_bins: int = 10,
        control: str = "bonferroni",
        least_index: float = 0.0,
    ) -> None:
        check_probability(delta=delta)
        check_at_least(2, n_bins=n_bins)
        check_control(control)
        check_at_least(0, least_index=least_index)
        super().__init__(reference_size, window_size, clock)
        self.delta = delta
        self.n_bins = n_bins
        self.control = control
        self.least_index = least_index

    @property
    def features(self) -> NDArray[np.int64]:
        """Columns that raised the last alarm, rising."""
        return self._arrays["features"].copy()

    @property
    def threshold(self) -> float:
        """What the statistic has to reach or to fall below."""
        return self.delta

    def _check(self, reference: NDArray[np.float64], window: NDArray[np.float64]) -> bool:
        p_values = np.ones(reference.shape[1])
        for feature in range(reference.shape[1]):
            index, n_bins = stability_index(reference[:, feature], window[:, feature], self.n_bins)
            if index >= self.least_index:
                scaled = index / (1 / len(reference) + 1 / len(window))
                p_values[feature] = chi_squared_tail(scaled, n_bins - 1)
        return self._decide(p_values, self.control, self.delta)


def stability_index(reference: NDArray[np.float64], window: NDArray[np.float64], n_bins: int) -> tuple[float, int]:
    """The index of one feature, and how many bins have values."""
    known = reference[~np.isnan(reference)]
    edges = np.unique(np.quantile(known, np.arange(1, n_bins) / n_bins)) if len(known) else np.zeros(0)
    counts = np.zeros((2, len(edges) + 2))
    for row, values in enumerate((reference, window)):
        bins = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values))
        counts[row] = np.bincount(bins, minlength=len(edges) + 2)
    counts = counts[:, counts.any(axis=0)] + _PRIOR
    p, q = counts / counts.sum(axis=1, keepdims=True)
    return float(((p - q) * np.log(p / q)).sum()), counts.shape[1]


def chi_squared_tail(x: float, degrees: int) -> float:
    """Probability that a χ² number with so many degrees of freedom is larger; 1 if there are none."""
    if degrees < 1 or x <= 0:
        return 1.0
    half = x / 2
    tail = math.erfc(math.sqrt(half)) if degrees % 2 else math.exp(-half)
    power = 0.5 if degrees % 2 else 1.0
    while power < degrees / 2:
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        power += 1
    return min(tail, 1.0)
