"""Prior shift: tells which labels have become more or less frequent, be there thousands of them."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.base import check_at_least, check_probability
from drift.label_events import LabelDetector
from drift.multiple_tests import adjusted, check_control


class PriorShift(LabelDetector):
    """An exact test of every label's frequency, newest events against first ones, with control over all labels.

    Parameters
    ----------
    delta
        In (0, 1): with ``bonferroni`` the bound on the probability that a check raises a false alarm for any label;
        with ``benjamini-hochberg`` that on the expected share of false ones among the labels told.
    reference_size
        First events since the start, a multiple of ``clock``, at least 1.
    window_size
        Newest events, a multiple of ``clock``, at least 1.
    clock
        There is a check at every ``clock``-th event once both are full, at least 1.
    control
        ``bonferroni`` or ``benjamini-hochberg``. While no label has changed both bound the probability of a false alarm
        at a check by ``delta``; the second finds more labels where many change at once.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    A label that occurs k times in the window and m times in the reference has, if its frequency has not changed, a
    hypergeometric k given k + m. The p-value is twice that of the nearer tail, at most 1: it is exact, so that rare
    labels raise no more false alarms than frequent ones. `statistic` is the smallest p-value after control, which
    raises the alarm if it is at most ``delta``. Labels that occur in neither part are not tested.

    An alarm forgets everything and starts a new reference. Counting costs O(|Y|) an event, a check O(k) a label, and
    8 · (window_size / clock + 1) bytes are held a label, label numbers being rounded up to a power of two.

    An event of which not all labels are known is counted and otherwise passed over.

    References
    ----------
    Fisher: "Statistical methods for research workers", 5th edition, 1934, section 21.02; Benjamini, Hochberg:
    "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> rates = np.where(np.arange(5000)[:, None] < 3000, [0.1, 0.5, 0.02], [0.1, 0.2, 0.02])
    >>> detector = PriorShift()
    >>> detector.update_many(np.random.default_rng(0).random((5000, 3)) < rates).tolist()
    [3199]
    >>> detector.labels.tolist()
    [1]
    """

    def __init__(
        self,
        delta: float = 1e-5,
        reference_size: int = 2000,
        window_size: int = 500,
        clock: int = 100,
        control: str = "bonferroni",
    ) -> None:
        check_probability(delta=delta)
        check_at_least(1, reference_size=reference_size, window_size=window_size, clock=clock)
        for name, size in (("reference_size", reference_size), ("window_size", window_size)):
            if size % clock:
                raise ValueError(f"{name} must be a multiple of clock, {clock}, got {size}")
        check_control(control)
        super().__init__(clock)
        self.delta = delta
        self.reference_size = reference_size
        self.window_size = window_size
        self.control = control
        self._arrays["reference"] = np.zeros(0, np.int64)
        self._arrays["blocks"] = np.zeros((window_size // clock, 0), np.int64)
        self._arrays["labels"] = np.zeros(0, np.int64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Numbers of the labels that raised the last alarm, rising; with ``bonferroni`` each of them by itself."""
        return self._arrays["labels"].copy()

    @property
    def threshold(self) -> float:
        """What the statistic has to reach or to fall below."""
        return self.delta

    def _take(self, indptr: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        n_labels = len(self._arrays["reference"])
        if len(indices) and (highest := int(indices.max())) >= n_labels:
            n_labels = 1 << highest.bit_length()
            for name in ("reference", "blocks"):
                old = self._arrays[name]
                self._arrays[name] = np.zeros((*old.shape[:-1], n_labels), np.int64)
                self._arrays[name][..., : old.shape[-1]] = old
        n = int(self._events["n_since_start"])
        counts = np.bincount(indices, minlength=n_labels)
        if n < self.reference_size:
            self._arrays["reference"] += counts
            return
        block = self._arrays["blocks"][n // self.clock % len(self._arrays["blocks"])]
        if n % self.clock == 0:
            block[:] = 0
        block += counts

    def _check(self) -> bool:
        if self._events["n_since_start"] < self.reference_size + self.window_size:
            return False
        before, now = self._arrays["reference"], self._arrays["blocks"].sum(axis=0)
        labels = np.flatnonzero(before + now)
        if not len(labels):
            return False
        p_values = np.zeros(len(labels))
        _test(before[labels], now[labels], self.reference_size, self.window_size, p_values)
        controlled = adjusted(p_values, self.control)
        self._events["statistic"] = controlled.min()
        told = controlled <= self.delta
        if not told.any():
            return False
        self._arrays["labels"] = labels[told]
        return True

    def _restart(self) -> None:
        self._arrays["reference"][:] = 0
        self._arrays["blocks"][:] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _test(
    before: NDArray[np.int64],
    now: NDArray[np.int64],
    n_before: int,
    n_now: int,
    p_values: NDArray[np.float64],
) -> None:
    """Two-sided p-values of counts of ``n_before`` and ``n_now`` events, by Fisher's exact test."""
    n = n_before + n_now
    for label in range(len(before)):
        k, total = now[label], before[label] + now[label]
        least, most = max(0, total - n_before), min(total, n_now)
        density = math.exp(_log_choose(n_now, k) + _log_choose(n_before, total - k) - _log_choose(n, total))
        lower = upper = term = density
        for i in range(k, least, -1):
            term *= i * (n_before - total + i) / ((total - i + 1.0) * (n_now - i + 1.0))
            lower += term
        term = density
        for i in range(k, most):
            term *= (total - i) * (n_now - i) / ((i + 1.0) * (n_before - total + i + 1.0))
            upper += term
        p_values[label] = min(1.0, 2.0 * min(lower, upper))


@njit(cache=True, nogil=True, error_model="numpy")
def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)
