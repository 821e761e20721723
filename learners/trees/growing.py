"""Growing one extremely randomised tree over a window of events, and asking a forest of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.draws import scramble

NODE = np.dtype([
    ("column", np.int32), ("is_category", np.bool_), ("missing_right", np.bool_), ("threshold", np.float64),
    ("left", np.int32), ("start", np.int32), ("stop", np.int32),
])  # fmt: skip
"""A node. A branch asks ``column``: to the right go values above ``threshold``, or the category ``threshold``; the
children are ``left`` and ``left`` + 1. A leaf has ``column`` -1, and the answers that are not 0 from ``start`` to
``stop``."""

NUMBER, CATEGORY = 0, 1
"""What a column is to a split."""

TIE = 1e-9
"""Of splits whose scores, shares of the variance, differ by less than this the first one is taken."""

TRIES = 4
"""Columns looked at for every candidate wanted, at most: constant ones and, in sparse rows, repeats are none."""


class Table(NamedTuple):
    """Feature rows: ``dense`` float32 with NaN for missing, or, if ``sparse``, the arrays of `Rows`.

    ``dense`` is of shape (n, d) to be answered, and (d, n) to grow a tree from; there the cells of sparse rows stand in
    an order that does not depend on the numbers of the columns.
    """

    dense: NDArray[np.float32]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    sparse: bool


class Targets(NamedTuple):
    """Label cells of n events that are not absent: those of event i from ``start[i]`` to ``start[i + 1]``."""

    start: NDArray[np.int64]
    label: NDArray[np.int32]
    unknown: NDArray[np.bool_]
    weight: NDArray[np.float64]


class Growth(NamedTuple):
    """How a tree is grown; see `learners.trees.extra_trees.ExtraTreesClassifier`."""

    n_candidates: int
    min_leaf: int
    max_depth: int
    key: np.uint64


class Forest(NamedTuple):
    """The first ``n`` rows of each array are a tree's: its nodes, the root first, and its leaves' answers."""

    nodes: NDArray[np.void]
    labels: NDArray[np.int32]
    values: NDArray[np.float32]
    n: int


class _Candidates(NamedTuple):
    column: NDArray[np.int32]
    is_category: NDArray[np.bool_]
    missing_right: NDArray[np.bool_]
    threshold: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    n_odd: NDArray[np.int64]
    odd: NDArray[np.float64]
    squares: NDArray[np.float64]
    cross: NDArray[np.float64]
    sums: NDArray[np.float64]


@njit(cache=True, nogil=True)
def read_targets(
    y_indptr: NDArray[np.int64],
    y_indices: NDArray[np.int32],
    is_partial: NDArray[np.bool_],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    weight: NDArray[np.float64],
    n_labels: int,
    base: NDArray[np.float64],
) -> Targets:
    """The label cells of a window; ``base`` becomes the share of the events that have each label, of those known."""
    n = len(weight)
    room = len(y_indices)
    for i in range(n):
        room += n_labels * is_partial[i]
    start, label, unknown = np.zeros(n + 1, np.int64), np.empty(room, np.int32), np.zeros(room, np.bool_)
    present, known, is_known = np.zeros(n_labels), np.zeros(n_labels), np.zeros(n_labels, np.bool_)
    m, everything = 0, 0.0
    for i in range(n):
        for cell in range(y_indptr[i], y_indptr[i + 1]):
            label[m] = y_indices[cell]
            present[label[m]] += weight[i]
            m += 1
        if is_partial[i]:
            is_known[:] = False
            for cell in range(known_indptr[i], known_indptr[i + 1]):
                is_known[known_indices[cell]] = True
                known[known_indices[cell]] += weight[i]
            for other in range(n_labels):
                if not is_known[other]:
                    label[m], unknown[m] = other, True
                    m += 1
        else:
            everything += weight[i]
        start[i + 1] = m
    for other in range(n_labels):
        total = known[other] + everything
        base[other] = present[other] / total if total > 0 else 0.0
    return Targets(start, label[:m], unknown[:m], weight)


@njit(cache=True, nogil=True)
def _draw(growth, turn, n):
    """A number below ``n`` that depends on the tree and the turn alone; the turn goes on."""
    turn[0] += np.uint64(1)
    return np.int64(_uniform(scramble(growth.key + turn[0])) * n)


@njit(cache=True, nogil=True)
def _uniform(bits):
    return np.float64(bits >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True, nogil=True)
def _cell(table, event, column):
    """The value of a column in a sparse row, 0 where it has none."""
    for cell in range(table.indptr[event], table.indptr[event + 1]):
        if table.indices[cell] == column:
            return np.float64(table.data[cell])
    return 0.0


@njit(cache=True, nogil=True)
def _goes_right(value, is_category, threshold, missing_right):
    if is_category:
        return value == threshold
    if np.isnan(value):
        return missing_right
    return value > threshold


@njit(cache=True, nogil=True)
def _draw_dense(table, order, kinds, pool, growth, turn, candidates):
    """Candidates in columns drawn without repeats, passing over those that do not vary among the events."""
    found = 0
    for i in range(min(len(pool), TRIES * growth.n_candidates)):
        if found == growth.n_candidates:
            break
        j = i + _draw(growth, turn, len(pool) - i)
        column = pool[j]
        pool[i], pool[j] = column, pool[i]
        candidates.column[found] = column
        candidates.is_category[found] = kinds[column] == CATEGORY
        candidates.missing_right[found] = False
        if kinds[column] == CATEGORY:
            category = table.dense[column, order[_draw(growth, turn, len(order))]]
            if np.isnan(category):
                continue
            candidates.threshold[found] = category
            found += 1
            continue
        values, low, high = table.dense[column], np.float32(np.inf), np.float32(-np.inf)
        for event in order:
            value = values[event]
            low = value if value < low else low
            high = value if value > high else high
        if not low < high:
            continue
        turn[0] += np.uint64(1)
        bits = scramble(growth.key + turn[0])
        candidates.threshold[found] = low + _uniform(bits) * (np.float64(high) - low)
        candidates.missing_right[found] = bits & np.uint64(1)
        found += 1
    return found


@njit(cache=True, nogil=True)
def _draw_sparse(table, order, kinds, place_of, growth, turn, candidates):
    """Candidates in the columns of cells drawn from the events, so that what many of them have is likely drawn."""
    found = 0
    for _ in range(TRIES * growth.n_candidates):
        if found == growth.n_candidates:
            break
        event = order[_draw(growth, turn, len(order))]
        start, length = table.indptr[event], table.indptr[event + 1] - table.indptr[event]
        if length == 0:
            continue
        cell = start + _draw(growth, turn, length)
        column = table.indices[cell]
        if place_of[column] >= 0:
            continue
        place_of[column] = found
        candidates.column[found], candidates.missing_right[found] = column, False
        candidates.is_category[found] = kinds[column] == CATEGORY
        candidates.threshold[found] = table.data[cell]
        candidates.low[found], candidates.high[found], candidates.n[found] = np.inf, -np.inf, 0
        found += 1
    for event in order:
        for cell in range(table.indptr[event], table.indptr[event + 1]):
            k = place_of[table.indices[cell]]
            if k >= 0:
                value = np.float64(table.data[cell])
                candidates.low[k] = min(candidates.low[k], value)
                candidates.high[k] = max(candidates.high[k], value)
                candidates.n[k] += 1
    for k in range(found):
        if candidates.is_category[k]:
            continue
        low, high = candidates.low[k], candidates.high[k]
        if candidates.n[k] < len(order):
            low, high = min(low, 0.0), max(high, 0.0)
        turn[0] += np.uint64(1)
        candidates.threshold[k] = low + _uniform(scramble(growth.key + turn[0])) * (high - low)
    return found


@njit(cache=True, nogil=True)
def _put(targets, mean, event, k, candidates):
    """Put an event on the odd side of candidate ``k``."""
    weight = targets.weight[event]
    candidates.n_odd[k] += 1
    candidates.odd[k] += weight
    sums = candidates.sums[k]
    for cell in range(targets.start[event], targets.start[event + 1]):
        label = targets.label[cell]
        own = weight * mean[label] if targets.unknown[cell] else weight
        candidates.squares[k] += own * (2 * sums[label] + own)
        candidates.cross[k] += own * mean[label]
        sums[label] += own


@njit(cache=True, nogil=True)
def _divide(table, targets, mean, order, found, place_of, candidates):
    """For each candidate the sums over its odd side: the right one, or that of the absent cells' opposite."""
    if table.sparse:
        for event in order:
            for cell in range(table.indptr[event], table.indptr[event + 1]):
                k = place_of[table.indices[cell]]
                if k < 0:
                    continue
                threshold = candidates.threshold[k]
                right = _goes_right(np.float64(table.data[cell]), candidates.is_category[k], threshold, False)
                if right == (candidates.is_category[k] or threshold >= 0):
                    _put(targets, mean, event, k, candidates)
        return
    for k in range(found):
        values, threshold = table.dense[candidates.column[k]], candidates.threshold[k]
        is_category, missing_right = candidates.is_category[k], candidates.missing_right[k]
        for event in order:
            if _goes_right(np.float64(values[event]), is_category, threshold, missing_right):
                _put(targets, mean, event, k, candidates)


@njit(cache=True, nogil=True)
def grow(
    table: Table,
    targets: Targets,
    kinds: NDArray[np.uint8],
    pool: NDArray[np.int32],
    base: NDArray[np.float64],
    growth: Growth,
    nodes: NDArray[np.void],
    labels: NDArray[np.int32],
    values: NDArray[np.float32],
) -> tuple[int, int]:
    """Grow a tree over all events of a window into ``nodes``, and its leaves' answers into ``labels`` and ``values``.

    ``pool`` has the columns in an order that does not depend on their numbers, and leaves it. ``base`` is what a leaf
    answers for a label that none of its events knows. Returns how many nodes and answers there
    are. ``nodes`` has room for twice as many as there are events and at least one, ``labels`` and ``values`` for as
    many as there are targets.
    """
    n_events, n_labels, k = len(targets.weight), len(base), growth.n_candidates
    order, spare = np.arange(n_events), np.empty(n_events, np.int64)
    total, unknown, mean = np.zeros(n_labels), np.zeros(n_labels), np.zeros(n_labels)
    touched = np.empty(n_labels, np.int64)
    candidates = _Candidates(
        np.zeros(k, np.int32), np.zeros(k, np.bool_), np.zeros(k, np.bool_), np.zeros(k), np.zeros(k), np.zeros(k),
        np.zeros(k, np.int64), np.zeros(k, np.int64), np.zeros(k), np.zeros(k), np.zeros(k), np.zeros((k, n_labels)),
    )  # fmt: skip
    place_of = np.full(len(kinds), -1, np.int32)
    waiting = np.zeros((n_events + 2, 4), np.int64)
    waiting[0, 2], n_waiting, n_nodes, n_entries = n_events, 1, 1, 0
    turn = np.zeros(1, np.uint64)
    while n_waiting:
        n_waiting -= 1
        node, low, high, depth = waiting[n_waiting]
        here = order[low:high]

        n_touched, weight = 0, 0.0
        for event in here:
            own = targets.weight[event]
            weight += own
            for cell in range(targets.start[event], targets.start[event + 1]):
                label = targets.label[cell]
                if total[label] == 0 and unknown[label] == 0:
                    touched[n_touched] = label
                    n_touched += 1
                if targets.unknown[cell]:
                    unknown[label] += own
                else:
                    total[label] += own
        impurity, length = 0.0, 0.0
        for label in touched[:n_touched]:
            known = weight - unknown[label]
            mean[label] = min(total[label] / known, 1.0) if total[label] > 0 else 0.0
            impurity += mean[label] * (1 - mean[label])
            length += mean[label] * mean[label]

        best, top = -1, -1.0
        if len(here) >= 2 * growth.min_leaf and depth < growth.max_depth and impurity > TIE:
            if table.sparse:
                found = _draw_sparse(table, here, kinds, place_of, growth, turn, candidates)
            else:
                found = _draw_dense(table, here, kinds, pool, growth, turn, candidates)
            candidates.n_odd[:], candidates.odd[:], candidates.squares[:], candidates.cross[:] = 0, 0, 0, 0
            for c in range(found):
                for label in touched[:n_touched]:
                    candidates.sums[c, label] = 0
            _divide(table, targets, mean, here, found, place_of, candidates)
            for c in range(found):
                if table.sparse:
                    place_of[candidates.column[c]] = -1
                n_odd, odd = candidates.n_odd[c], candidates.odd[c]
                if min(n_odd, len(here) - n_odd) < growth.min_leaf:
                    continue
                spread = candidates.squares[c] - 2 * odd * candidates.cross[c] + odd * odd * length
                score = spread / (odd * (weight - odd) * impurity)
                if score > top + TIE:
                    best, top = c, score

        record = nodes[node]
        if best < 0:
            record["column"], record["start"] = -1, n_entries
            for label in touched[:n_touched]:
                # Known by nobody here: the weights that are unknown are all there are, added in the same order.
                answer = base[label] if unknown[label] == weight else mean[label]
                if answer > 0:
                    labels[n_entries], values[n_entries] = label, answer
                    n_entries += 1
            record["stop"] = n_entries
        else:
            column, threshold = candidates.column[best], candidates.threshold[best]
            is_category, missing_right = candidates.is_category[best], candidates.missing_right[best]
            record["column"], record["threshold"] = column, threshold
            record["is_category"], record["missing_right"] = is_category, missing_right
            record["left"] = n_nodes
            n_left, n_right = 0, 0
            for event in here:
                value = _cell(table, event, column) if table.sparse else np.float64(table.dense[column, event])
                if _goes_right(value, is_category, threshold, missing_right):
                    spare[n_right] = event
                    n_right += 1
                else:
                    here[n_left] = event
                    n_left += 1
            here[n_left:] = spare[:n_right]
            for side in range(2):
                middle = low + n_left
                waiting[n_waiting, 0], waiting[n_waiting, 3] = n_nodes + side, depth + 1
                waiting[n_waiting, 1] = middle if side else low
                waiting[n_waiting, 2] = high if side else middle
                n_waiting += 1
            n_nodes += 2
        for label in touched[:n_touched]:
            total[label] = unknown[label] = mean[label] = 0
    return n_nodes, n_entries


@njit(cache=True, nogil=True)
def ask(forest: Forest, table: Table, begin: int, end: int, n_columns: int, proba: NDArray[np.float32]) -> None:
    """Add the mean of the leaves that each event from ``begin`` to ``end`` reaches to its row of ``proba``, zeros."""
    row = np.zeros(n_columns if table.sparse else 0, np.float32)
    for t in range(begin, end if forest.n else begin):
        if table.sparse:
            for cell in range(table.indptr[t], table.indptr[t + 1]):
                row[table.indices[cell]] = table.data[cell]
        for tree in range(forest.n):
            nodes = forest.nodes[tree]
            node = nodes[0]
            while node["column"] >= 0:
                column = node["column"]
                value = np.float64(row[column] if table.sparse else table.dense[t, column])
                right = _goes_right(value, node["is_category"], node["threshold"], node["missing_right"])
                node = nodes[node["left"] + right]
            for entry in range(node["start"], node["stop"]):
                proba[t, forest.labels[tree, entry]] += forest.values[tree, entry]
        proba[t] /= np.float32(forest.n)
        if table.sparse:
            for cell in range(table.indptr[t], table.indptr[t + 1]):
                row[table.indices[cell]] = 0
