"""Naive Bayes, one model a label: features are independent of each other given whether the label is present."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from learners import threshold as thresholding
from learners.base import Learner, State
from learners.densities import merge_moments, run
from learners.inputs import Inputs, as_schema_says
from streams.batch import Batch, Prediction, Rows

Floats = NDArray[np.float64]

LANES = 8
"""Tables have a multiple of this many labels, so that loops over labels fill vector registers."""

FLOOR = 1e-9
"""Added to every probability, so that one feature alone never rules a label out; as in river."""


class _NaiveBayes(Learner, abc.ABC):
    """What the two models share: tables of shape (inputs, 2, labels), absent first, and everything around them.

    Row 0 of ``count`` is the weight of the events. Labels beyond those that are held, of which there is always one,
    learn what a label never heard of would have learned: that it was absent from every event whose labels were all
    known. A label that turns up finds its past there.
    """

    _tables_of: ClassVar[tuple[str, ...]]

    def __init__(self, floor: float, alpha: float, threshold: float | str, true_threshold: float) -> None:
        super().__init__()
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha must be at least 0 and finite, got {alpha}")
        self.alpha = alpha
        self.threshold = threshold
        self._settings = np.array([thresholding.fixed(threshold), floor, alpha, true_threshold])
        self._start()

    def _start(self) -> None:
        self._inputs = Inputs(whole=True)
        self._tables = np.zeros((len(self._tables_of), 0, 2, 0))
        self._totals = np.array(thresholding.START)
        self._laid_out: tuple[int, int] | None = None

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        self._make_room()
        encoded = self._inputs.encode(as_schema_says(batch, self.schema_))
        assert encoded.cells.data is not None
        known = Rows.empty(n) if batch.known is None else batch.known
        proba: NDArray[Any] = np.zeros((n, n_labels))
        thresholds = np.zeros(n)
        run(
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
            self._columns,
            self._whole_of,
            self._sizes,
            self._tables.reshape(*self._tables.shape[:2], -1),
            self._totals,
            self._settings,
            isinstance(self, GaussianNBClassifier),
            learn,
            proba,
            thresholds,
        )
        return Prediction(Rows.from_dense(proba > thresholds[:, None]), proba)

    def _make_room(self) -> None:
        """Room for every input and label of the schema, and one label more."""
        schema, inputs = self.schema_, self._inputs
        if self._laid_out == schema.version:
            return
        inputs.grow(schema)
        _, rows, _, labels = self._tables.shape
        if inputs.n > rows or schema.n_labels >= labels:
            more_labels = labels
            if schema.n_labels >= labels:
                more_labels = -(-max(schema.n_labels + 1, labels + labels // 4) // LANES) * LANES
            wider = np.zeros((len(self._tables), max(inputs.n, 2 * rows if inputs.n > rows else rows), 2, more_labels))
            wider[:, :rows, :, :labels] = self._tables
            if labels:
                wider[:, :rows, :, labels:] = self._tables[..., -1:]
            self._tables = wider
        self._columns = np.zeros(schema.n_features - len(schema.ignored), np.int32)
        self._whole_of = np.full(self._tables.shape[1], -1, np.int32)
        self._sizes = np.full(self._tables.shape[1], -1)
        numbers, place = inputs.numbers(schema, schema), 1
        for k, column in enumerate(c for c in range(schema.n_features) if c not in schema.ignored):
            row, size = numbers[place], len(schema.categories.get(column, ()))
            self._columns[k] = row
            if column in schema.categories:
                categories = numbers[place + 1 : place + 1 + size]
                self._whole_of[categories] = row
                self._sizes[row] = self._tables[0, categories].any(axis=(1, 2)).sum()
            place += 1 + size
        self._laid_out = schema.version

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_laid_out": None}

    # State.

    def _get_state(self) -> State:
        self._make_room()
        order, n_labels = self._inputs.numbers(self.schema_, self.schema_), self.schema_.n_labels
        tables = self._tables[:, order, :, : n_labels + 1]
        return {"totals": self._totals.copy(), **dict(zip(self._tables_of, tables, strict=True))}

    def _set_state(self, state: State) -> None:
        self._start()
        self._make_room()
        shape = (self._inputs.n, 2, self.schema_.n_labels + 1)
        for table, name in zip(self._tables, self._tables_of, strict=True):
            if state[name].shape != shape:
                raise ValueError(f"state {name!r} must have shape {shape}, got {state[name].shape}")
            table[: shape[0], :, : shape[2]] = state[name]
            table[: shape[0], :, shape[2] :] = state[name][..., -1:]
        self._laid_out = None
        self._totals = np.array(state["totals"], np.float64)

    def merge(self, other: Self) -> None:
        """Take in what ``other`` has learned, as if this learner had learned its events too.

        Features, categories and labels are matched by name; the order of events leaves no trace but in the F1
        threshold, whose counts are added up.

        Raises
        ------
        ValueError
            ``other`` is of another class or has other parameters, or one has learned sparse rows and the other dense
            ones.
        """
        if type(other) is not type(self) or other._get_params() != self._get_params():
            raise ValueError(f"other must be {self!r}, got {other!r}")
        for model in (self, other):
            model._make_room()
        if self.schema_.sparse != other.schema_.sparse and self._tables[0, 0].any() and other._tables[0, 0].any():
            kinds = {True: "sparse", False: "dense"}
            raise ValueError(
                f"other must have {kinds[self.schema_.sparse]} rows, got {kinds[other.schema_.sparse]} ones"
            )
        self.schema_.extend(other.schema_)
        self._make_room()
        rows = self._inputs.numbers(self.schema_, other.schema_)
        their_rows = other._inputs.numbers(other.schema_, other.schema_)
        labels = np.full(self._tables.shape[-1], other.schema_.n_labels)
        for theirs, name in enumerate(other.schema_.label_names):
            labels[self.schema_.find_label(name)] = theirs
        held = rows >= 0
        addend = np.zeros_like(self._tables)
        addend[:, rows[held]] = other._tables[:, their_rows[held]][..., labels]
        self._merge(addend)
        self._laid_out = None
        self._totals += other._totals - thresholding.START

    @abc.abstractmethod
    def _merge(self, addend: Floats) -> None:
        """Add tables of other events to those of this learner."""


class GaussianNBClassifier(_NaiveBayes):
    """Naive Bayes for every label, with a normal distribution of every number.

    Parameters
    ----------
    density_floor
        Added to every density, in [1e-30, 1]: what a feature far from all that was seen can say is bounded by it.
    alpha
        Added to the count of every category of a nominal column, at least 0.
    threshold
        A label is predicted where its probability is above this, in (0, 1); or ``"f1"``, as in `LinearClassifier`.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Every label has two normal distributions for every number, one of the events in which it was known to be present
    and one of those in which it was known to be absent, and the counts of both. The variance is that of the values
    seen (divided by their number, not by one less). Where all have been the same, or none was seen, the density is 0
    and the floor is all that the feature has to say. Weights of events weigh in everything.

    A label is born with the first event in which it is present; before, its probability is 0. All events with
    complete labels before that count as ones in which it was absent. With complete labels, numbers only and weights
    of 1, probabilities are those of river's ``PerOutputClassifier(GaussianNB())``.

    A missing value of a dense row is left out, when learning and when answering. In sparse rows absent is the number
    0 (or the first category) and takes part in means and variances as such, without being touched: learning costs the
    listed cells only. A listed cell without a value counts as not listed.

    Time per event and label: answering takes one exponential, one division and one square root for each of the two
    distributions of every feature, whether its cell is listed or not; learning about six operations for every value.
    Memory: 48 bytes per label and feature. Nothing is forgotten.

    References
    ----------
    .. [1] West, "Updating mean and variance estimates: an improved method", CACM 22(9), 1979.
    .. [2] Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3), 1983,
       equation (2.1), to merge and to reckon with the zeros of sparse rows.

    Examples
    --------
    >>> from learners.naive_bayes import GaussianNBClassifier
    >>> model = GaussianNBClassifier()
    >>> for size in range(10):
    ...     model.learn_one({"size": float(size)}, {"big": size > 4})
    >>> round(model.predict_proba_one({"size": 6.0})["big"][True], 4)
    0.977
    """

    _tables_of = ("count", "mean", "squares")

    def __init__(self, *, density_floor: float = FLOOR, alpha: float = 1.0, threshold: float | str = 0.5) -> None:
        super().__init__(density_floor, alpha, threshold, 0.0)
        if not 1e-30 <= density_floor <= 1:
            raise ValueError(f"density_floor must be in [1e-30, 1], got {density_floor}")
        self.density_floor = density_floor

    def _merge(self, addend: Floats) -> None:
        merge_moments(self._tables, addend)


class BernoulliNBClassifier(_NaiveBayes):
    """Naive Bayes for every label, of whether numbers are above a threshold.

    Parameters
    ----------
    alpha
        Added to the count of both outcomes (of every category of a nominal column), at least 0.
    true_threshold
        A number is true above this, at least 0, as the absent cells of sparse rows are false.
    threshold
        A label is predicted where its probability is above this, in (0, 1); or ``"f1"``, as in `LinearClassifier`.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    A label is born with the first event in which it is present; before, its probability is 0. All events with
    complete labels before that count as ones in which it was absent. With complete labels and weights of 1,
    probabilities are those of river's ``PerOutputClassifier(BernoulliNB())`` where sparse rows list what is true, and
    where dense rows have no missing values: river holds a feature that an event lacks for false, here a missing value
    is left out, when learning and when answering.

    In sparse rows a feature takes part from the first event that lists it. Learning costs the listed cells; answering
    one division and one multiplication for each of the two cases of every label and feature, as the share of zeros of
    every feature changes with every event. Memory: 32 bytes per label and feature. Nothing is forgotten.

    Examples
    --------
    >>> from learners.naive_bayes import BernoulliNBClassifier
    >>> model = BernoulliNBClassifier()
    >>> for words, about in ((("goal", "team"), True), (("team", "win"), True), (("vote", "win"), False)):
    ...     model.learn_one({word: float(word in words) for word in ("goal", "team", "vote", "win")}, {"sport": about})
    >>> model.predict_one({"goal": 1.0, "team": 1.0, "vote": 0.0, "win": 0.0})
    {'sport': True}
    """

    _tables_of = ("count", "hits")

    def __init__(self, alpha: float = 1.0, true_threshold: float = 0.0, *, threshold: float | str = 0.5) -> None:
        super().__init__(FLOOR, alpha, threshold, true_threshold)
        if not 0 <= true_threshold < np.inf:
            raise ValueError(f"true_threshold must be at least 0 and finite, got {true_threshold}")
        self.true_threshold = true_threshold

    def _merge(self, addend: Floats) -> None:
        self._tables += addend
