"""Answers to held-out events of the classes that a stream has shown so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.batch import Batch, Name, Prediction, Rows, Schema
from streams.siblurry.labelled import NO_LABEL, LabelledEvents
from streams.siblurry.source import ArrangedSource

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class ExposedTest:
    """The held-out events, sorted by when their class first comes: at any place those to be asked are the first ones.

    Parameters
    ----------
    events
        With a test part.
    source
        The stream of the other part.

    Attributes
    ----------
    batch
        The held-out events under the stream's label numbers, without labels.
    codes
        Class of each, as a number into ``classes``.
    classes
        Names of the labels in the order in which they first come, and at last one for events without labels,
        if there are any.
    """

    def __init__(self, events: LabelledEvents, source: ArrangedSource) -> None:
        assert events.test is not None, "events must be set aside"
        n_labels = events.batch.schema.n_labels
        number = np.empty(n_labels + 1, np.int64)
        number[source.label_order] = np.arange(n_labels)
        # NO_LABEL is -1, the last entry.
        number[NO_LABEL] = n_labels
        births = np.full(n_labels + 1, source.n_events, np.int64)
        births[: len(source.births)] = source.births
        arranged = source.arrangement
        unlabelled = np.flatnonzero(number[np.array(arranged.classes, np.int64)[arranged.codes]] == n_labels)
        births[n_labels] = unlabelled[0] if len(unlabelled) else source.n_events
        codes = number[events.classes(events.test)]
        order = np.argsort(births[codes], kind="stable")
        renumbered = source.renumbered(events.test.take(order))
        self.truth = renumbered.y
        self.batch = Batch(
            source.schema,
            renumbered.x,
            Rows.empty(len(order)),
            np.zeros(len(order), np.uint8),
            payload=renumbered.payload,
        )
        self.codes: Integers = codes[order]
        self._births = births[self.codes]
        names = events.batch.schema.label_names
        self.classes: list[Name] = [names[column] for column in source.label_order]
        if len(unlabelled) or (self.codes == n_labels).any():
            self.classes.append("(no label)")
        self.single_label = events.is_single_label
        self.births: Integers = births[: len(self.classes)]
        """Event with which each class first comes; the length of the stream where it never does."""

    def n_exposed(self, place: int) -> int:
        """How many of the events are of classes that came before ``place``."""
        return int(np.searchsorted(self._births, place, side="left"))

    def by_class(self, right: Floats) -> tuple[Floats, Integers]:
        """Sum of the scores of the first events, and how many these are, for each class."""
        codes, n = self.codes[: len(right)], len(self.classes)
        return np.bincount(codes, right, n).astype(np.float64), np.bincount(codes, minlength=n).astype(np.int64)


def scores(answers: Prediction, truth: Rows, names: Sequence[Name], schema: Schema, single_label: bool) -> Floats:
    """How right each answer is, from 0 to 1.

    Parameters
    ----------
    answers
        Their labels are columns of ``schema``.
    truth
        The true labels, as numbers into ``names``; larger ones are of labels that did not come yet, and left out.
    names
        The labels that came so far.
    schema
        The learner's.
    single_label
        Whether each event has one label. Then an answer is right if the most probable of ``names`` is the label: of
        equals the first, and where no probability is above 0, or the learner has none, the first label that was
        answered. Otherwise the score is the F1 of the answered and the true label set, 1 if both are empty.
    """
    columns = np.array([schema.find_label(name) for name in names], np.int64)
    to = np.full(schema.n_labels, -1, np.int32)
    to[columns[columns >= 0]] = np.flatnonzero(columns >= 0)
    labels = answers.labels.renumbered(to)
    if single_label:
        return np.asarray(top(answers, labels, columns) == truth.indices, np.float64)
    keep = np.full(int(truth.indices.max(initial=-1)) + 1, -1, np.int32)
    keep[: len(names)] = np.arange(min(len(names), len(keep)))
    true = truth.renumbered(keep)
    hits = _cells(true, len(names))[np.isin(_cells(true, len(names)), _cells(labels, len(names)))] // max(1, len(names))
    both = np.bincount(hits, minlength=len(true))
    total = np.diff(true.indptr) + np.diff(labels.indptr)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def top(answers: Prediction, labels: Rows, columns: Integers) -> Integers:
    """The one class that each answer comes to, as a place in ``columns``, or -1 if it is none."""
    first = np.full(len(labels), -1, np.int64)
    some = np.diff(labels.indptr) > 0
    first[some] = labels.indices[labels.indptr[:-1][some]]
    proba = answers.proba
    if proba is None or not len(columns):
        return first
    if isinstance(proba, Rows):
        proba = proba.to_dense(int(max(columns.max(), proba.indices.max(initial=0))) + 1)
    held = np.flatnonzero((columns >= 0) & (columns < proba.shape[1]))
    if not len(held):
        return first
    cells = proba[:, columns[held]]
    return np.where(cells.max(1) > 0, held[cells.argmax(1)], first)


def _cells(rows: Rows, width: int) -> Integers:
    """Each listed cell as one number."""
    return np.repeat(np.arange(len(rows)), np.diff(rows.indptr)) * max(1, width) + rows.indices
