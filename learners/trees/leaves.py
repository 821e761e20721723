"""The classifiers of a leaf: its commonest labels, the nearest events of its window, linear models, naive Bayes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.dense_window import nearest
from learners.steps import ADAGRAD, multiply, next_rate, sigmoid, start, step
from learners.trees.nodes import (
    BAYES,
    CELLS,
    KNN,
    LABELS,
    LINEAR,
    MAJORITY,
    MEAN,
    N_CLASSIFIERS,
    SQUARES,
    TOTAL,
    N,
    Settings,
    Tree,
    bytes_used,
    inner,
    let_go,
    new_event,
    new_slot,
)
from learners.trees.splitting import entropy

UNKNOWN, ABSENT, PRESENT = 0, 2, 3
"""What an event held says about a label: bit 1 tells that it is known, bit 0 that it is present."""

SURE = 0.02
"""Probabilities are held to be no nearer to 0 and 1 than this when a classifier's loss is reckoned."""

INTERCEPT_RATE = 0.01
"""Learning rate of the intercepts where inputs are not standardised, as in river."""

SAME = 1e-12
"""Share of the squared length of a row below which a squared distance of sparse rows is rounding."""

FINE = 4096.0
"""Standardised inputs are held in windows as multiples of 1 / ``FINE``: sums of squares of their differences are exact,
and so the same in any order."""

ALPHA = 0.5
"""Added to counts by naive Bayes."""

FACTORS = 16
"""Ratios of variances that naive Bayes multiplies before it takes the logarithm: each is far from overflow."""


class Scratch(NamedTuple):
    """Room for what a leaf reckons about an event."""

    squared: NDArray[np.float64]
    ages: NDArray[np.int32]
    distances: NDArray[np.float64]
    known: NDArray[np.float64]
    weights: NDArray[np.float64]


@inner
def new_scratch(tree: Tree, settings: Settings, n_labels: int) -> Scratch:
    """Room for the leaves of a tree."""
    n = settings.n_neighbors
    return Scratch(
        np.zeros(tree.windows.shape[1]), np.zeros(n, np.int32), np.zeros(n), np.zeros(n_labels),
        np.zeros(tree.counts.shape[1] + 1),
    )  # fmt: skip


@inner
def answer(
    tree: Tree,
    node: int,
    settings: Settings,
    seen: NDArray[np.uint8],
    used: NDArray[np.int32],
    values: NDArray[np.float32],
    query: NDArray[np.float32],
    numbers: NDArray[np.float32],
    inputs: NDArray[np.int32],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    whole_of: NDArray[np.int32],
    n_met: int,
    scratch: Scratch,
    proba: NDArray[np.float64],
    single: NDArray[np.float64],
    margins: NDArray[np.float64],
    lanes: NDArray[np.float32],
) -> None:
    """Probabilities of the labels at a leaf in ``proba``, and those of each classifier asked in ``single``.

    ``n_met`` inputs have been met so far.
    ``margins`` and ``lanes`` are left as the linear models had them.
    """
    record = tree.nodes[node]
    n_labels = len(proba)
    proba[:] = 0.0
    single[:] = -1.0
    has_model = record["slot"] >= 0
    if has_model:
        slot = record["slot"]
        multiply(tree.weights[slot], used, values, len(used), margins)
        sigmoid(margins, tree.born[slot], lanes)
        width = len(lanes) // settings.n_models
        for label in range(n_labels):
            total = 0.0
            for copy in range(settings.n_models):
                total += np.float64(lanes[copy * width + label])
            single[LINEAR, label] = total / settings.n_models
    if settings.paper:
        if record["n_sets"] <= 1:
            for label in range(n_labels):
                proba[label] = tree.majority[node, label]
        elif (
            has_model
            and record["weight"] >= settings.cardinality
            and _disorder(tree, node, scratch.weights) >= settings.entropy
        ):
            proba[:] = single[LINEAR]
        elif record["held"] > 0:
            _ask_window(tree, node, settings, query, sparse, False, scratch, single[KNN])
            for label in range(n_labels):
                proba[label] = max(single[KNN, label], 0.0)
        return
    if record["total"] > 0:
        for label in range(n_labels):
            single[MAJORITY, label] = min(tree.counts[node, label] / record["total"], 1.0)
    if record["held"] > 0:
        _ask_window(tree, node, settings, query, sparse, True, scratch, single[KNN])
    if settings.naive_bayes and tree.rows_of[node, TOTAL] >= 0:
        for label in range(n_labels):
            if seen[label] and tree.rows_of[node, LABELS + label] >= 0:
                p = _posterior(tree, node, label, numbers, inputs, cells, data, sparse, whole_of, n_met)
                single[BAYES, label] = p
    for label in range(n_labels):
        if not seen[label]:
            continue
        least = np.inf
        for which in range(N_CLASSIFIERS):
            if single[which, label] >= 0:
                least = min(least, tree.losses[node, which, label])
        mass, total = 0.0, 0.0
        for which in range(N_CLASSIFIERS):
            if single[which, label] >= 0:
                share = math.exp(least - tree.losses[node, which, label])
                mass += share
                total += share * single[which, label]
        proba[label] = min(total / mass, 1.0) if mass > 0 else 0.0


@inner
def _disorder(tree: Tree, node: int, weights: NDArray[np.float64]) -> float:
    """The entropy of a leaf's labels and of being without any."""
    n = 0
    if tree.nodes[node]["empty"] > 0:
        weights[0] = tree.nodes[node]["empty"]
        n = 1
    for label in range(tree.counts.shape[1]):
        if tree.counts[node, label] > 0:
            weights[n] = tree.counts[node, label]
            n += 1
    return entropy(weights[:n], tree.nodes[node]["total"], False)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def _squared_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    total = 0.0
    for k in range(len(one)):
        gap = np.float64(one[k]) - np.float64(other[k])
        total += gap * gap
    return total


@inner
def _ask_window(
    tree: Tree,
    node: int,
    settings: Settings,
    query: NDArray[np.float32],
    sparse: bool,
    weigh: bool,
    scratch: Scratch,
    proba: NDArray[np.float64],
) -> None:
    """Shares of the votes of the nearest events held, each 1 / distance; one at distance 0 silences the others.

    A label that no voter knows about gets -1.
    """
    record, size = tree.nodes[node], tree.windows.shape[1]
    held = record["held"]
    squared, known = scratch.squared, scratch.known
    length = 0.0
    if sparse:
        for k in range(len(query)):
            length += np.float64(query[k]) * query[k]
    for age in range(held):
        event = tree.windows[node, (record["oldest"] + age) % size]
        if not sparse:
            squared[age] = _squared_distance(query, tree.cells[event, : len(query)])
            continue
        total = length
        for k in range(tree.stored[event]["length"]):
            value = np.float64(tree.cells[event, k])
            total += value * (value - 2 * np.float64(query[tree.places[event, k]]))
        squared[age] = total if total > SAME * length else 0.0
    n = min(settings.n_neighbors, held)
    ages, distances = scratch.ages[:n], scratch.distances[:n]
    nearest(squared[:held], held, 0, ages, distances)
    known[:] = 0.0
    proba[:] = 0.0
    for k in range(n):
        distance = math.sqrt(distances[k])
        if distance > 0 and distances[0] == 0:
            break
        event = tree.windows[node, (record["oldest"] + ages[k]) % size]
        vote = tree.stored[event]["weight"] if weigh else 1.0
        if distance > 0:
            vote /= distance
        for label in range(len(proba)):
            proba[label] += vote * (tree.codes[event, label] & 1)
            known[label] += vote * (1 if tree.stored[event]["complete"] else tree.codes[event, label] >> 1)
    for label in range(len(proba)):
        proba[label] = proba[label] / known[label] if known[label] > 0 else -1.0


@inner
def _posterior(
    tree: Tree,
    node: int,
    label: int,
    numbers: NDArray[np.float32],
    inputs: NDArray[np.int32],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    whole_of: NDArray[np.int32],
    n_met: int,
) -> float:
    """Probability of a label by naive Bayes: normal numbers, categories; of sparse rows the cells listed, multinomial.

    What is known of the events without the label is the difference of all events and those with it.
    """
    row, all_row = tree.rows[tree.rows_of[node, LABELS + label]], tree.rows[tree.rows_of[node, TOTAL]]
    n1 = row[N, 0]
    n0 = all_row[N, 0] - n1
    logit = math.log((n1 + ALPHA) / (n0 + ALPHA))
    if sparse:
        words1, size = tree.words[node, LABELS + label], ALPHA * n_met
        words0 = tree.words[node, TOTAL] - words1
        for k in range(len(cells)):
            if data[k] == 0 or np.isnan(data[k]) or all_row[N, cells[k]] == 0:
                continue
            c1 = row[N, cells[k]]
            c0 = max(0.0, all_row[N, cells[k]] - c1)
            logit += math.log((c1 + ALPHA) / (words1 + size) * ((words0 + size) / (c0 + ALPHA)))
    else:
        ratio, n_factors = 1.0, 0
        m = m1 = m0 = share = share1 = share0 = 0.0
        for k in range(len(numbers)):
            value, i = np.float64(numbers[k]), inputs[k]
            if row[N, i] != m1 or all_row[N, i] != m:
                m1, m = row[N, i], all_row[N, i]
                m0 = m - m1
                share, share1, share0 = 1 / m, 1 / m1, 1 / m0
            if np.isnan(value) or m1 <= 1 or m0 <= 1 or not all_row[SQUARES, i] > 0:
                continue
            floor = 0.01 * all_row[SQUARES, i] * share
            mean1 = row[MEAN, i]
            mean0 = (m * all_row[MEAN, i] - m1 * mean1) * share0
            apart = mean1 - all_row[MEAN, i]
            squares0 = all_row[SQUARES, i] - row[SQUARES, i] - m1 * m * share0 * apart * apart
            variance1 = max(row[SQUARES, i] * share1, floor)
            variance0 = max(squares0 * share0, floor)
            gap1, gap0 = value - mean1, value - mean0
            logit += 0.5 * (gap0 * gap0 / variance0 - gap1 * gap1 / variance1)
            ratio *= variance0 / variance1
            n_factors += 1
            if n_factors == FACTORS:
                logit += 0.5 * math.log(ratio)
                ratio, n_factors = 1.0, 0
        logit += 0.5 * math.log(ratio)
        for k in range(len(cells)):
            i, whole = cells[k], whole_of[cells[k]]
            if all_row[N, i] == 0:
                continue
            m1 = row[N, whole]
            m0 = all_row[N, whole] - m1
            c1 = row[N, i]
            c0 = max(0.0, all_row[N, i] - c1)
            logit += math.log((c1 + ALPHA) / (m1 + 1) * ((m0 + 1) / (c0 + ALPHA)))
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


@inner
def judge(
    tree: Tree,
    node: int,
    settings: Settings,
    seen: NDArray[np.uint8],
    live: NDArray[np.float64],
    truth: NDArray[np.uint8],
    single: NDArray[np.float64],
) -> None:
    """Take in how well each classifier of a leaf has answered for each label: log loss, fading."""
    for which in range(N_CLASSIFIERS):
        for label in range(len(live)):
            if live[label] <= 0 or not seen[label]:
                continue
            p = single[which, label]
            if p < 0:
                p = 0.5
            p = min(max(p, SURE), 1 - SURE)
            loss = -math.log(p if truth[label] else 1 - p)
            tree.losses[node, which, label] = settings.decay * tree.losses[node, which, label] + live[label] * loss


@inner
def learn_linear(
    tree: Tree,
    node: int,
    settings: Settings,
    rates: NDArray[np.float64],
    used: NDArray[np.int32],
    values: NDArray[np.float32],
    present: NDArray[np.int32],
    live: NDArray[np.float64],
    truth: NDArray[np.uint8],
    turns: NDArray[np.int64],
    margins: NDArray[np.float64],
    lanes: NDArray[np.float32],
    error: NDArray[np.float32],
    mass: NDArray[np.float32],
) -> None:
    """A step of the linear models of a leaf, which come into being with its first event; each copy makes ``turns``."""
    record = tree.nodes[node]
    if record["slot"] < 0:
        if bytes_used(tree, settings) + settings.slot_bytes > settings.max_bytes:
            return
        record["slot"] = new_slot(tree)
        margins[:] = 0
        lanes[:] = 0
    slot = record["slot"]
    weights, born = tree.weights[slot], tree.born[slot]
    width = len(lanes) // settings.n_models
    error[:] = 0
    mass[:] = 0
    rate = np.float32(0)
    if not settings.paper:
        rate = next_rate(values, len(used), ADAGRAD, rates, tree.norms[slot])
    squared_length = 0.0
    for k in range(1, len(used)):
        squared_length += np.float64(values[k]) * values[k]
    gain = settings.learning_rate * squared_length + INTERCEPT_RATE
    for copy in range(settings.n_models):
        for label in present:
            lane = copy * width + label
            if born[lane] == 0:
                born[lane] = 1
                margins[lane] = 0.0
                if not settings.paper:
                    lanes[lane] = start(lane, ADAGRAD, rate, tree.norms[slot], weights, weights)
        for label in range(len(live)):
            lane = copy * width + label
            if live[label] <= 0 or born[lane] == 0:
                continue
            if settings.paper:
                margin, total = margins[lane], 0.0
                for _ in range(turns[copy]):
                    gap = 1 / (1 + math.exp(-min(max(margin, -500.0), 500.0))) - truth[label]
                    gap *= live[label]
                    total += gap
                    margin -= gain * gap
                error[lane] = total
            else:
                mass[lane] = live[label] * turns[copy]
                error[lane] = mass[lane] * (lanes[lane] - truth[label])
    if not settings.paper:
        step(weights, tree.squares[slot], weights, used, values, len(used), 1, error, mass, rate, ADAGRAD, rates)
        return
    for k in range(len(used)):
        size = np.float32((INTERCEPT_RATE if k == 0 else settings.learning_rate) * values[k])
        weight = weights[used[k]]
        for lane in range(len(error)):
            weight[lane] -= size * error[lane]


@inner
def make_event(
    tree: Tree,
    settings: Settings,
    used: NDArray[np.int32],
    query: NDArray[np.float32],
    sparse: bool,
    present: NDArray[np.int32],
    known: NDArray[np.int32],
    partial: bool,
    weight: float,
) -> int:
    """Hold an event for windows; -1 where it does not fit."""
    if bytes_used(tree, settings) + settings.event_bytes + len(used) * settings.cell_bytes > settings.max_bytes:
        return -1
    event = new_event(tree)
    record = tree.stored[event]
    record["weight"], record["complete"] = weight, not partial
    if sparse:
        for k in range(1, len(used)):
            tree.places[event, k - 1] = used[k]
            tree.cells[event, k - 1] = query[used[k]]
        record["length"] = len(used) - 1
        tree.totals[CELLS] += record["length"]
    else:
        tree.cells[event, : len(query)] = query
    tree.codes[event] = 0
    for label in known:
        tree.codes[event, label] = ABSENT
    for label in present:
        tree.codes[event, label] = PRESENT
    return event


@inner
def pin(tree: Tree, event: int) -> None:
    """Keep an event, whatever becomes of the windows that hold it."""
    if event >= 0:
        tree.stored[event]["n_holders"] += 1


@inner
def unpin(tree: Tree, event: int) -> None:
    """Keep it no longer."""
    if event >= 0:
        let_go(tree, event)


@inner
def hold(tree: Tree, node: int, event: int) -> None:
    """Put an event in the window of a leaf, in place of the oldest if it is full."""
    record, size = tree.nodes[node], tree.windows.shape[1]
    if record["held"] == size:
        let_go(tree, tree.windows[node, record["oldest"]])
        tree.windows[node, record["oldest"]] = event
        record["oldest"] = (record["oldest"] + 1) % size
    else:
        tree.windows[node, (record["oldest"] + record["held"]) % size] = event
        record["held"] += 1
    tree.stored[event]["n_holders"] += 1


@inner
def drop_oldest(tree: Tree, node: int) -> None:
    """Shorten the window of a leaf by an event."""
    record = tree.nodes[node]
    if record["held"] > 0:
        let_go(tree, tree.windows[node, record["oldest"]])
        tree.windows[node, record["oldest"]] = -1
        record["oldest"] = (record["oldest"] + 1) % tree.windows.shape[1]
        record["held"] -= 1
