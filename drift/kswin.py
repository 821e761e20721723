"""KSWIN: compares the newest values of a sliding window with a sample of the older ones, by Kolmogorov and Smirnov."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, Bank, Detector, check_at_least, check_probability, state_dtype

KSWIN_SERIES = state_dtype(("n", np.int64))

_N_WORDS = 624
"""Words of a Mersenne Twister; the place of the next one stands behind them."""


class KSWIN(Detector, base.DriftDetector):
    """Kolmogorov-Smirnov windowing: tells when the distribution of a series has changed, be it not its mean.

    Parameters
    ----------
    alpha
        Largest p-value that is a change, in (0, 1); best below 0.01, as every value is tested.
    window_size
        Values in the window, at least twice ``stat_size``.
    stat_size
        Newest values that are compared with as many older ones, at least 2.
    seed
        Where the random numbers begin that draw the older values, at least 0.
    restart
        An alarm forgets everything and takes the random numbers from their beginning, as in river's KSWIN. False keeps
        the newest ``stat_size`` values, as the paper has it, and goes on with the random numbers.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    When the window is full, ``stat_size`` of its older values are drawn without replacement. The two samples differ
    significantly if the exact p-value of their largest distance is at most ``alpha``, and the distance above 0.1. As
    the sizes are fixed, this is a count that is found once. The window is kept in order, so that a value costs
    O(window_size) steps; 32 + 16 · window_size + 2500 bytes.

    Random numbers are those of Python's ``random.Random(seed).sample``, so that alarms come at the same values as from
    river's KSWIN with the same seed.

    A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Raab, Heusinger, Schleif: "Reactive soft prototype computing for concept drift streams", Neurocomputing 416, 2020,
    section 3.2; Hodges: "The significance probability of the Smirnov two-sample test", Arkiv för Matematik 3, 1958, for
    the p-value; Matsumoto, Nishimura: "Mersenne Twister", ACM Transactions on Modeling and Computer Simulation 8, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> detector = KSWIN(alpha=0.0001, seed=42)
    >>> values = np.random.default_rng(0).normal(size=2000) * np.repeat([1, 3], 1000)
    >>> detector.update_many(values).tolist()
    [1112]
    """

    _dtype = KSWIN_SERIES

    def __init__(
        self,
        alpha: float = 0.005,
        window_size: int = 100,
        stat_size: int = 30,
        seed: int = 0,
        restart: bool = True,
    ) -> None:
        check_probability(alpha=alpha)
        check_at_least(2, stat_size=stat_size)
        if window_size < 2 * stat_size:
            raise ValueError(f"window_size must be at least {2 * stat_size}, twice stat_size, got {window_size}")
        check_at_least(0, seed=seed)
        self.alpha = alpha
        self.window_size = window_size
        self.stat_size = stat_size
        self.seed = seed
        self.restart = restart
        words = np.array(random.Random(seed).getstate()[1], np.uint32)
        super().__init__(
            (stat_size, _critical_count(stat_size, alpha), _draws_from_pool(window_size, stat_size), restart, words),
            window=np.zeros(window_size),
            order=np.zeros(window_size, np.int64),
            random=words,
        )

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, None


class KSWINBank(Bank):
    """KSWIN on each of ``k`` series at once: ``KSWINBank(k, **parameters)``, with the parameters of `KSWIN`."""

    _of = KSWIN


def _critical_count(size: int, alpha: float) -> int:
    """Smallest difference of counts in two samples of ``size`` that is a change; more than ``size`` if none is.

    The p-value of a count h is 2 · Σ (-1)^(j-1) C(2 size, size - j h) / C(2 size, size) over j = 1, 2, … (Hodges).
    """
    every = math.comb(2 * size, size)
    for count in range(1, size + 1):
        terms = (math.comb(2 * size, size - j * count) * (-1) ** (j - 1) for j in range(1, size // count + 1))
        if count / size > 0.1 and 2 * sum(terms) / every <= alpha:
            return count
    return size + 1


def _draws_from_pool(window_size: int, stat_size: int) -> bool:
    """Which of its two ways of sampling ``random.Random.sample`` takes."""
    set_size = 21 + (4 ** math.ceil(math.log(stat_size * 3, 4)) if stat_size > 5 else 0)
    return window_size - stat_size <= set_size


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    windows: NDArray[np.float64],
    orders: NDArray[np.int64],
    randoms: NDArray[np.uint32],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[int, int, bool, bool, NDArray[np.uint32]],
) -> None:
    """Feed column s of ``values`` to series s and note the levels, series by series: a window stays in cache."""
    size, critical, from_pool, restart, words = settings
    signs, pool = np.zeros(windows.shape[1], np.int64), np.zeros(windows.shape[1], np.int64)
    for s in range(values.shape[1]):
        for t in range(values.shape[0]):
            if np.isnan(values[t, s]):
                continue
            n = series[s]["n"]
            _insert(windows[s], orders[s], n, values[t, s])
            series[s]["n"] = n + 1
            if n + 1 < windows.shape[1]:
                continue
            _draw(signs, pool, randoms[s], n + 1, size, from_pool)
            gap = _largest_gap(windows[s], orders[s], signs)
            if gap >= critical:
                levels[t, s] = ALARM
                series[s]["statistic"] = gap / size
                series[s]["limit"] = critical / size
                if restart:
                    series[s]["n"] = 0
                    randoms[s, :] = words
                else:
                    series[s]["n"] = size
                    _keep_newest(windows[s], orders[s], n + 1, size)


@njit(cache=True, nogil=True, error_model="numpy")
def _insert(window: NDArray[np.float64], order: NDArray[np.int64], n: int, x: float) -> None:
    """Write the value of number ``n`` over the oldest; ``order`` lists the places of the window by rising value."""
    place = n % len(window)
    last = min(n, len(window) - 1)
    at = last
    if n >= len(window):
        at = 0
        while order[at] != place:
            at += 1
    window[place] = x
    while at > 0 and window[order[at - 1]] > x:
        order[at] = order[at - 1]
        at -= 1
    while at < last and window[order[at + 1]] < x:
        order[at] = order[at + 1]
        at += 1
    order[at] = place


@njit(cache=True, nogil=True, error_model="numpy")
def _draw(
    signs: NDArray[np.int64], pool: NDArray[np.int64], words: NDArray[np.uint32], n: int, size: int, from_pool: bool
) -> None:
    """Sign every place of the window: 1 for the ``size`` newest values, -1 for as many older ones, 0 for the others."""
    width = len(signs)
    n_older = width - size
    signs[:] = 0
    for i in range(n_older, width):
        signs[(n + i) % width] = 1
    if from_pool:
        for i in range(n_older):
            pool[i] = i
        for i in range(size):
            j = _below(words, n_older - i)
            signs[(n + pool[j]) % width] = -1
            pool[j] = pool[n_older - i - 1]
    else:
        for _ in range(size):
            place = (n + _below(words, n_older)) % width
            while signs[place] != 0:
                place = (n + _below(words, n_older)) % width
            signs[place] = -1


@njit(cache=True, nogil=True, error_model="numpy")
def _largest_gap(window: NDArray[np.float64], order: NDArray[np.int64], signs: NDArray[np.int64]) -> int:
    """Largest difference between the counts of the two samples up to some value."""
    largest = gap = 0
    for i in range(len(order)):
        gap += signs[order[i]]
        if i + 1 == len(order) or window[order[i]] != window[order[i + 1]]:
            largest = max(largest, abs(gap))
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def _keep_newest(window: NDArray[np.float64], order: NDArray[np.int64], n: int, size: int) -> None:
    """Make the newest values of a full window the only ones, in its first places."""
    width = len(window)
    newest = np.empty(size)
    for i in range(size):
        newest[i] = window[(n + width - size + i) % width]
    for i in range(size):
        _insert(window, order, i, newest[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _below(words: NDArray[np.uint32], limit: int) -> int:
    """A random number in [0, limit): the highest bits of a word, until they are small enough."""
    n_bits = 0
    while limit >> n_bits:
        n_bits += 1
    number = _next_word(words) >> (32 - n_bits)
    while number >= limit:
        number = _next_word(words) >> (32 - n_bits)
    return number


@njit(cache=True, nogil=True, error_model="numpy")
def _next_word(words: NDArray[np.uint32]) -> int:
    """The next word of the Mersenne Twister MT19937."""
    at = int(words[_N_WORDS])
    if at == _N_WORDS:
        at = 0
        for i in range(_N_WORDS):
            mixed = int(words[i]) & 0x80000000 | int(words[(i + 1) % _N_WORDS]) & 0x7FFFFFFF
            twist = 0x9908B0DF if mixed & 1 else 0
            words[i] = int(words[(i + 397) % _N_WORDS]) ^ (mixed >> 1) ^ twist
    words[_N_WORDS] = at + 1
    word = int(words[at])
    word ^= word >> 11
    word ^= (word << 7) & 0x9D2C5680
    word ^= (word << 15) & 0xEFC60000
    return word ^ (word >> 18)
