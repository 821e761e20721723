"""One learner on its way through a stream: it answers, is scored, learns, and is watched for drift."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ihomer.checkpoint import below
from ihomer.detectors import LOSS, AnyDetector, fresh, name_of
from ihomer.evaluation.arguments import Arguments
from ihomer.evaluation.calibration import Calibration
from ihomer.evaluation.metrics import MultiLabelMetrics
from ihomer.evaluation.ranking import RankingMetrics
from ihomer.evaluation.single_label import SingleLabelMetrics
from ihomer.evaluation.suffix import Suffix
from ihomer.evaluation.watching import losses, watch_loss
from learners.base import Learner
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction, Rows

Answer = TypeVar("Answer")

SCOPES = ("cumulative", "window", "fading")

_LATER_PARTS = ("ranking", "single_label", "calibration", "suffix")
_PARTS = ("model", "metrics", "detector", *_LATER_PARTS)
"""What has a state of its own; the states of earlier releases lack the later parts."""


class Track:
    """A learner and everything that is kept about it while a stream runs.

    Parameters
    ----------
    name
        What results call the learner.
    model
        The learner.
    baseline
        Whether it is one of the two that every learner is held against.
    silent
        Whether it is scored beside others and its answers are written nowhere, as a baseline's are.
    spacing
        Scored events between two points of the curves; doubled, and every second point dropped, when there are more
        than ``most_points``. A number of points that does not depend on how the stream is cut.
    detector
        What watches the loss: a name, a specification, or a detector of change in a number, which is copied afresh.
    window, fading
        Of `MultiLabelMetrics`, `RankingMetrics` and `SingleLabelMetrics`.
    further_metrics
        Whether ``ranking``, ``single_label`` and ``calibration`` are kept beside ``metrics``. With a fast learner they
        cost a fifth to a third of the time of an evaluation.
    suffix
        What scores the end of the stream once more; None: nothing does.

    Notes
    -----
    The further metrics are None without ``further_metrics``, and in a track that goes on from a state without them, as
    earlier releases left it: they could not tell of the whole stream.

    The drift watched here is that of the learner's loss, 1 - Jaccard of an event's true and predicted label sets (0
    where both are empty), of completely labelled events. A drift of `drift.ADWIN` has ``before`` and ``after``, its
    mean before the event of the alarm and after it has cut its window.
    """

    most_points = 400

    def __init__(
        self,
        name: str,
        model: Learner,
        *,
        baseline: bool = False,
        silent: bool = False,
        spacing: int = 64,
        window: int = 1000,
        fading: float = 0.999,
        detector: str | AnyDetector = "adwin",
        further_metrics: bool = True,
        suffix: Suffix | None = None,
    ) -> None:
        self.name, self.model, self.spacing = name, model, spacing
        self.baseline, self.silent = baseline, silent or baseline
        self.metrics = MultiLabelMetrics(window=window, fading=fading)
        self.ranking: RankingMetrics | None = None
        self.single_label: SingleLabelMetrics | None = None
        self.calibration: Calibration | None = None
        if further_metrics:
            self.ranking = RankingMetrics(window=window, fading=fading)
            self.single_label = SingleLabelMetrics(window=window, fading=fading)
            self.calibration = Calibration()
        self.suffix = suffix
        self.detector = fresh(detector, LOSS)
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
        events = Arguments.of(batch, prediction)
        labelled = np.flatnonzero(events.state != UNLABELLED)
        done = first = 0
        while done < len(labelled):
            count = min(self.spacing - self.scored % self.spacing, len(labelled) - done)
            done += count
            stop = int(labelled[done - 1]) + 1
            some = events[first:stop]
            self.metrics.count(some)  # first, since it refuses what is no probability
            for further in (self.ranking, self.single_label):
                if further is not None:
                    further.count(some)
            self.scored += count
            first = stop
            if self.scored % self.spacing == 0:
                self._mark(batch.schema.n_labels)
        if self.calibration is not None:
            self.calibration.count(events)
        # Numbers of the events scored, of which this batch's have been counted already.
        places = self.scored - len(labelled) + np.cumsum(batch.label_state != UNLABELLED)
        if self.suffix is not None:
            self.suffix.count(events, places)
        self._watch(batch, prediction, places)

    def _mark(self, n_labels: int) -> None:
        """Put a point on the curves."""
        self.curve.append({"event": self.scored, **{scope: self.read(scope, n_labels) for scope in SCOPES}})
        if len(self.curve) > self.most_points:
            del self.curve[0::2]
            self.spacing *= 2

    def read(self, scope: str, n_labels: int) -> dict[str, float]:
        """The metrics now: over the whole stream, over the last events, or fading."""
        reader = {"cumulative": "cumulative", "window": "windowed", "fading": "faded"}[scope]
        scores: dict[str, float] = {}
        for metrics in (self.metrics, self.ranking, self.single_label):
            if metrics is not None:
                scores |= getattr(metrics, reader)(n_labels)
        return scores

    def _watch(self, batch: Batch, prediction: Prediction, places: NDArray[np.int64]) -> None:
        complete = np.flatnonzero(batch.label_state == COMPLETE)
        values = losses(batch.y, prediction.labels)[complete]
        self.drifts += watch_loss(self.detector, values, places[complete], name_of(self.detector))

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
        state = {
            f"{part}/{key}": array
            for part in _PARTS
            if getattr(self, part) is not None
            for key, array in getattr(self, part).get_state().items()
        }
        state["log"] = np.frombuffer(json.dumps(log).encode(), np.uint8)
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        for key, value in json.loads(state["log"].tobytes()).items():
            setattr(self, key, value)
        for part in _PARTS:
            arrays = below(part, state)
            if part in _LATER_PARTS and not arrays:
                setattr(self, part, None)
            elif getattr(self, part) is not None:
                getattr(self, part).set_state(arrays)
