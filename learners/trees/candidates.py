"""When and where a leaf of classes is split: what each input offers, and the Hoeffding bound."""

from __future__ import annotations

import math

import numpy as np

from learners.trees.nodes import inner
from learners.trees.pool import (
    CATEGORIES,
    CATEGORY,
    ENTRY_BYTES,
    LARGEST,
    LEAF,
    LEAST,
    MEAN,
    NODE_BYTES,
    NUMBER,
    PRESENT,
    SPLIT,
    SQUARES,
    Events,
    Floats,
    Ints,
    N,
    Pool,
    Records,
    Settings,
    add_entry,
    add_total,
    append_child,
    bytes_used,
    free_classes,
    free_rows,
    has_room,
    new_leaf,
    note,
    weight_of,
    woven,
)
from learners.trees.splitting import hoeffding_bound

_ALIKE = 1e-12
"""Merits that differ by less are the same, and the first one counts: the order in which sums round decides nothing."""


@inner
def _impurity(weights: Floats, total: float, gini: bool) -> float:
    """Entropy, in bits, or Gini impurity of classes with these weights."""
    if not total > 0.0:
        return 0.0
    mixed = 0.0
    if gini:
        for k in range(len(weights)):
            share = weights[k] / total
            mixed += share * share
        return 1.0 - mixed
    for k in range(len(weights)):
        if weights[k] > 0.0:
            mixed -= weights[k] * math.log2(weights[k])
    return (mixed + total * math.log2(total)) / total


@inner
def _merit(before: float, left: Floats, right: Floats, settings: Settings) -> float:
    """What a split in two takes from the impurity ``before``; -inf where not enough goes either way."""
    on_left, on_right = 0.0, 0.0
    for k in range(len(left)):
        on_left += left[k]
        on_right += right[k]
    total = on_left + on_right
    least = settings.min_branch_fraction
    if not (total > 0.0 and on_left / total > least and on_right / total > least):
        return -math.inf
    after = on_left * _impurity(left, on_left, settings.gini) + on_right * _impurity(right, on_right, settings.gini)
    return before - after / total


@inner
def _merit_of_categories(
    pool: Pool, rows: Ints, before: float, order: Ints, first: int, stop: int, weights: Floats, settings: Settings
) -> float:
    """What a branch for each of the categories ``order[first:stop]`` takes from the impurity ``before``."""
    total, after = 0.0, 0.0
    for place in range(first, stop):
        on_branch = _weights(pool, rows, order[place], weights)
        total += on_branch
        after += on_branch * _impurity(weights, on_branch, settings.gini)
    n_enough = 0
    for place in range(first, stop):
        n_enough += _weights(pool, rows, order[place], weights) / total > settings.min_branch_fraction
    return before - after / total if n_enough >= 2 else -math.inf


@inner
def _weights(pool: Pool, rows: Ints, i: int, weights: Floats) -> float:
    """Write the weight of every class in which input ``i`` was met, and return their sum."""
    total = 0.0
    for k in range(len(rows)):
        weights[k] = pool.rows[rows[k], i, N]
        total += weights[k]
    return total


@inner
def _weights_apart(pool: Pool, rows: Ints, i: int, other: int, left: Floats, right: Floats) -> None:
    """Write the weight of every class in which input ``i`` was met, and the rest of that of ``other``."""
    for k in range(len(rows)):
        left[k] = pool.rows[rows[k], i, N]
        right[k] = max(pool.rows[rows[k], other, N] - left[k], 0.0)


@inner
def _weights_below(pool: Pool, rows: Ints, i: int, threshold: float, left: Floats, right: Floats) -> None:
    """Write what every class is estimated to have up to a threshold, were its values between the least and the largest
    normal, and what beyond."""
    for k in range(len(rows)):
        of = pool.rows[rows[k], i]
        n = of[N]
        if n == 0.0 or threshold < of[LEAST]:
            left[k] = 0.0
        elif threshold >= of[LARGEST]:
            left[k] = n
        else:
            deviation = math.sqrt(of[SQUARES] / (n - 1.0)) if n > 1.0 and of[SQUARES] > 0.0 else 0.0
            left[k] = 0.0
            if deviation > 0.0:
                left[k] = 0.5 * (1.0 + math.erf((threshold - of[MEAN]) / deviation / math.sqrt(2.0))) * n
        right[k] = n - left[k]


@inner
def try_split(pool: Pool, leaf: int, settings: Settings, events: Events) -> None:
    """Split a leaf if one input is better than every other by more than the Hoeffding bound, or where that is small.

    Of equal merits the last in the schema's order counts as best. Where no input offers anything though the bound is
    small, and where one class has nearly all the weight, the leaf observes anew.
    """
    record = pool.nodes[leaf]
    n_classes, n, n_positive, most, total = record["n_classes"], 0, 0, 0.0, 0.0
    weights, left, right = np.zeros(n_classes), np.zeros(n_classes), np.zeros(n_classes)
    rows, keys = np.zeros(n_classes, np.int64), np.zeros(n_classes, np.int64)
    entry, place = record["entry"], 0
    while entry >= 0:
        e = pool.entries[entry]
        weights[place] = e["weight"]
        total += e["weight"]
        most = max(most, e["weight"])
        n_positive += e["weight"] > 0.0
        if e["row"] >= 0:
            rows[e["turn"]], keys[e["turn"]] = e["row"], e["key"]
            n += 1
        entry, place = e["next"], place + 1
    if n_positive < 2:
        return
    if most / total > settings.max_share:
        free_rows(pool, leaf)
        return
    rows, keys = rows[:n], keys[:n]
    before = 1.0 if settings.gini else _impurity(weights, total, False)
    left, right = left[:n], right[:n]

    best, second, n_candidates = -math.inf, -math.inf, int(settings.merit_preprune)
    chosen, kind, threshold = -1, NUMBER, 0.0
    order, p = events.order, 1
    while p < len(order):
        i, first = order[p], p + 1
        p += 1
        is_column = events.whole_of[i] == i
        while is_column and p < len(order) and events.whole_of[order[p]] == i:
            p += 1
        found, found_kind, found_threshold, found_input = -math.inf, NUMBER, 0.0, i
        if events.sparse:
            stop = p if is_column else first
            for place in range(first - 1, stop):
                if order[place] == i and is_column:
                    continue
                if not _weights(pool, rows, order[place], left) > 0.0:
                    continue
                _weights_apart(pool, rows, order[place], 0, left, right)
                merit = _merit(before, left, right, settings)
                n_candidates += found_kind == NUMBER
                found_kind = PRESENT
                if merit > found + _ALIKE:
                    found, found_input = merit, order[place]
            if found_kind == NUMBER:
                continue
        elif not _weights(pool, rows, i, left) > 0.0:
            continue
        elif is_column:
            n_candidates += 1
            if not settings.binary_split:
                found = _merit_of_categories(pool, rows, before, order, first, p, left, settings)
                found_kind = CATEGORIES
            for place in range(first, p):
                _weights_apart(pool, rows, order[place], i, left, right)
                merit = _merit(before, left, right, settings)
                if merit > found + _ALIKE:
                    found, found_kind, found_threshold = merit, CATEGORY, float(order[place])
        else:
            n_candidates += 1
            low, high = math.inf, -math.inf
            for k in range(n):
                if pool.rows[rows[k], i, N] > 0.0:
                    low = min(low, pool.rows[rows[k], i, LEAST])
                    high = max(high, pool.rows[rows[k], i, LARGEST])
            step = (high - low) / (settings.n_splits + 1.0)
            for number in range(settings.n_splits):
                at = low + step * (number + 1)
                if not low < at < high:
                    continue
                _weights_below(pool, rows, i, at, left, right)
                merit = _merit(before, left, right, settings)
                if merit > found + _ALIKE:
                    found, found_threshold = merit, at
        if found >= best:
            best, second = found, best
            if found > -math.inf:
                chosen, kind, threshold = found_input, found_kind, found_threshold
        elif found > second:
            second = found

    if n_candidates < 2:
        decided = n_candidates > 0
    else:
        value_range = 1.0 if settings.gini else math.log2(max(n_classes, 2))
        bound = hoeffding_bound(value_range, settings.delta, total)
        decided = best - second > bound or bound < settings.tau
    if not decided:
        return
    if chosen < 0:
        free_rows(pool, leaf)
        return
    n_children = 2
    if kind == CATEGORIES:
        n_children = 0
        for place in range(1, len(order)):
            i = order[place]
            n_children += i != chosen and events.whole_of[i] == chosen and _weights(pool, rows, i, left) > 0.0
    gained = n_children * (NODE_BYTES + 4.0 * pool.watched.shape[1] + n * ENTRY_BYTES) - n * settings.row_bytes
    if bytes_used(pool, record["tree"], settings) + gained > settings.max_bytes:
        return
    _split(pool, leaf, chosen, kind, threshold, events, rows, keys, left, right)


@inner
def _split(
    pool: Pool,
    leaf: int,
    i: int,
    kind: int,
    threshold: float,
    events: Events,
    rows: Ints,
    keys: Ints,
    left: Floats,
    right: Floats,
) -> None:
    """Make a branch of a leaf. Its children have the weights of classes that they are estimated to have had."""
    record = pool.nodes[leaf]
    tree, depth, before = record["tree"], record["depth"] + 1, record["total"]
    record["kind"], record["input"], record["threshold"] = kind, i, threshold
    note(pool, SPLIT, leaf, before)
    if kind == CATEGORIES:
        for place in range(1, len(events.order)):
            category = events.order[place]
            if category == i or events.whole_of[category] != i or not _weights(pool, rows, category, left) > 0.0:
                continue
            child = _new_child(pool, leaf, tree, depth, keys, left)
            pool.nodes[child]["category"] = category
    else:
        if kind == NUMBER:
            _weights_below(pool, rows, i, threshold, left, right)
        elif kind == CATEGORY:
            _weights_apart(pool, rows, int(threshold), i, left, right)
        else:
            _weights_apart(pool, rows, i, 0, left, right)
        _new_child(pool, leaf, tree, depth, keys, left)
        _new_child(pool, leaf, tree, depth, keys, right)
    free_classes(pool, leaf)
    after = 0.0
    child = record["child"]
    while child >= 0:
        after += pool.nodes[child]["total"]
        child = pool.nodes[child]["sibling"]
    record["active"], record["n_watched"], record["total"] = 0, 0, after
    if record["parent"] >= 0:
        add_total(pool.nodes, record["parent"], after - before)


@inner
def _new_child(pool: Pool, parent: int, tree: int, depth: int, keys: Ints, weights: Floats) -> int:
    """A leaf below a branch, with these weights of classes."""
    child = new_leaf(pool, tree, depth)
    append_child(pool, parent, child)
    for k in range(len(keys)):
        if weights[k] > 0.0:
            add_entry(pool, child, keys[k], weights[k])
            pool.nodes[child]["total"] += weights[k]
    pool.nodes[child]["last_attempt"] = pool.nodes[child]["total"]
    return child


@woven
def may_learn(pool: Pool, leaf: int, settings: Settings, events: Events, weight: float, n_more: int) -> bool:
    """Whether there is room for all that may come of it if a leaf learns an event, and for ``n_more`` nodes beside."""
    n_nodes, n_entries = needs(pool, leaf, settings, events, weight)
    return has_room(pool, n_nodes + n_more, n_entries + n_more, 1 + n_more, n_more, 1 + n_more)


@woven
def needs(pool: Pool, leaf: int, settings: Settings, events: Events, weight: float) -> tuple[int, int]:
    """How many nodes and entries a leaf may need to learn an event."""
    widest = 2 if events.sparse or settings.binary_split else max(2, events.widest)
    n_children = widest * is_due(pool.nodes, pool.entries, leaf, settings.grace_period, weight, True)
    return 1 + n_children, 1 + n_children * (pool.nodes[leaf]["n_classes"] + 1)


@inner
def is_due(nodes: Records, entries: Records, leaf: int, grace_period: float, weight: float, perhaps: bool) -> bool:
    """Whether a leaf has taken in enough since the last attempt to split it, or will have with this weight more;
    with ``perhaps``, even if rounding could put it off by an event."""
    record = nodes[leaf]
    if not record["active"]:
        return False
    seen = weight_of(nodes, entries, leaf) + weight - record["last_attempt"]
    return bool(seen >= (grace_period - 1e-6 * grace_period if perhaps else grace_period))


@woven
def grow_leaf(pool: Pool, leaf: int, settings: Settings, events: Events) -> None:
    """Split a leaf that has just learned an event, if it is time and there is reason to."""
    if pool.nodes[leaf]["active"] == 1 and (
        pool.nodes[leaf]["depth"] >= settings.max_depth
        or is_due(pool.nodes, pool.entries, leaf, settings.grace_period, 0.0, False)
    ):
        _grow(pool, leaf, settings, events)


@inner
def _grow(pool: Pool, leaf: int, settings: Settings, events: Events) -> None:
    """Try to split a leaf, or let it observe no more where the tree must not become deeper."""
    record = pool.nodes[leaf]
    if record["depth"] >= settings.max_depth:
        free_rows(pool, leaf)
        record["active"] = 0
        return
    weight_seen = weight_of(pool.nodes, pool.entries, leaf)
    try_split(pool, leaf, settings, events)
    if record["kind"] == LEAF:
        record["last_attempt"] = weight_seen
