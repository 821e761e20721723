"""How the arrays of trees of classes are made, grown, saved and restored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import WINDOW
from learners.base import State
from learners.trees.pool import (
    CATEGORY,
    CLOCK,
    ENTRIES,
    ENTRY,
    LEAF,
    LOG,
    N_MOMENTS,
    N_TOTALS,
    NEEDED,
    NODE,
    NODES,
    ROWS,
    TREE,
    WINDOWS,
    Ints,
    Pool,
)
from learners.trees.storage import N_BUCKET_ROWS, N_BUCKETS, longer

PER_WINDOW = ("windows", "n_buckets", "buckets", "pending")
LINKS = ("parent", "child", "sibling", "alternate", "host")
STATE = ("trees", "nodes", "entries", "rows", "watched", *PER_WINDOW)
"""Arrays of a pool that a state holds."""

WINDOW_BYTES = float(WINDOW.itemsize + N_BUCKET_ROWS * (4 + 16 * N_BUCKETS) + 8 * CLOCK)


def nothing(n_trees: int, max_features: int, keys: NDArray[np.uint64]) -> Pool:
    """Trees without a root, whose leaves will look at ``max_features`` columns each (0: at all), with one key each."""
    blank = np.zeros(1, NODE)
    blank["kind"], blank["active"] = LEAF, 1
    for name in ("parent", "child", "sibling", "category", "entry", "last_entry", "alternate", "host", "window"):
        blank[name] = -1
    trees = np.zeros(n_trees, TREE)
    trees["root"], trees["key"] = -1, keys
    return Pool(
        trees=trees,
        nodes=np.zeros(0, NODE),
        entries=np.zeros(0, ENTRY),
        rows=np.zeros((0, 1, N_MOMENTS)),
        watched=np.zeros((0, max_features), np.int32),
        windows=np.zeros(0, WINDOW),
        n_buckets=np.zeros((0, N_BUCKET_ROWS), np.int32),
        buckets=np.zeros((0, N_BUCKET_ROWS, N_BUCKETS, 2)),
        pending=np.zeros((0, CLOCK)),
        free_nodes=np.zeros(0, np.int32),
        free_entries=np.zeros(0, np.int32),
        free_rows=np.zeros(0, np.int32),
        free_windows=np.zeros(0, np.int32),
        totals=np.zeros(N_TOTALS, np.int64),
        log=np.zeros((LOG, 9), np.int64),
        blank=blank,
    )


def with_inputs(pool: Pool, n: int, sparse: bool) -> Pool:
    """The pool with room for ``n`` inputs; of sparse rows weights alone are kept.

    What was observed of dense rows means nothing once rows are sparse, and is forgotten."""
    _, held, depth = pool.rows.shape
    n_moments = 1 if sparse else N_MOMENTS
    if n <= held and depth == n_moments:
        return pool
    wider = np.zeros((len(pool.rows), max(n, held + held // 4) if n > held else held, n_moments))
    if depth == n_moments:
        wider[:, :held] = pool.rows
    return pool._replace(rows=wider)


def with_records(pool: Pool) -> Pool:
    """The pool with room for what the event needs at which a kernel stopped."""
    totals, sizes = pool.totals, []
    arrays = (pool.nodes, pool.entries, pool.rows, pool.windows)
    for used, need, array in zip((NODES, ENTRIES, ROWS, WINDOWS), totals[NEEDED:], arrays, strict=True):
        n = int(totals[used] - totals[used + 1] + need)
        sizes.append(len(array) if n <= len(array) else max(n, len(array) + len(array) // 2))
    nodes, entries, rows, windows = sizes
    per_window = {name: longer(getattr(pool, name), windows) for name in PER_WINDOW}
    return pool._replace(
        nodes=longer(pool.nodes, nodes),
        watched=longer(pool.watched, nodes),
        entries=longer(pool.entries, entries),
        rows=longer(pool.rows, rows),
        free_nodes=longer(pool.free_nodes, nodes),
        free_entries=longer(pool.free_entries, entries),
        free_rows=longer(pool.free_rows, rows),
        free_windows=longer(pool.free_windows, windows),
        **per_window,
    )


@njit(cache=True, nogil=True)
def _in_order(pool: Pool, nodes: Ints, entries: Ints, rows: Ints, windows: Ints) -> None:
    """List the records of all trees in an order that does not depend on their numbers: tree by tree, node by node from
    the root down, each before its alternate and its children."""
    n_nodes = n_entries = n_rows = n_windows = 0
    waiting = np.zeros(len(nodes) + 1, np.int64)
    for tree in range(len(pool.trees)):
        n_waiting = 0
        if pool.trees[tree]["root"] >= 0:
            waiting[0] = pool.trees[tree]["root"]
            n_waiting = 1
        while n_waiting > 0:
            n_waiting -= 1
            node = waiting[n_waiting]
            record = pool.nodes[node]
            nodes[n_nodes] = node
            n_nodes += 1
            entry = record["entry"]
            while entry >= 0:
                entries[n_entries] = entry
                n_entries += 1
                if pool.entries[entry]["row"] >= 0:
                    rows[n_rows] = pool.entries[entry]["row"]
                    n_rows += 1
                entry = pool.entries[entry]["next"]
            if record["window"] >= 0:
                windows[n_windows] = record["window"]
                n_windows += 1
            child = record["child"]
            while child >= 0:
                waiting[n_waiting] = child
                n_waiting += 1
                child = pool.nodes[child]["sibling"]
            if record["alternate"] >= 0:
                waiting[n_waiting] = record["alternate"]
                n_waiting += 1


def _moved(array: NDArray[Any], name: str, place: Ints) -> None:
    """Renumber the records that a column links to; -1 stays -1."""
    linked = array[name] >= 0
    array[name][linked] = place[array[name][linked]]


def to_state(pool: Pool, order: Ints) -> State:
    """Copies of all records in use, numbered tree by tree from the root down; inputs are numbered as in ``order``."""
    totals = pool.totals
    listed = [np.zeros(totals[used] - totals[used + 1], np.int64) for used in (NODES, ENTRIES, ROWS, WINDOWS)]
    _in_order(pool, *listed)
    nodes, entries, rows, windows = listed
    places = []
    for array, held in zip((pool.nodes, pool.entries, pool.rows, pool.windows), listed, strict=True):
        place = np.full(len(array) + 1, -1, np.int64)
        place[held] = np.arange(len(held))
        places.append(place)
    state: State = {
        "trees": pool.trees.copy(),
        "nodes": pool.nodes[nodes],
        "entries": pool.entries[entries],
        "rows": np.ascontiguousarray(pool.rows[rows][:, order]),
        "watched": pool.watched[nodes],
        **{name: getattr(pool, name)[windows] for name in PER_WINDOW},
    }
    if not state["watched"].shape[1]:
        state["watched"] = np.zeros((0, 0), np.int32)
    else:
        state["watched"][np.arange(pool.watched.shape[1]) >= state["nodes"]["n_watched"][:, None]] = 0
    _moved(state["trees"], "root", places[0])
    for name in LINKS:
        _moved(state["nodes"], name, places[0])
    for name in ("entry", "last_entry"):
        _moved(state["nodes"], name, places[1])
    _moved(state["nodes"], "window", places[3])
    _moved(state["entries"], "next", places[1])
    _moved(state["entries"], "row", places[2])
    input_place = np.zeros(pool.rows.shape[1], np.int64)
    input_place[order] = np.arange(len(order))
    _renumber_inputs(state["nodes"], input_place)
    return state


def _renumber_inputs(nodes: NDArray[Any], place: Ints) -> None:
    """Replace the inputs that tests and children have."""
    nodes["input"] = place[nodes["input"]]
    _moved(nodes, "category", place)
    of_category = nodes["kind"] == CATEGORY
    nodes["threshold"][of_category] = place[nodes["threshold"][of_category].astype(np.int64)]


def from_state(pool: Pool, state: State) -> Pool:
    """What ``to_state`` gave, in a pool without roots that is laid out for the same inputs, in the schema's order."""
    totals = pool.totals.copy()
    nodes, entries, windows = state["nodes"].copy(), state["entries"].copy(), len(state["windows"])
    totals[NODES], totals[ENTRIES] = len(nodes), len(entries)
    totals[ROWS], totals[WINDOWS] = len(state["rows"]), windows
    rows = np.zeros((len(state["rows"]), *pool.rows.shape[1:]))
    rows[:, : state["rows"].shape[1]] = state["rows"]
    watched = np.zeros((len(nodes), pool.watched.shape[1]), np.int32)
    if len(state["watched"]):
        watched[:] = state["watched"]
    return pool._replace(
        trees=state["trees"].copy(),
        nodes=nodes,
        entries=entries,
        rows=rows,
        watched=watched,
        **{name: state[name].copy() for name in PER_WINDOW},
        free_nodes=np.zeros(len(nodes), np.int32),
        free_entries=np.zeros(len(entries), np.int32),
        free_rows=np.zeros(len(rows), np.int32),
        free_windows=np.zeros(windows, np.int32),
        totals=totals,
    )
