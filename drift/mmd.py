"""Feature drift by maximum mean discrepancy: rows as wholes, through random Fourier features."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from drift.base import check_at_least, check_probability
from drift.feature_windows import FeatureDetector


class MMDDrift(FeatureDetector):
    """Tells when rows have another joint distribution than they had, be every single feature as it was.

    Parameters
    ----------
    delta
        Probability of a false alarm at a check, in (0, 1).
    reference_size
        First rows since the start, at least 20.
    window_size
        Newest rows, at least 20.
    clock
        There is a check at every ``clock``-th row, at least 1.
    n_frequencies
        Random frequencies, at least 1; each gives a cosine and a sine.
    seed
        Where the random numbers of the frequencies begin, at least 0.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Rows are standardised by the reference's even rows, missing values being set to their mean, and mapped to φ(x),
    whose inner products approximate a Gaussian kernel as wide as the square root of the number of features. The even
    halves of reference and window give the witness, the difference of their mean φ; it is tested in one number whether
    the odd halves differ along it. That is nearly normal, so that no permutations are needed: the alarm is raised if
    `statistic`, the difference over its standard error, exceeds the normal quantile of 1 - ``delta``. An alarm forgets
    everything.

    A check costs O(n · features · n_frequencies), a row nothing but its copy. Missing values are counted.

    References
    ----------
    Gretton, Borgwardt, Rasch, Schölkopf, Smola: "A kernel two-sample test", JMLR 13, 2012; Rahimi, Recht: "Random
    features for large-scale kernel machines", NeurIPS 2007; Kübler, Jitkrittum, Schölkopf, Muandet: "A witness
    two-sample test", AISTATS 2022, for the split.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(4000, 2))
    >>> x[2000:, 1] = 0.8 * x[2000:, 0] + 0.6 * x[2000:, 1]
    >>> MMDDrift().update_many(x).tolist()
    [2499]
    """

    def __init__(
        self,
        delta: float = 1e-6,
        reference_size: int = 1000,
        window_size: int = 500,
        clock: int = 100,
        n_frequencies: int = 100,
        seed: int = 0,
    ) -> None:
        check_probability(delta=delta)
        check_at_least(1, n_frequencies=n_frequencies)
        check_at_least(0, seed=seed)
        super().__init__(reference_size, window_size, clock)
        self.delta = delta
        self.n_frequencies = n_frequencies
        self.seed = seed

    @property
    def threshold(self) -> float:
        """What the statistic has to exceed."""
        return NormalDist().inv_cdf(1 - self.delta)

    def _check(self, reference: NDArray[np.float64], window: NDArray[np.float64]) -> bool:
        mean, scale = moments(reference[::2])
        n_features = reference.shape[1]
        frequencies = np.random.default_rng(self.seed).normal(size=(n_features, self.n_frequencies))
        frequencies /= math.sqrt(n_features)
        before, now = (self._mapped((part - mean) / scale, frequencies) for part in (reference, window))
        witness = now[::2].mean(axis=0) - before[::2].mean(axis=0)
        old, new = before[1::2] @ witness, now[1::2] @ witness
        error = math.sqrt(old.var() / len(old) + new.var() / len(new))
        statistic = float(new.mean() - old.mean()) / error if error else 0.0
        self._rows["statistic"] = statistic
        return statistic > self.threshold

    @staticmethod
    def _mapped(x: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
        angles = np.where(np.isnan(x), 0.0, x) @ frequencies
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def moments(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every column's values that are there; 0 and 1 where they cannot be told."""
    is_there = ~np.isnan(x)
    n = np.maximum(is_there.sum(axis=0), 1)
    mean = np.where(is_there, x, 0.0).sum(axis=0) / n
    deviation = np.sqrt((np.where(is_there, x - mean, 0.0) ** 2).sum(axis=0) / n)
    return mean, np.where(deviation > 0, deviation, 1.0)
