"""How often each label of a synthetic stream is present, and with which others."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.synthetic.numbers import Draws, derived, derived_key, uniform

MOST = 0.9
"""No label is present more often than this, however skewed the shares are."""

LABELS = 2
"""An event's random numbers from this one on are its labels', two a label; those before decide on its concept."""


def label_shares(labels: int, cardinality: float, skew: float) -> NDArray[np.float64]:
    """How often each label is present: falling as ``rank ** -skew`` up to `MOST`, adding up to ``cardinality``."""
    ranks = np.arange(1, labels + 1, dtype=np.float64) ** -skew
    full = 0
    while True:
        shares = np.full(labels, MOST)
        shares[full:] = ranks[full:] * (cardinality - MOST * full) / ranks[full:].sum()
        over = int((shares[full:] > MOST).sum())
        if not over:
            return shares
        full += over


class Coupling:
    """Which labels are drawn together.

    Parameters
    ----------
    labels, group_size
        How many labels, and how many of them a group has at most; groups differ by one label in size at most.
    dependence
        In [0, 1]: rank correlation of the random numbers of two labels of a group.
    n_groupings
        How many partitions into groups to make. Where there are at least as many groups as labels in one, no two labels
        that are together in one grouping are so in the next.
    seed
        Sets the groupings.

    Notes
    -----
    Label j of an event is present where its random number ``u_j``, uniform in (0, 1), is below ``p_j(x)``. With
    probability ``sqrt(dependence)``, for each label by itself, ``u_j`` is its group's number of the event, else its own
    number. Each pair of a group thus has the copula ``dependence * M + (1 - dependence) * Pi``, M being perfect
    dependence and Pi independence, of Spearman correlation ``dependence`` [1]_, and pairs across groups have Pi.
    Whatever the groups, each ``u_j`` is uniform: another grouping changes which labels are present together, and no
    ``P(y_j | x)``.

    References
    ----------
    .. [1] Nelsen, "An Introduction to Copulas", 2nd edition, Springer 2006, sections 2.2 and 5.1.2.
    """

    def __init__(self, labels: int, group_size: int, dependence: float, n_groupings: int, seed: int) -> None:
        self._link = math.sqrt(dependence)
        n_groups = -(-labels // group_size)
        self.groups = np.zeros((n_groupings, labels), np.int32)
        """Number of each label's group, one row a grouping."""
        order = Draws(derived_key(seed, 0)).order(labels)
        for number in range(n_groupings):
            if number:
                order = _spread(self.groups[number - 1], Draws(derived_key(seed, number)))
            self.groups[number, order] = np.arange(labels) % n_groups

    def draw(
        self, first: int, grouping: NDArray[np.int64], proba: NDArray[np.float64], key: np.uint64
    ) -> NDArray[np.bool_]:
        """Which labels are present in the events from ``first`` on; arguments and answer have a row an event."""
        present = np.zeros(proba.shape, np.bool_)
        _draw(first, key, grouping, proba, self.groups, self._link, present)
        return present


def _spread(groups: NDArray[np.int32], draws: Draws) -> NDArray[np.int64]:
    """The labels group by group, groups and the labels in them in any order.

    Dealt out in turn, neighbours, and so the labels of a group, come to different groups.
    """
    place = draws.order(int(groups.max()) + 1)
    return np.lexsort((draws.uniform(len(groups)), place[groups]))


@njit(cache=True, nogil=True)
def _draw(first, key, grouping, proba, groups, link, present):
    n, n_labels = proba.shape
    shared = np.zeros(groups.max() + 1)
    for i in range(n):
        event_key = derived(key, first + i)
        for group in range(len(shared)):
            shared[group] = uniform(event_key, LABELS + n_labels + group)
        for j in range(n_labels):
            number = uniform(event_key, LABELS + j)
            if number < link:
                number = shared[groups[grouping[i], j]]
            else:
                number = (number - link) / (1.0 - link)
            present[i, j] = number < proba[i, j]
