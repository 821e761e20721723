"""How the arrays of a tree are made, grown, saved and restored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift.adwin_window import WINDOW
from learners.base import State
from learners.steps import LANES
from learners.trees.nodes import (
    CELLS,
    CLOCK,
    EVENT,
    FREE,
    FREE_HELD,
    FREE_NODES,
    FREE_ROWS,
    FREE_SLOTS,
    HELD,
    LABELS,
    LARGEST,
    LEAF,
    LEAST,
    LIVE_SETS,
    LOG,
    N_CLASSIFIERS,
    N_MOMENTS,
    N_TOTALS,
    NODE,
    NODES,
    ROOT,
    ROWS,
    SET,
    SETS,
    SLOTS,
    Tree,
)
from learners.trees.walk import fill_sets

N_BUCKET_ROWS, N_BUCKETS = 32, 6
"""Rows of buckets of an ADWIN window, and buckets in each."""

PER_NODE = ("nodes", "counts", "words", "rows_of", "losses", "majority", "windows", "pending")
PER_WINDOW = ("adwin", "n_buckets", "buckets")
PER_EVENT = ("stored", "cells", "places", "codes")
PER_SLOT = ("weights", "squares", "born", "norms")
POOLS = {"free_nodes": FREE_NODES, "free_rows": FREE_ROWS, "free_events": FREE_HELD, "free_slots": FREE_SLOTS}
IN_COPIES = ("weights", "squares", "born")
"""Arrays whose last axis is one of labels for each copy of the linear model."""


def nothing(window: int, n_models: int, paper: bool) -> Tree:
    """A tree without a root, whose leaves will hold ``window`` events and ``n_models`` linear models."""
    totals = np.zeros(N_TOTALS, np.int64)
    totals[ROOT] = -1
    blank = np.zeros(1, NODE)
    blank[["kind", "observed"]] = LEAF, 1
    blank[["background", "left", "right", "slot"]] = -1
    return Tree(
        nodes=np.zeros(0, NODE),
        counts=np.zeros((0, 0)),
        words=np.zeros((0, LABELS)),
        rows_of=np.zeros((0, LABELS), np.int32),
        losses=np.zeros((0, N_CLASSIFIERS, 0)),
        majority=np.zeros((0, 0), np.uint8),
        windows=np.zeros((0, window), np.int32),
        adwin=np.zeros(0, WINDOW),
        n_buckets=np.zeros((0, N_BUCKET_ROWS), np.int32),
        buckets=np.zeros((0, N_BUCKET_ROWS, N_BUCKETS, 2)),
        pending=np.zeros((0, CLOCK)),
        rows=np.zeros((0, N_MOMENTS, 0)),
        stored=np.zeros(0, EVENT),
        cells=np.zeros((0, 0), np.float32),
        places=np.zeros((0, 0), np.int32),
        codes=np.zeros((0, 0), np.uint8),
        weights=np.zeros((0, 0, 0), np.float32),
        squares=np.zeros((0, 0, 0), np.float32),
        born=np.zeros((0, 0), np.float32),
        norms=np.zeros((0, 0 if paper else 2)),
        free_nodes=np.zeros(0, np.int32),
        free_rows=np.zeros(0, np.int32),
        free_events=np.zeros(0, np.int32),
        free_slots=np.zeros(0, np.int32),
        sets=np.zeros(64, SET),
        totals=totals,
        log=np.zeros((LOG, 6), np.int64),
        blank=blank,
    )


def longer(array: NDArray[Any], n: int, fill: int = 0) -> NDArray[Any]:
    """``array`` with at least ``n`` records along its first axis."""
    if n <= len(array):
        return array
    room = np.full((n, *array.shape[1:]), fill, array.dtype) if fill else np.zeros((n, *array.shape[1:]), array.dtype)
    room[: len(array)] = array
    return room


def widened(tree: Tree, **widths: int) -> Tree:
    """The tree with at least these widths of the last axes of some arrays."""
    wider = {}
    for name, width in widths.items():
        array = getattr(tree, name)
        if width > array.shape[-1]:
            wider[name] = np.zeros((*array.shape[:-1], width), array.dtype)
            wider[name][..., : array.shape[-1]] = array
    return tree._replace(**wider)


def with_labels(tree: Tree, n: int, n_models: int) -> Tree:
    """The tree with room for ``n`` labels."""
    held = tree.counts.shape[1]
    labels = -(-max(n, held + held // 4) // LANES) * LANES
    rows_of = np.full((len(tree.rows_of), LABELS + labels), -1, np.int32)
    rows_of[:, : tree.rows_of.shape[1]] = tree.rows_of
    tree = widened(tree, counts=labels, words=LABELS + labels, losses=labels, majority=labels, codes=labels)
    wider = {}
    for name in IN_COPIES:
        array = getattr(tree, name)
        wide = np.zeros((*array.shape[:-1], n_models, labels), np.float32)
        wide[..., :held] = array.reshape(*array.shape[:-1], n_models, held)
        wider[name] = wide.reshape(*array.shape[:-1], n_models * labels)
    return tree._replace(rows_of=rows_of, **wider)


def with_inputs(tree: Tree, n: int) -> Tree:
    """The tree with room for ``n`` inputs."""
    held = tree.rows.shape[2]
    n = max(n, held + held // 4)
    rows = np.zeros((*tree.rows.shape[:2], n))
    rows[..., :held] = tree.rows
    if rows.shape[1] > 1:
        rows[:, LEAST, held:], rows[:, LARGEST, held:] = np.inf, -np.inf
    wider = {}
    for name in ("weights", "squares"):
        array = getattr(tree, name)
        wider[name] = np.zeros((len(array), n, array.shape[2]), np.float32)
        wider[name][:, :held] = array
    tree = tree._replace(rows=rows, **wider)
    return tree if tree.rows.shape[1] == 1 else widened(tree, cells=n)


def as_sparse(tree: Tree) -> Tree:
    """The tree with events and observers as those of sparse rows, an absent cell being 0."""
    held = tree.cells != 0
    longest = int(held.sum(1).max(initial=0))
    cells, places = np.zeros((len(held), longest), np.float32), np.zeros((len(held), longest), np.int32)
    for event, listed in enumerate(held):
        where = np.flatnonzero(listed)
        cells[event, : len(where)], places[event, : len(where)] = tree.cells[event, where], where
        tree.stored["length"][event] = len(where)
    tree.totals[CELLS] = held.sum()
    return tree._replace(rows=np.ascontiguousarray(tree.rows[:, :1]), cells=cells, places=places)


def with_records(tree: Tree, n_present: int) -> Tree:
    """The tree with room for all that an event with ``n_present`` labels may bring about."""
    totals = tree.totals
    nodes = tree.nodes[: totals[NODES]]
    n = 1 + int(np.count_nonzero((nodes["kind"] != FREE) & (nodes["host"] >= 0)))

    def size(held: int, used: int, free: int, need: int) -> int:
        n_used = int(totals[used] - totals[free]) + need
        return held if n_used <= held else max(n_used, held + held // 2)

    n_path = 1 + int(nodes["depth"].max(initial=0))
    n_nodes = size(len(tree.nodes), NODES, FREE_NODES, 2 * n + n_path)
    n_rows = size(len(tree.rows), ROWS, FREE_ROWS, n * (n_present + 2))
    n_events = size(len(tree.stored), HELD, FREE_HELD, 1)
    n_slots = max(len(tree.weights), int(totals[SLOTS] - totals[FREE_SLOTS]) + 2 * n)
    sizes = {
        **dict.fromkeys(PER_NODE, n_nodes),
        **dict.fromkeys(PER_WINDOW, 2 * n_nodes),
        **dict.fromkeys(PER_EVENT, n_events),
        **dict.fromkeys(PER_SLOT, n_slots),
        "rows": n_rows,
        "free_nodes": n_nodes,
        "free_rows": n_rows,
        "free_events": n_events,
        "free_slots": n_slots,
    }
    if not tree.norms.shape[1]:
        sizes["squares"] = 0
    tree = tree._replace(**{name: longer(getattr(tree, name), n) for name, n in sizes.items()})
    return with_sets(tree, live_sets(tree), 2 * n) if 2 * (totals[SETS] + 2 * n) > len(tree.sets) else tree


def live_sets(tree: Tree) -> NDArray[Any]:
    """Entries of the table of label sets that belong to leaves, in order."""
    nodes = tree.nodes[: tree.totals[NODES]]
    live = tree.sets[np.isin(tree.sets["serial"], nodes["serial"][nodes["kind"] == LEAF])]
    return np.sort(live, order=("serial", "hash"))


def with_sets(tree: Tree, entries: NDArray[Any], n_more: int = 0) -> Tree:
    """The tree with these entries alone in its table of label sets, and with room for ``n_more`` and others."""
    sets = np.zeros(max(64, 8 * (len(entries) + n_more)), SET)
    fill_sets(sets, entries["serial"].copy(), entries["hash"].copy(), entries["count"].copy())
    tree.totals[SETS] = tree.totals[LIVE_SETS] = len(entries)
    return tree._replace(sets=sets)


def to_state(tree: Tree, order: NDArray[np.int64], n_labels: int, n_models: int) -> State:
    """Copies of all records ever used; inputs are those of ``order``, and numbered in that order."""
    totals = tree.totals
    place = np.zeros(tree.rows.shape[2], np.int64)
    place[order] = np.arange(len(order))
    state: State = {}
    for names, n in (
        (PER_NODE, totals[NODES]),
        (PER_WINDOW, 2 * totals[NODES]),
        (PER_EVENT, totals[HELD]),
        (PER_SLOT, totals[SLOTS]),
        (("rows",), totals[ROWS]),
    ):
        for name in names:
            state[name] = getattr(tree, name)[:n].copy()
    for name, free in POOLS.items():
        state[name] = getattr(tree, name)[: totals[free]].copy()
    state["nodes"]["input"] = place[state["nodes"]["input"]]
    for name in ("counts", "majority", "codes", "losses"):
        state[name] = np.ascontiguousarray(state[name][..., :n_labels])
    for name in ("words", "rows_of"):
        state[name] = np.ascontiguousarray(state[name][:, : LABELS + n_labels])
    for name in IN_COPIES:
        array = state[name]
        state[name] = array.reshape(*array.shape[:-1], n_models, array.shape[-1] // n_models)[..., :n_labels].copy()
    for name in ("weights", "squares"):
        state[name] = state[name][:, order]
    state["rows"] = state["rows"][:, :, order]
    if tree.rows.shape[1] == 1:
        length = state["stored"]["length"]
        longest = int(length.max(initial=0))
        state["cells"] = np.ascontiguousarray(state["cells"][:, :longest])
        places = place[state["places"][:, :longest]].astype(np.int32)
        state["places"] = np.where(np.arange(longest) < length[:, None], places, np.int32(0))
    else:
        state["cells"] = state["cells"][:, order]
    state["sets"] = live_sets(tree)
    state["totals"] = totals.copy()
    state["totals"][SETS] = len(state["sets"])
    return state


def from_state(tree: Tree, state: State, n_models: int) -> Tree:
    """What ``to_state`` gave, in a tree without a root that is laid out for the same inputs and labels."""
    if tree.rows.shape[1] == 1:
        tree = widened(tree, cells=state["cells"].shape[1], places=state["places"].shape[1])
    arrays = {}
    for name in (*PER_NODE, *PER_WINDOW, *PER_EVENT, *PER_SLOT, "rows"):
        held = state[name]
        array = longer(getattr(tree, name), len(held), -1 if name == "rows_of" else 0)
        cells = array.reshape(*array.shape[:-1], n_models, -1) if name in IN_COPIES and len(array) else array
        if len(array):
            cells[tuple(slice(n) for n in held.shape)] = held
        arrays[name] = array
    n_of = {"free_nodes": "nodes", "free_rows": "rows", "free_events": "stored", "free_slots": "weights"}
    for name, pool in n_of.items():
        arrays[name] = longer(state[name].copy(), len(arrays[pool]))
    return with_sets(tree._replace(totals=state["totals"].copy(), **arrays), state["sets"])
