"""Random numbers by their number: any of them can be had without drawing the ones before.

Words of 64 bits wrap around, of which NumPy warns where kernels run uncompiled.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

STEP = np.uint64(0x9E3779B97F4A7C15)
"""Distance of neighbouring states of SplitMix64: 2^64 divided by the golden ratio, made odd."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)

# Coefficients of routine PPND16 of Wichura, "Algorithm AS 241: the percentage points of the normal distribution",
# Applied Statistics 37, 1988, from the highest power down: numerator and denominator near the median, further out, and
# in the far tails.
_NEAR = np.array(
    [
        [2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457],
        [13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608],
        [5226.495278852854561, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867],
        [5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0],
    ]
).reshape(2, 8)
_FAR = np.array(
    [
        [7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258],
        [3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734],
        [1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459],
        [0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0],
    ]
).reshape(2, 8)
_FARTHEST = np.array(
    [
        [2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093],
        [0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772],
        [2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4],
        [0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0],
    ]
).reshape(2, 8)


class Draws:
    """Uniform numbers in a row, set by a key: from them the fixed parts of a stream are made.

    Parameters
    ----------
    key
        From `derived_key`. Equal keys give equal numbers, on any machine and with any version of NumPy.
    """

    def __init__(self, key: int) -> None:
        self._key = np.uint64(key)
        self._next = 0

    def uniform(self, n: int) -> NDArray[np.float64]:
        """The next ``n`` numbers, between 0 and 1 and neither."""
        found = np.zeros(n)
        _fill(self._key, self._next, found)
        self._next += n
        return found

    def normal(self, n: int) -> NDArray[np.float64]:
        """``n`` numbers of mean 0 and variance 1."""
        found = self.uniform(n)
        _to_normal(found)
        return found

    def order(self, n: int) -> NDArray[np.int64]:
        """The numbers 0 to n - 1 in any order, each order being as likely."""
        return np.argsort(self.uniform(n), kind="stable")


def derived_key(*numbers: int) -> int:
    """A key set by numbers of at least 0 and their order: a seed, what it is for, and which one of those."""
    key = np.uint64(0)
    for number in numbers:
        key = np.uint64(derived(key, np.uint64(number)))
    return int(key)


@njit(cache=True, nogil=True)
def mixed(value: np.uint64) -> np.uint64:
    """Finalizer of SplitMix64: every bit of the answer hangs on every bit of ``value``."""
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


@njit(cache=True, nogil=True)
def derived(key: np.uint64, number: int | np.uint64) -> np.uint64:
    """The key of thing ``number`` below ``key``, to be used as a key again."""
    return mixed(mixed(key + STEP) ^ (STEP * np.uint64(number)))


@njit(cache=True, nogil=True)
def uniform(key: np.uint64, number: int) -> float:
    """Number ``number`` of the row that ``key`` sets: an odd multiple of 2^-53, so neither 0 nor 1."""
    value = mixed(key + STEP * np.uint64(number + 1))
    return (np.float64(value >> _12) + 0.5) * 2.0**-52


@njit(cache=True, nogil=True)
def normal_quantile(share: float) -> float:
    """What a standard normal number lies below with probability ``share``, to 16 digits."""
    middle = share - 0.5
    if abs(middle) <= 0.425:
        return middle * _ratio(_NEAR, 0.180625 - middle * middle)
    distance = math.sqrt(-math.log(min(share, 1.0 - share)))
    size = _ratio(_FAR, distance - 1.6) if distance <= 5.0 else _ratio(_FARTHEST, distance - 5.0)
    return -size if middle < 0 else size


@njit(cache=True, nogil=True)
def _ratio(coefficients: NDArray[np.float64], at: float) -> float:
    above, below = 0.0, 0.0
    for i in range(coefficients.shape[1]):
        above = above * at + coefficients[0, i]
        below = below * at + coefficients[1, i]
    return above / below


@njit(cache=True, nogil=True)
def _fill(key, first, found):
    for i in range(len(found)):
        found[i] = uniform(key, first + i)


@njit(cache=True, nogil=True)
def _to_normal(found):
    for i in range(len(found)):
        found[i] = normal_quantile(found[i])
