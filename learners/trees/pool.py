"""Trees of classes in common arrays: their records, how these are taken and given back, and the way down a tree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import empty_window
from learners.draws import scramble
from learners.trees.nodes import Kernel, inner

FREE, LEAF, NUMBER, CATEGORY, CATEGORIES, PRESENT = range(6)
"""What a node record holds. Branches ask whether a number is at most ``threshold``, whether a column has the category
``threshold``, which category it has (a child for each), or whether a cell of sparse rows is not 0."""

NODE = np.dtype(
    [
        ("kind", np.int64),
        ("tree", np.int64),
        ("serial", np.int64),
        ("parent", np.int64),
        ("child", np.int64),
        ("sibling", np.int64),
        ("category", np.int64),
        ("depth", np.int64),
        ("input", np.int64),
        ("threshold", np.float64),
        ("entry", np.int64),
        ("last_entry", np.int64),
        ("n_classes", np.int64),
        ("active", np.int64),
        ("n_watched", np.int64),
        ("total", np.float64),
        ("last_attempt", np.float64),
        ("majority_right", np.float64),
        ("bayes_right", np.float64),
        ("alternate", np.int64),
        ("host", np.int64),
        ("window", np.int64),
        ("n_pending", np.int64),
        ("n_judged", np.float64),
        ("error", np.float64),
    ]
)
"""A node. Children are a chain from ``child`` by ``sibling``, the one that a test sends its "yes" to in front;
``category`` is that of a child of a branch by categories. The classes of a leaf are a chain of entries from ``entry``
to ``last_entry``. ``active``: observes and may be split. ``total`` is the weight of the classes at the leaf, or at all
leaves below. ``majority_right`` and ``bayes_right``: the weight that either way to answer got right. The rest is for
trees that adapt: an alternate tree and whose alternate a tree is, the row of the ADWIN window and how many errors wait
to enter it, and the mean error over ``n_judged`` events. -1 is none."""

ENTRY = np.dtype([("key", np.int64), ("next", np.int64), ("row", np.int64), ("turn", np.int64), ("weight", np.float64)])
"""A class at a leaf: its number, the next entry of the leaf, its row of observers (-1: none yet), how many classes the
leaf had observed before it, and its weight."""

TREE = np.dtype(
    [
        ("root", np.int64),
        ("key", np.uint64),
        ("n_learned", np.int64),
        ("serial", np.int64),
        ("n_nodes", np.int64),
        ("n_entries", np.int64),
        ("n_rows", np.int64),
        ("n_windows", np.int64),
    ]
)
"""A tree: its root, what its lots are drawn from, events learned, serial numbers given, and records in use."""

N, MEAN, SQUARES, LEAST, LARGEST, SCALE, OFFSET = range(7)
"""What a row knows of an input, given a class: weight, mean, summed squared distance, least and largest value, and
the terms of the log density, ``(value - mean)² * SCALE + OFFSET``. Of categories and of sparse rows ``N`` alone; of
input 0, which is none, ``N`` is the weight of all events observed."""
N_MOMENTS = 8
"""Numbers an input has in a row: a line of cache."""

NODES, ENTRIES, ROWS, WINDOWS, LOGGED = 0, 2, 4, 6, 8
NEEDED = 9
"""Places in ``totals``: of each pool the records ever used and, behind, how many are free again; lines of the log; and
how many records of each pool, in the same order, the event needs at which a kernel stopped."""
N_TOTALS = 13

SPLIT, SWITCHED, STARTED, DROPPED = range(4)
KINDS = ("split", "switch", "background", "drop")
"""What is logged: a leaf was split, an alternate tree took its host's place, was started, was given up."""

LOG = 256
"""Lines of the log, which is read between calls of kernels."""

CLOCK = 32
"""Errors wait until ADWIN looks at them, which is with every 32nd."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Records = NDArray[Any]


def woven(kernel: Kernel) -> Kernel:
    """Put a short function where it is called. To hand all arrays of a pool to a function that is called takes longer
    than most of them do: each array is counted in and out."""
    compiled: Any = njit(cache=True, nogil=True, error_model="numpy", inline="always")(kernel)
    put_in: Kernel = compiled
    return put_in


class Pool(NamedTuple):
    """All arrays of all trees, with room for records to come along the first axis."""

    trees: NDArray[Any]
    nodes: NDArray[Any]
    entries: NDArray[Any]
    rows: Floats
    watched: NDArray[np.int32]
    windows: NDArray[Any]
    n_buckets: NDArray[np.int32]
    buckets: Floats
    pending: Floats
    free_nodes: NDArray[np.int32]
    free_entries: NDArray[np.int32]
    free_rows: NDArray[np.int32]
    free_windows: NDArray[np.int32]
    totals: Ints
    log: Ints
    blank: NDArray[Any]


class Settings(NamedTuple):
    """The parameters of a tree as the kernels take them, and the sizes of records in bytes."""

    grace_period: float
    delta: float
    tau: float
    gini: bool
    prediction: int
    nb_threshold: float
    n_splits: int
    binary_split: bool
    merit_preprune: bool
    min_branch_fraction: float
    max_share: float
    max_depth: int
    max_features: int
    bootstrap: bool
    seed: int
    drift_delta: float
    window_threshold: float
    switch_delta: float
    max_bytes: float
    row_bytes: float
    window_bytes: float


class Events(NamedTuple):
    """A batch as the kernels take it.

    ``dense`` to ``data`` are those of `learners.inputs.Encoded`. ``whole_of`` has for the input of a category that of
    its column, for a nominal column's own input itself, else -1; ``columns`` the input of every column of the schema,
    -1 where it is ignored, ``column_of`` the column of every input, ``order`` the inputs in the schema's order,
    categories after their column; ``widest`` is the largest number of categories.

    ``key`` is the class of each event, -1 where nothing is to be learned. Where ``partial``, only the labels ``known``
    are, of which ``present`` are there, and the class is that to learn where no class of the leaf agrees. Class c is
    the label set ``labels[indptr_of_sets[c]:indptr_of_sets[c + 1]]``.
    """

    dense: NDArray[np.float32]
    inputs: NDArray[np.int32]
    indptr: Ints
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    sparse: bool
    whole_of: NDArray[np.int32]
    columns: NDArray[np.int32]
    column_of: NDArray[np.int32]
    order: Ints
    n_inputs: int
    widest: int
    key: Ints
    weight: Floats
    partial: NDArray[np.bool_]
    present_indptr: Ints
    present: NDArray[np.int32]
    known_indptr: Ints
    known: NDArray[np.int32]
    indptr_of_sets: Ints
    labels: NDArray[np.int32]


@inner
def bytes_used(pool: Pool, tree: int, settings: Settings) -> float:
    """Bytes of all records of a tree."""
    record = pool.trees[tree]
    return float(
        record["n_nodes"] * (NODE_BYTES + 4.0 * pool.watched.shape[1])
        + record["n_entries"] * ENTRY_BYTES
        + record["n_rows"] * settings.row_bytes
        + record["n_windows"] * settings.window_bytes
    )


NODE_BYTES, ENTRY_BYTES = float(NODE.itemsize), float(ENTRY.itemsize)


@inner
def _take(totals: Ints, used: int, free: NDArray[np.int32]) -> int:
    """The number of an unused record of a pool whose count is ``totals[used]``."""
    if totals[used + 1] > 0:
        totals[used + 1] -= 1
        return int(free[totals[used + 1]])
    totals[used] += 1
    return int(totals[used] - 1)


@inner
def _give_back(totals: Ints, used: int, free: NDArray[np.int32], record: int) -> None:
    free[totals[used + 1]] = record
    totals[used + 1] += 1


@woven
def has_room(pool: Pool, nodes: int, entries: int, rows: int, windows: int, lines: int) -> bool:
    """Whether there is room for so many records more; if not, ``totals`` tells what was asked for."""
    totals = pool.totals
    if (
        totals[NODES] - totals[NODES + 1] + nodes <= len(pool.nodes)
        and totals[ENTRIES] - totals[ENTRIES + 1] + entries <= len(pool.entries)
        and totals[ROWS] - totals[ROWS + 1] + rows <= len(pool.rows)
        and totals[WINDOWS] - totals[WINDOWS + 1] + windows <= len(pool.windows)
        and totals[LOGGED] + min(lines, LOG) <= LOG
    ):
        return True
    needed = totals[NEEDED:]
    needed[0], needed[1], needed[2], needed[3] = nodes, entries, rows, windows
    return False


@inner
def new_leaf(pool: Pool, tree: int, depth: int) -> int:
    """An empty leaf of a tree, that is nobody's child yet."""
    node = _take(pool.totals, NODES, pool.free_nodes)
    record = pool.nodes[node]
    pool.nodes[node] = pool.blank[0]
    record["tree"], record["depth"] = tree, depth
    pool.trees[tree]["serial"] += 1
    pool.trees[tree]["n_nodes"] += 1
    record["serial"] = pool.trees[tree]["serial"]
    return node


@inner
def append_child(pool: Pool, parent: int, child: int) -> None:
    """Put a node at the end of a branch's children."""
    record = pool.nodes[child]
    record["parent"], record["sibling"] = parent, -1
    last = pool.nodes[parent]["child"]
    if last < 0:
        pool.nodes[parent]["child"] = child
        return
    while pool.nodes[last]["sibling"] >= 0:
        last = pool.nodes[last]["sibling"]
    pool.nodes[last]["sibling"] = child


@inner
def add_entry(pool: Pool, leaf: int, key: int, weight: float) -> int:
    """Let a leaf have a class that it had not, with this weight."""
    entry = _take(pool.totals, ENTRIES, pool.free_entries)
    record, node = pool.entries[entry], pool.nodes[leaf]
    record["key"], record["next"], record["row"], record["turn"], record["weight"] = key, -1, -1, 0, weight
    if node["last_entry"] >= 0:
        pool.entries[node["last_entry"]]["next"] = entry
    else:
        node["entry"] = entry
    node["last_entry"] = entry
    node["n_classes"] += 1
    pool.trees[node["tree"]]["n_entries"] += 1
    return entry


@inner
def weight_of(nodes: Records, entries: Records, leaf: int) -> float:
    """The weight of all classes of a leaf, added up class by class."""
    total = 0.0
    entry = nodes[leaf]["entry"]
    while entry >= 0:
        total += entries[entry]["weight"]
        entry = entries[entry]["next"]
    return total


@inner
def find_entry(nodes: Records, entries: Records, leaf: int, key: int) -> int:
    """The entry of a class at a leaf, or -1."""
    entry = nodes[leaf]["entry"]
    while entry >= 0 and entries[entry]["key"] != key:
        entry = entries[entry]["next"]
    return int(entry)


@inner
def new_row(pool: Pool, leaf: int, entry: int) -> None:
    """Give a class of a leaf a row of observers, which has observed nothing."""
    n, other = 0, pool.nodes[leaf]["entry"]
    while other >= 0:
        n += pool.entries[other]["row"] >= 0
        other = pool.entries[other]["next"]
    row = _take(pool.totals, ROWS, pool.free_rows)
    pool.rows[row] = 0.0
    pool.entries[entry]["row"], pool.entries[entry]["turn"] = row, n
    pool.trees[pool.nodes[leaf]["tree"]]["n_rows"] += 1


@inner
def free_rows(pool: Pool, leaf: int) -> None:
    """Forget all that a leaf has observed, but for the weights of its classes."""
    entry = pool.nodes[leaf]["entry"]
    while entry >= 0:
        record = pool.entries[entry]
        if record["row"] >= 0:
            _give_back(pool.totals, ROWS, pool.free_rows, record["row"])
            pool.trees[pool.nodes[leaf]["tree"]]["n_rows"] -= 1
            record["row"], record["turn"] = -1, 0
        entry = record["next"]


@inner
def free_classes(pool: Pool, leaf: int) -> None:
    """Delete the classes of a leaf and what it has observed."""
    free_rows(pool, leaf)
    node = pool.nodes[leaf]
    entry = node["entry"]
    while entry >= 0:
        following = pool.entries[entry]["next"]
        _give_back(pool.totals, ENTRIES, pool.free_entries, entry)
        pool.trees[node["tree"]]["n_entries"] -= 1
        entry = following
    node["entry"] = node["last_entry"] = -1
    node["n_classes"] = 0


@inner
def new_window(pool: Pool, node: int) -> None:
    """Give a node an empty ADWIN window."""
    row = _take(pool.totals, WINDOWS, pool.free_windows)
    empty_window(pool.windows, pool.n_buckets, pool.buckets, row)
    pool.pending[row] = 0.0
    pool.nodes[node]["window"] = row
    pool.trees[pool.nodes[node]["tree"]]["n_windows"] += 1


@inner
def free_subtree(pool: Pool, top: int) -> None:
    """Delete a node, all below it and their alternate trees. What links to the node is the caller's to mend."""
    stack = [top]
    while len(stack) > 0:
        node = stack.pop()
        record = pool.nodes[node]
        if record["alternate"] >= 0:
            stack.append(record["alternate"])
        child = record["child"]
        while child >= 0:
            stack.append(child)
            child = pool.nodes[child]["sibling"]
        free_classes(pool, node)
        tree = pool.trees[record["tree"]]
        if record["window"] >= 0:
            _give_back(pool.totals, WINDOWS, pool.free_windows, record["window"])
            tree["n_windows"] -= 1
        record["kind"] = FREE
        tree["n_nodes"] -= 1
        _give_back(pool.totals, NODES, pool.free_nodes, node)


@inner
def add_total(nodes: Records, node: int, weight: float) -> None:
    """Count a weight at a node and at all above it."""
    while node >= 0:
        nodes[node]["total"] += weight
        node = nodes[node]["parent"]


@inner
def note(pool: Pool, kind: int, node: int, weight: float) -> None:
    """Log what has happened to a node, while there are lines: no event that is heard of needs more of them."""
    if pool.totals[LOGGED] == LOG:
        return
    line, record = pool.log[pool.totals[LOGGED]], pool.nodes[node]
    tree = record["tree"]
    line[0], line[1], line[2], line[3] = pool.trees[tree]["n_learned"], kind, record["serial"], record["depth"]
    line[4], line[5], line[6] = record["input"], int(weight), tree
    line[7] = record["kind"]
    line[8] = int(record["threshold"]) if record["kind"] == CATEGORY else -1
    pool.totals[LOGGED] += 1


@inner
def unpack(
    numbers: NDArray[np.float32],
    inputs: NDArray[np.int32],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    whole_of: NDArray[np.int32],
    x: Floats,
) -> None:
    """Write the value of every input to ``x``, where it is missing (of sparse rows 0) before.

    A nominal column has the input of its category as its value; of sparse rows every category is 0 or 1, too.
    """
    for k in range(len(numbers)):
        x[inputs[k]] = numbers[k]
    for k in range(len(cells)):
        if sparse:
            x[cells[k]] = 0.0 if np.isnan(data[k]) else data[k]
        if whole_of[cells[k]] >= 0 and data[k] != 0:
            x[whole_of[cells[k]]] = cells[k]


@inner
def wipe(cells: NDArray[np.int32], sparse: bool, whole_of: NDArray[np.int32], x: Floats) -> None:
    """Undo `unpack`, but for numbers of dense rows, which the next event overwrites."""
    for k in range(len(cells)):
        if sparse:
            x[cells[k]] = 0.0
        if whole_of[cells[k]] >= 0:
            x[whole_of[cells[k]]] = 0.0 if sparse else np.nan


@inner
def chosen_child(nodes: Records, node: int, x: Floats) -> int:
    """The child of a branch that an event belongs to, or -1: no value, or a category that no child has."""
    record = nodes[node]
    value, kind, child = x[record["input"]], record["kind"], record["child"]
    if np.isnan(value):
        return -1
    if kind == NUMBER:
        is_first = value <= record["threshold"]
    elif kind == CATEGORY:
        is_first = value == record["threshold"]
    elif kind == PRESENT:
        is_first = value != 0.0
    else:
        while child >= 0 and nodes[child]["category"] != value:
            child = nodes[child]["sibling"]
        return int(child)
    return int(child if is_first else nodes[child]["sibling"])


@inner
def heaviest_child(nodes: Records, node: int) -> int:
    """The child of a branch below which there is most weight, the first of equals."""
    best = child = nodes[node]["child"]
    while child >= 0:
        if nodes[child]["total"] > nodes[best]["total"]:
            best = child
        child = nodes[child]["sibling"]
    return int(best)


@inner
def _way_down(nodes: Records, node: int, x: Floats, learns: bool) -> tuple[int, bool]:
    """The leaf below a node that an event comes to, and whether every branch had a child for it.

    If it ``learns``, the way ends at a branch by categories that lacks the event's.
    """
    straight = True
    while nodes[node]["kind"] != LEAF:
        child = chosen_child(nodes, node, x)
        if child < 0:
            straight = False
            if learns and nodes[node]["kind"] == CATEGORIES and x[nodes[node]["input"]] > 0.0:
                return int(node), straight
            child = heaviest_child(nodes, node)
        node = child
    return int(node), straight


@woven
def find_leaf(pool: Pool, node: int, x: Floats) -> int:
    """The leaf below a node that answers an event: where a branch has no child for it, that below the heaviest."""
    found, _ = _way_down(pool.nodes, node, x, False)
    return found


@woven
def find_leaf_to_learn(pool: Pool, node: int, x: Floats) -> tuple[int, bool]:
    """The leaf below a node that learns an event, and whether every branch had a child for it.

    A category that a branch by categories has not met yet is given a leaf.
    """
    found, straight = _way_down(pool.nodes, node, x, True)
    if pool.nodes[found]["kind"] != LEAF:
        found = _new_category(pool, found, x)
    return found, straight


@inner
def _new_category(pool: Pool, branch: int, x: Floats) -> int:
    """A leaf for the category of an event, below a branch by categories that has none for it."""
    record = pool.nodes[branch]
    leaf = new_leaf(pool, record["tree"], record["depth"] + 1)
    pool.nodes[leaf]["category"] = int(x[record["input"]])
    append_child(pool, branch, leaf)
    return leaf


@inner
def draw_watched(pool: Pool, leaf: int, columns: NDArray[np.int32], m: int) -> None:
    """Draw ``m`` columns of the schema, if it has so many, for a leaf to look at; ascending."""
    record, places = pool.nodes[leaf], pool.watched[leaf, :m]
    key = scramble(pool.trees[record["tree"]]["key"] + np.uint64(record["serial"]))
    n = 0
    for column in range(len(columns)):
        if columns[column] < 0:
            continue
        place = n
        if n >= m:
            place = int(np.float64(scramble(key + np.uint64(n)) >> np.uint64(11)) / 9007199254740992.0 * (n + 1))
        if place < m:
            places[place] = column
        n += 1
    record["n_watched"] = min(n, m)
    places[: record["n_watched"]].sort()


@inner
def watches(watched: NDArray[np.int32], n_watched: int, column: int) -> bool:
    """Whether a leaf that looks at these columns, ascending, looks at one; it looks at all where no leaf chooses."""
    if len(watched) == 0:
        return True
    low, high = 0, n_watched
    while low < high:
        middle = (low + high) // 2
        if watched[middle] < column:
            low = middle + 1
        else:
            high = middle
    return bool(low < n_watched and watched[low] == column)
