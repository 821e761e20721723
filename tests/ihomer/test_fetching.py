"""Asking memory ahead changes nothing, wherever it is asked."""

import numpy as np
from numba import njit

from ihomer.fetching import fetch


@njit
def total(array, ahead):
    """The sum of an array whose entries are asked for some steps ahead."""
    found = 0.0
    for at in range(len(array)):
        fetch(array, at + ahead)
        found += array[at]
    return found


def test_asking_ahead_changes_nothing_and_any_place_may_be_asked_for():
    array = np.arange(1000.0)
    for part in (array, array[::-7]):
        for ahead in (0, 8, 10**12, -(10**12)):
            assert total(part, ahead) == part.sum()
    assert np.array_equal(array, np.arange(1000.0))


def test_records_are_asked_for_by_number():
    records = np.zeros(50, [("n", np.int64), ("mean", np.float64, 20)])
    records["mean"][:, 3] = np.arange(50)

    @njit
    def last_mean(records):
        for at in range(len(records)):
            fetch(records, at + 4)
        return records["mean"][len(records) - 1, 3]

    assert last_mean(records) == 49
