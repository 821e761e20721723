"""The multi-label metrics of the house as metrics of river, an event at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

import numpy as np
from river.metrics.base import Metrics
from river.metrics.multioutput.base import MultiOutputClassificationMetric, MultiOutputMetric

from ihomer.evaluation import counting
from ihomer.evaluation.metrics import MultiLabelMetrics

_MISSED, _ALARM, _HIT = range(3)
"""Columns of the outcome counts."""

_NO_CELLS = np.zeros(0, np.int32)
_NO_OUTCOMES = np.zeros((0, 1, 3))


class RiverMetric(MultiOutputClassificationMetric):
    """A metric of `MultiLabelMetrics`, since the first event, that river can use.

    ``update`` and ``revert`` take mappings: the truth, of label to True, False or None (unknown), and the answer, of
    label to True or False.

    Notes
    -----
    A label that the truth leaves out is unknown: an event is complete if it names every label that the truth has named
    so far, and one that names none is not counted. One that the answer leaves out is False, and one that only the
    answer has is a false alarm in complete events. The number of labels is that of those named by the truth or answered
    True. After the same events ``get`` is that of `MultiLabelMetrics`, bit for bit: NaN where there was nothing to take
    a mean of. Weights play no part.

    ``revert`` takes back an event that ``update`` was given, the oldest of equal ones, and leaves no rounding errors:
    what remains is counted afresh at the next ``get``, in O(events that remain); in another order, so that means over
    events may differ in the last bits from those of the windowed scope. Memory: the labels, and an entry for each
    different combination of an event's numbers of true, answered and shared labels.

    Examples
    --------
    >>> metric = river_metric("micro_f1")
    >>> metric.update({"a": True, "b": True, "c": False}, {"a": True})
    >>> metric
    MicroF1: 66.67%
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self._named: dict[Any, int] = {}
        self._rows: dict[Any, int] = {}
        self._outcomes: list[list[int]] = []
        self._sums = np.zeros((1, counting.N_SUMS))
        self._sizes: Counter[tuple[int, int, int, int]] = Counter()
        self._complete: Counter[int] = Counter()
        self._is_stale = False

    def update(self, y_true: Mapping[Any, Any], y_pred: Mapping[Any, Any], w: float = 1.0) -> None:
        """Count an event.

        Raises
        ------
        TypeError
            The answer holds probabilities.
        """
        predicted = _present(y_pred)
        known = {label: bool(value) for label, value in y_true.items() if value is not None}
        for label in y_true:
            self._named.setdefault(label, len(self._named))
            self._row(label)
        is_complete = 0 < len(known) == len(self._named)
        sizes, outcomes = _counted(known, predicted, is_complete)
        for label, kind in outcomes:
            self._outcomes[self._row(label)][kind] += 1
        self._sizes[sizes] += 1
        self._complete[len(known)] += is_complete
        if not self._is_stale:
            self._tally([sizes])

    def revert(self, y_true: Mapping[Any, Any], y_pred: Mapping[Any, Any], w: float = 1.0) -> None:
        """Take an event back.

        Raises
        ------
        ValueError
            ``update`` was not given it, or it has been taken back.
        """
        known = {label: bool(value) for label, value in y_true.items() if value is not None}
        # The labels of a complete event were all that had been named: the first ones.
        last = max((self._named.get(label, len(self._named)) for label in known), default=-1)
        is_complete = last == len(known) - 1 and self._complete[len(known)] > 0
        sizes, outcomes = _counted(known, _present(y_pred), is_complete)
        if not self._sizes[sizes]:
            raise ValueError(f"revert must be given an event that update was given, got {y_true!r}, {y_pred!r}")
        for label, kind in outcomes:
            self._outcomes[self._row(label)][kind] -= 1
        self._sizes[sizes] -= 1
        if not self._sizes[sizes]:
            del self._sizes[sizes]
        self._complete[len(known)] -= is_complete
        self._is_stale = True

    def get(self) -> float:
        """The metric over the events counted and not taken back."""
        if self._is_stale:
            self._sums[:] = 0.0
            self._tally([sizes for sizes, times in sorted(self._sizes.items()) for _ in range(times)])
            self._is_stale = False
        outcomes = np.zeros((len(self._outcomes), 2, 3))
        outcomes[:, 0] = np.array(self._outcomes, np.float64).reshape(-1, 3)
        metrics = MultiLabelMetrics(window=1)
        metrics.set_state(metrics.get_state() | {"sums": np.repeat(self._sums, 2, 0), "outcomes": outcomes})
        return metrics.cumulative(len(self._rows))[self.name]

    @property
    def bigger_is_better(self) -> bool:
        """Whether a high value is better than a low one."""
        return self.name != "hamming_loss"

    @property
    def works_with_weights(self) -> bool:
        """Weights play no part."""
        return False

    def __add__(self, other: Any) -> Metrics:
        """Both, for one pass over a stream; ``other`` may be a multi-output metric of river."""
        return Metrics([self, self._compatible(other)])

    def __radd__(self, other: Any) -> Metrics:
        """As ``+``, where river's metric comes first."""
        return Metrics([self._compatible(other), self])

    def _compatible(self, other: Any) -> Any:
        if not isinstance(other, MultiOutputMetric):
            raise ValueError(f"{type(self).__name__} and {type(other).__name__} metrics are not compatible")
        return other

    def _row(self, label: Any) -> int:
        row = self._rows.setdefault(label, len(self._rows))
        if row == len(self._outcomes):
            self._outcomes.append([0, 0, 0])
        return row

    def _tally(self, sizes: list[tuple[int, int, int, int]]) -> None:
        """Add events to the sums, in this order."""
        log = np.array([(*event, np.nan, np.nan) for event in sizes], counting.EVENT)
        counting.count_again(log, _NO_CELLS, self._sums, _NO_OUTCOMES)


def _present(y_pred: Mapping[Any, Any]) -> list[Any]:
    """The labels answered True."""
    if any(isinstance(value, Mapping) for value in y_pred.values()):
        raise TypeError(f"y_pred must hold truth values, got probabilities: {y_pred!r}")
    return [label for label, value in y_pred.items() if value]


def _counted(
    known: dict[Any, bool], predicted: list[Any], is_complete: bool
) -> tuple[tuple[int, int, int, int], list[tuple[Any, int]]]:
    """The first fields of `counting.EVENT`, and the outcome of each label that is present or answered."""
    if not is_complete:
        predicted = [label for label in predicted if label in known]
    outcomes = [(label, _HIT if known.get(label) else _ALARM) for label in predicted]
    n_hits = sum(kind == _HIT for _, kind in outcomes)
    answered = set(predicted)
    outcomes += [(label, _MISSED) for label, value in known.items() if value and label not in answered]
    sizes = sum(known.values()), len(predicted), n_hits, -1 if is_complete else len(known)
    return sizes, outcomes


class SubsetAccuracy(RiverMetric):
    """Share of complete events whose labels are all right; `metrics.multioutput.ExactMatch` of river is that where
    truth and answer name the same labels."""

    name = "subset_accuracy"


class HammingLoss(RiverMetric):
    """Share of wrong cells; one less `MicroAverage(Accuracy())` of river."""

    name = "hamming_loss"


class MicroF1(RiverMetric):
    """F1 of the pooled cells; `MicroAverage(F1())` of river."""

    name = "micro_f1"


class MicroPrecision(RiverMetric):
    """Precision of the pooled cells; `MicroAverage(Precision())` of river."""

    name = "micro_precision"


class MicroRecall(RiverMetric):
    """Recall of the pooled cells; `MicroAverage(Recall())` of river."""

    name = "micro_recall"


class MacroF1(RiverMetric):
    """Mean F1 of the labels; `MacroAverage(F1())` of river."""

    name = "macro_f1"


class MacroF1Seen(RiverMetric):
    """Mean F1 of the labels that were present at least once."""

    name = "macro_f1_seen"


class MacroPrecision(RiverMetric):
    """Mean precision of the labels; `MacroAverage(Precision())` of river."""

    name = "macro_precision"


class MacroRecall(RiverMetric):
    """Mean recall of the labels; `MacroAverage(Recall())` of river."""

    name = "macro_recall"


class ExampleF1(RiverMetric):
    """Mean F1 of the complete events; `SampleAverage(F1())` of river."""

    name = "example_f1"


class ExamplePrecision(RiverMetric):
    """Mean precision of the complete events; `SampleAverage(Precision())` of river."""

    name = "example_precision"


class ExampleRecall(RiverMetric):
    """Mean recall of the complete events; `SampleAverage(Recall())` of river."""

    name = "example_recall"


class ExampleJaccard(RiverMetric):
    """Mean Jaccard index of the complete events; `SampleAverage(Jaccard())` of river."""

    name = "example_jaccard"


class ExampleF1Empty1(RiverMetric):
    """`ExampleF1` with 1 where truth and answer are both empty."""

    name = "example_f1_empty1"


class ExamplePrecisionEmpty1(RiverMetric):
    """`ExamplePrecision` with 1 where truth and answer are both empty."""

    name = "example_precision_empty1"


class ExampleRecallEmpty1(RiverMetric):
    """`ExampleRecall` with 1 where truth and answer are both empty."""

    name = "example_recall_empty1"


class ExampleJaccardEmpty1(RiverMetric):
    """`ExampleJaccard` with 1 where truth and answer are both empty."""

    name = "example_jaccard_empty1"


RIVER_METRICS: dict[str, type[RiverMetric]] = {cls.name: cls for cls in RiverMetric.__subclasses__()}
"""The classes by the name of their metric."""


def river_metric(name: str) -> RiverMetric:
    """A metric of `MultiLabelMetrics` for river's evaluation.

    Parameters
    ----------
    name
        As in results: ``micro_f1``, ``subset_accuracy``, ... ``log_loss`` and ``brier`` are none of them: river asks
        multi-label models for labels alone.

    Raises
    ------
    ValueError
        There is none of this name.

    Examples
    --------
    >>> from river import evaluate
    >>> from ihomer import LinearClassifier, to_river
    >>> metric = river_metric("micro_f1") + river_metric("hamming_loss")
    >>> evaluate.progressive_val_score(to_river("yeast").take(300), LinearClassifier(), metric)
    MicroF1: 51.40%
    HammingLoss: 28.09%
    """
    if name not in RIVER_METRICS:
        close = get_close_matches(name, RIVER_METRICS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"metric must be one of {', '.join(RIVER_METRICS)}, got {name!r}{hint}")
    return RIVER_METRICS[name]()
