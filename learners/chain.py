"""Classifier chains: logistic models of which each sees the labels before it, in one or more orders."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners import threshold as thresholding
from learners.base import Learner, State, with_room
from learners.inputs import Inputs, transform
from learners.steps import (
    F1,
    LANES,
    OPTIMIZERS,
    TABLES,
    THRESHOLD,
    Floats,
    multiply,
    next_rate,
    settings_of,
    sigmoid,
    start,
    step,
)
from streams.batch import PARTIAL, UNLABELLED, Batch, Prediction, Rows

ORDERS = ("fixed", "random")
FEEDS = ("labels", "probabilities")

LINK_RATE = 4
"""Place in the settings of the factor to the step size of the weights between labels."""


class ClassifierChain(Learner):
    """Chains of logistic models, one model a label, over features and the labels that stand before it in the chain.

    Parameters
    ----------
    order
        ``"fixed"``: labels stand in the order in which they are born; or ``"random"``: each is born at a random place.
    n_chains
        How many chains answer; their probabilities are averaged [1]_. Above 1 only where the order is random.
    feed
        What a model is told of the labels before it when it answers: ``"labels"``, whether they are predicted, or
        ``"probabilities"``. When it learns it is told the truth.
    link_rate
        Step size of the weights between labels, as a multiple of that of the others, at least 0; with 0 every chain
        is a `LinearClassifier`. Of 0.5, 1, 2 and 4, 2 gave the best F1 over 13 real streams, and 4 somewhat more sets
        that were right in all labels.
    optimizer, learning_rate, l1, l2, standardise, threshold
        As in `LinearClassifier`.
    seed
        For the random orders.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Labels are inputs of 0 or 1 and reach other models over weights of their own, one for every pair, which start at 0.
    A label that is born takes its place in every chain, among the labels that are there, and no answer for those
    changes by that: nothing that was learned gets another meaning. (Placing new labels last would make every chain the
    same, namely the order of birth.) Of labels of which nothing is known in a partly labelled event, the models behind
    them are told what they are told when they answer. Every chain learns every event.

    Time and memory: a chain takes those of a `LinearClassifier`, and as much again as if every present label were one
    more feature; the features of an event are put on their scale once for all chains. Answering goes along the chain,
    one label after the other; with ``feed="probabilities"`` that is a multiplication for every pair of labels.

    References
    ----------
    .. [1] Read, Pfahringer, Holmes, Frank, "Classifier chains for multi-label classification", Machine Learning 85(3),
       2011: chains, and section 4, ensembles of them; here without drawing a part of the events for each.

    Examples
    --------
    >>> from learners.chain import ClassifierChain
    >>> model = ClassifierChain()
    >>> for i in range(200):
    ...     coin = i * i % 7 > 2
    ...     model.learn_one({"x": 0.0}, {"heads": coin, "tails": not coin})
    >>> sum(model.predict_one({"x": 0.0}).values())
    1
    """

    def __init__(
        self,
        order: str = "fixed",
        n_chains: int = 1,
        *,
        feed: str = "labels",
        link_rate: float = 2.0,
        optimizer: str = "adagrad",
        learning_rate: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        standardise: bool = True,
        threshold: float | str = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        if n_chains < 1:
            raise ValueError(f"n_chains must be at least 1, got {n_chains}")
        if n_chains > 1 and order == "fixed":
            raise ValueError(f"n_chains must be 1 where the order is fixed, got {n_chains}")
        if feed not in FEEDS:
            raise ValueError(f"feed must be one of {', '.join(FEEDS)}, got {feed!r}")
        if not 0 <= link_rate < np.inf:
            raise ValueError(f"link_rate must be at least 0 and finite, got {link_rate}")
        self.order = order
        self.n_chains = n_chains
        self.feed = feed
        self.link_rate = link_rate
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.l1 = l1
        self.l2 = l2
        self.standardise = standardise
        self.threshold = threshold
        self.seed = seed
        self._settings = np.append(settings_of(optimizer, learning_rate, l1, l2, threshold), link_rate)
        self._totals = np.array([0.0, 0.0, *thresholding.START])
        self._start()

    def _start(self) -> None:
        self._inputs = Inputs()
        self._tables = [np.zeros((0, self.n_chains, 0), np.float32) for _ in TABLES]
        self._links = [np.zeros((0, self.n_chains, 0), np.float32) for _ in TABLES]
        self._birth = np.zeros(0, np.int32)
        self._order = np.zeros((self.n_chains, 0), np.int32)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        self._make_room()
        encoded = self._inputs.encode(batch)
        assert encoded.cells.data is not None
        proba = np.zeros((n, n_labels), np.float32)
        thresholds = np.zeros(n, np.float32)
        known = Rows.empty(n) if batch.known is None else batch.known
        weights, squares, duals = map(_lanes, self._tables)
        link_weights, link_squares, link_duals = map(_lanes, self._links)
        _run(
            encoded.dense,
            encoded.inputs,
            encoded.cells.indptr,
            encoded.cells.indices,
            encoded.cells.data,
            encoded.sparse,
            batch.y.indptr,
            batch.y.indices,
            batch.label_state,
            known.indptr,
            known.indices,
            np.ones(n) if batch.weight is None else batch.weight,
            self._inputs.moments,
            weights,
            squares,
            duals,
            link_weights,
            link_squares,
            link_duals,
            self._birth,
            self._place,
            self._order,
            self._totals,
            self._settings,
            OPTIMIZERS[self.optimizer],
            self.standardise,
            self.feed == "labels",
            learn,
            proba,
            thresholds,
        )
        return Prediction(Rows.from_dense(proba > thresholds[:, None]), proba)

    def _make_room(self) -> None:
        self._inputs.grow(self.schema_)
        n_inputs, n_labels = self._inputs.n, self.schema_.n_labels
        inputs, _, labels = self._tables[0].shape
        if n_labels > labels:
            labels = -(-max(n_labels, 2 * labels) // LANES) * LANES
        if n_inputs > inputs:
            inputs = max(n_inputs, 2 * inputs)
        if (inputs, labels) == self._tables[0].shape[::2]:
            return
        for number in range(len(self._table_names)):
            self._tables[number] = _widened(self._tables[number], inputs, labels)
            self._links[number] = _widened(self._links[number], labels, labels)
        self._birth = with_room(self._birth, labels)[:labels]
        self._order = np.pad(self._order, ((0, 0), (0, labels - self._order.shape[1])))
        self._place = np.tile(np.arange(labels, dtype=np.float64), (self.n_chains, 1))
        if self.order == "random":
            for chain in range(self.n_chains):
                self._place[chain] = np.random.default_rng([self.seed, chain]).random(labels)

    # State.

    @property
    def _table_names(self) -> tuple[str, ...]:
        return TABLES[: OPTIMIZERS[self.optimizer] + 1]

    def _get_state(self) -> State:
        self._make_room()
        order, n_labels = self._inputs.numbers(self.schema_, self.schema_), self.schema_.n_labels
        tables, links = {}, {}
        for number, name in enumerate(self._table_names):
            tables[name] = self._tables[number][order, :, :n_labels]
            links[f"{name}_between"] = self._links[number][:n_labels, :, :n_labels].copy()
        return {
            "moments": self._inputs.moments[:, order],
            "birth": self._birth[:n_labels].copy(),
            "totals": self._totals.copy(),
            **tables,
            **links,
        }

    def _set_state(self, state: State) -> None:
        self._start()
        self._make_room()
        n_inputs, n_labels = self._inputs.n, self.schema_.n_labels
        shapes = {"moments": (3, n_inputs), "birth": (n_labels,), "totals": (4,)}
        for name in self._table_names:
            shapes[name] = (n_inputs, self.n_chains, n_labels)
            shapes[f"{name}_between"] = (n_labels, self.n_chains, n_labels)
        for name, shape in shapes.items():
            if state[name].shape != shape:
                raise ValueError(f"state {name!r} must have shape {shape}, got {state[name].shape}")
        self._inputs.moments[:, :n_inputs] = state["moments"]
        self._birth[:n_labels] = state["birth"]
        self._totals = np.array(state["totals"], np.float64)
        for number, name in enumerate(self._table_names):
            self._tables[number][:n_inputs, :, :n_labels] = state[name]
            self._links[number][:n_labels, :, :n_labels] = state[f"{name}_between"]
        born = np.flatnonzero(self._birth)
        for chain in range(self.n_chains):
            self._order[chain, : len(born)] = born[np.argsort(self._place[chain, self._birth[born] - 1])]


def _lanes(table: Floats) -> Floats:
    """The same cells with chains and labels in one axis."""
    return table.reshape(len(table), table.shape[1] * table.shape[2])


def _widened(table: Floats, rows: int, labels: int) -> Floats:
    wide = np.zeros((rows, table.shape[1], labels), np.float32)
    wide[: len(table), :, : table.shape[2]] = table
    return wide


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    dense: Floats,
    inputs: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: Floats,
    sparse: bool,
    y_indptr: NDArray[np.int64],
    y_indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    event_weight: NDArray[np.float64],
    moments: NDArray[np.float64],
    weights: Floats,
    squares: Floats,
    duals: Floats,
    link_weights: Floats,
    link_squares: Floats,
    link_duals: Floats,
    birth: NDArray[np.int32],
    place: NDArray[np.float64],
    order: NDArray[np.int32],
    totals: NDArray[np.float64],
    settings: NDArray[np.float64],
    optimizer: int,
    standardise: bool,
    feed_labels: bool,
    learn: bool,
    proba: Floats,
    thresholds: Floats,
) -> None:
    """Answer each event in ``proba`` and ``thresholds``; then, if ``learn``, learn it before the next.

    ``weights`` and its companions have shape (inputs, lanes), ``link_weights`` and its own (labels, lanes), with a lane
    for every label of the first chain, then of the next. ``birth`` numbers the labels as they are born, from 1, 0 being
    unborn; the ``place`` of the b-th label to be born, a number, says where in a chain it stands; ``order`` lists the
    labels of every chain in that order.
    """
    n, n_labels = proba.shape
    n_chains, width = place.shape
    n_lanes = n_chains * width
    n_born = 0
    for label in range(n_labels):
        n_born = max(n_born, birth[label])
    longest = 0
    for t in range(n):
        longest = max(longest, indptr[t + 1] - indptr[t])
    used = np.zeros(1 + dense.shape[1] + longest, np.int32)
    values = np.zeros(len(used), np.float32)
    source, one = np.zeros(1, np.int32), np.ones(1, np.float32)
    margins, chained = np.zeros(n_lanes), np.zeros(n_lanes)
    born = np.zeros(n_lanes, np.float32)
    for lane in range(n_lanes):
        born[lane] = birth[lane % width] > 0
    p, fed = np.zeros(n_lanes, np.float32), np.zeros(n_lanes, np.float32)
    error, live = np.zeros(n_lanes, np.float32), np.zeros(n_lanes, np.float32)
    some_error, some_live = np.zeros(n_lanes, np.float32), np.zeros(n_lanes, np.float32)
    mean = np.zeros(width, np.float32)
    for t in range(n):
        present = y_indices[y_indptr[t] : y_indptr[t + 1]]
        known = known_indices[known_indptr[t] : known_indptr[t + 1]]
        partial = label_state[t] == PARTIAL
        learns = learn and label_state[t] != UNLABELLED and (len(known) > 0 or not partial)
        cells = slice(indptr[t], indptr[t + 1])
        m = transform(dense[t], inputs, indices[cells], data[cells], sparse, standardise, learns, moments, used, values)
        multiply(weights, used, values, m, margins)
        thresholds[t] = thresholding.current(settings[THRESHOLD], totals[F1:])
        chained[:] = margins
        _answer(chained, born, link_weights, order, n_born, feed_labels, thresholds[t], p, fed)
        _average(p, mean)
        for label in range(n_labels):
            proba[t, label] = mean[label]
        if not learns:
            continue

        rate = next_rate(values, m, optimizer, settings, totals)
        weight = np.float32(event_weight[t])
        live[:] = 0
        if partial:
            for label in known:
                live[label] = weight
        else:
            live[:n_labels] = weight
        thresholding.count(mean, live, present, n_labels, thresholds[t], totals[F1:])
        for label in range(width):
            for chain in range(n_chains):
                lane = chain * width + label
                live[lane] = live[label]
                if live[lane] > 0:
                    fed[lane] = 0
        for label in present:
            for chain in range(n_chains):
                fed[chain * width + label] = 1
        for label in range(n_labels):
            _follow(label, fed, link_weights, margins, n_chains)
        sigmoid(margins, born, p)
        for label in present:
            if birth[label] == 0:
                n_born += 1
                birth[label] = n_born
                for chain in range(n_chains):
                    lane = chain * width + label
                    born[lane] = 1
                    p[lane] = start(lane, optimizer, rate, totals, weights, duals)
                    _insert(label, birth, place[chain], order[chain], n_born)
        for lane in range(n_lanes):
            live[lane] *= born[lane]
            error[lane] = p[lane] * live[lane]
        for label in present:
            for chain in range(n_chains):
                error[chain * width + label] -= live[chain * width + label]

        step(weights, squares, duals, used, values, m, 1, error, live, rate, optimizer, settings)
        if settings[LINK_RATE] == 0:
            continue
        for label in range(n_labels):
            if not _behind(label, birth, place, fed, error, live, some_error, some_live):
                continue
            source[0] = label
            step(
                link_weights, link_squares, link_duals, source, one, 1, 0, some_error, some_live,
                np.float32(rate * settings[LINK_RATE]), optimizer, settings,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def _answer(
    margins: NDArray[np.float64],
    born: Floats,
    link_weights: Floats,
    order: NDArray[np.int32],
    n_born: int,
    feed_labels: bool,
    threshold: float,
    p: Floats,
    fed: Floats,
) -> None:
    """Go along every chain: the probability of a label, and what the models behind it are told, added to their margins.

    The weights towards labels that stand before are 0, so that these need not be known here.
    """
    n_chains = len(order)
    width = len(margins) // n_chains
    p[:] = 0
    fed[:] = 0
    for chain in range(n_chains):
        block = margins[chain * width : (chain + 1) * width]
        for label in order[chain, :n_born]:
            lane = chain * width + label
            sigmoid(margins[lane : lane + 1], born[lane : lane + 1], p[lane : lane + 1])
            if feed_labels:
                fed[lane] = p[lane] > threshold
            else:
                fed[lane] = p[lane]
            if fed[lane] != 0:
                links = link_weights[label, chain * width : (chain + 1) * width]
                value = np.float64(fed[lane])
                for other in range(width):
                    block[other] += value * links[other]


@njit(cache=True, nogil=True)
def _average(p: Floats, mean: Floats) -> None:
    width = len(mean)
    n_chains = len(p) // width
    for label in range(width):
        total = 0.0
        for chain in range(n_chains):
            total += p[chain * width + label]
        mean[label] = total / n_chains


@njit(cache=True, nogil=True)
def _follow(label: int, fed: Floats, link_weights: Floats, margins: NDArray[np.float64], n_chains: int) -> None:
    """Add to the margins what the models behind a label are told of it."""
    width = len(margins) // n_chains
    for chain in range(n_chains):
        value = np.float64(fed[chain * width + label])
        if value != 0:
            for lane in range(chain * width, (chain + 1) * width):
                margins[lane] += value * link_weights[label, lane]


@njit(cache=True, nogil=True)
def _insert(
    label: int, birth: NDArray[np.int32], place: NDArray[np.float64], order: NDArray[np.int32], n_born: int
) -> None:
    """Put the label that was born last where it belongs in a chain of ``n_born - 1``."""
    k = n_born - 1
    while k > 0 and place[birth[order[k - 1]] - 1] > place[birth[label] - 1]:
        order[k] = order[k - 1]
        k -= 1
    order[k] = label


@njit(cache=True, nogil=True)
def _behind(
    label: int,
    birth: NDArray[np.int32],
    place: NDArray[np.float64],
    fed: Floats,
    error: Floats,
    live: Floats,
    some_error: Floats,
    some_live: Floats,
) -> bool:
    """The errors of the models behind a label, times what they were told of it; False if that was 0 everywhere."""
    n_chains, width = place.shape
    told = False
    for chain in range(n_chains):
        value = fed[chain * width + label]
        told = told or value != 0
    if not told or birth[label] == 0:
        return False
    for chain in range(n_chains):
        value, here = fed[chain * width + label], place[chain, birth[label] - 1]
        for other in range(width):
            lane = chain * width + other
            reached = value if birth[other] > 0 and place[chain, birth[other] - 1] > here else np.float32(0)
            some_error[lane] = reached * error[lane]
            some_live[lane] = live[lane] if reached > 0 else np.float32(0)
    return True
