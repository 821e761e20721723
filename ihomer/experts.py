"""The experts that look at every event, and their shadows: fresh copies that learn from an alarm on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Columns, Events, SharedRows
from ihomer.label_window import LabelWindow
from ihomer.neighbours import WIDEST_SCORES, NearestEvents, NearestRows, score_rows
from ihomer.ridge import RidgeExpert
from ihomer.shortlist import Shortlist
from ihomer.stack import Evidence
from ihomer.temporal import LabelPast
from learners.base import Learner
from learners.linear import LinearClassifier
from learners.trees.extra_trees import ExtraTreesClassifier
from streams.batch import Batch, Prediction, Rows, Schema

EXPERTS = ("ridge", "logistic", "neighbours", "score-neighbours", "trees")
"""What the stack may listen to beside the labels' own past and a local learner."""

USUAL = EXPERTS[:4]
"""What it listens to unless told otherwise."""

SHARPNESS, SCORE_SHARPNESS = 16.0, 8.0
_K, _SCORE_K = 30, 20

_SURE = 3e-4
"""Probabilities of a learner count as at least this far from 0 and 1."""

_LIFE = 2000
"""Events after which a shadow takes the place of the expert that it stands beside."""

ABSENT = np.zeros(0, np.float32)
"""What an expert says that there is not."""


class Said(NamedTuple):
    """What the experts that hold a column a label say of each cell, float32, `ABSENT` for those that there are not."""

    ridge: NDArray[np.float32]
    logistic: NDArray[np.float32]
    shadow_ridge: NDArray[np.float32]
    shadow_logistic: NDArray[np.float32]


class Experts:
    """Inputs, windows and experts of an `ihomer.classifier.IHOMERClassifier`, each computed once for all labels.

    Parameters
    ----------
    names
        Which of `EXPERTS` there are.
    local
        A further learner that answers for every label, or None.
    window
        Events among which neighbours are sought.
    limit
        Labels beyond which only a `Shortlist` is looked at, and the logistic expert, which learns every label with
        every event, falls silent.
    seed
        Of the trees.

    Notes
    -----
    After an alarm shadows of the ridge and the logistic expert begin, which know nothing of what was before. They take
    the place of the experts after 2,000 events, or when the next alarm comes. From the alarm on neighbours by scores
    are sought among later events alone: a few dozen tell what the old scores have come to speak for; and how often
    labels occur is counted in later events. Neighbours by inputs and trees have windows that forget by themselves.
    """

    def __init__(self, names: Collection[str], local: Learner | None, window: int, limit: int, seed: int) -> None:
        self.names, self.limit = names, limit
        self.rows, self.past = SharedRows(), LabelPast()
        self.nearest, self.labels = NearestEvents(window, _K), LabelWindow(window)
        self.nearest_scores = NearestRows(window, _SCORE_K, widest=WIDEST_SCORES)
        self.shortlist = Shortlist(limit)
        self.local = local
        self.ridge, self.logistic = self._fresh()
        self.shadow_ridge, self.shadow_logistic = self._fresh()
        self.trees = ExtraTreesClassifier(seed=seed)
        self.has_shadow, self.are_few = False, True
        self._age = 0

    def look(self, batch: Batch, schema: Schema, columns: Columns, events: Events) -> tuple[Cells, Evidence]:
        """Where to look in each event, and what the experts say there; then they learn the event."""
        rows = self.rows.run(batch, schema, events.taught)
        near = self.nearest.run(batch, schema, rows, self.rows.n, events.taught)
        self.labels.take(events)
        cells = self.shortlist.run(events, near, self.labels)
        learn = bool(events.taught.any())
        ridge, logistic, shadow_ridge, shadow_logistic = self._ask(rows, batch, columns, events, cells)
        votes = score_votes = local = trees = ABSENT
        if "neighbours" in self.names:
            votes = self.labels.vote(near, cells, SHARPNESS)
        if "score-neighbours" in self.names:
            near = self.nearest_scores.run(score_rows(cells, ridge), int(events.born[-1]), events.taught)
            score_votes = self.labels.vote(near, cells, SCORE_SHARPNESS)
        if self.local is not None:
            local = _logits(self.local, batch, learn, columns, cells)
        if "trees" in self.names:
            trees = _shares(self.trees, batch, learn, columns, cells)
        self.grow_older(int(np.count_nonzero(events.taught)))
        past = self.past.run(events, cells)
        if "ridge" not in self.names:
            ridge = shadow_ridge = ABSENT
        return cells, Evidence(past, ridge, logistic, votes, score_votes, local, shadow_ridge, shadow_logistic, trees)

    def _ask(self, rows: Rows, batch: Batch, columns: Columns, events: Events, cells: Cells) -> Said:
        """What the experts that hold a column a label say; then they learn the events."""
        learn = bool(events.taught.any())
        ridge = self.ridge.run(rows, self.rows.n, events, cells)
        logistic = shadow_ridge = shadow_logistic = ABSENT
        if self.has_logistic:
            logistic = _logits(self.logistic, batch, learn, columns, cells)
        if self.has_shadow:
            shadow_ridge = self.shadow_ridge.run(rows, self.rows.n, events, cells)
            if self.has_logistic:
                shadow_logistic = _logits(self.shadow_logistic, batch, learn, columns, cells)
        return Said(ridge, logistic, shadow_ridge, shadow_logistic)

    def _fresh(self) -> tuple[RidgeExpert, LinearClassifier]:
        """A ridge and a logistic expert that know nothing."""
        return RidgeExpert(), LinearClassifier()

    @property
    def has_logistic(self) -> bool:
        """Whether the logistic expert has a say."""
        return "logistic" in self.names and self.are_few

    def is_ready(self, schema: Schema) -> bool:
        """Whether `arrays` can be had: there are no experts but the usual ones, and these know the schema's columns."""
        linear = [self.logistic, self.shadow_logistic] if self.has_shadow else [self.logistic]
        silent = not self.has_logistic
        return self.local is None and "trees" not in self.names and (silent or all(e.holds(schema) for e in linear))

    def voters(
        self, batch: Batch, schema: Schema, events: Events
    ) -> list[tuple[tuple[int, float, float], frozenset[int]]]:
        """Number, similarity and share of the vote of the neighbours of a single event, and the labels of each."""
        rows = self.rows.run(batch, schema, events.taught)
        near = self.nearest.run(batch, schema, rows, self.rows.n, events.taught)
        found = near.event[0] >= 0
        event, similarity = near.event[0][found], near.similarity[0][found]
        vote = self.labels.weights(event) * np.exp(SHARPNESS * (similarity - similarity.max(initial=-1)))
        share = vote / max(vote.sum(), 1e-300)
        told = zip(event.tolist(), similarity.tolist(), share.tolist(), strict=True)
        return [(one, frozenset(self.labels.present(one[0]).tolist())) for one in told]

    def count(self, n_labels: int) -> bool:
        """Take notice of the number of labels born; True if they are many now, and the logistic expert is given up."""
        if not self.are_few or n_labels <= self.limit:
            return False
        self.are_few = False
        _, self.logistic = self._fresh()
        _, self.shadow_logistic = self._fresh()
        return True

    def grow_older(self, n: int) -> None:
        """Take notice of so many events that the shadows, if any, have learned."""
        if self.has_shadow:
            self._age += n

    @property
    def is_due(self) -> bool:
        """Whether the shadows have learned enough to take over."""
        return self.has_shadow and self._age >= _LIFE

    def promote(self) -> None:
        """Let the shadows take over."""
        self.ridge, self.logistic = self.shadow_ridge, self.shadow_logistic
        self.shadow_ridge, self.shadow_logistic = self._fresh()
        self.has_shadow, self._age = False, 0

    def shorten(self, window: int, schema: Schema) -> None:
        """Seek neighbours among the last ``window`` events from now on, at most among as many as before."""
        self.nearest.shorten(window, schema)
        self.nearest_scores.shorten(window)
        self.labels.shorten(window)

    def begin_shadow(self) -> None:
        """Let shadows begin, and give up what past scores spoke for and how often labels were."""
        self.shadow_ridge, self.shadow_logistic = self._fresh()
        self.has_shadow, self._age = True, 0
        self.nearest_scores.forget()
        self.past.forget()

    def get_state(self, schema: Schema) -> dict[str, NDArray[Any]]:
        """Everything learned; names of arrays begin with the part's."""
        state = {
            "rows": self.rows.get_state(schema),
            "nearest": self.nearest.get_state(schema),
            **{name: part.get_state() for name, part in self._parts().items()},
        }
        flat = {f"{part}/{name}": array for part, arrays in state.items() for name, array in arrays.items()}
        return {**flat, "flags": np.array([self._age, self.has_shadow, self.are_few])}

    def set_state(self, state: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        """Take over what ``get_state`` gave."""
        self._age, shadow, few = state["flags"].tolist()
        self.has_shadow, self.are_few = bool(shadow), bool(few)
        parts = by_part(state)
        records, stored = parts["window"]["records"], int(parts["window"]["stored"][0])
        if len(records) < stored:
            self.nearest.size = self.nearest_scores.size = self.labels.size = len(records)
        self.rows.set_state(parts["rows"], schema)
        self.nearest.set_state(parts["nearest"], schema)
        for name, part in self._parts().items():
            part.set_state(parts[name])

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "past": self.past,
            "window": self.labels,
            "shortlist": self.shortlist,
            "score_neighbours": self.nearest_scores,
            "ridge": self.ridge,
            "logistic": self.logistic,
            "shadow_ridge": self.shadow_ridge,
            "shadow_logistic": self.shadow_logistic,
        }
        if self.local is not None:
            parts["local"] = self.local
        if "trees" in self.names:
            parts["trees"] = self.trees
        return parts


def by_part(state: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays of each part, whose names begin with the part's and a slash."""
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for path, array in state.items():
        part, _, name = path.partition("/")
        parts.setdefault(part, {})[name] = array
    return parts


def run_learner(learner: Learner, batch: Batch, learn: bool) -> Prediction:
    """What a learner answers; then it learns the events, if ``learn``."""
    return learner.test_then_train(batch) if learn else learner.predict_batch(batch)


def no_probabilities(learner: Learner) -> TypeError:
    """What to raise where a learner gave none."""
    return TypeError(f"local must be a learner with probabilities, got {type(learner).__name__}")


def _logits(learner: Learner, batch: Batch, learn: bool, columns: Columns, cells: Cells) -> NDArray[np.float32]:
    """What a learner says of each cell, before it learns the event."""
    said = np.empty(len(cells.label), np.float32)
    write_logits(_proba(learner, batch, learn, columns), columns.labels, cells, said)
    return said


def _shares(learner: Learner, batch: Batch, learn: bool, columns: Columns, cells: Cells) -> NDArray[np.float32]:
    """The probability that a learner gives each cell, before it learns the event."""
    said = np.empty(len(cells.label), np.float32)
    _write_shares(_proba(learner, batch, learn, columns), columns.labels, cells, said)
    return said


def _proba(learner: Learner, batch: Batch, learn: bool, columns: Columns) -> NDArray[np.floating]:
    """The probabilities that a learner gives, before it learns the events; it may know fewer labels."""
    proba = run_learner(learner, batch, learn).proba
    if proba is None:
        raise no_probabilities(learner)
    return proba.to_dense(int(columns.labels.max(initial=-1)) + 1) if isinstance(proba, Rows) else proba


@njit(cache=True, nogil=True)
def _write_shares(proba, labels, cells, shares):
    """Write the probability of each cell; 0 where a label is not known."""
    for i in range(len(cells.start) - 1):
        for cell in range(cells.start[i], cells.start[i + 1]):
            label = labels[cells.label[cell]]
            shares[cell] = proba[i, label] if label < proba.shape[1] else 0.0


@njit(cache=True, nogil=True)
def write_logits(
    proba: NDArray[np.floating], labels: NDArray[np.int32], cells: Cells, logits: NDArray[np.float32]
) -> None:
    """Write the logit of what a learner says of each cell; a label that it does not know is unlikely."""
    for i in range(len(cells.start) - 1):
        for cell in range(cells.start[i], cells.start[i + 1]):
            label = labels[cells.label[cell]]
            p = np.float64(proba[i, label]) if label < proba.shape[1] else 0.0
            p = min(max(p, _SURE), 1.0 - _SURE)
            logits[cell] = np.log(p / (1.0 - p))
