"""What is drawn by lot: it depends on names and numbers alone, not on the order in which anything is met."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.batch import Name

_MOST = 1000
"""No event is drawn more often than this."""

MIX, MIX_AGAIN, GOLDEN = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)
"""Constants of SplitMix64."""

POISSON = (0.36787944117144233, 0.7357588823428847, 0.9196986029286058, 0.9810118431238462, 0.9963401531726563,
           0.9994058151824183, 0.9999167588507119, 0.9999897508033253)  # fmt: skip
"""Distribution function of Poisson(1) at 0, 1, 2, ..."""


@njit(cache=True, nogil=True)
def scramble(z: np.uint64) -> np.uint64:
    """SplitMix64 of a counter."""
    z = z * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX
    z = (z ^ (z >> np.uint64(27))) * MIX_AGAIN
    return np.uint64(z ^ (z >> np.uint64(31)))


@njit(cache=True, nogil=True)
def poisson(seed: int, event: int, draw: int) -> int:
    """A Poisson(1) number that depends on its arguments alone."""
    bits = scramble(scramble(scramble(np.uint64(seed)) + np.uint64(event)) + np.uint64(draw))
    u = np.float64(bits >> np.uint64(11)) / 9007199254740992.0
    k = 0
    while k < len(POISSON) and u >= POISSON[k]:
        k += 1
    return k


def named(names: Sequence[Name]) -> NDArray[np.uint64]:
    """A number for each name, the same in every process; equal names have equal numbers."""
    keys = [name.encode() if isinstance(name, str) else b"\0%d" % hash(name) for name in names]
    digests = b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


@njit(cache=True, nogil=True)
def lots(seed: int, number: int, names: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each name, as `named` tells it, drawn for the member of this number."""
    key = scramble(scramble(np.uint64(seed)) + np.uint64(number))
    drawn = np.empty(len(names))
    for j in range(len(names)):
        drawn[j] = np.float64(scramble(key ^ names[j]) >> np.uint64(11)) / 9007199254740992.0
    return drawn


@njit(cache=True, nogil=True)
def poissons(seed: int, number: int, first: int, rate: float, counts: NDArray[np.int64]) -> None:
    """Write Poisson numbers of mean ``rate`` for the events from ``first`` on, drawn for the member of this number."""
    key = scramble(scramble(np.uint64(seed)) + np.uint64(number))
    for i in range(len(counts)):
        u = np.float64(scramble(key + np.uint64(first + i)) >> np.uint64(11)) / 9007199254740992.0
        p = np.exp(-rate)
        total, k = p, 0
        while u >= total and k < _MOST:
            k += 1
            p *= rate / k
            total += p
        counts[i] = k
