"""One learner on its way through a stream: it answers, is scored, learns, and is watched for drift."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift import ADWIN
from ihomer.evaluation.metrics import MultiLabelMetrics
from learners.base import Learner
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction, Rows

Answer = TypeVar("Answer")

SCOPES = ("cumulative", "window", "fading")


class Track:
    """A learner and everything that is kept about it while a stream runs.

    Parameters
    ----------
    name
        What results call the learner.
    model
        The learner.
    baseline
        Whether it runs for comparison only.
    spacing
        Scored events between two points of the curves; doubled, and every second point dropped, when there are more
        than ``most_points``. A number of points that does not depend on how the stream is cut.
    window, fading
        Of `MultiLabelMetrics`.

    Notes
    -----
    The drift watched here is that of the learner's loss, 1 - Jaccard of an event's true and predicted label sets (0
    where both are empty), of completely labelled events, by `drift.ADWIN` with its
    defaults. ``before`` and ``after`` are its mean before the event of the alarm and after it has cut its window.
    """

    most_points = 400

    def __init__(
        self,
        name: str,
        model: Learner,
        *,
        baseline: bool = False,
        spacing: int = 64,
        window: int = 1000,
        fading: float = 0.999,
    ) -> None:
        self.name, self.model, self.baseline, self.spacing = name, model, baseline, spacing
        self.metrics = MultiLabelMetrics(window=window, fading=fading)
        self.detector = ADWIN()
        self.drifts: list[dict[str, Any]] = []
        self.curve: list[dict[str, Any]] = []
        self.scored = 0
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self._numbers: tuple[int, int, NDArray[np.int32] | None] = (-1, -1, None)

    def warm_up(self, batch: Batch) -> None:
        """Have the learner's code compiled before the clock starts, on a copy that is thrown away."""
        copy = self.model.clone()
        # All of the batch, since some code is first reached after a hundred events, such as tests of the hierarchy.
        copy.test_then_train(batch)
        copy.predict_batch(batch[:2])

    def test_then_train(self, batch: Batch) -> Prediction:
        """Answer, score and learn the events of ``batch``."""
        prediction = self._renumbered(self._timed(self.model.test_then_train, batch), batch)
        self.score(batch, prediction)
        return prediction

    def predict(self, batch: Batch) -> Prediction:
        """Answer the events of ``batch``."""
        return self._renumbered(self._timed(self.model.predict_batch, batch), batch)

    def learn(self, batch: Batch) -> None:
        """Learn the events of ``batch``, which have been scored."""
        self._timed(self.model.learn_batch, batch)

    def _timed(self, method: Callable[[Batch], Answer], batch: Batch) -> Answer:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = method(batch)
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu
        return answer

    def score(self, batch: Batch, prediction: Prediction) -> None:
        """Count the answers to those events of ``batch`` whose labels are known, completely or partly."""
        labelled = np.flatnonzero(batch.label_state != UNLABELLED)
        done = first = 0
        while done < len(labelled):
            count = min(self.spacing - self.scored % self.spacing, len(labelled) - done)
            done += count
            stop = int(labelled[done - 1]) + 1
            self.metrics.update(batch[first:stop], prediction[first:stop])
            self.scored += count
            first = stop
            if self.scored % self.spacing == 0:
                self._mark(batch.schema.n_labels)
        self._watch(batch, prediction)

    def _mark(self, n_labels: int) -> None:
        """Put a point on the curves."""
        self.curve.append({"event": self.scored, **{scope: self.read(scope, n_labels) for scope in SCOPES}})
        if len(self.curve) > self.most_points:
            del self.curve[0::2]
            self.spacing *= 2

    def read(self, scope: str, n_labels: int) -> dict[str, float]:
        """The metrics now: over the whole stream, over the last events, or fading."""
        readers = {"cumulative": self.metrics.cumulative, "window": self.metrics.windowed, "fading": self.metrics.faded}
        return readers[scope](n_labels)

    def _watch(self, batch: Batch, prediction: Prediction) -> None:
        complete = np.flatnonzero(batch.label_state == COMPLETE)
        true, answered = batch.y, prediction.labels
        losses = _jaccard_losses(true.indptr, true.indices, answered.indptr, answered.indices)[complete]
        before = self.detector.get_state()
        if not len(self.detector.update_many(losses)):
            return
        # An alarm is rare: go back and take the batch in pieces, to know the level on both sides of it.
        event = self.scored - int((batch.label_state != UNLABELLED).sum())
        place = np.cumsum(batch.label_state != UNLABELLED)[complete] + event
        self.detector.set_state(before)
        for loss, at in zip(losses, place, strict=True):
            level = self.detector.estimation
            self.detector.update(float(loss))
            if self.detector.drift_detected:
                self.drifts.append(
                    {
                        "event": int(at),
                        "kind": "loss",
                        "detector": "ADWIN",
                        "before": float(level),
                        "after": float(self.detector.estimation),
                    }
                )

    def _renumbered(self, prediction: Prediction, batch: Batch) -> Prediction:
        """``prediction`` with the label numbers of the batch's schema instead of the learner's."""
        mine, theirs = self.model.schema_, batch.schema
        if self._numbers[:2] != (mine.n_labels, theirs.n_labels):
            to = np.array([theirs.label_id(name) for name in mine.label_names], np.int32)
            same = bool((to == np.arange(len(to))).all())
            self._numbers = (mine.n_labels, theirs.n_labels, None if same else to)
        to_theirs = self._numbers[2]
        if to_theirs is None:
            return prediction
        proba = prediction.proba
        if isinstance(proba, Rows):
            proba = proba.renumbered(to_theirs)
        elif proba is not None:
            wide = np.zeros((len(proba), theirs.n_labels), np.float32)
            wide[:, to_theirs[: proba.shape[1]]] = proba
            proba = wide
        return Prediction(prediction.labels.renumbered(to_theirs), proba)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything that a run which goes on later needs, times included."""
        log = {
            "drifts": self.drifts,
            "curve": self.curve,
            "scored": self.scored,
            "spacing": self.spacing,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
        }
        parts = {
            "model": self.model.get_state(),
            "metrics": self.metrics.get_state(),
            "detector": self.detector.get_state(),
        }
        state = {f"{part}/{key}": array for part, arrays in parts.items() for key, array in arrays.items()}
        state["log"] = np.frombuffer(json.dumps(log).encode(), np.uint8)
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        for key, value in json.loads(state["log"].tobytes()).items():
            setattr(self, key, value)
        parts: dict[str, dict[str, NDArray[Any]]] = {"model": {}, "metrics": {}, "detector": {}}
        for name, array in state.items():
            part, _, key = name.partition("/")
            if part in parts:
                parts[part][key] = array
        self.model.set_state(parts["model"])
        self.metrics.set_state(parts["metrics"])
        self.detector.set_state(parts["detector"])


@njit(cache=True, nogil=True)
def _jaccard_losses(true_indptr, true_indices, answer_indptr, answer_indices):
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
