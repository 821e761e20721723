"""Logistic regression, one model a label over inputs that all labels share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners import threshold as thresholding
from learners.base import Learner, State
from learners.inputs import Inputs, transform
from learners.one_event import REFUSED, Bundle, Event, OneEvent, choose, is_plain, read_labels, read_values
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
from streams.batch import PARTIAL, UNLABELLED, Batch, Name, Prediction, Rows, Schema


class LinearClassifier(Learner):
    """Online logistic regression for every label, over inputs on a common scale.

    Parameters
    ----------
    optimizer
        ``"adagrad"`` [1]_, ``"ftrl"`` (FTRL-proximal [2]_, beta 1) or ``"sgd"``.
    learning_rate
        Step size relative to the length of the inputs, above 0: steps are divided by the root mean square length of the
        events so far [3]_ (by its square for ``"sgd"``), so that one value suits 20 inputs and 20,000.
    l1, l2
        Strength of the penalties on the sum of absolute weights and on half the sum of squared weights, at least 0: per
        event, by which the weights of its inputs are shrunk; or for ``"ftrl"`` once for all events together, as in
        [2]_, so that the same number does less. Intercepts are not penalised.
    standardise
        Put inputs on one scale as they come, see `learners.inputs.Inputs`. False: take values as they are.
    threshold
        A label is predicted where its probability is above this, in (0, 1); or ``"f1"``: above half of the micro-F1
        that the predictions have had so far, the rule that maximises F1 where probabilities are right [4]_.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Categories of nominal columns are inputs of their own; a missing value contributes nothing. A label is born with the
    first event in which it is present: its weights start at 0 and its intercept at the logit of 1 / (2 n + 2), n being
    the events before it (at most 100). Unknown cells of partly labelled events are left alone. The weight of an event
    multiplies its gradient, and leaves the scale of the inputs alone.

    Time and memory: one multiplication to predict and about six operations to learn per label and non-zero input of an
    event; 4 bytes per label and input for ``"sgd"``, 8 for ``"adagrad"``, 12 for ``"ftrl"``. Weights are float32: the
    noise of single gradients is far above its rounding, and twice as many fit a register and the cache as of float64.
    Tables grow by doubling and nothing is forgotten.

    References
    ----------
    .. [1] Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR
       12, 2011: composite mirror descent with diagonal matrices, for l1 equation (24).
    .. [2] McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013, algorithm 1.
    .. [3] Ross, Mineiro, Langford, "Normalized online learning", UAI 2013, the global factor of algorithm 2.
    .. [4] Busa-Fekete, Szörényi, Dembczyński, Hüllermeier, "Online F-measure optimization", NeurIPS 2015.

    Examples
    --------
    >>> from learners.linear import LinearClassifier
    >>> model = LinearClassifier()
    >>> for i in range(100):
    ...     model.learn_one({"size": float(i)}, {"big": i > 50, "small": i <= 50})
    >>> model.predict_one({"size": 90.0})
    {'big': True, 'small': False}
    """

    def __init__(
        self,
        optimizer: str = "adagrad",
        learning_rate: float = 1.0,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        standardise: bool = True,
        threshold: float | str = 0.5,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.l1 = l1
        self.l2 = l2
        self.standardise = standardise
        self.threshold = threshold
        self._settings = settings_of(optimizer, learning_rate, l1, l2, threshold)
        self._inputs = Inputs()
        self._tables = [np.zeros((0, 0), np.float32) for _ in TABLES]
        self._born = np.zeros(0, np.float32)
        self._totals = np.array([0.0, 0.0, *thresholding.START])

    @property
    def _mutable_attributes(self) -> set[str]:
        return {"learning_rate", "l1", "l2", "threshold"}

    def __setattr__(self, name: str, value: Any) -> None:
        # River's `mutate` sets attributes, where kernels read an array.
        if "_settings" in self.__dict__ and name in self._mutable_attributes:
            given = {"learning_rate": self.learning_rate, "l1": self.l1, "l2": self.l2, "threshold": self.threshold}
            self._settings[:] = settings_of(self.optimizer, **{**given, name: value})
        super().__setattr__(name, value)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        arrays = self.arrays()
        encoded = self._inputs.encode(batch)
        cells = encoded.cells
        assert cells.data is not None
        proba = np.zeros((n, n_labels), np.float32)
        thresholds = np.zeros(n, np.float32)
        known = Rows.empty(n) if batch.known is None else batch.known
        weight = np.ones(n) if batch.weight is None else batch.weight
        _run(
            encoded.dense, encoded.inputs, cells.indptr, cells.indices, cells.data, encoded.sparse,
            batch.y.indptr, batch.y.indices, batch.label_state, known.indptr, known.indices, weight,
            arrays, learn, proba, thresholds,
        )  # fmt: skip
        return Prediction(Rows.from_dense(proba > thresholds[:, None]), proba)

    def _one_event(self) -> OneEvent | None:
        schema = self.schema_
        if not is_plain(schema):
            return None
        event = Event.of(schema)
        return OneEvent(schema, _run_one, _bundle(_Parts(event, self.parts(event.proba))), event)

    def parts(self, proba: Floats) -> LinearParts:
        """What `run_event` takes, which writes its answers in ``proba``."""
        arrays = self.arrays()
        return LinearParts(self._inputs.of_columns(), arrays, proba, np.zeros(1, np.float32))

    def arrays(self) -> tuple[Any, ...]:
        """What is learned, with room for all inputs and labels of the schema, and settings, as kernels take them."""
        self._inputs.grow(self.schema_)
        self._make_room(self._inputs.n, self.schema_.n_labels)
        weights, squares, duals = self._tables
        return (
            self._inputs.moments, weights, squares, duals, self._born, self._totals, self._settings,
            OPTIMIZERS[self.optimizer], self.standardise,
        )  # fmt: skip

    def _make_room(self, n_inputs: int, n_labels: int) -> None:
        inputs, labels = self._tables[0].shape
        if n_labels > labels:
            labels = -(-max(n_labels, 2 * labels) // LANES) * LANES
        if n_inputs > inputs:
            inputs = max(n_inputs, 2 * inputs)
        if (inputs, labels) == self._tables[0].shape:
            return
        for number in range(len(self._table_names)):
            wider = np.zeros((inputs, labels), np.float32)
            narrow = self._tables[number]
            wider[: narrow.shape[0], : narrow.shape[1]] = narrow
            self._tables[number] = wider
        born = np.zeros(labels, np.float32)
        born[: len(self._born)] = self._born
        self._born = born

    # State.

    def _get_state(self) -> State:
        order, n_labels = self._inputs.numbers(self.schema_, self.schema_), self.schema_.n_labels
        self._make_room(self._inputs.n, n_labels)
        return {
            "moments": self._inputs.moments[:, order],
            "born": self._born[:n_labels].copy(),
            "totals": self._totals.copy(),
            **{name: self._tables[number][order, :n_labels] for number, name in enumerate(self._table_names)},
        }

    def _set_state(self, state: State) -> None:
        self._inputs = Inputs()
        self._inputs.grow(self.schema_)
        n_inputs, n_labels = self._inputs.n, self.schema_.n_labels
        shapes = {"moments": (3, n_inputs), "born": (n_labels,), "totals": (4,)}
        for name, array in state.items():
            shape = shapes.get(name, (n_inputs, n_labels))
            if array.shape != shape:
                raise ValueError(f"state {name!r} must have shape {shape}, got {array.shape}")
        self._tables = [np.zeros((0, 0), np.float32) for _ in TABLES]
        self._born = np.zeros(0, np.float32)
        self._make_room(n_inputs, n_labels)
        self._inputs.moments[:, :n_inputs] = state["moments"]
        self._born[:n_labels] = state["born"]
        self._totals = np.array(state["totals"], np.float64)
        for number, name in enumerate(self._table_names):
            self._tables[number][:n_inputs, :n_labels] = state[name]

    def get_labels(self, names: Sequence[Name]) -> State:
        """What has been learned about some labels, for ``set_labels`` of a learner with the same optimizer.

        Raises
        ------
        ValueError
            A label is not held.
        """
        columns = [self.schema_.find_label(name) for name in names]
        for name, column in zip(names, columns, strict=True):
            if column < 0:
                raise ValueError(f"label must be held, got {name!r}")
        state = self._get_state()
        features = Schema.from_json({**self.schema_.to_json(), "labels": []})
        return {
            "schema": features.to_array(),
            "born": state["born"][columns],
            **{name: state[name][:, columns] for name in self._table_names},
        }

    def set_labels(self, names: Sequence[Name], state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_labels`` gave, under these names and in place of what is known about them.

        Features are matched by name; those that this learner lacks are added. Weights refer to the scale of their
        inputs, which is not handed over: between learners that have seen other events, answers move a little.

        Raises
        ------
        ValueError
            The state is not one of as many labels and of the same optimizer.
        """
        keys = {"schema", "born", *self._table_names}
        if state.keys() != keys:
            raise ValueError(f"state must hold the arrays {sorted(keys)}, got {sorted(state)}")
        if len(state["born"]) != len(names):
            raise ValueError(f"state must be one of {len(names)} labels, got {len(state['born'])}")
        self._one = None
        theirs = Schema.from_array(state["schema"])
        self.schema_.extend(theirs)
        columns = np.array([self.schema_.label_id(name) for name in names], np.int64)
        rows = self._inputs.numbers(self.schema_, theirs)
        self._make_room(self._inputs.n, self.schema_.n_labels)
        held = rows >= 0
        self._born[columns] = state["born"]
        for number, name in enumerate(self._table_names):
            self._tables[number][:, columns] = 0
            self._tables[number][np.ix_(rows[held], columns)] = state[name][held]

    @property
    def _table_names(self) -> tuple[str, ...]:
        return TABLES[: OPTIMIZERS[self.optimizer] + 1]


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
    arrays: tuple[Any, ...],
    learn: bool,
    proba: Floats,
    thresholds: Floats,
) -> None:
    """Answer each event in ``proba`` and ``thresholds``; then, if ``learn``, learn it before the next."""
    moments, weights, squares, duals, born, totals, settings, optimizer, standardise = arrays
    n, n_labels = proba.shape
    width = (n_labels + LANES - 1) // LANES * LANES
    longest = 0
    for t in range(n):
        longest = max(longest, indptr[t + 1] - indptr[t])
    used = np.zeros(1 + dense.shape[1] + longest, np.int32)
    values = np.zeros(len(used), np.float32)
    margins = np.zeros(width)
    p = np.zeros(width, np.float32)
    error = np.zeros(width, np.float32)
    live = np.zeros(width, np.float32)
    for t in range(n):
        present = y_indices[y_indptr[t] : y_indptr[t + 1]]
        known = known_indices[known_indptr[t] : known_indptr[t + 1]]
        partial = label_state[t] == PARTIAL
        learns = learn and label_state[t] != UNLABELLED and (len(known) > 0 or not partial)
        cells = slice(indptr[t], indptr[t + 1])
        m = transform(dense[t], inputs, indices[cells], data[cells], sparse, standardise, learns, moments, used, values)
        multiply(weights, used, values, m, margins)
        sigmoid(margins, born, p)
        thresholds[t] = thresholding.current(settings[THRESHOLD], totals[F1:])
        for label in range(n_labels):
            proba[t, label] = p[label]
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
        thresholding.count(p, live, present, n_labels, thresholds[t], totals[F1:])
        learn_labels(
            weights, squares, duals, born, totals, settings, optimizer, used, values, m, rate, present, live, p, error
        )


@njit(cache=True, nogil=True)
def learn_labels(
    weights: Floats,
    squares: Floats,
    duals: Floats,
    born: Floats,
    totals: NDArray[np.float64],
    settings: NDArray[np.float64],
    optimizer: int,
    used: NDArray[np.int32],
    values: Floats,
    m: int,
    rate: np.float32,
    present: NDArray[np.int32],
    live: Floats,
    p: Floats,
    error: Floats,
) -> None:
    """Learn an event that has been counted, of which the labels that are ``live`` are known and thought ``p`` likely.

    Those that are present for the first time are born. ``error`` is room for as many numbers as ``live``.
    """
    for label in present:
        if born[label] == 0:
            born[label] = 1
            p[label] = start(label, optimizer, rate, totals, weights, duals)
    for label in range(len(live)):
        live[label] *= born[label]
        error[label] = p[label] * live[label]
    for label in present:
        error[label] -= live[label]

    step(weights, squares, duals, used, values, m, 1, error, live, rate, optimizer, settings)


class LinearParts(NamedTuple):
    """What single events are answered by and learned in: the inputs of all columns, the arrays of a
    `LinearClassifier`, and room for the answer, float32 (1, labels) and (1,)."""

    inputs: NDArray[np.int32]
    arrays: tuple[Any, ...]
    proba: Floats
    thresholds: Floats


class _Parts(NamedTuple):
    event: Event
    linear: LinearParts


# Inlined, since every array that is passed on is counted, which takes 12 ns.
@njit(cache=True, nogil=True, inline="always")
def run_event(event: Event, linear: LinearParts, learn: bool) -> None:
    """Answer an event; then, if ``learn``, learn it."""
    _run(
        event.x, linear.inputs, event.start, event.cells, event.data, False, event.present_start, event.present,
        event.state, event.known_start, event.known, event.weight, linear.arrays, learn, linear.proba,
        linear.thresholds,
    )  # fmt: skip


@njit(cache=True)
def _bundle(parts):
    return Bundle(parts)


@njit(cache=True, nogil=True)
def _run_one(bundle, values, columns, flags, labels, weight):
    parts = bundle.parts
    event = parts.event
    if not read_values(values, columns, event.x):
        return REFUSED
    read_labels(flags, labels, weight, event)
    run_event(event, parts.linear, len(flags) > 0)
    return choose(event.proba[0], parts.linear.thresholds[0], event.chosen)
