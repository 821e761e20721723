"""Watching for change: the loss of a learner, and the labels and features of the stream itself, as typed events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.pickled import trusting_pickle
from ihomer.checkpoint import below, nested
from ihomer.detectors import AnyDetector, evidence, fresh, kind_of, of_losses, watched
from streams.batch import COMPLETE, UNLABELLED, Batch, Rows, Schema

MOST_FEATURES = 10_000
"""Columns of features up to which they are watched: detectors hold some thousand rows of them."""

MOST_NAMES = 20
"""Labels and features that an event names."""


def losses(true: Rows, answered: Rows) -> NDArray[np.float64]:
    """1 - Jaccard of the true and the answered label set of every event; 0 where both are empty."""
    return cast("NDArray[np.float64]", _losses(true.indptr, true.indices, answered.indptr, answered.indices))


def watch_loss(
    detector: AnyDetector, values: NDArray[np.float64], places: NDArray[np.int64], name: str
) -> list[dict[str, Any]]:
    """Take losses in; an event for every alarm.

    Parameters
    ----------
    detector
        Of change in a number. An event has its ``statistic`` and ``threshold``, or the ``estimation``, ``before`` and
        ``after`` the alarm, whichever it tells.
    values
        The losses, in [0, 1].
    places
        What the events say of where they are, a number each.
    name
        What they call the detector.
    """
    values = of_losses(detector, values)
    before = detector.get_state()
    alarms = detector.update_many(values)
    if not len(alarms):
        return []
    # An alarm is rare: go back and take the values in pieces, to see the detector on both sides of it.
    with trusting_pickle():  # it is of a moment ago
        detector.set_state(before)
    found, start = [], 0
    for alarm in alarms.tolist():
        detector.update_many(values[start:alarm])
        levels = {"before": getattr(detector, "estimation", None)}
        detector.update_many(values[alarm : alarm + 1])
        levels["after"] = getattr(detector, "estimation", None)
        told = {what: float(level) for what, level in levels.items() if level is not None}
        found.append({"event": int(places[alarm]), "kind": "loss", "detector": name} | told | evidence(detector))
        start = alarm + 1
    detector.update_many(values[start:])
    return found


class StreamWatch:
    """Detectors on the labels and the features of a stream, whatever is learned from it.

    Parameters
    ----------
    watch
        What `detectors.watched` reads: ``labels``, ``features``, specifications, or detectors, which are copied afresh.

    Attributes
    ----------
    alarms
        A JSON object for every alarm: ``event``, ``kind`` (``labels-prior``, ``labels-cardinality``,
        ``label-dependency``, ``features``), ``detector``, ``statistic`` and ``threshold`` where there are such, and
        ``labels`` or ``features``, the names of the first `MOST_NAMES` concerned, where the detector tells them.

    Notes
    -----
    ``event`` counts from 1: events of which some label is known for detectors of labels, events that could be read for
    those of features. A partly labelled event is missing to the former. A nominal feature is the number of its
    category. Of a source that does not know its features beforehand, those up to
    the last that the first event has are watched.

    Alarms do not depend on how the stream is cut into batches: where there is one, the batch is taken in pieces.
    """

    def __init__(self, watch: str | Sequence[str | AnyDetector]) -> None:
        self.detectors = [fresh(item) for item in watched(watch)]
        for detector in self.detectors:
            if kind_of(detector) == "loss":
                raise ValueError(f"watch must name detectors of labels or features, got {type(detector).__name__}")
        self.alarms: list[dict[str, Any]] = []
        self.n_labelled = 0
        self.n_rows = 0
        self.n_features = 0

    def begin(self, schema: Schema) -> None:
        """Say what is known of the stream before its first event."""
        self.n_features = schema.n_features

    def see_features(self, batch: Batch) -> None:
        """Take in the features of events, as they are read."""
        mine = [detector for detector in self.detectors if kind_of(detector) == "features"]
        if mine and len(batch):
            x = self._dense(batch)
            for detector in mine:

                def feed(start: int, stop: int, detector: AnyDetector = detector) -> NDArray[np.int64]:
                    return detector.update_many(x[start:stop])

                self._feed(detector, feed, batch)
        self.n_rows += len(batch)

    def see_labels(self, batch: Batch) -> None:
        """Take in the labels of events, as they come; those without any are passed over."""
        labelled = np.flatnonzero(batch.label_state != UNLABELLED)
        if len(labelled) < len(batch):
            batch = batch.take(labelled)
        known = batch.label_state == COMPLETE
        for detector in self.detectors:
            if len(batch) and kind_of(detector) != "features":

                def feed(start: int, stop: int, detector: Any = detector) -> NDArray[np.int64]:
                    alarms: NDArray[np.int64] = detector.update_many(batch.y[start:stop], known[start:stop])
                    return alarms

                self._feed(detector, feed, batch)
        self.n_labelled += len(batch)

    def _feed(self, detector: AnyDetector, feed: Callable[[int, int], NDArray[np.int64]], batch: Batch) -> None:
        """Have a detector take in a batch; go back to each alarm, to see the detector as it was then."""
        start = 0
        while start < len(batch):
            before = detector.get_state() if len(batch) - start > 1 else {}
            alarms = feed(start, len(batch))
            if not len(alarms):
                return
            first = start + int(alarms[0]) + 1
            if first < len(batch):
                with trusting_pickle():
                    detector.set_state(before)
                feed(start, first)
            self.alarms.append(self._event(detector, first, batch))
            start = first

    def _event(self, detector: AnyDetector, place: int, batch: Batch) -> dict[str, Any]:
        kind = kind_of(detector)
        names = {"labels": batch.schema.label_names, "features": batch.schema.feature_names}
        seen = self.n_rows if kind == "features" else self.n_labelled
        concerned = {
            what: [names[what][number] for number in getattr(detector, what)[:MOST_NAMES].tolist()]
            for what in names
            if hasattr(detector, what)
        }
        event = {"event": seen + place, "kind": kind, "detector": type(detector).__name__}
        return event | evidence(detector) | concerned

    def _dense(self, batch: Batch) -> NDArray[np.float64]:
        if not self.n_features:
            first = batch.x.row(0) if isinstance(batch.x, Rows) else np.flatnonzero(~np.isnan(batch.x[0]))
            self.n_features = int(first.max(initial=-1)) + 1
        n = self.n_features
        if not 1 <= n <= MOST_FEATURES:
            raise ValueError(f"features can be watched where there are 1 to {MOST_FEATURES:,}, got {n:,}")
        x = batch.x.to_dense(batch.schema.n_features) if isinstance(batch.x, Rows) else batch.x
        values = np.full((len(batch), n), np.nan)
        width = min(n, x.shape[1])
        values[:, :width] = x[:, :width]
        return values

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything that a run which goes on later needs."""
        log = {name: getattr(self, name) for name in ("alarms", "n_labelled", "n_rows", "n_features")}
        state = {"log": np.frombuffer(json.dumps(log).encode(), np.uint8)}
        for number, detector in enumerate(self.detectors):
            state |= nested(str(number), detector.get_state())
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        for name, value in json.loads(state["log"].tobytes()).items():
            setattr(self, name, value)
        for number, detector in enumerate(self.detectors):
            detector.set_state(below(str(number), state))


@njit(cache=True, nogil=True)
def _losses(true_indptr, true_indices, answer_indptr, answer_indices):
    """1 - intersection / union of two ascending lists a row; 0 where both are empty."""
    n = len(true_indptr) - 1
    losses = np.zeros(n)
    for i in range(n):
        a, a_end = true_indptr[i], true_indptr[i + 1]
        b, b_end = answer_indptr[i], answer_indptr[i + 1]
        total = (a_end - a) + (b_end - b)
        shared = 0
        while a < a_end and b < b_end:
            if true_indices[a] == answer_indices[b]:
                shared += 1
                a += 1
                b += 1
            elif true_indices[a] < answer_indices[b]:
                a += 1
            else:
                b += 1
        if total > 0:
            losses[i] = 1.0 - shared / (total - shared)
    return losses
