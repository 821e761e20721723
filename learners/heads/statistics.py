"""Counts, means and within-class scatter of an open set of classes: one exact state for every closed-form head."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk

from learners.base import State, with_room
from streams.batch import COMPLETE, NOMINAL, Batch, Rows, Schema

Floats = NDArray[np.float64]

BLOCK = 64
"""Rows that are added to a full scatter together: a rank-64 update costs a tenth of 64 updates of rank one."""

KINDS = ("spherical", "diagonal", "full")

ROWS, TAUGHT, FILL, FROZEN_AT, FROZEN_FILL, FROZEN_ROWS = range(6)
"""Places in the counters: rows in use, vectors learned, rows in the block, and the three as they were frozen."""


class Moments(NamedTuple):
    """What is known of the classes at one moment; row k is class ``labels[k]``.

    ``n`` (K,) is the weight of each class, ``means`` (K, d); ``total`` is the weight of all that was learned and
    ``mean`` (d,) its mean. ``scatter`` is the sum of squared deviations: (d, d) symmetric if full, (d,) if diagonal,
    (1,) if spherical; about the means of the classes, or about ``mean`` in a state of several labels an event.
    """

    labels: NDArray[np.int32]
    n: Floats
    means: Floats
    total: float
    mean: Floats
    scatter: Floats

    @property
    def n_active(self) -> int:
        """Columns that have varied within the classes, at least 1; a column that never did plays no part."""
        diagonal = np.diagonal(self.scatter) if self.scatter.ndim == 2 else self.scatter
        return max(1, int(np.count_nonzero(diagonal)))

    @property
    def trace(self) -> float:
        """Sum of squared deviations over all columns."""
        return float(np.trace(self.scatter) if self.scatter.ndim == 2 else self.scatter.sum())


class ClassStatistics:
    """Weights, means and scatter of classes, learned one vector at a time; a class has a row from its first event.

    Parameters
    ----------
    scatter
        What is kept of the deviations within the classes: ``"spherical"`` their sum of squares, ``"diagonal"`` that of
        every column, ``"full"`` the matrix.
    refresh
        Freeze the moments (`frozen`) at the latest when this many vectors were learned since the last time; 0: never.
        They are also frozen when a class is born, when a block of a full scatter is, and earlier while little is known:
        as soon as an eighth more was learned. Which events these are depends on nothing but the events.
    multilabel
        False: every label that an event carries is a vector of that class, and an event without known present labels
        teaches nothing. True: every event whose labels are all known is one vector, which lies in the mean of each of
        its labels; the scatter is that of all events about the mean of all. Events that are known in part teach
        nothing.

    Raises
    ------
    ValueError
        A parameter is none of the above.

    Notes
    -----
    The recursion of a class is exact: with weight n and mean m before, a vector x of weight w adds
    n w / (n + w) (x - m)(x - m)^T to the scatter, then the mean moves by w / (n + w) (x - m). The published streaming
    LDA weighs by the number of all events and adds x x^T with the first vector of a class, which inflates the scatter.

    Rows are numbered in the order in which classes are born, so that answers do not depend on how many labels were
    declared. Deviations wait in a block of at least 64 rows, which is added to a full scatter when it is full, in one
    BLAS call of fixed shape: no sum depends on how batches were cut. Reading adds the rows that wait to a copy.

    Time per vector: O(d), and O(d^2) for a full scatter, of which one triangle is kept. Memory in bytes:
    16 d per class (8 d if nothing is frozen), 8 d^2 and 8 d a row of the block for a full scatter. Nothing is
    forgotten.

    References
    ----------
    .. [1] Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3), 1983,
       equation (2.1), for every class.
    .. [2] Hayes, Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis", CVPR workshops
       2020, for the state.

    Examples
    --------
    >>> statistics = ClassStatistics("spherical")
    >>> batch = Batch.from_arrays(np.array([[0.0], [4.0], [2.0]]), np.array([[1, 0], [0, 1], [1, 0]]))
    >>> statistics.grow(1, n_labels=2)
    >>> statistics.learn(features(batch, batch.schema), batch)
    3
    >>> statistics.present().means.ravel().tolist(), statistics.present().scatter.tolist()
    ([1.0, 4.0], [2.0])
    """

    def __init__(self, scatter: str = "full", *, refresh: int = BLOCK, multilabel: bool = False) -> None:
        if scatter not in KINDS:
            raise ValueError(f"scatter must be one of {', '.join(KINDS)}, got {scatter!r}")
        if refresh < 0:
            raise ValueError(f"refresh must be at least 0, got {refresh}")
        self.kind = scatter
        self.refresh = refresh
        self.multilabel = multilabel
        self.width = 0
        self.counters = np.zeros(6, np.int64)
        self.labels = np.zeros(0, np.int32)
        self.row_of = np.zeros(0, np.int32)
        self.n = np.zeros(0)
        self.means = np.zeros((0, 0))
        self.scatter = np.zeros(self._shape(0))
        self.block = np.zeros((max(BLOCK, refresh) if scatter == "full" else 0, 0))
        self.frozen_n = np.zeros(0)
        self.frozen_means = np.zeros((0, 0))
        self._touched = np.zeros(0, np.bool_)
        if multilabel:
            self._make_rows(1)
            self.labels[0] = -1
            self.counters[[ROWS, FROZEN_ROWS]] = 1

    def _shape(self, width: int) -> tuple[int, ...]:
        return {"spherical": (1,), "diagonal": (width,), "full": (width, width)}[self.kind]

    def _make_rows(self, rows: int) -> None:
        """Room for this many rows."""
        self.labels = with_room(self.labels, rows, -1)
        self.n, self.means = with_room(self.n, rows), with_room(self.means, rows)
        if self.refresh:
            self.frozen_n, self.frozen_means = with_room(self.frozen_n, rows), with_room(self.frozen_means, rows)
        self._touched = with_room(self._touched, rows)

    def grow(self, width: int, n_labels: int) -> None:
        """Room for vectors of ``width`` columns, of which earlier ones had zeros, and for labels up to ``n_labels``."""
        self.row_of = with_room(self.row_of, n_labels, -1)
        if width <= self.width:
            return
        more = (0, width - self.width)
        self.means, self.frozen_means = np.pad(self.means, ((0, 0), more)), np.pad(self.frozen_means, ((0, 0), more))
        self.block = np.pad(self.block, ((0, 0), more))
        if self.kind != "spherical":
            self.scatter = np.pad(self.scatter, more)
        self.width = width

    def make_room(self, batch: Batch) -> None:
        """Rows for the classes of ``batch`` that have none yet."""
        new = np.unique(batch.y.indices)
        self._make_rows(int(self.counters[ROWS]) + int(np.count_nonzero(self.row_of[new] < 0)))

    def learn(self, x: Floats, batch: Batch, start: int = 0, *, pause: bool = False) -> int:
        """Learn the events of ``batch`` from number ``start`` on, whose vectors are the rows of ``x``.

        Parameters
        ----------
        x
            float64 (n, ``width``), C-contiguous and finite, as `features` gives them; `grow` was called.
        pause
            Stop behind the first event with which the moments were frozen.

        Returns
        -------
        The number of events that are done with.
        """
        self.make_room(batch)
        if self.kind == "full":
            most = int(np.diff(batch.y.indptr).max(initial=1))
            self.block = with_room(self.block, max(BLOCK, self.refresh) - 1 + most)
        weight = np.ones(len(batch)) if batch.weight is None else batch.weight
        while start < len(batch):
            start, frozen = _learn(
                start, x, weight, batch.y.indptr, batch.y.indices, batch.label_state, self.multilabel, self.refresh,
                KINDS.index(self.kind), pause, self.counters, self.row_of, self.labels, self.n, self.means,
                self.scatter.reshape(-1), self.block, self.frozen_n, self.frozen_means, self._touched,
            )  # fmt: skip
            if self.kind == "full" and self.counters[FILL] >= max(BLOCK, self.refresh):
                _add_block(self.scatter, self.block[: self.counters[FILL]])
                self.counters[[FILL, FROZEN_FILL]] = 0
            if pause and frozen:
                break
        return start

    def present(self) -> Moments:
        """The moments as they are now; copies."""
        rows = int(self.counters[ROWS])
        return self._moments(self.n[:rows], self.means[:rows], int(self.counters[FILL]))

    def frozen(self) -> Moments:
        """The moments as they were when they were last frozen; copies."""
        rows = int(self.counters[FROZEN_ROWS])
        return self._moments(self.frozen_n[:rows], self.frozen_means[:rows], int(self.counters[FROZEN_FILL]))

    def _moments(self, n: Floats, means: Floats, fill: int) -> Moments:
        scatter = self.scatter.copy()
        if self.kind == "full":
            if fill:
                _add_block(scatter, self.block[:fill])
            scatter = np.tril(scatter) + np.tril(scatter, -1).T
        labels = self.labels[: len(n)]
        if self.multilabel:
            return Moments(labels[1:].copy(), n[1:].copy(), means[1:].copy(), float(n[0]), means[0].copy(), scatter)
        total = float(n.sum())
        mean = n @ means / total if total else np.zeros(self.width)
        return Moments(labels.copy(), n.copy(), means.copy(), total, mean, scatter)

    def merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        """Take in what ``other`` has learned, as if its vectors had been learned here too.

        Parameters
        ----------
        other
            Statistics with the same parameters.
        columns, labels
            The column, and the label, here of each one there; there is room for them (`grow`).

        Notes
        -----
        Exact, but for rounding: with weights a and b and means that differ by g, a class adds a b / (a + b) g g^T to
        the sum of both scatters.
        """
        theirs = other.present()
        wide = np.zeros((len(theirs.means), self.width))
        wide[:, columns] = theirs.means
        mean = np.zeros(self.width)
        mean[columns] = theirs.mean
        if self.kind == "full":
            _add_block(self.scatter, self.block[: self.counters[FILL]])
            self.scatter[np.ix_(columns, columns)] += theirs.scatter
        else:
            self.scatter[columns if self.kind == "diagonal" else slice(None)] += theirs.scatter
        self._make_rows(int(self.counters[ROWS]) + len(wide))
        gaps = [] if not self.multilabel else [self._shift(0, theirs.total, mean)]
        for n, vector, label in zip(theirs.n, wide, labels[theirs.labels], strict=True):
            if self.row_of[label] < 0:
                self.row_of[label] = row = int(self.counters[ROWS])
                self.labels[row] = label
                self.counters[ROWS] += 1
            gap = self._shift(int(self.row_of[label]), float(n), vector)
            if not self.multilabel:
                gaps.append(gap)
        between = np.array(gaps).reshape(len(gaps), self.width)
        if self.kind == "full":
            _add_block(self.scatter, between)
        else:
            squares = (between**2).sum(axis=0)
            self.scatter += squares if self.kind == "diagonal" else squares.sum()
        rows = int(self.counters[ROWS])
        self.counters[TAUGHT] += other.counters[TAUGHT]
        self.counters[[FILL, FROZEN_FILL]] = 0
        self.counters[[FROZEN_AT, FROZEN_ROWS]] = self.counters[[TAUGHT, ROWS]]
        if self.refresh:
            self.frozen_n[:rows], self.frozen_means[:rows] = self.n[:rows], self.means[:rows]
        self._touched[:] = False

    def _shift(self, row: int, n: float, mean: Floats) -> Floats:
        """Move the mean of a row by ``n`` vectors of that mean; what their distance adds to the scatter, as a row."""
        total = self.n[row] + n
        if not total:
            return np.zeros(self.width)
        gap: Floats = mean - self.means[row]
        factor = float(np.sqrt(self.n[row] * n / total))
        self.means[row] += gap * (n / total)
        self.n[row] = total
        return gap * factor

    def get_state(self) -> State:
        """Copies of everything learned."""
        rows, frozen = int(self.counters[ROWS]), int(self.counters[FROZEN_ROWS]) if self.refresh else 0
        return {
            "counters": self.counters.copy(),
            "class_labels": self.labels[:rows].copy(),
            "n": self.n[:rows].copy(),
            "means": self.means[:rows].copy(),
            "scatter": self.scatter.copy(),
            "block": self.block[: self.counters[FILL]].copy(),
            "frozen_n": self.frozen_n[:frozen].copy(),
            "frozen_means": self.frozen_means[:frozen].copy(),
        }

    def set_state(self, state: State) -> None:
        """Take over what `get_state` gave; further entries are passed over.

        Raises
        ------
        ValueError
            The scatter has not the shape of this kind.
        """
        width = state["means"].shape[1]
        if state["scatter"].shape != self._shape(width):
            raise ValueError(f"state 'scatter' must have shape {self._shape(width)}, got {state['scatter'].shape}")
        self.__init__(self.kind, refresh=self.refresh, multilabel=self.multilabel)  # type: ignore[misc]
        self.grow(width, int(state["class_labels"].max(initial=-1)) + 1)
        rows, frozen, fill = len(state["n"]), len(state["frozen_n"]), len(state["block"])
        self._make_rows(rows)
        self.block = with_room(self.block, fill)
        self.counters[:] = state["counters"]
        self.labels[:rows], self.n[:rows], self.means[:rows] = state["class_labels"], state["n"], state["means"]
        self.frozen_n[:frozen], self.frozen_means[:frozen] = state["frozen_n"], state["frozen_means"]
        self.block[:fill] = state["block"]
        self.scatter = np.array(state["scatter"], np.float64, order="C")
        first = int(self.multilabel)
        self.row_of[self.labels[first:rows]] = np.arange(first, rows)
        self._touched[frozen:rows] = True
        self._touched[:frozen] = self.n[:frozen] != self.frozen_n[:frozen]


def features(batch: Batch, schema: Schema) -> Floats:
    """The vectors of a batch: float64 (n, ``schema.n_features``), a column for every feature.

    A missing value is 0, as an absent one of sparse rows is. Nominal and ignored columns are 0: a frozen feature is a
    number.
    """
    width = schema.n_features
    x = np.zeros((len(batch), width))
    given = batch.x.to_dense(width) if isinstance(batch.x, Rows) else batch.x
    x[:, : given.shape[1]] = given
    np.nan_to_num(x, copy=False, nan=0.0)
    for column, kind in enumerate(schema.kinds):
        if kind == NOMINAL or column in schema.ignored:
            x[:, column] = 0
    return x


def _add_block(scatter: Floats, block: Floats) -> None:
    """Add ``block.T @ block`` to the lower triangle of ``scatter``, in place."""
    if block.size:
        dsyrk(1.0, block.T, beta=1.0, c=scatter.T, overwrite_c=1)


@njit(cache=True, nogil=True)
def _learn(
    start: int,
    x: Floats,
    weight: Floats,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    multilabel: bool,
    refresh: int,
    kind: int,
    pause: bool,
    counters: NDArray[np.int64],
    row_of: NDArray[np.int32],
    labels: NDArray[np.int32],
    n: Floats,
    means: Floats,
    scatter: Floats,
    block: Floats,
    frozen_n: Floats,
    frozen_means: Floats,
    touched: NDArray[np.bool_],
) -> tuple[int, bool]:
    """Learn events until the block is full, or, if ``pause``, the moments were frozen; the number of the next event."""
    limit = max(BLOCK, refresh)
    for i in range(start, len(x)):
        first, last = indptr[i], indptr[i + 1]
        if label_state[i] != COMPLETE if multilabel else first == last:
            continue
        born = False
        if multilabel:
            counters[TAUGHT] += 1
            learn_vector(x[i], 0, weight[i], kind, n, means, scatter, block, counters)
            touched[0] = True
        for cell in range(first, last):
            born |= row_of[indices[cell]] < 0
            k = find_row(indices[cell], row_of, labels, counters)
            if multilabel:
                move_mean(x[i], k, weight[i], n, means)
            else:
                counters[TAUGHT] += 1
                learn_vector(x[i], k, weight[i], kind, n, means, scatter, block, counters)
            touched[k] = True
        since = counters[TAUGHT] - counters[FROZEN_AT]
        full = kind == 2 and counters[FILL] >= limit
        due = refresh > 0 and (born or full or since >= min(refresh, max(1, counters[FROZEN_AT] // 8)))
        if due:
            for k in range(counters[ROWS]):
                if touched[k]:
                    touched[k] = False
                    frozen_n[k] = n[k]
                    frozen_means[k] = means[k]
            counters[FROZEN_AT], counters[FROZEN_FILL] = counters[TAUGHT], counters[FILL]
            counters[FROZEN_ROWS] = counters[ROWS]
        if full or (due and pause):
            return i + 1, due
    return len(x), False


@njit(cache=True, nogil=True)
def find_row(label: int, row_of: NDArray[np.int32], labels: NDArray[np.int32], counters: NDArray[np.int64]) -> int:
    """The row of a class, which is born if it has none."""
    if row_of[label] < 0:
        row_of[label] = counters[ROWS]
        labels[counters[ROWS]] = label
        counters[ROWS] += 1
    return int(row_of[label])


@njit(cache=True, nogil=True)
def learn_vector(
    x: Floats,
    k: int,
    weight: float,
    kind: int,
    n: Floats,
    means: Floats,
    scatter: Floats,
    block: Floats,
    counters: NDArray[np.int64],
) -> None:
    """One vector of the class in row ``k``: its deviation to the scatter (or the block), then the mean."""
    total = n[k] + weight
    share = weight / total
    square = n[k] * share
    mean = means[k]
    if kind == 2:
        factor, row = np.sqrt(square), block[counters[FILL]]
        counters[FILL] += 1
        for j in range(len(x)):
            gap = x[j] - mean[j]
            row[j] = gap * factor
            mean[j] += gap * share
    elif kind == 1:
        for j in range(len(x)):
            gap = x[j] - mean[j]
            scatter[j] += square * gap * gap
            mean[j] += gap * share
    else:
        length = 0.0
        for j in range(len(x)):
            gap = x[j] - mean[j]
            length += gap * gap
            mean[j] += gap * share
        scatter[0] += square * length
    n[k] = total


@njit(cache=True, nogil=True)
def move_mean(x: Floats, k: int, weight: float, n: Floats, means: Floats) -> None:
    """One vector of the class in row ``k``, which leaves no trace in the scatter."""
    n[k] += weight
    share = weight / n[k]
    for j in range(len(x)):
        means[k, j] += (x[j] - means[k, j]) * share
