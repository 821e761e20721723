"""What a leaf observes of its events so as to find a split: Gaussians and counts of every input, key by key."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.trees.nodes import (
    EMPTY,
    LABELS,
    LARGEST,
    LEAF,
    LEAST,
    MEAN,
    NODES,
    SQUARES,
    TOTAL,
    N,
    Settings,
    Tree,
    bytes_used,
    free_rows,
    inner,
    new_row,
)


@inner
def observe(
    tree: Tree,
    node: int,
    settings: Settings,
    numbers: NDArray[np.float32],
    inputs: NDArray[np.int32],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    whole_of: NDArray[np.int32],
    present: NDArray[np.int32],
    complete: bool,
    weight: float,
) -> None:
    """Take in an event at a leaf: in every key that it has, its numbers and the cells that hold."""
    empty = complete and len(present) == 0
    for k in range(-2, len(present)):
        key = LABELS + present[k] if k >= 0 else k + 2
        if key == EMPTY and not empty:
            continue
        row = tree.rows_of[node, key]
        if row < 0:
            if not _make_way(tree, node, settings):
                return
            row = new_row(tree, node, key)
        _learn_numbers(tree.rows[row], numbers, inputs, weight)
        tree.rows[row, N, 0] += weight
        for j in range(len(cells)):
            if data[j] == 0 or np.isnan(data[j]):
                continue
            tree.rows[row, N, cells[j]] += weight
            tree.words[node, key] += weight
            if whole_of[cells[j]] >= 0:
                tree.rows[row, N, whole_of[cells[j]]] += weight


@inner
def _make_way(tree: Tree, node: int, settings: Settings) -> bool:
    """Whether a leaf may have one more observer; if need be the least promising leaves lose theirs first.

    The promise of a leaf is the weight that it would get wrong if it always answered its commonest label set.
    """
    while bytes_used(tree, settings) + settings.row_bytes > settings.max_bytes:
        worst, least = node, np.inf
        for other in range(tree.totals[NODES]):
            record = tree.nodes[other]
            holds = tree.rows_of[other, TOTAL] >= 0 or other == node
            promise = record["weight"] - record["top"]
            if record["kind"] == LEAF and record["observed"] and holds and promise < least:
                worst, least = other, promise
        free_rows(tree, worst)
        tree.nodes[worst]["observed"] = 0
        if worst == node:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _learn_numbers(
    row: NDArray[np.float64], numbers: NDArray[np.float32], inputs: NDArray[np.int32], weight: float
) -> None:
    for k in range(len(numbers)):
        value, i = np.float64(numbers[k]), inputs[k]
        if np.isnan(value):
            continue
        row[N, i] += weight
        gap = value - row[MEAN, i]
        row[MEAN, i] += weight * gap / row[N, i]
        row[SQUARES, i] += weight * gap * (value - row[MEAN, i])
        row[LEAST, i] = min(row[LEAST, i], value)
        row[LARGEST, i] = max(row[LARGEST, i], value)
