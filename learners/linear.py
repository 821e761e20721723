"""Logistic regression, one model a label over inputs that all labels share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import Learner, State
from learners.inputs import Inputs, transform
from streams.batch import PARTIAL, UNLABELLED, Batch, Name, Prediction, Rows, Schema

Floats = NDArray[np.float32]

SGD, ADAGRAD, FTRL = 0, 1, 2
OPTIMIZERS = {"sgd": SGD, "adagrad": ADAGRAD, "ftrl": FTRL}
TABLES = ("weights", "squares", "duals")
"""Tables of shape (inputs, labels); an optimizer has as many as its number says, and one."""

LANES = 8
"""Labels are handled in groups of this many, the float32 lanes of a 256-bit register; spare ones hold zeros."""

ADAGRAD_START = np.float32(0.1)
"""What the sum of squared gradients starts from, so that the first gradients of a rare label cannot take full steps."""

FTRL_BETA = np.float32(1.0)

HORIZON = 100.0
"""A label born later than after this many events starts as if born then, or it could hardly rise."""

EVENTS, NORM, HITS, CLAIMS = 0, 1, 2, 3
"""Places in ``_totals``: events learned, mean squared length of their inputs, and for the F1 threshold the labels
predicted rightly and the labels predicted plus those present: F1 is twice the one divided by the other."""


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
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
        if not 0 < learning_rate < np.inf:
            raise ValueError(f"learning_rate must be above 0 and finite, got {learning_rate}")
        for name, value in (("l1", l1), ("l2", l2)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")
        if threshold != "f1" and (isinstance(threshold, str) or not 0 < threshold < 1):
            raise ValueError(f"threshold must be in (0, 1) or 'f1', got {threshold!r}")
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.l1 = l1
        self.l2 = l2
        self.standardise = standardise
        self.threshold = threshold
        self._settings = np.array([learning_rate, l1, l2, -1.0 if threshold == "f1" else float(threshold)])
        self._inputs = Inputs()
        self._tables = [np.zeros((0, 0), np.float32) for _ in TABLES]
        self._born = np.zeros(0, np.float32)
        self._totals = np.array([0.0, 0.0, 1.0, 2.0])

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        self._inputs.grow(self.schema_)
        self._make_room(self._inputs.n, n_labels)
        encoded = self._inputs.encode(batch)
        assert encoded.cells.data is not None
        proba = np.zeros((n, n_labels), np.float32)
        thresholds = np.zeros(n, np.float32)
        known = Rows.empty(n) if batch.known is None else batch.known
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
            self._tables[0],
            self._tables[1],
            self._tables[2],
            self._born,
            self._totals,
            self._settings,
            OPTIMIZERS[self.optimizer],
            self.standardise,
            learn,
            proba,
            thresholds,
        )
        return Prediction(Rows.from_dense(proba > thresholds[:, None]), proba)

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
    moments: NDArray[np.float64],
    weights: Floats,
    squares: Floats,
    duals: Floats,
    born: Floats,
    totals: NDArray[np.float64],
    settings: NDArray[np.float64],
    optimizer: int,
    standardise: bool,
    learn: bool,
    proba: Floats,
    thresholds: Floats,
) -> None:
    """Answer each event in ``proba`` and ``thresholds``; then, if ``learn``, learn it before the next."""
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
        _margins(weights, used, values, m, margins)
        _sigmoid(margins, born, p)
        threshold = settings[3] if settings[3] > 0 else totals[HITS] / totals[CLAIMS]
        thresholds[t] = threshold
        for label in range(n_labels):
            proba[t, label] = p[label]
        if not learns:
            continue

        length = 0.0
        for k in range(m):
            length += np.float64(values[k]) * values[k]
        totals[EVENTS] += 1
        totals[NORM] += (length - totals[NORM]) / totals[EVENTS]
        if optimizer == SGD:
            rate = np.float32(settings[0] / max(totals[NORM], length))
        else:
            rate = np.float32(settings[0] / np.sqrt(totals[NORM]))

        weight = np.float32(event_weight[t])
        live[:] = 0
        if partial:
            for label in known:
                live[label] = weight
        else:
            live[:n_labels] = weight
        _score(p, live, present, n_labels, thresholds[t], totals)
        for label in present:
            if born[label] == 0:
                born[label] = 1
                prior = 0.5 / (1 + min(totals[EVENTS] - 1, HORIZON))
                weights[0, label] = np.log(prior / (1 - prior))
                if optimizer == FTRL:
                    duals[0, label] = -weights[0, label] * FTRL_BETA / rate
                p[label] = prior
        for label in range(width):
            live[label] *= born[label] if label < n_labels else np.float32(0)
            error[label] = p[label] * live[label]
        for label in present:
            error[label] -= live[label]

        if optimizer == SGD:
            _sgd(weights, used, values, m, error, rate)
        elif optimizer == ADAGRAD:
            _adagrad(weights, squares, used, values, m, error, rate)
        else:
            _ftrl(weights, squares, duals, used, values, m, error, live, rate, settings)
        if optimizer != FTRL and settings[1] + settings[2] > 0:
            _penalise(weights, squares, optimizer == ADAGRAD, used, m, live, rate, settings)


@njit(cache=True, nogil=True)
def _margins(weights: Floats, used: NDArray[np.int32], values: Floats, m: int, margins: NDArray[np.float64]) -> None:
    """Sum of value times weight over the inputs of an event, for every label; four inputs a turn.

    The sum is float64, or the order of the features would show in the sixth digit of a probability.
    """
    margins[:] = 0
    k = 0
    while k + 4 <= m:
        a, b = np.float64(values[k]), np.float64(values[k + 1])
        c, d = np.float64(values[k + 2]), np.float64(values[k + 3])
        u, v, w, x = weights[used[k]], weights[used[k + 1]], weights[used[k + 2]], weights[used[k + 3]]
        for label in range(len(margins)):
            margins[label] = (((margins[label] + a * u[label]) + b * v[label]) + c * w[label]) + d * x[label]
        k += 4
    while k < m:
        a, u = np.float64(values[k]), weights[used[k]]
        for label in range(len(margins)):
            margins[label] += a * u[label]
        k += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _sigmoid(margins: NDArray[np.float64], born: Floats, p: Floats) -> None:
    """1 / (1 + exp(-margin)) for born labels, 0 for others.

    exp(-x) is the 64th power of the Taylor polynomial of exp(-x / 64), x being at most 40: relative error below 1e-6,
    and unlike the library's exp the loop is compiled to vector instructions.
    """
    for label in range(len(margins)):
        x = margins[label]
        r = -min(abs(x), 40.0) / 64
        e = 1 + r / 8 * (1 + r / 9)
        e = 1 + r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7 * e))))))
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        p[label] = born[label] * ((1.0 if x > 0 else e) / (1 + e))


@njit(cache=True, nogil=True)
def _score(
    p: Floats, live: Floats, present: NDArray[np.int32], n_labels: int, threshold: float, totals: NDArray[np.float64]
) -> None:
    """Count the labels predicted rightly, and those predicted plus those present, in known cells."""
    claims = len(present)
    for label in range(n_labels):
        if live[label] > 0 and p[label] > threshold:
            claims += 1
    hits = 0
    for label in present:
        if p[label] > threshold:
            hits += 1
    totals[HITS] += hits
    totals[CLAIMS] += claims


@njit(cache=True, nogil=True)
def _sgd(weights: Floats, used: NDArray[np.int32], values: Floats, m: int, error: Floats, rate: np.float32) -> None:
    for k in range(m):
        step, weight = rate * values[k], weights[used[k]]
        for label in range(len(error)):
            weight[label] -= step * error[label]


@njit(cache=True, nogil=True, error_model="numpy")
def _adagrad(
    weights: Floats,
    squares: Floats,
    used: NDArray[np.int32],
    values: Floats,
    m: int,
    error: Floats,
    rate: np.float32,
) -> None:
    for k in range(m):
        value, weight, square = values[k], weights[used[k]], squares[used[k]]
        for label in range(len(error)):
            gradient = value * error[label]
            total = square[label] + gradient * gradient
            square[label] = total
            weight[label] -= rate * gradient / np.sqrt(ADAGRAD_START + total)


@njit(cache=True, nogil=True, error_model="numpy")
def _penalise(
    weights: Floats,
    squares: Floats,
    adagrad: bool,
    used: NDArray[np.int32],
    m: int,
    live: Floats,
    rate: np.float32,
    settings: NDArray[np.float64],
) -> None:
    """The proximal step for both penalties, after that for the loss; not for the intercept, which is ``used[0]``."""
    zero, one, l1, l2 = np.float32(0), np.float32(1), np.float32(settings[1]), np.float32(settings[2])
    for k in range(1, m):
        weight = weights[used[k]]
        for label in range(len(live)):
            step = rate * live[label]
            if adagrad:
                step /= np.sqrt(ADAGRAD_START + squares[used[k], label])
            w = weight[label]
            weight[label] = (max(w - step * l1, zero) + min(w + step * l1, zero)) / (one + step * l2)


@njit(cache=True, nogil=True, error_model="numpy")
def _ftrl(
    weights: Floats,
    squares: Floats,
    duals: Floats,
    used: NDArray[np.int32],
    values: Floats,
    m: int,
    error: Floats,
    live: Floats,
    rate: np.float32,
    settings: NDArray[np.float64],
) -> None:
    zero = l1 = l2 = np.float32(0)
    for k in range(m):
        value, weight, square, dual = values[k], weights[used[k]], squares[used[k]], duals[used[k]]
        for label in range(len(error)):
            gradient = value * error[label]
            total = square[label] + gradient * gradient
            root = np.sqrt(total)
            z = dual[label] + gradient - (root - np.sqrt(square[label])) / rate * weight[label]
            square[label] = total
            dual[label] = z
            w = -(max(z - l1, zero) + min(z + l1, zero)) / ((FTRL_BETA + root) / rate + l2)
            weight[label] = w if live[label] > 0 else weight[label]
        l1, l2 = np.float32(settings[1]), np.float32(settings[2])
