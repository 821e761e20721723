"""Feature drift by Kolmogorov and Smirnov: two windows of every feature, all features under one bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drift.base import check_probability
from drift.feature_windows import FeatureDetector
from drift.multiple_tests import check_control


class KolmogorovSmirnovDrift(FeatureDetector):
    """Tells which features have another distribution than they had, whatever the change.

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
    control
        ``bonferroni`` or ``benjamini-hochberg``, as in `PriorShift`.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    The p-value of the largest distance D between the two empirical distribution functions is bounded by 2 exp(-2 D² n m
    / (n + m)), which is above it but for samples of fewer than some 460 values of equal size, where it may fall short
    by a factor of e / 2. Ties make it larger than need be. `statistic` is the smallest p-value after control. An alarm
    forgets everything; `features` tells the columns that raised the last.

    A check costs O((n + m) log(n + m)) a feature, a row nothing but its copy. A missing value is counted, and left out
    of its feature's samples; a feature of which either sample has fewer than 2 values is not told.

    References
    ----------
    Smirnov, 1939; Wei, Dudley: "Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities", Statistics and Probability Letters
    82, 2012, for the bound.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(4000, 3))
    >>> x[2000:, 2] *= 3
    >>> detector = KolmogorovSmirnovDrift()
    >>> detector.update_many(x).tolist(), detector.features.tolist()
    ([2299], [2])
    """

    def __init__(
        self,
        delta: float = 1e-6,
        reference_size: int = 1000,
        window_size: int = 500,
        clock: int = 100,
        control: str = "bonferroni",
    ) -> None:
        check_probability(delta=delta)
        check_control(control)
        super().__init__(reference_size, window_size, clock)
        self.delta = delta
        self.control = control

    @property
    def features(self) -> NDArray[np.int64]:
        """Columns that raised the last alarm, rising."""
        return self._arrays["features"].copy()

    @property
    def threshold(self) -> float:
        """What the statistic has to reach or to fall below."""
        return self.delta

    def _check(self, reference: NDArray[np.float64], window: NDArray[np.float64]) -> bool:
        return self._decide(p_values(reference, window), self.control, self.delta)


def p_values(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bounds on the p-values of the two-sample test, column by column; 1 where a sample has fewer than 2 values."""
    both = np.concatenate([one, other])
    n, m = (~np.isnan(one)).sum(axis=0), (~np.isnan(other)).sum(axis=0)
    order = np.argsort(both, axis=0, kind="stable")
    values = np.take_along_axis(both, order, axis=0)
    # Whole numbers, so that equal functions have distance 0.
    steps = np.where(order < len(one), m, -n) * ~np.isnan(values)
    gaps = np.abs(np.cumsum(steps, axis=0))
    is_last_of_ties = np.ones(values.shape, np.bool_)
    is_last_of_ties[:-1] = values[:-1] != values[1:]
    product = np.maximum(n * m, 1)
    distance = np.max(gaps * is_last_of_ties, axis=0) / product
    bound = np.minimum(2.0 * np.exp(-2.0 * distance**2 * product / np.maximum(n + m, 1)), 1.0)
    return np.where((n > 1) & (m > 1), bound, 1.0)
