"""The arrays that a tree is made of, and the kernels that take and give back their records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import empty_window

FREE, LEAF, BRANCH = 0, 1, 2
"""What a node record holds."""

NODE = np.dtype(
    [
        ("kind", np.int64),
        ("parent", np.int64),
        ("side", np.int64),
        ("host", np.int64),
        ("background", np.int64),
        ("depth", np.int64),
        ("serial", np.int64),
        ("input", np.int64),
        ("indicator", np.int64),
        ("threshold", np.float64),
        ("left", np.int64),
        ("right", np.int64),
        ("mass_left", np.float64),
        ("mass_right", np.float64),
        ("weight", np.float64),
        ("last_attempt", np.float64),
        ("total", np.float64),
        ("empty", np.float64),
        ("n_sets", np.int64),
        ("top", np.float64),
        ("top_hash", np.uint64),
        ("slot", np.int64),
        ("observed", np.int64),
        ("held", np.int64),
        ("oldest", np.int64),
        ("loss", np.float64),
        ("loss_weight", np.float64),
        ("rival_loss", np.float64),
        ("rival_weight", np.float64),
        ("n_pending", np.int64),
    ]
)
"""A node. It lives in one slot: side 0 or 1 of ``parent``, or in the background of ``host``, or it is the root. A
branch sends to the left what has ``indicator`` input ``input``, or has that input at most at ``threshold``. ``weight``
is what was learned here, ``total`` that and what was estimated when the parent was split. ``slot`` is the place of the
linear model. ``loss`` is a mean over ``loss_weight``, ``rival_loss`` one since the background tree was started."""

SET = np.dtype([("serial", np.int64), ("hash", np.uint64), ("count", np.float64)])
"""How often a leaf has seen a label set; serial 0 is no entry."""

EVENT = np.dtype([("n_holders", np.int64), ("length", np.int64), ("weight", np.float64), ("complete", np.int64)])
"""An event that windows hold."""

TOTAL, EMPTY, LABELS = 0, 1, 2
"""Keys of observers: every event, events without labels, and from ``LABELS`` on those with each label."""

N, MEAN, SQUARES, LEAST, LARGEST = range(5)
"""What an observer knows of the values of an input: weight, mean, summed squared distance, least and largest value. Of
sparse rows the weight alone is kept, that of the cells listed."""
N_MOMENTS = 5

MAJORITY, KNN, LINEAR, BAYES = 0, 1, 2, 3
"""The classifiers of a leaf."""
N_CLASSIFIERS = 4

CLOCK = 32
"""Losses are put by until ADWIN checks them, which is with every 32nd."""

(
    N_EVENTS, SERIAL, ROOT, NODES, FREE_NODES, ROWS, FREE_ROWS, HELD, FREE_HELD, SLOTS, FREE_SLOTS, SETS, LIVE_SETS,
    CELLS, LOGGED,
) = range(15)  # fmt: skip
"""Places in ``totals``: events learned; serial numbers given; the root; of each pool the records ever used and how many
of them are free again; entries of the table of sets, and those of leaves; cells of the events held; lines of the log.
"""
N_TOTALS = 15

SET_BYTES = float(SET.itemsize)

SPLIT, SWITCHED, STARTED, DROPPED = 0, 1, 2, 3
KINDS = ("split", "switch", "background", "drop")
"""What is logged: a leaf was split, a background tree took the place of its host, was started, was given up."""

LOG = 256
"""Lines of the log, which is read between calls of the kernel."""


Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_INNER: dict[str, Any] = {
    "cache": True, "nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip


def inner(kernel: Kernel) -> Kernel:
    """Compile a function that kernels alone call: what would let the interpreter call it, too, takes half as long again
    to compile."""
    compiled: Kernel = njit(**_INNER)(kernel)
    return compiled


class Tree(NamedTuple):
    """All arrays of a tree, with room for records to come along the first axis."""

    nodes: NDArray[Any]
    counts: NDArray[np.float64]
    words: NDArray[np.float64]
    rows_of: NDArray[np.int32]
    losses: NDArray[np.float64]
    majority: NDArray[np.uint8]
    windows: NDArray[np.int32]
    adwin: NDArray[Any]
    n_buckets: NDArray[np.int32]
    buckets: NDArray[np.float64]
    pending: NDArray[np.float64]
    rows: NDArray[np.float64]
    stored: NDArray[Any]
    cells: NDArray[np.float32]
    places: NDArray[np.int32]
    codes: NDArray[np.uint8]
    weights: NDArray[np.float32]
    squares: NDArray[np.float32]
    born: NDArray[np.float32]
    norms: NDArray[np.float64]
    free_nodes: NDArray[np.int32]
    free_rows: NDArray[np.int32]
    free_events: NDArray[np.int32]
    free_slots: NDArray[np.int32]
    sets: NDArray[Any]
    totals: NDArray[np.int64]
    log: NDArray[np.int64]
    blank: NDArray[Any]


class Settings(NamedTuple):
    """The parameters as the kernels take them, and the sizes of records in bytes."""

    paper: bool
    grace_period: float
    delta: float
    tau: float
    background_weight: float
    switch_delta: float
    min_branch_fraction: float
    max_share: float
    cardinality: float
    entropy: float
    max_depth: int
    n_neighbors: int
    n_models: int
    learning_rate: float
    decay: float
    drift_delta: float
    warning_delta: float
    naive_bayes: bool
    threshold: float
    seed: int
    max_bytes: float
    node_bytes: float
    row_bytes: float
    event_bytes: float
    cell_bytes: float
    slot_bytes: float


@inner
def bytes_used(tree: Tree, settings: Settings) -> float:
    """Bytes of all records in use."""
    totals = tree.totals
    return float(
        (totals[NODES] - totals[FREE_NODES]) * settings.node_bytes
        + (totals[ROWS] - totals[FREE_ROWS]) * settings.row_bytes
        + (totals[HELD] - totals[FREE_HELD]) * settings.event_bytes
        + totals[CELLS] * settings.cell_bytes
        + (totals[SLOTS] - totals[FREE_SLOTS]) * settings.slot_bytes
        + totals[LIVE_SETS] * SET_BYTES
    )


@inner
def _take(totals: NDArray[np.int64], used: int, free: NDArray[np.int32]) -> int:
    """The number of an unused record of a pool whose count is ``totals[used]``."""
    if totals[used + 1] > 0:
        totals[used + 1] -= 1
        return int(free[totals[used + 1]])
    totals[used] += 1
    return int(totals[used] - 1)


@inner
def _give_back(totals: NDArray[np.int64], used: int, free: NDArray[np.int32], record: int) -> None:
    free[totals[used + 1]] = record
    totals[used + 1] += 1


@inner
def new_leaf(tree: Tree, parent: int, side: int, host: int, depth: int) -> int:
    """An empty leaf."""
    node = _take(tree.totals, NODES, tree.free_nodes)
    tree.totals[SERIAL] += 1
    tree.nodes[node] = tree.blank[0]
    record = tree.nodes[node]
    record["parent"], record["side"], record["host"], record["depth"] = parent, side, host, depth
    record["serial"] = tree.totals[SERIAL]
    tree.counts[node] = 0.0
    tree.words[node] = 0.0
    tree.rows_of[node] = -1
    tree.losses[node] = 0.0
    tree.majority[node] = 0
    tree.windows[node] = -1
    forget(tree, node)
    return node


@inner
def forget(tree: Tree, node: int) -> None:
    """Empty both ADWIN windows of a node."""
    tree.nodes[node]["n_pending"] = 0
    tree.pending[node] = 0.0
    for w in range(2 * node, 2 * node + 2):
        empty_window(tree.adwin, tree.n_buckets, tree.buckets, w)


@inner
def new_row(tree: Tree, node: int, key: int) -> int:
    """An observer of a key of a leaf."""
    row = _take(tree.totals, ROWS, tree.free_rows)
    tree.rows[row] = 0.0
    if tree.rows.shape[1] > 1:
        tree.rows[row, LEAST] = np.inf
        tree.rows[row, LARGEST] = -np.inf
    tree.rows_of[node, key] = row
    return row


@inner
def free_rows(tree: Tree, node: int) -> None:
    """Delete the observers of a leaf."""
    for key in range(tree.rows_of.shape[1]):
        if tree.rows_of[node, key] >= 0:
            _give_back(tree.totals, ROWS, tree.free_rows, tree.rows_of[node, key])
            tree.rows_of[node, key] = -1


@inner
def new_slot(tree: Tree) -> int:
    """A linear model with weights of 0."""
    slot = _take(tree.totals, SLOTS, tree.free_slots)
    tree.weights[slot] = 0
    if len(tree.squares) > 0:
        tree.squares[slot] = 0
    tree.born[slot] = 0
    tree.norms[slot] = 0
    return slot


@inner
def free_slot(tree: Tree, node: int) -> None:
    """Give back the linear model of a leaf."""
    if tree.nodes[node]["slot"] >= 0:
        _give_back(tree.totals, SLOTS, tree.free_slots, tree.nodes[node]["slot"])
        tree.nodes[node]["slot"] = -1


@inner
def new_event(tree: Tree) -> int:
    """A record for an event that no window holds yet."""
    event = _take(tree.totals, HELD, tree.free_events)
    tree.stored[event]["n_holders"] = tree.stored[event]["length"] = 0
    tree.cells[event] = 0
    return event


@inner
def let_go(tree: Tree, event: int) -> None:
    """One window less holds an event."""
    record = tree.stored[event]
    record["n_holders"] -= 1
    if record["n_holders"] == 0:
        tree.totals[CELLS] -= record["length"]
        record["length"] = 0
        record["weight"] = 0.0
        record["complete"] = 0
        tree.cells[event] = 0
        tree.codes[event] = 0
        if len(tree.places) > 0:
            tree.places[event] = 0
        _give_back(tree.totals, HELD, tree.free_events, event)


@inner
def free_window(tree: Tree, node: int) -> None:
    """Let go of all events that a leaf holds."""
    size = tree.windows.shape[1]
    for k in range(tree.nodes[node]["held"]):
        let_go(tree, tree.windows[node, (tree.nodes[node]["oldest"] + k) % size])
    tree.windows[node] = -1
    tree.nodes[node]["held"] = tree.nodes[node]["oldest"] = 0


@inner
def free_subtree(tree: Tree, top: int) -> None:
    """Delete a node, all below it and all in its background."""
    stack = [top]
    while len(stack) > 0:
        node = stack.pop()
        record = tree.nodes[node]
        if record["background"] >= 0:
            stack.append(record["background"])
        if record["kind"] == BRANCH:
            stack.append(record["left"])
            stack.append(record["right"])
        free_rows(tree, node)
        free_slot(tree, node)
        free_window(tree, node)
        tree.totals[LIVE_SETS] -= record["n_sets"] if record["kind"] == LEAF else 0
        record["kind"] = FREE
        _give_back(tree.totals, NODES, tree.free_nodes, node)


@inner
def note(tree: Tree, kind: int, node: int, settled: float) -> None:
    """Log what has happened to a node; ``settled`` is how many events it had learned."""
    line = tree.log[tree.totals[LOGGED]]
    record = tree.nodes[node]
    line[0], line[1], line[2], line[3] = tree.totals[N_EVENTS], kind, node, record["depth"]
    line[4], line[5] = record["input"], int(settled)
    tree.totals[LOGGED] += 1


@inner
def step_down(tree: Tree, node: int, x: NDArray[np.float64], whole_of: NDArray[np.int32], sparse: bool) -> int:
    """The child of a branch that an event belongs to; where it has no value, the one that has seen more."""
    record = tree.nodes[node]
    i = record["input"]
    if record["indicator"] and (sparse or whole_of[i] >= 0):
        missing = not sparse and np.isnan(x[whole_of[i]])
        left = x[i] == 1 if whole_of[i] >= 0 else x[i] != 0
    else:
        missing = np.isnan(x[i])
        left = x[i] <= record["threshold"]
    if missing:
        left = record["mass_left"] >= record["mass_right"]
    return int(record["left"] if left else record["right"])


@inner
def find_leaf(tree: Tree, node: int, x: NDArray[np.float64], whole_of: NDArray[np.int32], sparse: bool) -> int:
    """The leaf below a node that an event belongs to."""
    while tree.nodes[node]["kind"] == BRANCH:
        node = step_down(tree, node, x, whole_of, sparse)
    return node
