"""Label sets as classes: the number of each, and which labels it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.base import State, with_room
from streams.batch import COMPLETE, PARTIAL, Batch

_AT_ONCE = 4096
"""Events whose label sets are told apart at once."""

_REMEMBERED = 4096
"""Sets beyond the bound whose likest class is kept at hand."""


class LabelSets:
    """The label sets that a learner of classes has met, numbered in that order.

    Parameters
    ----------
    max_classes
        Sets that are held. A set that comes later is taken for the held one that is most like it: of the largest
        Jaccard similarity, and of equals the oldest.

    Notes
    -----
    Class c is the set ``labels[indptr[c]:indptr[c + 1]]``, ascending.
    """

    def __init__(self, max_classes: int) -> None:
        self.max_classes = max_classes
        self.n = 0
        self._indptr = np.zeros(2, np.int64)
        self._labels = np.zeros(0, np.int32)
        self._number_of: dict[bytes, int] = {}
        self._like: dict[bytes, int] = {}
        self._members: list[list[int]] = []

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Where the labels of each class begin, and where those of the last one end."""
        return self._indptr[: self.n + 1]

    @property
    def labels(self) -> NDArray[np.int32]:
        """The labels of all classes."""
        return self._labels[: self._indptr[self.n]]

    def numbers(self, batch: Batch) -> NDArray[np.int64]:
        """The class of each event, -1 where nothing is known; sets that are new become classes.

        That of a partly labelled event is the set of the labels that are known to be there.
        """
        if len(batch) > _AT_ONCE:
            pieces = [self.numbers(batch[start : start + _AT_ONCE]) for start in range(0, len(batch), _AT_ONCE)]
            return np.concatenate(pieces)
        y, state = batch.y, batch.label_state
        learned = state == COMPLETE
        if batch.known is not None:
            learned |= (state == PARTIAL) & (np.diff(batch.known.indptr) > 0)
        if len(batch) == 1:
            return np.array([self._number(y.indices[: y.indptr[1]]) if learned[0] else -1], np.int64)
        events = np.flatnonzero(learned)
        sizes = np.diff(y.indptr)[events]
        rows = np.full((len(events), int(sizes.max(initial=1))), -1, np.int32)
        rows[np.arange(rows.shape[1]) < sizes[:, np.newaxis]] = y.take(events).indices
        sets = rows if rows.shape[1] > 1 else rows[:, 0]
        _, first, set_of = np.unique(sets, axis=0, return_index=True, return_inverse=True)
        number = np.zeros(len(first), np.int64)
        for k in np.argsort(first).tolist():
            number[k] = self._number(rows[first[k], : sizes[first[k]]])
        key = np.full(len(batch), -1)
        key[events] = number[set_of]
        return key

    def find(self, labels: list[int]) -> int:
        """The class of a set, labels ascending, or -1 where it is not held."""
        return self._number_of.get(np.array(labels, np.int32).tobytes(), -1)

    def members(self, number: int) -> list[int]:
        """The labels of a class; of -1, none."""
        if number < 0:
            return []
        while len(self._members) <= number:
            k = len(self._members)
            self._members.append(self._labels[self._indptr[k] : self._indptr[k + 1]].tolist())
        return self._members[number]

    def _number(self, labels: NDArray[np.int32]) -> int:
        name = labels.tobytes()
        number = self._number_of.get(name)
        if number is not None:
            return number
        return self._add(labels) if self.n < self.max_classes else self._likest(labels)

    def _add(self, labels: NDArray[np.int32]) -> int:
        number, start = self.n, int(self._indptr[self.n])
        stop = start + len(labels)
        self._indptr = with_room(self._indptr, number + 2)
        self._labels = with_room(self._labels, stop)
        self._labels[start:stop] = labels
        self._indptr[number + 1] = stop
        self._number_of[labels.tobytes()] = number
        self.n += 1
        return number

    def _likest(self, labels: NDArray[np.int32]) -> int:
        name = labels.tobytes()
        number = self._like.get(name)
        if number is None:
            sizes = np.diff(self.indptr)
            owner = np.repeat(np.arange(self.n), sizes)
            shared = np.bincount(owner[np.isin(self.labels, labels)], minlength=self.n)
            number = int((shared / np.maximum(sizes + len(labels) - shared, 1)).argmax())
            if len(self._like) == _REMEMBERED:
                self._like.clear()
            self._like[name] = number
        return number

    def to_state(self) -> State:
        """The sets, as arrays."""
        return {"set_indptr": self.indptr.copy(), "set_labels": self.labels.copy()}

    def from_state(self, state: State) -> None:
        """Take over what ``to_state`` gave."""
        self.__init__(self.max_classes)  # type: ignore[misc]
        for start, stop in zip(state["set_indptr"][:-1], state["set_indptr"][1:], strict=True):
            self._add(state["set_labels"][start:stop])
