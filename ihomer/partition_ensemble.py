"""An ensemble of models that learned partitions of a stream, which answers with the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from learners import packing
from learners.base import Learner, State
from learners.baselines import MajorityClassifier
from streams.batch import Batch, Prediction, Rows

_ROOM = 1 << 24
"""Probabilities of one member that are laid out at once."""


class PartitionEnsemble(Learner):
    """Models of one kind, each of which learned a partition of a stream, as one learner.

    Parameters
    ----------
    prototype
        A learner with the parameters of all members; a member that was not handed over begins as a copy of it.
    n_members
        How many there are, at least 1.

    Attributes
    ----------
    members_
        The models.

    Raises
    ------
    ValueError
        ``n_members`` is below 1.

    Notes
    -----
    For learners whose states cannot be merged. The probability of a label is the mean over the members that know it,
    which have met it in their partition; those without probabilities count 0 or 1. The answer is the labels that are
    most probable, as many of them as the members answer in the mean (a half is rounded up), so that it keeps to what
    members decide by, be that a threshold, one class an event or the best set.

    An ensemble that learns on lets every member learn every event. So its members become more alike, and an event costs
    what it costs them all. Time and memory are those of the members, and 16 bytes a label while an event is handled.

    Examples
    --------
    >>> from ihomer.partition_ensemble import PartitionEnsemble
    >>> from learners.linear import LinearClassifier
    >>> models = [LinearClassifier(), LinearClassifier()]
    >>> for i in range(400):
    ...     models[i % 2].learn_one({"heat": i % 10}, {"ice": i % 10 < 3, "sun": i % 10 > 6})
    >>> PartitionEnsemble.of(models).predict_one({"heat": 1})
    {'ice': True, 'sun': False}
    """

    def __init__(self, prototype: Learner, n_members: int = 2) -> None:
        if n_members < 1:
            raise ValueError(f"n_members must be at least 1, got {n_members}")
        super().__init__()
        self.prototype, self.n_members = prototype, n_members
        self.members_: list[Learner] = [prototype.clone() for _ in range(n_members)]
        self._knows = np.zeros((n_members, 0), np.bool_)

    @classmethod
    def of(cls, models: Sequence[Learner]) -> Self:
        """The ensemble of models with the same parameters, which become its members."""
        ensemble = cls(models[0].clone(), len(models))
        ensemble.members_ = list(models)
        for model in models:
            ensemble.schema_.extend(model.schema_)
        ensemble._make_room()
        for number, model in enumerate(models):
            ensemble._knows[number, ensemble._labels_of(model)] = True
        return ensemble

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"prototype": MajorityClassifier()}

    def _make_room(self) -> None:
        more = self.schema_.n_labels - self._knows.shape[1]
        self._knows = np.pad(self._knows, ((0, 0), (0, more)))

    def _labels_of(self, member: Learner) -> NDArray[np.int32]:
        """The number here of each of a member's labels."""
        return np.array([self.schema_.find_label(name) for name in member.schema_.label_names], np.int32)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        self._make_room()
        size = max(1, _ROOM // max(1, self.schema_.n_labels))
        parts = [self._answer(part, learn) for part in _cut(batch, size)]
        return Prediction.concat(parts)

    def _answer(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        met = np.full(n_labels, n)
        if learn:
            rows = np.repeat(np.arange(n), np.diff(batch.y.indptr))
            np.minimum.at(met, batch.y.indices, rows)
        # From the event behind the first that carries it, every member knows a label.
        known_by_all = np.arange(n)[:, None] > met
        total, mass, sizes = np.zeros((n, n_labels)), np.zeros((n, n_labels)), np.zeros(n)
        for number, member in enumerate(self.members_):
            answer = member.test_then_train(batch) if learn else member.predict_batch(batch)
            told = answer.labels if answer.proba is None else answer.proba
            proba = told.to_dense(member.schema_.n_labels) if isinstance(told, Rows) else told
            labels = self._labels_of(member)[: proba.shape[1]]
            knows = self._knows[number] | known_by_all
            total[:, labels] += np.where(knows[:, labels], proba, 0.0)
            mass += knows
            sizes += np.diff(answer.labels.indptr)
        self._knows |= met < n
        mean = total / np.maximum(mass, 1.0)
        return Prediction(_most_probable(mean, np.floor(sizes / self.n_members + 0.5).astype(np.int64)), mean)

    # State.

    def _get_state(self) -> State:
        self._make_room()
        heads = [{"number": number} for number in range(self.n_members)]
        return {"members": packing.pack(heads, self.members_), "knows": self._knows.astype(np.uint8)}

    def _set_state(self, state: State) -> None:
        states = [member for _, member in packing.unpack(state["members"])]
        if len(states) != self.n_members:
            raise ValueError(f"state 'members' must hold {self.n_members} members, got {len(states)}")
        self.members_ = [self.prototype.clone() for _ in states]
        for member, learned in zip(self.members_, states, strict=True):
            member.set_state(learned)
        self._knows = state["knows"].astype(np.bool_)


def _cut(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch in parts of at most so many events, at least one part."""
    yield batch[:size]
    for start in range(size, len(batch), size):
        yield batch[start : start + size]


def _most_probable(proba: NDArray[np.float64], sizes: NDArray[np.int64]) -> Rows:
    """So many labels of every event, the most probable ones; of equals those of the lower numbers, and none of 0."""
    order = np.argsort(-proba, axis=1, kind="stable")
    taken = np.arange(proba.shape[1]) < sizes[:, None]
    chosen = np.zeros(proba.shape, np.uint8)
    np.put_along_axis(chosen, order, taken.astype(np.uint8), axis=1)
    return Rows.from_dense(chosen & (proba > 0))
