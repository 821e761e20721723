"""The way of every event through a tree: answered by the leaves that it reaches, then learned there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.draws import POISSON, poisson, scramble
from learners.inputs import COUNT, transform
from learners.trees.backgrounds import (
    IMPROVEMENT,
    WARNING,
    hamming,
    monitor,
    settle,
    start_background,
    take_loss,
)
from learners.trees.leaves import (
    FINE,
    answer,
    drop_oldest,
    hold,
    judge,
    learn_linear,
    make_event,
    new_scratch,
    pin,
    unpin,
)
from learners.trees.nodes import (
    BRANCH,
    FREE_HELD,
    FREE_NODES,
    FREE_ROWS,
    FREE_SLOTS,
    HELD,
    LEAF,
    LIVE_SETS,
    LOG,
    LOGGED,
    N_CLASSIFIERS,
    N_EVENTS,
    NODES,
    ROOT,
    ROWS,
    SET_BYTES,
    SETS,
    SLOTS,
    Settings,
    Tree,
    find_leaf,
    inner,
    new_leaf,
    step_down,
)
from learners.trees.observers import observe
from learners.trees.splitting import try_split
from streams.batch import PARTIAL, UNLABELLED

SETS_SHARE = 0.125
"""Share of the memory that counts of label sets may take."""

SURE_LOSS = 0.01
"""Added to the loss of a tree before the weight of its vote is taken from it."""


class Stream(NamedTuple):
    """A batch as the kernel takes it: see `learners.inputs.Encoded` and `streams.batch.Batch`."""

    dense: NDArray[np.float32]
    inputs: NDArray[np.int32]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    sparse: bool
    y_indptr: NDArray[np.int64]
    y_indices: NDArray[np.int32]
    label_state: NDArray[np.uint8]
    known_indptr: NDArray[np.int64]
    known_indices: NDArray[np.int32]
    weight: NDArray[np.float64]
    whole_of: NDArray[np.int32]
    order: NDArray[np.int64]


@inner
def _hash(present: NDArray[np.int32]) -> np.uint64:
    """A number for a label set that does not depend on the order of its labels."""
    total = np.uint64(1)
    for label in present:
        total += scramble(np.uint64(label + 1))
    return total


@inner
def _count_set(tree: Tree, node: int, settings: Settings, present: NDArray[np.int32], weight: float) -> None:
    """Count the label set of an event at a leaf, if there is room; if it is the commonest now, keep its labels."""
    record, code, size = tree.nodes[node], _hash(present), np.uint64(len(tree.sets))
    place = scramble(code + scramble(np.uint64(record["serial"]))) % size
    while tree.sets[place]["serial"] != 0 and not (
        tree.sets[place]["serial"] == record["serial"] and tree.sets[place]["hash"] == code
    ):
        place = (place + np.uint64(1)) % size
    entry = tree.sets[place]
    if entry["serial"] == 0:
        if (tree.totals[LIVE_SETS] + 1) * SET_BYTES > SETS_SHARE * settings.max_bytes:
            return
        entry["serial"], entry["hash"], entry["count"] = record["serial"], code, 0.0
        tree.totals[SETS] += 1
        tree.totals[LIVE_SETS] += 1
        record["n_sets"] += 1
    entry["count"] += weight
    if entry["count"] > record["top"]:
        if record["top_hash"] != code:
            tree.majority[node] = 0
            for label in present:
                tree.majority[node, label] = 1
        record["top"], record["top_hash"] = entry["count"], code


@njit(cache=True, nogil=True)
def fill_sets(
    sets: NDArray[np.void], serials: NDArray[np.int64], hashes: NDArray[np.uint64], counts: NDArray[np.float64]
) -> None:
    """Put entries in an empty table."""
    size = np.uint64(len(sets))
    for k in range(len(serials)):
        place = scramble(hashes[k] + scramble(np.uint64(serials[k]))) % size
        while sets[place]["serial"] != 0:
            place = (place + np.uint64(1)) % size
        sets[place]["serial"], sets[place]["hash"], sets[place]["count"] = serials[k], hashes[k], counts[k]


@inner
def _has_room(
    tree: Tree, settings: Settings, leaves: NDArray[np.int64], n: int, n_path: int, n_present: int, weight: float
) -> bool:
    """Whether there is room for all that may come: ``n`` leaves may split, ``n_path`` nodes start a background tree."""
    totals = tree.totals
    n_slots = 0
    for v in range(n):
        record = tree.nodes[leaves[v]]
        n_slots += record["slot"] < 0
        n_slots += record["weight"] + len(POISSON) * weight >= record["last_attempt"] + settings.grace_period
    return bool(
        totals[NODES] - totals[FREE_NODES] + 2 * n + n_path <= len(tree.nodes)
        and totals[ROWS] - totals[FREE_ROWS] + n * (n_present + 2) <= len(tree.rows)
        and totals[HELD] - totals[FREE_HELD] + 1 <= len(tree.stored)
        and totals[SLOTS] - totals[FREE_SLOTS] + n_slots <= len(tree.weights)
        and 2 * (totals[SETS] + 2 * n) <= len(tree.sets)
        and totals[LOGGED] + n + n_path <= LOG
    )


@njit(cache=True, nogil=True, error_model="numpy")
def run(
    tree: Tree,
    stream: Stream,
    settings: Settings,
    rates: NDArray[np.float64],
    moments: NDArray[np.float64],
    seen: NDArray[np.uint8],
    begin: int,
    learn: bool,
    proba: NDArray[np.float32],
) -> int:
    """Answer the events from ``begin`` on in ``proba``; then, if ``learn``, learn each before the next.

    Returns the number of the first event that is short of room, for which nothing was done yet.
    """
    n, n_labels = proba.shape
    n_inputs, sparse = len(stream.whole_of), stream.sparse
    longest = 0
    for t in range(n):
        longest = max(longest, stream.indptr[t + 1] - stream.indptr[t])
    used_room = np.zeros(1 + stream.dense.shape[1] + longest, np.int32)
    value_room = np.zeros(len(used_room), np.float32)
    fresh = np.zeros(longest, np.bool_)
    x = np.full(n_inputs, 0.0 if sparse else np.nan)
    query = np.zeros(n_inputs, np.float32)
    n_voters = settings.max_depth + 2
    leaves, hosts = np.zeros(n_voters, np.int64), np.zeros(n_voters, np.int64)
    path, serials = np.zeros(n_voters, np.int64), np.zeros(n_voters, np.int64)
    n_lanes = tree.weights.shape[2]
    answers = np.zeros((n_voters, n_labels))
    singles = np.zeros((n_voters, N_CLASSIFIERS, n_labels))
    margins, lanes = np.zeros((n_voters, n_lanes)), np.zeros((n_voters, n_lanes), np.float32)
    error, mass = np.zeros(n_lanes, np.float32), np.zeros(n_lanes, np.float32)
    live, truth = np.zeros(n_labels), np.zeros(n_labels, np.uint8)
    turns, scratch = np.ones(settings.n_models, np.int64), new_scratch(tree, settings, n_labels)
    n_met = 0
    for i in range(1, n_inputs):
        n_met += moments[COUNT, i] > 0
    for t in range(begin, n):
        present = stream.y_indices[stream.y_indptr[t] : stream.y_indptr[t + 1]]
        known = stream.known_indices[stream.known_indptr[t] : stream.known_indptr[t + 1]]
        partial = stream.label_state[t] == PARTIAL
        learns = learn and stream.label_state[t] != UNLABELLED and (len(known) > 0 or not partial)
        cells = stream.indices[stream.indptr[t] : stream.indptr[t + 1]]
        data = stream.data[stream.indptr[t] : stream.indptr[t + 1]]
        if tree.totals[ROOT] < 0:
            if not learns:
                continue
            if len(tree.nodes) == 0:
                return t
            tree.totals[ROOT] = new_leaf(tree, -1, 0, -1, 0)
        _unpack(stream.dense[t], stream.inputs, cells, data, stream.whole_of, sparse, moments, x)

        n_path, n_leaves = _find(tree, settings, x, stream.whole_of, sparse, learns, path, leaves, hosts)
        if learns and not _has_room(tree, settings, leaves, n_leaves, n_path, len(present), stream.weight[t]):
            return t

        for k in range(len(cells)):
            fresh[k] = moments[COUNT, cells[k]] == 0
        m = transform(
            stream.dense[t], stream.inputs, cells, data, sparse, not settings.paper, learns, moments,
            used_room, value_room,
        )  # fmt: skip
        used, values = used_room[:m], value_room[:m]
        for k in range(1, m):
            query[used[k]] = shown(values[k], settings.paper)
        for k in range(len(cells)):
            query[cells[k]] *= not fresh[k]
        for v in range(n_leaves):
            answer(
                tree, leaves[v], settings, seen, used, values, query, stream.dense[t], stream.inputs, cells, data,
                sparse, stream.whole_of, n_met, scratch, answers[v], singles[v], margins[v], lanes[v],
            )  # fmt: skip
        _combine(tree, settings, seen, hosts, n_leaves, answers, proba[t])

        if learns:
            for k in range(1, m):
                query[used[k]] = shown(values[k], settings.paper)
            for k in range(len(cells)):
                if data[k] != 0 and not np.isnan(data[k]):
                    n_met += fresh[k]
                    moments[COUNT, cells[k]] += settings.paper
            tree.totals[N_EVENTS] += 1
            weight = stream.weight[t]
            if settings.paper:
                weight *= max(1, poisson(settings.seed, tree.totals[N_EVENTS], 0))
            if settings.n_models > 1:
                for copy in range(settings.n_models):
                    turns[copy] = poisson(settings.seed, tree.totals[N_EVENTS], copy + 1)
            live[:] = 0.0 if partial else weight
            for label in known:
                live[label] = weight
            truth[:] = 0
            for label in present:
                truth[label] = 1
            for v in range(n_leaves):
                top = tree.nodes[hosts[v]]["background"] if hosts[v] >= 0 else -1
                loss = hamming(answers[v], truth, live, seen, settings.threshold)
                if top >= 0:
                    take_loss(tree, top, loss, weight)
                else:
                    for k in range(n_path):
                        take_loss(tree, path[k], loss, weight)
            own_loss = hamming(answers[0], truth, live, seen, settings.threshold)
            for label in present:
                seen[label] = 1
            event = make_event(tree, settings, used, query, sparse, present, known, partial, stream.weight[t])
            for v in range(n_leaves):
                serials[v] = tree.nodes[leaves[v]]["serial"]
                _learn(
                    tree, leaves[v], settings, rates, stream, t, used, values, cells, data, present, not partial,
                    weight, seen, live, truth, turns, singles[v], margins[v], lanes[v], error, mass, event,
                )  # fmt: skip
                _mark_path(tree, hosts[v], x, stream.whole_of, sparse, weight)
            for k in range(n_path):
                node = path[k]
                verdict = monitor(tree, node, own_loss, settings)
                if tree.nodes[node]["background"] >= 0:
                    if settle(tree, node, settings) != node:
                        break
                elif verdict == WARNING and not (settings.paper and tree.nodes[node]["kind"] == LEAF):
                    start_background(tree, node, settings)
                elif verdict == IMPROVEMENT:
                    tree.nodes[node]["loss_weight"] = 0.0
            for v in range(n_leaves):
                record = tree.nodes[leaves[v]]
                if record["kind"] != LEAF or record["serial"] != serials[v]:
                    continue
                pin(tree, event)
                was_split = try_split(tree, leaves[v], settings, stream.order, stream.whole_of, sparse)
                if was_split and settings.paper:
                    _unpack(
                        stream.dense[t], stream.inputs, cells, data, stream.whole_of, sparse, moments, x
                    )  # fmt: skip
                    child = step_down(tree, leaves[v], x, stream.whole_of, sparse)
                    _learn(
                        tree, child, settings, rates, stream, t, used, values, cells, data, present, not partial,
                        weight, seen, live, truth, turns, singles[v], margins[v], lanes[v], error, mass, event,
                    )  # fmt: skip
                unpin(tree, event)

        for k in range(1, m):
            query[used[k]] = 0
        if sparse:
            for k in range(len(cells)):
                x[cells[k]] = 0
        else:
            for k in range(len(cells)):
                x[cells[k]] = np.nan
                x[stream.whole_of[cells[k]]] = np.nan
    return int(n)


@inner
def shown(value: float, paper: bool) -> float:
    """An input as windows hold it."""
    return value if paper else np.rint(value * FINE) / FINE


@inner
def _unpack(
    numbers: NDArray[np.float32],
    inputs: NDArray[np.int32],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    whole_of: NDArray[np.int32],
    sparse: bool,
    moments: NDArray[np.float64],
    x: NDArray[np.float64],
) -> None:
    """The value of every input, as splits ask for it; of a nominal column 1 where a category holds or any is known.

    Cells of inputs that were never met count as missing.
    """
    for k in range(len(numbers)):
        x[inputs[k]] = numbers[k]
    for k in range(len(cells)):
        if moments[COUNT, cells[k]] == 0:
            continue
        x[cells[k]] = 0.0 if np.isnan(data[k]) else data[k]
        if not sparse:
            x[whole_of[cells[k]]] = 1


@inner
def _find(
    tree: Tree,
    settings: Settings,
    x: NDArray[np.float64],
    whole_of: NDArray[np.int32],
    sparse: bool,
    learns: bool,
    path: NDArray[np.int64],
    leaves: NDArray[np.int64],
    hosts: NDArray[np.int64],
) -> tuple[int, int]:
    """The live nodes that are watched, from the root down, and the leaves: the live one, then those of backgrounds.

    ``hosts`` has for each leaf the node in whose background it is. Without ``learns``, those that do not vote yet are
    left out.
    """
    node, n_path, n_leaves = tree.totals[ROOT], 0, 1
    hosts[0] = -1
    while True:
        record = tree.nodes[node]
        if record["kind"] == BRANCH or n_path == 0:
            path[n_path] = node
            n_path += 1
            background = record["background"]
            if background >= 0 and (learns or tree.nodes[background]["loss_weight"] > settings.background_weight):
                leaves[n_leaves] = find_leaf(tree, background, x, whole_of, sparse)
                hosts[n_leaves] = node
                n_leaves += 1
        if record["kind"] != BRANCH:
            leaves[0] = node
            return n_path, n_leaves
        node = step_down(tree, node, x, whole_of, sparse)


@inner
def _combine(
    tree: Tree,
    settings: Settings,
    seen: NDArray[np.uint8],
    hosts: NDArray[np.int64],
    n_leaves: int,
    answers: NDArray[np.float64],
    proba: NDArray[np.float32],
) -> None:
    """The mean of the leaves' answers, each weighed by the square of the inverse of its tree's loss."""
    n_voters, own_loss = 1, 0.0
    for v in range(1, n_leaves):
        if tree.nodes[tree.nodes[hosts[v]]["background"]]["loss_weight"] > settings.background_weight:
            own_loss = tree.nodes[hosts[v]]["rival_loss"]
            n_voters += 1
    if n_voters == 1:
        for label in range(len(proba)):
            proba[label] = answers[0, label] if seen[label] else 0.0
        return
    share = 1 / (own_loss + SURE_LOSS) ** 2
    total = answers[0] * share
    mass = share
    for v in range(1, n_leaves):
        top = tree.nodes[tree.nodes[hosts[v]]["background"]]
        if top["loss_weight"] > settings.background_weight:
            share = 1 / (top["loss"] + SURE_LOSS) ** 2
            total += answers[v] * share
            mass += share
    for label in range(len(proba)):
        proba[label] = min(total[label] / mass, 1.0) if seen[label] else 0.0


@inner
def _mark_path(
    tree: Tree, host: int, x: NDArray[np.float64], whole_of: NDArray[np.int32], sparse: bool, weight: float
) -> None:
    """Count an event on the side that it takes at every branch of a tree, the live one or that in a background."""
    node = tree.totals[ROOT] if host < 0 else tree.nodes[host]["background"]
    while tree.nodes[node]["kind"] == BRANCH:
        child = step_down(tree, node, x, whole_of, sparse)
        if child == tree.nodes[node]["left"]:
            tree.nodes[node]["mass_left"] += weight
        else:
            tree.nodes[node]["mass_right"] += weight
        node = child


@inner
def _learn(
    tree: Tree,
    node: int,
    settings: Settings,
    rates: NDArray[np.float64],
    stream: Stream,
    t: int,
    used: NDArray[np.int32],
    values: NDArray[np.float32],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    present: NDArray[np.int32],
    complete: bool,
    weight: float,
    seen: NDArray[np.uint8],
    live: NDArray[np.float64],
    truth: NDArray[np.uint8],
    turns: NDArray[np.int64],
    single: NDArray[np.float64],
    margins: NDArray[np.float64],
    lanes: NDArray[np.float32],
    error: NDArray[np.float32],
    mass: NDArray[np.float32],
    event: int,
) -> None:
    """All that a leaf learns of an event."""
    record = tree.nodes[node]
    if not settings.paper:
        judge(tree, node, settings, seen, live, truth, single)
    record["weight"] += weight
    record["total"] += weight
    if complete and len(present) == 0:
        record["empty"] += weight
    for label in present:
        tree.counts[node, label] += weight
    if complete:
        _count_set(tree, node, settings, present, weight)
    if record["observed"]:
        observe(
            tree, node, settings, stream.dense[t], stream.inputs, cells, data, stream.whole_of, present, complete,
            weight,
        )  # fmt: skip
    learn_linear(tree, node, settings, rates, used, values, present, live, truth, turns, margins, lanes, error, mass)
    if event >= 0:
        hold(tree, node, event)
    else:
        drop_oldest(tree, node)
