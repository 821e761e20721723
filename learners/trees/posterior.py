"""Leaves of classes: what they answer, by majority or by naive Bayes, and what they observe."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from learners.trees.nodes import inner
from learners.trees.pool import (
    LARGEST,
    LEAF,
    LEAST,
    MEAN,
    NODES,
    OFFSET,
    SCALE,
    SQUARES,
    Events,
    Floats,
    N,
    Pool,
    Records,
    Settings,
    add_entry,
    add_total,
    bytes_used,
    draw_watched,
    find_entry,
    free_rows,
    new_row,
    watches,
    woven,
)

MAJORITY, BAYES, ADAPTIVE = range(3)
PREDICTIONS = ("mc", "nb", "nba")
"""How a leaf answers: by the weights of its classes, by naive Bayes, or by what has been right more often."""

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


@inner
def _log_likelihood(
    of: Floats,
    watched: NDArray[np.int32],
    n_watched: int,
    columns: NDArray[np.int32],
    column_of: NDArray[np.int32],
    whole_of: NDArray[np.int32],
    cells: NDArray[np.int32],
    sparse: bool,
    x: Floats,
) -> float:
    """The log density of an event, whose inputs are ``x``, given the class that has been observed in row ``of``.

    Inputs without a density (one value seen, or always the same) and categories never seen with the class say nothing.
    """
    bits = 0.0
    if sparse:
        for cell in range(len(cells)):
            i = cells[cell]
            if x[i] != 0.0 and watches(watched, n_watched, column_of[i]):
                bits += math.log((of[i, N] + 1.0) / (of[0, N] + 2.0))
        return bits
    some = len(watched) > 0
    for k in range(n_watched if some else len(columns)):
        i = columns[watched[k] if some else k]
        if i < 0 or np.isnan(x[i]):
            continue
        value = x[i]
        if whole_of[i] < 0:
            gap = value - of[i, MEAN]
            bits += gap * gap * of[i, SCALE] + of[i, OFFSET]
        else:
            weight = of[int(value), N]
            if weight > 0.0:
                bits += math.log(weight / of[i, N])
    return bits


@woven
def consider(
    pool: Pool, leaf: int, settings: Settings, events: Events, t: int, x: Floats, learns: bool, posterior: Floats
) -> tuple[int, int, int]:
    """The classes that a leaf answers, that has most weight there and that naive Bayes finds; -1 where there is none.

    Writes the probability of every class to ``posterior``. Without ``learns`` naive Bayes is asked only where it
    answers.
    """
    cells = events.indices[events.indptr[t] : events.indptr[t + 1]]
    return _consider(
        pool.nodes, pool.entries, pool.rows, pool.watched[leaf], leaf, settings.prediction, settings.nb_threshold,
        events.columns, events.column_of, events.whole_of, cells, events.sparse, x, learns, posterior,
    )  # fmt: skip


@inner
def _consider(
    nodes: Records,
    entries: Records,
    rows: Floats,
    watched: NDArray[np.int32],
    leaf: int,
    prediction: int,
    nb_threshold: float,
    columns: NDArray[np.int32],
    column_of: NDArray[np.int32],
    whole_of: NDArray[np.int32],
    cells: NDArray[np.int32],
    sparse: bool,
    x: Floats,
    learns: bool,
    posterior: Floats,
) -> tuple[int, int, int]:
    """What `consider` does."""
    posterior[:] = 0.0
    record = nodes[leaf]
    total, most, majority = 0.0, -1.0, -1
    entry = record["entry"]
    while entry >= 0:
        e = entries[entry]
        total += e["weight"]
        if e["weight"] > most:
            most, majority = e["weight"], e["key"]
        entry = e["next"]
    if not total > 0.0:
        return -1, -1, -1
    active = record["active"] == 1
    by_bayes = active and (
        (prediction == ADAPTIVE and record["bayes_right"] >= record["majority_right"])
        or (prediction == BAYES and record["total"] >= nb_threshold)
    )
    bayes = -1
    if by_bayes or (learns and active and prediction == ADAPTIVE):
        top = -math.inf
        entry = record["entry"]
        while entry >= 0:
            e = entries[entry]
            if e["weight"] > 0.0:
                bits = math.log(e["weight"] / total)
                if e["row"] >= 0:
                    bits += _log_likelihood(
                        rows[e["row"]], watched, record["n_watched"], columns, column_of, whole_of, cells, sparse, x
                    )
                posterior[e["key"]] = bits
                if bits > top:
                    top, bayes = bits, e["key"]
            entry = e["next"]
        if by_bayes:
            mass = 0.0
            entry = record["entry"]
            while entry >= 0:
                e = entries[entry]
                if e["weight"] > 0.0:
                    share = math.exp(posterior[e["key"]] - top)
                    posterior[e["key"]] = share
                    mass += share
                entry = e["next"]
            entry = record["entry"]
            while entry >= 0:
                e = entries[entry]
                posterior[e["key"]] /= mass
                entry = e["next"]
            return int(bayes), int(majority), int(bayes)
    entry = record["entry"]
    while entry >= 0:
        e = entries[entry]
        posterior[e["key"]] = e["weight"] / total
        entry = e["next"]
    return int(majority), int(majority), int(bayes)


@inner
def agrees(events: Events, t: int, key: int) -> bool:
    """Whether a label set has every label that event ``t`` is known to have, and none that it is known not to have."""
    start, stop = events.indptr_of_sets[key], events.indptr_of_sets[key + 1]
    present_start, present_stop = events.present_indptr[t], events.present_indptr[t + 1]
    n_present = present_stop - present_start
    for cell in range(events.known_indptr[t], events.known_indptr[t + 1]):
        label, holds = events.known[cell], False
        for k in range(start, stop):
            holds = holds or events.labels[k] == label
        is_present = False
        for k in range(present_start, present_stop):
            is_present = is_present or events.present[k] == label
        if holds != is_present:
            return False
    return bool(stop - start >= n_present)


@woven
def class_to_learn(pool: Pool, leaf: int, events: Events, t: int, posterior: Floats) -> int:
    """The class of an event; of a partly labelled one the most probable of the leaf's that agree with what is known."""
    key = int(events.key[t])
    if events.partial[t]:
        key = _class_of_partial(pool, leaf, events, t, posterior)
    return key


@inner
def _class_of_partial(pool: Pool, leaf: int, events: Events, t: int, posterior: Floats) -> int:
    """What `class_to_learn` does for partly labelled events."""
    key, best = events.key[t], 0.0
    entry = pool.nodes[leaf]["entry"]
    while entry >= 0:
        e = pool.entries[entry]
        if posterior[e["key"]] > best and agrees(events, t, e["key"]):
            best, key = posterior[e["key"]], e["key"]
        entry = e["next"]
    return int(key)


@woven
def learn(
    pool: Pool,
    leaf: int,
    settings: Settings,
    events: Events,
    t: int,
    x: Floats,
    key: int,
    weight: float,
    majority: int,
    bayes: int,
) -> None:
    """Let a leaf learn that event ``t`` is of class ``key``; ``majority`` and ``bayes`` are what `consider` found."""
    entry = find_entry(pool.nodes, pool.entries, leaf, key)
    if entry < 0:
        entry = add_entry(pool, leaf, key, 0.0)
    adaptive = settings.prediction == ADAPTIVE
    _count(pool.nodes, pool.entries, leaf, entry, adaptive, weight, majority == key or majority < 0, bayes == key)
    if pool.nodes[leaf]["active"] == 1:
        row = pool.entries[entry]["row"]
        if row < 0:
            row = _start_observing(pool, leaf, entry, settings, events)
        if row >= 0:
            cells = events.indices[events.indptr[t] : events.indptr[t + 1]]
            _observe(
                pool.rows[row], pool.watched[leaf], pool.nodes[leaf]["n_watched"], events.columns, events.column_of,
                events.whole_of, cells, events.sparse, x, weight,
            )  # fmt: skip


@inner
def _count(
    nodes: Records,
    entries: Records,
    leaf: int,
    entry: int,
    adaptive: bool,
    weight: float,
    majority_right: bool,
    bayes_right: bool,
) -> None:
    """Count the weight of an event at its class, at the leaf and above, and for whoever was right about it."""
    record = nodes[leaf]
    if record["active"] and adaptive:
        record["majority_right"] += weight if majority_right else 0.0
        record["bayes_right"] += weight if bayes_right else 0.0
    entries[entry]["weight"] += weight
    add_total(nodes, leaf, weight)


@inner
def _start_observing(pool: Pool, leaf: int, entry: int, settings: Settings, events: Events) -> int:
    """The new row of a class of a leaf, or -1 where there is no memory for it."""
    if not _make_way(pool, leaf, settings):
        return -1
    new_row(pool, leaf, entry)
    if settings.max_features > 0 and pool.nodes[leaf]["n_watched"] == 0:
        draw_watched(pool, leaf, events.columns, settings.max_features)
    return int(pool.entries[entry]["row"])


@inner
def _make_way(pool: Pool, leaf: int, settings: Settings) -> bool:
    """Whether a leaf may have one more row; if need be the least promising leaves of its tree lose theirs first.

    The promise of a leaf is the weight that it would get wrong if it always answered its commonest class.
    """
    tree = pool.nodes[leaf]["tree"]
    while bytes_used(pool, tree, settings) + settings.row_bytes > settings.max_bytes:
        worst, least, age = leaf, np.inf, 0
        for node in range(pool.totals[NODES]):
            record = pool.nodes[node]
            if record["kind"] != LEAF or record["tree"] != tree or not record["active"]:
                continue
            most, holds = 0.0, node == leaf
            entry = record["entry"]
            while entry >= 0:
                most = max(most, pool.entries[entry]["weight"])
                holds = holds or pool.entries[entry]["row"] >= 0
                entry = pool.entries[entry]["next"]
            promise = record["total"] - most
            if holds and (promise < least or (promise == least and record["serial"] < age)):
                worst, least, age = node, promise, record["serial"]
        free_rows(pool, worst)
        pool.nodes[worst]["active"] = 0
        if worst == leaf:
            return False
    return True


@inner
def _observe(
    of: Floats,
    watched: NDArray[np.int32],
    n_watched: int,
    columns: NDArray[np.int32],
    column_of: NDArray[np.int32],
    whole_of: NDArray[np.int32],
    cells: NDArray[np.int32],
    sparse: bool,
    x: Floats,
    weight: float,
) -> None:
    """Take the inputs of an event in the row of its class."""
    of[0, N] += weight
    if sparse:
        for cell in range(len(cells)):
            i = cells[cell]
            if x[i] != 0.0 and watches(watched, n_watched, column_of[i]):
                of[i, N] += weight
        return
    some = len(watched) > 0
    for k in range(n_watched if some else len(columns)):
        i = columns[watched[k] if some else k]
        if i < 0 or np.isnan(x[i]):
            continue
        value = x[i]
        if whole_of[i] >= 0:
            of[int(value), N] += weight
            of[i, N] += weight
            continue
        n = of[i, N] + weight
        if n == weight:
            of[i, LEAST] = of[i, LARGEST] = value
        else:
            of[i, LEAST] = min(of[i, LEAST], value)
            of[i, LARGEST] = max(of[i, LARGEST], value)
        before = of[i, MEAN]
        mean = before + weight / n * (value - before)
        squares = of[i, SQUARES] + weight * (value - before) * (value - mean)
        of[i, N], of[i, MEAN], of[i, SQUARES] = n, mean, squares
        variance = squares / (n - 1.0) if n > 1.0 else 0.0
        if variance > 0.0:
            of[i, SCALE] = -0.5 / variance
            of[i, OFFSET] = -HALF_LOG_TAU - 0.5 * math.log(variance)
        else:
            of[i, SCALE] = of[i, OFFSET] = 0.0
