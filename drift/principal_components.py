"""Feature drift along principal components: few directions stand for many features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drift.base import check_probability
from drift.feature_windows import FeatureDetector
from drift.kolmogorov_smirnov import p_values
from drift.mmd import moments
from drift.multiple_tests import check_control


class PrincipalComponentDrift(FeatureDetector):
    """Tells when rows are spread in another way along the directions in which the first ones were spread.

    Parameters
    ----------
    delta
        Bound on false alarms at a check over all directions, in (0, 1), as ``control`` has it.
    reference_size
        First rows since the start, at least 20.
    window_size
        Newest rows, at least 20.
    clock
        There is a check at every ``clock``-th row, at least 1.
    variance
        Share of the variance that the directions kept must hold, in (0, 1].
    control
        ``bonferroni`` or ``benjamini-hochberg``, as in `PriorShift`.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    The reference's even rows, standardised, give the directions. The scores of the odd rows are compared with those of
    the window as `KolmogorovSmirnovDrift` does features. With ``variance`` 1 a change of the correlations is seen also
    in directions that had next to none of the variance. `statistic` is the smallest p-value after control. An alarm
    forgets everything.

    A check costs O(n · features² + features³), a row nothing but its copy. Missing values are counted, and set to the
    feature's mean.

    References
    ----------
    Qahtan, Alharbi, Wang, Zhang: "A PCA-based change detection framework for multidimensional data streams", KDD 2015,
    section 4; with the test of Smirnov in place of a divergence of density estimates, whose bound is set by hand.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(4000, 5))
    >>> x[:2000, 4] = x[:2000, 0] + 0.1 * x[:2000, 4]
    >>> PrincipalComponentDrift().update_many(x).tolist()
    [2199]
    """

    def __init__(
        self,
        delta: float = 1e-6,
        reference_size: int = 1000,
        window_size: int = 500,
        clock: int = 100,
        variance: float = 1.0,
        control: str = "bonferroni",
    ) -> None:
        check_probability(delta=delta)
        if not 0 < variance <= 1:
            raise ValueError(f"variance must be in (0, 1], got {variance}")
        check_control(control)
        super().__init__(reference_size, window_size, clock)
        self.delta = delta
        self.variance = variance
        self.control = control

    @property
    def threshold(self) -> float:
        """What the statistic has to reach or to fall below."""
        return self.delta

    def _check(self, reference: NDArray[np.float64], window: NDArray[np.float64]) -> bool:
        mean, scale = moments(reference[::2])
        before, now = (np.nan_to_num((part - mean) / scale) for part in (reference, window))
        values, directions = np.linalg.eigh(before[::2].T @ before[::2])
        values, directions = values[::-1], directions[:, ::-1]
        n_kept = 1 + int((np.cumsum(values) < self.variance * values.sum() * (1 - 1e-12)).sum())
        kept = directions[:, :n_kept]
        return self._decide(p_values(before[1::2] @ kept, now @ kept), self.control, self.delta)
