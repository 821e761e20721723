"""A Hoeffding adaptive tree for many labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import WINDOW
from learners.base import Learner, State, with_room
from learners.inputs import Inputs, as_schema_says
from learners.one_event import REFUSED, Bundle, Event, OneEvent, choose, is_plain, read_labels, read_values
from learners.trees.nodes import CLOCK, EVENT, KINDS, LOGGED, N_CLASSIFIERS, NODE, SPLIT, Settings, Tree
from learners.trees.storage import (
    N_BUCKET_ROWS,
    N_BUCKETS,
    as_sparse,
    from_state,
    nothing,
    to_state,
    widened,
    with_inputs,
    with_labels,
    with_records,
)
from learners.trees.walk import Stream, run
from streams.batch import Batch, Prediction, Rows, Schema

MODES = ("default", "paper")

DEEPEST = 100
"""Largest depth that a tree may be given."""


class MLHATClassifier(Learner):
    """Multi-label Hoeffding adaptive tree [1]_: one tree for all labels, a mixture of classifiers in every leaf.

    Parameters
    ----------
    grace_period
        Weight that a leaf takes in between two attempts to split it, at least 1.
    delta
        Chance of a wrong split that the Hoeffding bound allows, in (0, 1); None: 1.66e-7, as published.
    mode
        ``"default"``, or ``"paper"``; see Notes.
    tau
        A bound below this splits on the best input even if the second best is as good.
    n_neighbors, window
        Neighbours asked and events held, in each leaf; None: 10 of 300, in paper mode 4 of 170.
    n_models
        Copies of the linear model in each leaf, each taught every event Poisson(1) times (1: once); None: 1, in paper
        mode 10.
    learning_rate
        Of the linear models; None: 1 (AdaGrad), in paper mode 0.3 (plain gradient steps, intercepts 0.01).
    cardinality_threshold, entropy_threshold
        Paper mode: a leaf answers by its neighbours until it has taken in this weight, and for good where the entropy
        of its labels, in bits, is below this; else by its linear models.
    naive_bayes
        Default mode: whether naive Bayes takes part.
    decay
        Default mode: by what a classifier's loss fades with each event, in (0, 1].
    threshold
        A label is answered above this probability, in (0, 1); None: 0.4, in paper mode 0.5.
    drift_delta, warning_delta
        Sensitivity of the two ADWINs that watch the Hamming loss at each branch and at a root without any: the second
        one starts background trees, both in (0, 1).
    background_weight
        Weight of events after which a background tree votes, and may be compared with what it stands behind.
    switch_delta
        Chance of a wrong switch, in (0, 1).
    min_branch_fraction
        Both sides of a split must have more than this share of all label counts, in [0, 0.5).
    max_share
        A leaf whose commonest label has more than this share is not split, in (0, 1].
    max_depth
        Of the tree, from 0 (the root alone) to 100.
    max_bytes
        For all records of the tree together; see Notes.
    seed
        Of Poisson weights.

    Attributes
    ----------
    events_
        ``kind`` is ``"split"`` (with ``feature``), ``"background"`` (a background tree was started), ``"switch"`` (it
        took its host's place) or ``"drop"`` (it was given up); ``node``, ``depth`` and ``weight``, what the node or the
        background tree had learned.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    A leaf counts its labels, and for each the values of every input: as a normal distribution between its least and
    largest value, as categories, or, of sparse rows, the weight of the events in which the input is not 0. The merit of
    a split is what it takes from the sum (by default the mean) of the labels' binary entropies; it is made when the
    best merit beats the second by the Hoeffding bound, over a range of log2 of the label sets seen (by default 1).

    Each event is answered by the live leaf and by those of background trees on its way that have seen enough, each
    weighed by 1 / (0.01 + loss)^2. A background tree replaces its host only by passing the switch test on the events
    that both have answered, at whatever depth.

    By default a leaf mixes, for each label, the shares of the label, the votes of the nearest events held (on a common
    scale), a logistic model with AdaGrad steps and naive Bayes, by the exponent of their fading log losses; both
    children of a split inherit them. In paper mode inputs are as they come, the leaf asks one classifier (label sets of
    the nearest events, or bagged logistic models), every event has weight max(1, Poisson(1)), children start anew with
    the event at hand, and a root without branches has no background tree. What the published code does otherwise by
    mistake is mended there too: background trees below the root are tested before they replace anything, and have a
    loss of their own, ADWIN is given losses and not their running mean, no leaf is given up for good.

    Where ``max_bytes`` is short, the least promising leaves lose their counts and are not split any more, then windows
    shorten, and new leaves go without a linear model. Label sets beyond an eighth of it are not counted. Events that
    are labelled in part count no label set: in paper mode a leaf that has seen no others answers nothing.

    An event costs, in every leaf it reaches, a comparison with ``window`` events, one step of ``n_models`` linear
    models for every label, and an update of D inputs for each of its labels. ``nbytes`` tells the memory.

    References
    ----------
    .. [1] Esteban, Cano, Zafra, Ventura, "Hoeffding adaptive trees for multi-label classification on data streams",
       Knowledge-Based Systems 304, 2024.

    Examples
    --------
    >>> from learners.trees.mlhat import MLHATClassifier
    >>> model = MLHATClassifier(grace_period=50)
    >>> for i in range(400):
    ...     model.learn_one({"heat": i % 10}, {"ice": i % 10 < 3, "snow": i % 10 < 3, "sun": i % 10 > 6})
    >>> model.predict_one({"heat": 1})
    {'ice': True, 'snow': True, 'sun': False}
    >>> [(event["kind"], event["feature"], event["event"]) for event in model.events_]
    [('split', 'heat', 50), ('split', 'heat', 124)]
    """

    def __init__(
        self,
        grace_period: int = 200,
        delta: float | None = None,
        *,
        mode: str = "default",
        tau: float = 0.05,
        n_neighbors: int | None = None,
        window: int | None = None,
        n_models: int | None = None,
        learning_rate: float | None = None,
        cardinality_threshold: float = 750.0,
        entropy_threshold: float = 0.3,
        naive_bayes: bool = True,
        decay: float = 0.99,
        threshold: float | None = None,
        drift_delta: float = 0.002,
        warning_delta: float = 0.01,
        background_weight: float = 200.0,
        switch_delta: float = 0.05,
        min_branch_fraction: float = 0.01,
        max_share: float = 0.99,
        max_depth: int = 20,
        max_bytes: float = 100 * 2**20,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self.grace_period = grace_period
        self.delta = delta
        self.mode = mode
        self.tau = tau
        self.n_neighbors = n_neighbors
        self.window = window
        self.n_models = n_models
        self.learning_rate = learning_rate
        self.cardinality_threshold = cardinality_threshold
        self.entropy_threshold = entropy_threshold
        self.naive_bayes = naive_bayes
        self.decay = decay
        self.threshold = threshold
        self.drift_delta = drift_delta
        self.warning_delta = warning_delta
        self.background_weight = background_weight
        self.switch_delta = switch_delta
        self.min_branch_fraction = min_branch_fraction
        self.max_share = max_share
        self.max_depth = max_depth
        self.max_bytes = max_bytes
        self.seed = seed
        self._chosen = {**_DEFAULTS[mode], **{k: v for k, v in self._optional().items() if v is not None}}
        self._check()
        self._start()

    def _optional(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _DEFAULTS["paper"]}

    def _check(self) -> None:
        chosen = self._chosen
        for name, least in (("grace_period", 1), ("max_depth", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.max_depth > DEEPEST:
            raise ValueError(f"max_depth must be at most {DEEPEST}, got {self.max_depth}")
        for name in ("n_neighbors", "window", "n_models"):
            if chosen[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {chosen[name]}")
        if not 0 < chosen["learning_rate"] < np.inf:
            raise ValueError(f"learning_rate must be above 0 and finite, got {chosen['learning_rate']}")
        for name, value in (
            ("delta", chosen["delta"]),
            ("threshold", chosen["threshold"]),
            ("drift_delta", self.drift_delta),
            ("warning_delta", self.warning_delta),
            ("switch_delta", self.switch_delta),
        ):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in (0, 1), got {value}")
        for name in ("tau", "cardinality_threshold", "entropy_threshold", "background_weight", "max_bytes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}")
        if not 0 <= self.min_branch_fraction < 0.5:
            raise ValueError(f"min_branch_fraction must be in [0, 0.5), got {self.min_branch_fraction}")
        if not 0 < self.max_share <= 1:
            raise ValueError(f"max_share must be in (0, 1], got {self.max_share}")

    def _start(self) -> None:
        self._inputs = Inputs(whole=True)
        self._seen = np.zeros(0, np.uint8)
        self._tree = nothing(self._chosen["window"], self._chosen["n_models"], self.mode == "paper")
        self._laid_out: tuple[int, int] | None = None

    # Learning and answering.

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        batch = as_schema_says(batch, self.schema_)
        self._lay_out()
        encoded = self._inputs.encode(batch)
        assert encoded.cells.data is not None
        longest = int(np.diff(encoded.cells.indptr).max(initial=0)) if encoded.sparse else 0
        known = Rows.empty(n) if batch.known is None else batch.known
        stream = Stream(
            encoded.dense,
            encoded.inputs,
            encoded.cells.indptr,
            encoded.cells.indices,
            encoded.cells.data,
            self.schema_.sparse,
            batch.y.indptr,
            batch.y.indices,
            batch.label_state,
            known.indptr,
            known.indices,
            np.ones(n) if batch.weight is None else batch.weight,
            self._whole_of,
            self._order,
        )
        proba = np.zeros((n, n_labels), np.float32)
        if learn and longest > self._tree.cells.shape[1]:
            self._tree = widened(self._tree, cells=longest, places=longest)
        done = 0
        while done < n:
            done = run(
                self._tree, stream, self._settings, self._rates, self._inputs.moments, self._seen, done, learn, proba
            )  # fmt: skip
            self._read_log()
            if done < n:
                self._tree = with_records(self._tree, int(batch.y.indptr[done + 1] - batch.y.indptr[done]))
        return Prediction(Rows.from_dense(proba > np.float32(self._chosen["threshold"])), proba)

    def _one_event(self) -> OneEvent | None:
        schema = self.schema_
        if not is_plain(schema):
            return None
        self._lay_out()
        event = Event.of(schema)
        stream = Stream(
            event.x, self._inputs.of_columns(), event.start, event.cells, event.data, False, event.present_start,
            event.present, event.state, event.known_start, event.known, event.weight, self._whole_of, self._order,
        )  # fmt: skip
        threshold = np.float32(self._chosen["threshold"])
        parts = _Parts(
            event, stream, self._tree, self._settings, self._rates, self._inputs.moments, self._seen, threshold
        )  # fmt: skip
        return _OneTreeEvent(schema, parts, self._read_log)

    def _told(self) -> Settings:
        """The parameters, and what a record of every pool takes."""
        chosen, tree = self._chosen, self._tree
        n_inputs, n_labels = self._inputs.n, self.schema_.n_labels
        lanes = chosen["n_models"] * n_labels
        per_label = 8 * (2 + N_CLASSIFIERS) + 5
        adwin = 2 * (WINDOW.itemsize + N_BUCKET_ROWS * (4 + 16 * N_BUCKETS)) + 8 * CLOCK
        return Settings(
            paper=self.mode == "paper",
            grace_period=float(self.grace_period),
            delta=float(chosen["delta"]),
            tau=float(self.tau),
            background_weight=float(self.background_weight),
            switch_delta=float(self.switch_delta),
            min_branch_fraction=float(self.min_branch_fraction),
            max_share=float(self.max_share),
            cardinality=float(self.cardinality_threshold),
            entropy=float(self.entropy_threshold),
            max_depth=int(self.max_depth),
            n_neighbors=int(chosen["n_neighbors"]),
            n_models=int(chosen["n_models"]),
            learning_rate=float(chosen["learning_rate"]),
            decay=float(self.decay),
            drift_delta=float(self.drift_delta),
            warning_delta=float(self.warning_delta),
            naive_bayes=bool(self.naive_bayes),
            threshold=float(chosen["threshold"]),
            seed=int(self.seed),
            max_bytes=float(self.max_bytes),
            node_bytes=float(NODE.itemsize + per_label * n_labels + 4 * chosen["window"] + adwin),
            row_bytes=8.0 * tree.rows.shape[1] * n_inputs,
            event_bytes=float(EVENT.itemsize + n_labels + (0 if self.schema_.sparse else 4 * n_inputs)),
            cell_bytes=8.0 if self.schema_.sparse else 0.0,
            slot_bytes=4.0 * lanes * n_inputs * (1 if self.mode == "paper" else 2),
        )

    def _read_log(self) -> None:
        """Take the lines of the log over into ``events_``."""
        tree = self._tree
        for event, kind, node, depth, place, learned in tree.log[: tree.totals[LOGGED]].tolist():
            entry = {"event": event, "kind": KINDS[kind], "node": node, "depth": depth, "weight": learned}
            if kind == SPLIT:
                names = dict(zip(self._order[1:].tolist(), self._names(), strict=True))
                entry["feature"], _ = names[place]
            self.events_.append(entry)
        tree.totals[LOGGED] = 0

    def _names(self) -> Iterator[tuple[Any, int]]:
        """Names of the inputs in the order of the schema, and for a category the place of its column there, else 0."""
        schema, place = self.schema_, 0
        for column, name in enumerate(schema.feature_names):
            if column in schema.ignored:
                continue
            place = whole = place + 1
            yield name, 0
            for category in schema.categories.get(column, ()):
                place += 1
                yield f"{name}={category}", whole

    def _lay_out(self) -> None:
        """Room for every input and label of the schema."""
        schema, inputs = self.schema_, self._inputs
        if schema.sparse and self._tree.rows.shape[1] > 1:
            self._tree = as_sparse(self._tree)
            self._laid_out = None
        if self._laid_out == schema.version:
            return
        inputs.grow(schema)
        copies = self._chosen["n_models"]
        if schema.n_labels > self._tree.counts.shape[1]:
            self._tree = with_labels(self._tree, schema.n_labels, copies)
            self._seen = with_room(self._seen, self._tree.counts.shape[1])
        if inputs.n > self._tree.rows.shape[2]:
            self._tree = with_inputs(self._tree, inputs.n)
        self._whole_of = np.full(inputs.n, -1, np.int32)
        if inputs.n == 1 + schema.n_features and not schema.categories:
            self._order = np.arange(inputs.n)
        else:
            self._order = inputs.numbers(schema, schema)
            for place, (_, whole) in enumerate(self._names(), 1):
                if whole:
                    self._whole_of[self._order[[place, whole]]] = self._order[whole]
        self._settings = self._told()
        self._rates = np.array([self._chosen["learning_rate"], 0.0, 0.0, 0.5])
        self._laid_out = schema.version

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_laid_out": None}

    # State.

    def _get_state(self) -> State:
        self._lay_out()
        state = to_state(self._tree, self._order, self.schema_.n_labels, self._chosen["n_models"])
        return {
            **state,
            "seen": self._seen[: self.schema_.n_labels].copy(),
            "moments": self._inputs.moments[:, self._order],
        }

    def _set_state(self, state: State) -> None:
        self._start()
        self._lay_out()
        rest = dict(state)
        self._inputs.moments[:, : self._inputs.n] = rest.pop("moments")
        self._seen[: self.schema_.n_labels] = rest.pop("seen")
        self._tree = from_state(self._tree, rest, self._chosen["n_models"])


_DEFAULTS: dict[str, dict[str, Any]] = {
    "paper": {
        "delta": 1.6587784772850855e-7, "n_neighbors": 4, "window": 170, "n_models": 10, "learning_rate": 0.3,
        "threshold": 0.5,
    },
    "default": {
        "delta": 1.6587784772850855e-7, "n_neighbors": 10, "window": 300, "n_models": 1, "learning_rate": 1.0,
        "threshold": 0.4,
    },
}  # fmt: skip
"""What parameters that are None mean in each mode."""


class _Parts(NamedTuple):
    """What single events are answered by and learned in."""

    event: Event
    stream: Stream
    tree: Tree
    settings: Settings
    rates: NDArray[np.float64]
    moments: NDArray[np.float64]
    seen: NDArray[np.uint8]
    threshold: np.float32


class _OneTreeEvent(OneEvent):
    """As `OneEvent`; what the tree notes is read after every event learned."""

    def __init__(self, schema: Schema, parts: _Parts, read_log: Callable[[], None]) -> None:
        super().__init__(schema, _run_one, _bundle(parts), parts.event)
        self._totals, self._read_log = parts.tree.totals, read_log

    def learn(self, x: Mapping[Any, Any], y: Mapping[Any, Any], weight: float) -> bool:
        if not super().learn(x, y, weight):
            return False
        if self._totals[LOGGED]:
            self._read_log()
        return True


@njit(cache=True)
def _bundle(parts):
    return Bundle(parts)


@njit(cache=True, nogil=True)
def _run_one(bundle, values, columns, flags, labels, weight):
    parts = bundle.parts
    event, learn = parts.event, len(flags) > 0
    if not read_values(values, columns, event.x):
        return REFUSED
    read_labels(flags, labels, weight, event)
    event.proba[:] = 0.0
    done = run(
        parts.tree, parts.stream, parts.settings, parts.rates, parts.moments, parts.seen, 0, learn, event.proba
    )  # fmt: skip
    return choose(event.proba[0], parts.threshold, event.chosen) if done else REFUSED
