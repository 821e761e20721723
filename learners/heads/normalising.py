"""Normalisers in front of a head: stateless ones of a vector, and running ones whose moments go with the stream."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State

Floats = NDArray[np.float64]

KINDS = ("none", "l2", "layer", "quadratic", "batch")
STATELESS = KINDS[:3]

FLOOR = 1e-5
"""Added to every variance and mean square, as published."""

_MEMORY = 640
"""Events after which a running moment has forgotten two thirds: a rate of 0.1 a batch of 64."""

_SOURCE_SHARE = 0.9
"""Share of the moments of the first `_MEMORY` events in those that ``batch`` works with."""

_COUNT, _FIRST, _SECOND, _FIRST_SOURCE, _SECOND_SOURCE = range(5)


class Normaliser:
    """Brings vectors to one scale before a head sees them.

    Parameters
    ----------
    kind
        ``"none"``; ``"l2"``: length one; ``"layer"``: mean 0 and variance 1 over the columns of each vector;
        ``"quadratic"``: every column over the root of its running mean square; ``"batch"``: every column moved from
        its running mean and deviation to those of the first 640 events (alpha-BN with alpha 0.9).

    Raises
    ------
    ValueError
        The kind is none of these.

    Notes
    -----
    Running moments are those up to and including the event at hand, so that an event is seen alike when it is
    answered and when it is learned; they are plain means over the first 640 events and fade as 1/640 afterwards. A
    vector of zeros stays one. O(d) an event; 40 d bytes where moments run, else none. What runs cannot be merged.

    References
    ----------
    .. [1] Ba, Kiros, Hinton, "Layer normalization", arXiv 1607.06450.
    .. [2] Shen et al., "PowerNorm", ICML 2020, the running quadratic mean.
    .. [3] You, Li, Zhao, "Test-time batch statistics calibration for covariate shift", arXiv 2110.04065, equation (3).
    """

    def __init__(self, kind: str = "none") -> None:
        if kind not in KINDS:
            raise ValueError(f"normalise must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        self._moments = np.zeros((5, 0))

    def grow(self, width: int) -> None:
        """Room for vectors of ``width`` columns."""
        if self.kind not in STATELESS and width > self._moments.shape[1]:
            self._moments = np.pad(self._moments, ((0, 0), (0, width - self._moments.shape[1])))

    def apply(self, x: Floats, teaches: NDArray[np.bool_], learn: bool) -> Floats:
        """``x`` on the new scale, in place; moments go on with the rows that ``teaches`` tells of, if ``learn``."""
        if self.kind == "l2":
            to_unit_length(x)
        elif self.kind == "layer":
            _to_layer(x)
        elif self.kind != "none":
            _run(x, teaches & learn, self.kind == "batch", self._moments)
        return x

    def get_state(self) -> State:
        """Copies of everything learned."""
        return {} if self.kind in STATELESS else {"normaliser": self._moments.copy()}

    def set_state(self, state: State) -> None:
        """Take over what `get_state` gave; further entries are passed over."""
        if self.kind not in STATELESS:
            self._moments = np.array(state["normaliser"], np.float64)


@njit(cache=True, nogil=True)
def to_unit_length(x: Floats) -> None:
    """Bring every row that is not all zeros to length one."""
    for i in range(len(x)):
        total = 0.0
        for j in range(x.shape[1]):
            total += x[i, j] * x[i, j]
        if total > 0:
            length = np.sqrt(total)
            for j in range(x.shape[1]):
                x[i, j] /= length


@njit(cache=True, nogil=True)
def _to_layer(x: Floats) -> None:
    d = x.shape[1]
    for i in range(len(x)):
        mean, squares = 0.0, 0.0
        for j in range(d):
            mean += x[i, j] / d
        for j in range(d):
            squares += (x[i, j] - mean) ** 2 / d
        scale = np.sqrt(squares + FLOOR)
        for j in range(d):
            x[i, j] = (x[i, j] - mean) / scale


@njit(cache=True, nogil=True)
def _run(x: Floats, keep: NDArray[np.bool_], centred: bool, moments: Floats) -> None:
    for i in range(len(x)):
        for j in range(x.shape[1]):
            count = moments[_COUNT, j] + 1
            rate = 1 / min(count, _MEMORY)
            value = x[i, j]
            first = moments[_FIRST, j] + rate * (value - moments[_FIRST, j])
            second = moments[_SECOND, j] + rate * (value * value - moments[_SECOND, j])
            source_first, source_second = first, second
            if count > _MEMORY:
                source_first, source_second = moments[_FIRST_SOURCE, j], moments[_SECOND_SOURCE, j]
            if keep[i]:
                moments[_COUNT, j] = count
                moments[_FIRST, j], moments[_SECOND, j] = first, second
                moments[_FIRST_SOURCE, j], moments[_SECOND_SOURCE, j] = source_first, source_second
            if centred:
                source = max(0.0, source_second - source_first * source_first)
                target = max(0.0, second - first * first)
                mean = _SOURCE_SHARE * source_first + (1 - _SOURCE_SHARE) * first
                variance = _SOURCE_SHARE * source + (1 - _SOURCE_SHARE) * target
                x[i, j] = (value - mean) * np.sqrt((source + FLOOR) / (variance + FLOOR)) + source_first
            else:
                x[i, j] = value / np.sqrt(second + FLOOR)
