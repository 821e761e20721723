"""iHOMER: shared experts, label columns owned by clusters of an online hierarchy, and one decision a label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.decision import OBJECTIVES, Decision
from ihomer.events import Columns, Events, SharedRows
from ihomer.hierarchy import LabelHierarchy
from ihomer.joint import LabelSetJoint
from ihomer.ridge import RidgeExpert
from ihomer.stack import Stack
from ihomer.temporal import LabelPast
from learners.base import Learner, State
from learners.linear import LinearClassifier
from streams.batch import UNLABELLED, Batch, Name, Prediction, Rows

CHUNK = 256
"""Events handled at a time: tables of a value per event, label and feature stay small whatever batches come."""

_SURE = 3e-4
"""Local probabilities count as at least this far from 0 and 1."""


class IHOMERClassifier(Learner):
    """Multi-label classifier over an online hierarchy of labels.

    Parameters
    ----------
    local
        The learner that answers for the labels of the clusters: any learner of the contract with probabilities, of
        which a fresh copy is taken. None: `learners.linear.LinearClassifier`.
    optimise
        What answers are chosen for: ``"balanced"``, ``"f1"``, ``"subset"``, ``"hamming"``, or five weights, of subset
        accuracy, micro-F1, macro-F1, Hamming loss and example-F1.
    mode
        ``"default"``, or ``"paper"``: the published hierarchy, and the local learner's own answers.
    n_min, delta, half_life, support, min_size, max_size
        Of the `LabelHierarchy`, in labels and events.
    temporal
        Whether the labels' own past takes part. It helps where events are grouped in time and labels come at once.
    memory_budget
        Bytes for the hierarchy's table of label pairs, at least 8,192; None: unbounded. See `LabelHierarchy`.
    seed
        For what is random. No part is so far; a local learner keeps the seed that it has.

    Attributes
    ----------
    events_
        Structural events of the hierarchy (see there), with names in place of numbers.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Everything that concerns an event is computed once and shared by all labels; everything that concerns a label is a
    column, and clusters own columns. So a label that changes clusters takes along all that was learned about it, and
    nothing starts anew at a restructuring. An event passes the parts in this order, each answering before it learns:

    1. `SharedRows`: inputs on a common scale;
    2. `RidgeExpert`, the local learner, and `LabelPast` look at every label;
    3. `Stack` makes one calibrated probability out of what they say;
    4. `LabelSetJoint` knows which label sets occur, and `Decision` picks the set with the best expected utility;
    5. `LabelHierarchy` takes in the label set.

    The hierarchy tells which labels belong together, and when that changes. It does not steer the answers: one joint of
    all labels is at least as good as one a cluster wherever label sets repeat, and linear columns are independent.

    The order of the labels in a schema, and whether they are declared in it or found on the way, changes nothing. In
    partly labelled events only known cells teach; the joint learns from complete events alone, and the hierarchy takes
    unknown labels for absent. The weight of an event counts in the ridge, the local learner, the stack and the joint.

    An event costs O(D^2 + D L) for D inputs (at most 1,025) and L labels. `nbytes` tells the memory: about
    4 (D^2 + D L) bytes, 1.4 kB a label, the local learner, and what the label pairs take.

    Examples
    --------
    >>> from ihomer.classifier import IHOMERClassifier
    >>> model = IHOMERClassifier()
    >>> for i in range(200):
    ...     model.learn_one({"heat": i % 10}, {"ice": i % 10 < 3, "snow": i % 10 < 3, "sun": i % 10 > 6})
    >>> model.predict_one({"heat": 1})
    {'ice': True, 'snow': True, 'sun': False}
    """

    def __init__(
        self,
        local: Learner | None = None,
        optimise: str | Sequence[float] = "balanced",
        *,
        mode: str = "default",
        n_min: int = 100,
        delta: float = 0.05,
        half_life: float | None = 1000.0,
        support: float = 5.0,
        min_size: int = 2,
        max_size: int = 8,
        temporal: bool = True,
        memory_budget: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.local, self.optimise, self.mode, self.n_min, self.delta = local, optimise, mode, n_min, delta
        self.half_life, self.support, self.min_size, self.max_size = half_life, support, min_size, max_size
        self.temporal, self.memory_budget, self.seed = temporal, memory_budget, seed
        self._hierarchy = LabelHierarchy(
            mode, n_min, delta=delta, half_life=half_life, support=support,
            min_size=min_size, max_size=max_size, memory_budget=memory_budget,
        )  # fmt: skip
        self._local = LinearClassifier() if local is None else local.clone()
        self._columns = Columns()
        self._rows, self._ridge, self._past = SharedRows(), RidgeExpert(), LabelPast()
        self._stack, self._joint = Stack(temporal), LabelSetJoint()
        self._decision = Decision(_objective(optimise))

    @property
    def clusters_(self) -> list[list[Name]]:
        """Label names of every cluster; together they are all labels that have been present so far."""
        names = self._names()
        return [[names[column] for column in cluster] for cluster in self._hierarchy.clusters]

    @property
    def hierarchy_(self) -> LabelHierarchy:
        """The label hierarchy as it is now, a copy, with labels numbered as in ``schema_``."""
        return self._hierarchy.renumbered(self._columns.labels)

    def _names(self) -> list[Name]:
        """Names of the labels in the order of their birth."""
        return [self.schema_.label_names[label] for label in self._columns.labels]

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        if len(batch) <= CHUNK:
            return self._answer(batch, learn)
        chunks = (batch[start : start + CHUNK] for start in range(0, len(batch), CHUNK))
        return Prediction.concat([self._answer(chunk, learn) for chunk in chunks])

    def _answer(self, batch: Batch, learn: bool) -> Prediction:
        events = self._columns.admit(batch, self.schema_, learn)
        local = self._local.test_then_train(batch) if learn else self._local.predict_batch(batch)
        answer = local if self.mode == "paper" else self._combine(batch, events, local, learn)
        if learn:
            self._restructure(events)
        return answer

    def _combine(self, batch: Batch, events: Events, local: Prediction, learn: bool) -> Prediction:
        rows = self._rows.run(batch, self.schema_, learn & (events.state != UNLABELLED))
        ridge = self._ridge.run(rows, self._rows.n, events, learn)
        past = self._past.run(events, learn)
        proba = self._stack.run(past, ridge, self._logits(local), events, learn)
        likely = self._joint.run(proba, past, events, learn)
        chosen = self._decision.run(proba, likely, events, learn)
        of_labels = np.zeros((len(batch), self.schema_.n_labels), np.float32)
        of_labels[:, self._columns.labels] = proba
        return Prediction(chosen.renumbered(self._columns.labels), of_labels)

    def _logits(self, local: Prediction) -> NDArray[np.float32]:
        """What the local learner says, a column a label in order of birth."""
        if local.proba is None:
            raise TypeError(f"local must be a learner with probabilities, got {self._local!r}")
        labels = self._columns.labels
        dense = local.proba.to_dense(self.schema_.n_labels) if isinstance(local.proba, Rows) else local.proba
        held = labels < dense.shape[1]
        p = np.zeros((len(local), len(labels)))
        p[:, held] = dense[:, labels[held]]
        p = p.clip(_SURE, 1 - _SURE)
        return np.log(p / (1 - p)).astype(np.float32)

    def _restructure(self, events: Events) -> None:
        """Tell the hierarchy the label sets, and note what it made of them."""
        told = len(self._hierarchy.events)
        sets = Rows(events.present_start, events.present)
        self._hierarchy.update_many(sets.take(np.flatnonzero(events.state != UNLABELLED)))
        names = self._names()
        for happened in self._hierarchy.events[told:]:
            event = {**happened, "labels": [names[column] for column in happened["labels"]]}
            if "halves" in event:
                event["halves"] = [[names[column] for column in half] for half in event["halves"]]
            self.events_.append(event)

    def _get_state(self) -> State:
        parts = {"local": self._local.get_state(), "rows": self._rows.get_state(self.schema_)}
        parts |= {name: part.get_state() for name, part in self._parts().items()}
        return {f"{part}/{name}": array for part, state in parts.items() for name, array in state.items()}

    def _set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for path, array in state.items():
            part, _, name = path.partition("/")
            parts.setdefault(part, {})[name] = array
        self._local.set_state(parts["local"])
        self._rows.set_state(parts["rows"], self.schema_)
        for name, part in self._parts().items():
            part.set_state(parts[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "hierarchy": self._hierarchy,
            "columns": self._columns,
            "ridge": self._ridge,
            "past": self._past,
            "stack": self._stack,
            "joint": self._joint,
            "decision": self._decision,
        }


def _objective(optimise: str | Sequence[float]) -> tuple[float, float, float, float, float]:
    if isinstance(optimise, str):
        if optimise not in OBJECTIVES:
            raise ValueError(f"optimise must be one of {', '.join(OBJECTIVES)}, or five weights, got {optimise!r}")
        return OBJECTIVES[optimise]
    weights = tuple(map(float, optimise))
    if len(weights) != 5 or min(weights) < 0 or not 0 < sum(weights) < np.inf:
        raise ValueError(f"optimise must have five weights of at least 0, not all 0, got {optimise!r}")
    return weights
