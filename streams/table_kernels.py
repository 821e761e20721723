"""The loops over the cells of a table: columns that lie one after the other become rows, and ones become lists."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.rows import Rows

_SIDE = 32
"""Rows and columns of the squares in which cells are moved, so that both sides of a move stay in the cache."""


def rows_of_columns(columns: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """The transpose of a matrix of shape (d, n), laid out by rows, and how many of its cells are not finite."""
    rows = np.empty((columns.shape[1], columns.shape[0]), np.float32)
    return rows, int(_transpose(columns, rows))


@njit(cache=True, nogil=True)
def _transpose(columns, rows):
    n_columns, n_rows = columns.shape
    n_odd = 0
    for first_row in range(0, n_rows, _SIDE):
        last_row = min(first_row + _SIDE, n_rows)
        for first_column in range(0, n_columns, _SIDE):
            last_column = min(first_column + _SIDE, n_columns)
            for row in range(first_row, last_row):
                for column in range(first_column, last_column):
                    value = columns[column, row]
                    rows[row, column] = value
                    n_odd += not np.isfinite(value)
    return n_odd


def rows_of_ones(cells: NDArray[np.uint8]) -> Rows:
    """Which cells of each row of a matrix are 1."""
    indptr = np.zeros(len(cells) + 1, np.int64)
    _count_ones(cells, indptr)
    indices = np.empty(indptr[-1], np.int32)
    _list_ones(cells, indices)
    return Rows(indptr, indices)


@njit(cache=True, nogil=True)
def _count_ones(cells, indptr):
    n, width = cells.shape
    for row in range(n):
        count = 0
        for column in range(width):
            count += cells[row, column] == 1
        indptr[row + 1] = indptr[row] + count


@njit(cache=True, nogil=True)
def _list_ones(cells, indices):
    n, width = cells.shape
    at = 0
    for row in range(n):
        for column in range(width):
            if cells[row, column] == 1:
                indices[at] = column
                at += 1
