"""When and where a leaf is split: entropy of many labels, the merit of a split, the Hoeffding bound."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.trees.nodes import (
    BRANCH,
    EMPTY,
    LABELS,
    LARGEST,
    LEAST,
    LIVE_SETS,
    MEAN,
    SPLIT,
    SQUARES,
    TOTAL,
    N,
    Settings,
    Tree,
    bytes_used,
    free_rows,
    free_slot,
    free_window,
    inner,
    new_leaf,
    new_slot,
    note,
)

N_THRESHOLDS = 10
"""Thresholds tried between the least and the largest value of an input."""


@njit(cache=True, nogil=True, error_model="numpy")
def entropy(weights: NDArray[np.float64], total: float, normalise: bool) -> float:
    """Sum of the binary entropies, in bits, of labels that hold ``weights`` of ``total``; or their mean.

    Shares refer to the largest of all weights, so that rounding gives none above 1. The sum is 0, as published, where
    fewer than two labels hold anything; the mean is not.
    """
    n = 0
    for k in range(len(weights)):
        total = max(total, weights[k])
        n += weights[k] > 0
    if n == 0 or (n == 1 and not normalise):
        return 0.0
    bits = 0.0
    for k in range(len(weights)):
        p = weights[k] / total
        if 0 < p < 1:
            bits -= p * math.log2(p) + (1 - p) * math.log2(1 - p)
    return bits / len(weights) if normalise else bits


@njit(cache=True, nogil=True, error_model="numpy")
def hoeffding_bound(value_range: float, delta: float, n: float) -> float:
    """How far the mean of ``n`` values may be from the expected one, but with probability ``delta``."""
    return math.sqrt(value_range * value_range * math.log(1 / delta) / (2 * n))


@njit(cache=True, nogil=True, error_model="numpy")
def merit(
    before: NDArray[np.float64],
    left: NDArray[np.float64],
    least_share: float,
    normalise: bool,
    right: NDArray[np.float64],
) -> float:
    """What a split takes from the entropy: -inf unless both sides have more than ``least_share`` of all weights.

    The weights of all events stand first, then those of the labels. ``right`` is scratch of the same length.
    """
    on_left, on_right = 0.0, 0.0
    for k in range(len(before)):
        left[k] = min(max(left[k], 0.0), before[k])
        right[k] = before[k] - left[k]
        if k > 0:
            on_left += left[k]
            on_right += right[k]
    least = least_share * (on_left + on_right)
    if not (on_left > least and on_right > least and left[0] > 0 and right[0] > 0):
        return -math.inf
    after = left[0] * entropy(left[1:], left[0], normalise) + right[0] * entropy(right[1:], right[0], normalise)
    return float(entropy(before[1:], before[0], normalise) - after / before[0])


@njit(cache=True, nogil=True, error_model="numpy")
def share_below(row: NDArray[np.float64], i: int, threshold: float) -> float:
    """Weight of the values of an input up to a threshold, were those between the least and the largest normal."""
    n, mean = row[N, i], row[MEAN, i]
    if threshold < row[LEAST, i]:
        return 0.0
    if threshold >= row[LARGEST, i] or n <= 1 or row[SQUARES, i] <= 0:
        return float(n)
    deviation = math.sqrt(row[SQUARES, i] / (n - 1))
    return float(n * 0.5 * math.erfc((mean - threshold) / (deviation * math.sqrt(2.0))))


@inner
def _try_input(
    tree: Tree,
    node: int,
    i: int,
    whole: int,
    sparse: bool,
    settings: Settings,
    rows: NDArray[np.int32],
    scratch: NDArray[np.float64],
) -> tuple[float, float]:
    """The best merit that input ``i`` offers at a leaf, and its threshold.

    Of ``rows``, the observers of the leaf, the first is that of all events. A merit counts for the share of the events
    that have a value of the input.
    """
    observers = tree.rows
    n_keys = len(rows)
    before, left, right = scratch[0, :n_keys], scratch[1, :n_keys], scratch[2, :n_keys]
    known = 0 if sparse else (whole if whole >= 0 else i)
    for k in range(n_keys):
        before[k] = observers[rows[k], N, known]
    best, threshold = -math.inf, 0.0
    if before[0] <= 0:
        return best, threshold
    weight = before[0] / observers[rows[0], N, 0]
    if sparse or whole >= 0:
        for k in range(n_keys):
            left[k] = observers[rows[k], N, i]
        found = merit(before, left, settings.min_branch_fraction, not settings.paper, right)
        return found * weight, threshold
    least = observers[rows[0], LEAST, i]
    step = (observers[rows[0], LARGEST, i] - least) / (N_THRESHOLDS + 1)
    if not step > 0:
        return best, threshold
    for number in range(1, N_THRESHOLDS + 1):
        at = least + number * step
        for k in range(n_keys):
            left[k] = share_below(observers[rows[k]], i, at)
        found = merit(before, left, settings.min_branch_fraction, not settings.paper, right) * weight
        if found > best:
            best, threshold = found, at
    return best, threshold


@inner
def try_split(
    tree: Tree, node: int, settings: Settings, order: NDArray[np.int64], whole_of: NDArray[np.int32], sparse: bool
) -> bool:
    """Split a leaf if one input is better than every other one, and than none, by more than the Hoeffding bound.

    ``order`` has the numbers of the inputs in the order of the schema's columns.
    """
    record = tree.nodes[node]
    if record["weight"] - record["last_attempt"] < settings.grace_period:
        return False
    record["last_attempt"] = record["weight"]
    if not record["observed"] or record["n_sets"] <= 1 or record["depth"] >= settings.max_depth:
        return False
    most, n_keys = record["empty"], 1
    rows = np.zeros(tree.rows_of.shape[1], np.int32)
    rows[0] = tree.rows_of[node, TOTAL]
    for key in range(EMPTY, tree.rows_of.shape[1]):
        if key >= LABELS:
            most = max(most, tree.counts[node, key - LABELS])
        if tree.rows_of[node, key] >= 0:
            rows[n_keys] = tree.rows_of[node, key]
            n_keys += 1
    if rows[0] < 0 or n_keys < 2 or most > settings.max_share * record["total"]:
        return False
    scratch = np.zeros((3, n_keys))
    best, second, chosen, threshold, of = 0.0, 0.0, -1, 0.0, -1
    for place in range(1, len(order)):
        i = order[place]
        if i == whole_of[i]:
            continue
        found, at = _try_input(tree, node, i, whole_of[i], sparse, settings, rows[:n_keys], scratch)
        column = whole_of[i] if whole_of[i] >= 0 else i
        if found > best:
            if column != of:
                second = best
            best, chosen, threshold, of = found, i, at, column
        elif found > second and column != of:
            second = found
    if chosen < 0:
        return False
    value_range = max(1.0, math.log2(record["n_sets"])) if settings.paper else 1.0
    bound = hoeffding_bound(value_range, settings.delta, record["weight"])
    if not (best - second > bound or bound < settings.tau):
        return False
    if bytes_used(tree, settings) + 2 * settings.node_bytes > settings.max_bytes:
        return False
    _split(tree, node, chosen, threshold, settings, whole_of, sparse)
    return True


@inner
def _split(
    tree: Tree, node: int, i: int, threshold: float, settings: Settings, whole_of: NDArray[np.int32], sparse: bool
) -> None:
    """Make a branch of a leaf. Its children are given the weights that they are estimated to have had."""
    record = tree.nodes[node]
    whole = whole_of[i]
    indicator = sparse or whole >= 0
    record["kind"], record["input"], record["threshold"], record["indicator"] = BRANCH, i, threshold, indicator
    sides = (new_leaf(tree, node, 0, -1, record["depth"] + 1), new_leaf(tree, node, 1, -1, record["depth"] + 1))
    record["left"], record["right"] = sides
    known = 0 if sparse else (whole if whole >= 0 else i)
    for key in range(tree.rows_of.shape[1]):
        row = tree.rows_of[node, key]
        if row < 0:
            continue
        everything = tree.rows[row, N, known]
        left = tree.rows[row, N, i] if indicator else share_below(tree.rows[row], i, threshold)
        left = min(max(left, 0.0), everything)
        for side in range(2):
            part = left if side == 0 else everything - left
            child = tree.nodes[sides[side]]
            if key == TOTAL:
                child["total"] = part
            elif key == EMPTY:
                child["empty"] = part
            else:
                tree.counts[sides[side], key - LABELS] = part
    record["mass_left"] = tree.nodes[sides[0]]["total"]
    record["mass_right"] = tree.nodes[sides[1]]["total"]
    note(tree, SPLIT, node, record["weight"])
    tree.totals[LIVE_SETS] -= record["n_sets"]
    if not settings.paper:
        _hand_down(tree, node, sides, settings)
    free_rows(tree, node)
    free_slot(tree, node)
    free_window(tree, node)


@inner
def _hand_down(tree: Tree, node: int, sides: tuple[int, int], settings: Settings) -> None:
    """Give both children the classifiers of their parent: the linear model, the window, how good each of them was."""
    record = tree.nodes[node]
    for side in sides:
        tree.losses[side] = tree.losses[node]
        tree.majority[side] = tree.majority[node]
    if record["slot"] >= 0:
        fits = bytes_used(tree, settings) + settings.slot_bytes <= settings.max_bytes
        tree.nodes[sides[0]]["slot"] = record["slot"]
        if fits:
            slot = new_slot(tree)
            tree.nodes[sides[1]]["slot"] = slot
            tree.weights[slot] = tree.weights[record["slot"]]
            if len(tree.squares) > 0:
                tree.squares[slot] = tree.squares[record["slot"]]
            tree.born[slot] = tree.born[record["slot"]]
            tree.norms[slot] = tree.norms[record["slot"]]
        record["slot"] = -1
    size = tree.windows.shape[1]
    for side in sides:
        child = tree.nodes[side]
        for k in range(record["held"]):
            event = tree.windows[node, (record["oldest"] + k) % size]
            tree.windows[side, k] = event
            tree.stored[event]["n_holders"] += 1
        child["held"] = record["held"]
