"""Label dependency drift: tells when labels have begun to go together in another way, whatever their frequencies do."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.base import check_at_least, check_probability
from drift.label_events import LabelDetector

_PRIOR = 2.0
"""Occurrences added to every count, so that few of them are little evidence. On label sets of 101 and 374 labels with
mild dependencies 2 to 4 found changes soonest of 0.5, 1, 2 and 4."""


class LabelDependencyDrift(LabelDetector):
    """A test of whether pairs of labels occur together as often as they did, given how often each of them occurs.

    Parameters
    ----------
    delta
        Probability of a false alarm at a check, in (0, 1). With a check every 250 events the default stands for one
        false alarm in 2,500,000 events.
    reference_size
        Events since the start that the newest ones are compared with, at least ``window_size``.
    window_size
        Newest events, at least 100. A smaller number finds strong changes sooner and weak ones not at all.
    clock
        There is a check at every ``clock``-th event, at least 1, once the reference has ``window_size`` events.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    **What it reacts to.** A change of the *lift* P(a, b) / (P(a) P(b)) of some pairs of labels, and with it of the
    Jaccard similarity at given frequencies. Frequencies that change while all lifts stay raise no alarm. Where
    dependence is strong, frequencies can hardly change without lifts: two labels of which one implies the other have a
    lift of 1 / P, so that they are told when they become more frequent.

    So does a window that holds events from before and after a jump of many frequencies at once: in such a mixture
    labels do occur together more often than their mean frequencies say. 14 independent labels whose frequencies were
    all halved were told while they passed through the window.

    **Statistic.** Reference and window are both halved, into even and odd events. The even halves tell which pairs seem
    to have changed: a pair of labels gets the weight w = log((n + 2) / (e + 2)) of the window less that of the
    reference, with n joint occurrences where e would be expected of independent labels. The odd halves are then tested
    in one number,

        T = Σ w(a, b) · (P'(a, b) - r(a) r(b) P(a, b)),

    where P and P' are the rates of the pairs in reference and window, and r the ratios of the rates of the labels. As
    the weights come from other events, T has mean zero if no lift has changed, however many pairs there are: thousands
    of pairs cost no correction for multiple tests. T over its standard error, which is taken from what each event
    contributes to it (delta method), is nearly normal; the alarm is raised where it exceeds the normal quantile of 1 -
    ``delta``. All checks since the start share the reference, so that false alarms come in clusters: there are at most
    ``delta`` of them a check on average.

    An alarm forgets everything, so that the next is possible 2 · ``window_size`` events later.

    **Cost.** Only pairs that are present are touched: O(|Y|²) an event when it is looked at, which it is
    (reference_size + window_size) / clock times. The label sets of reference and window are held, 8 bytes a label.

    An event of which not all labels are known is counted and otherwise passed over.

    References
    ----------
    The idea of testing one projection that other data has chosen: Cox: "A note on data-splitting for the evaluation of
    significance levels", Biometrika 62, 1975. The statistic is our own.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> one, other = rng.random((2, 12000)) < 0.3
    >>> third = np.where(np.arange(12000) < 8000, one, other)
    >>> detector = LabelDependencyDrift()
    >>> detector.update_many(np.stack([one, other, third], axis=1)).tolist()
    [8249]
    """

    def __init__(
        self, delta: float = 1e-4, reference_size: int = 4000, window_size: int = 1500, clock: int = 250
    ) -> None:
        check_probability(delta=delta)
        check_at_least(100, window_size=window_size)
        check_at_least(window_size, reference_size=reference_size)
        check_at_least(1, clock=clock)
        super().__init__(clock)
        self.delta = delta
        self.reference_size = reference_size
        self.window_size = window_size
        self._arrays["indptr"] = np.zeros(1, np.int64)
        self._arrays["indices"] = np.zeros(0, np.int64)

    @property
    def threshold(self) -> float:
        """What the statistic has to exceed."""
        return NormalDist().inv_cdf(1 - self.delta)

    def _take(self, indptr: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        before = self._arrays["indptr"]
        self._arrays["indptr"] = np.concatenate([before, before[-1] + indptr[1:]])
        self._arrays["indices"] = np.concatenate([self._arrays["indices"], indices])

    def _check(self) -> bool:
        n_reference = min(self.reference_size, len(self._arrays["indptr"]) - 1 - self.window_size)
        if n_reference < self.window_size:
            return False
        self._forget_between(n_reference)
        statistic = _compare(self._arrays["indptr"], self._arrays["indices"], n_reference)
        self._events["statistic"] = statistic
        return bool(statistic > self.threshold)

    def _forget_between(self, n_reference: int) -> None:
        """Let go of the events that are neither reference nor window."""
        indptr, indices = self._arrays["indptr"], self._arrays["indices"]
        first_new = len(indptr) - 1 - self.window_size
        old, new = indptr[: n_reference + 1], indptr[first_new:]
        self._arrays["indptr"] = np.concatenate([old, new[1:] - new[0] + old[-1]])
        self._arrays["indices"] = np.concatenate([indices[: old[-1]], indices[new[0] :]])

    def _restart(self) -> None:
        self._arrays["indptr"] = np.zeros(1, np.int64)
        self._arrays["indices"] = np.zeros(0, np.int64)


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(indptr: NDArray[np.int64], indices: NDArray[np.int64], n_reference: int) -> float:
    """The statistic, of the first ``n_reference`` events against all others."""
    n_events = len(indptr) - 1
    n_labels = indices.max() + 1 if len(indices) else 0
    sizes, counts, n_pairs = np.zeros((2, 2)), np.zeros((2, 2, n_labels)), 0
    for i in range(n_events):
        window, odd = int(i >= n_reference), i & 1
        sizes[window, odd] += 1
        for p in range(indptr[i], indptr[i + 1]):
            counts[window, odd, indices[p]] += 1
        if not odd:
            n_present = indptr[i + 1] - indptr[i]
            n_pairs += n_present * (n_present - 1) // 2
    n_slots = 16
    while n_slots < 2 * n_pairs:
        n_slots *= 2
    keys = np.full(n_slots, -1, np.int64)
    joint = np.zeros((2, n_slots))
    for i in range(0, n_events, 2):
        for p in range(indptr[i], indptr[i + 1]):
            for q in range(p + 1, indptr[i + 1]):
                key = indices[p] << 32 | indices[q]
                slot = _slot(keys, key)
                keys[slot] = key
                joint[int(i >= n_reference), slot] += 1
    weights = np.zeros(n_slots)
    for slot in range(n_slots):
        if keys[slot] >= 0:
            a, b = keys[slot] >> 32, keys[slot] & 0xFFFFFFFF
            for window in range(2):
                expected = counts[window, 0, a] * counts[window, 0, b] / sizes[window, 0]
                weight = math.log((joint[window, slot] + _PRIOR) / (expected + _PRIOR))
                weights[slot] += weight if window else -weight
    return _test(indptr, indices, n_reference, sizes[:, 1].copy(), counts[:, 1].copy(), keys, weights)


@njit(cache=True, nogil=True, error_model="numpy")
def _test(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    n_reference: int,
    sizes: NDArray[np.float64],
    counts: NDArray[np.float64],
    keys: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> float:
    """T over its standard error, from the odd events."""
    n_labels = counts.shape[1]
    prior_rate = _PRIOR / sizes[0]
    rates = counts / sizes.reshape(2, 1) + prior_rate
    ratios = rates[1] / rates[0]
    # How much of the scaled reference's total stands on each label: what a change of the label's rate changes.
    share = np.zeros(n_labels)
    for i in range(1, n_reference, 2):
        for p in range(indptr[i], indptr[i + 1]):
            for q in range(p + 1, indptr[i + 1]):
                a, b = indices[p], indices[q]
                weight = weights[_slot(keys, a << 32 | b)] * ratios[a] * ratios[b] / sizes[0]
                share[a] += weight
                share[b] += weight
    totals, squares, effects = np.zeros(2), np.zeros(2), np.zeros(2)
    for i in range(1, len(indptr) - 1, 2):
        window = int(i >= n_reference)
        total = correction = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            a = indices[p]
            correction += share[a] / rates[window, a]
            for q in range(p + 1, indptr[i + 1]):
                b = indices[q]
                weight = weights[_slot(keys, a << 32 | b)]
                total += weight if window else weight * ratios[a] * ratios[b]
        totals[window] += total
        effects[window] += total - correction
        squares[window] += (total - correction) ** 2
    means = effects / sizes
    error = 0.0
    for window in range(2):
        error += (squares[window] / sizes[window] - means[window] ** 2) / sizes[window]
    difference = totals[1] / sizes[1] - totals[0] / sizes[0]
    return difference / math.sqrt(error) if error > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _slot(keys: NDArray[np.int64], key: int) -> int:
    """Where a key stands, or else the empty place where it would; a place of weight 0."""
    slot = (key * 0x2545F4914F6CDD1D >> 20) & (len(keys) - 1)
    while keys[slot] != key and keys[slot] >= 0:
        slot = (slot + 1) & (len(keys) - 1)
    return slot
