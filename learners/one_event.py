"""One event at a time: a dictionary that is like the one before reaches compiled code in one call."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit, types
from numba.experimental import structref
from numpy.typing import NDArray

from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Schema

REFUSED = -1
"""What a kernel returns that has left everything as it was: the event has to go by way of a batch."""

_LARGEST = float(np.finfo(np.float32).max)


class Event(NamedTuple):
    """A batch of one event as kernels take it, and the answer to it.

    ``x`` float32 (1, features); ``start``, ``cells`` and ``data`` list no cells; ``present`` and ``known`` have room
    for all labels, of which ``present_start`` and ``known_start`` tell what is used; ``state`` and ``weight`` as in
    `streams.batch.Batch`. ``proba`` float32 (1, labels), and in ``chosen`` the columns of the labels predicted.
    """

    x: NDArray[np.float32]
    start: NDArray[np.int64]
    cells: NDArray[np.int32]
    data: NDArray[np.float32]
    present_start: NDArray[np.int64]
    present: NDArray[np.int32]
    state: NDArray[np.uint8]
    known_start: NDArray[np.int64]
    known: NDArray[np.int32]
    weight: NDArray[np.float64]
    proba: NDArray[np.float32]
    chosen: NDArray[np.int32]

    @classmethod
    def of(cls, schema: Schema) -> Event:
        """An event without values or labels."""
        start, (d, n) = np.zeros(2, np.int64), (schema.n_features, schema.n_labels)
        return cls(
            np.full((1, d), np.nan, np.float32), start, np.zeros(0, np.int32), np.zeros(0, np.float32),
            start.copy(), np.zeros(n, np.int32), np.zeros(1, np.uint8), start.copy(), np.zeros(n, np.int32),
            np.ones(1), np.zeros((1, n), np.float32), np.zeros(n, np.int32),
        )  # fmt: skip


def is_plain(schema: Schema) -> bool:
    """Whether the rows of events are dense and all features numbers."""
    return not (schema.sparse or schema.categories or schema.ignored)


Kernel = Callable[..., int]
"""Takes ``(bundle, values, columns, flags, labels, weight)``: the `Bundle`, what was given for which features, what was
told of which labels (none: the event is answered only), and a weight. Answers the event, then learns it; returns how
many labels are chosen, or `REFUSED`. That of a subclass may be told of labels in another way."""


class OneEvent:
    """Answers and learns single events in a learner's own arrays.

    Parameters
    ----------
    schema
        Of the learner. Names that it has not, categories, unknown values and whatever else is not plain is refused.
    kernel
        What answers and learns.
    bundle
        A `Bundle` of the arrays that it works on.
    event
        The `Event` among them.

    Notes
    -----
    Holds the arrays that the learner had when this was made. Once the learner takes others, as it does when something
    grows, this must be made anew; `learners.base.Learner` does so after every batch.
    """

    def __init__(self, schema: Schema, kernel: Kernel, bundle: Bundle, event: Event) -> None:
        self.schema, self.version = schema, schema.version
        # River measures a learner's memory by all that can be reached from it, and stops at functions, but not at
        # compiled ones, from which it would come to the compiler.
        self._kernel: Kernel = lambda *given: kernel(*given)
        self._bundle, self._event = bundle, event
        self._names: tuple[Any, ...] | None = None
        self._columns, self._form, self._room = _NO_LABELS, struct.Struct(""), bytearray()
        self._label_names: tuple[Any, ...] = ()
        self._labels = _NO_LABELS

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Nothing: a copy of a learner makes its own, of its own arrays."""

    def answer(self, x: Mapping[Any, Any]) -> list[int] | None:
        """The columns of the labels predicted, or None where the event is refused."""
        given = self._read(x)
        if given is None:
            return None
        n = self._kernel(self._bundle, *given, _NO_FLAGS, _NO_LABELS, 1.0)
        return None if n < 0 else self._event.chosen[:n].tolist()

    @property
    def proba(self) -> list[float]:
        """The probability of each label in the last event answered."""
        found: list[float] = self._event.proba[0].tolist()
        return found

    def learn(self, x: Mapping[Any, Any], y: Mapping[Any, Any], weight: float) -> bool:
        """Learn an event; False where it is refused."""
        if not (isinstance(y, dict) and isinstance(weight, (int, float)) and 0 < weight < np.inf):
            return False
        given, told = self._read(x), self._read_told(y)
        if given is None or told is None:
            return False
        return self._kernel(self._bundle, *given, *told, float(weight)) >= 0

    def _read(self, x: Mapping[Any, Any]) -> tuple[NDArray[np.float64], NDArray[np.int32]] | None:
        """The numbers of an event and their columns; None where they are no numbers, or not all of features held."""
        names = tuple(x)
        if names != self._names:
            keys = self.schema.feature_keys(x, False)
            if not keys.numeric or not names:
                return None
            self._names, self._columns = names, keys.columns
            self._form, self._room = struct.Struct(f"{len(names)}d"), bytearray(8 * len(names))
            self._values = np.frombuffer(self._room)
        try:
            self._form.pack_into(self._room, 0, *x.values())
        except _NO_NUMBER:
            return self._read_known(x)
        return self._values, self._columns

    def _read_known(self, x: Mapping[Any, Any]) -> tuple[NDArray[np.float64], NDArray[np.int32]] | None:
        """As `_read`, of what is not None."""
        known = np.array([value is not None for value in x.values()])
        numbers = [value for value in x.values() if value is not None]
        if not numbers:
            return np.zeros(0), _NO_LABELS
        try:
            packed = struct.pack(f"{len(numbers)}d", *numbers)
        except _NO_NUMBER:
            return None
        return np.frombuffer(bytearray(packed)), self._columns[known]

    def _read_told(self, y: dict[Any, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
        """What is told of labels and their columns; None where nothing is, or not of labels held, or no truth value."""
        try:
            flags = bytes(y.values())
        except (TypeError, ValueError):
            y = {name: value for name, value in y.items() if value is not None}
            if not {*map(type, y.values())} <= {bool, int}:
                return None
            flags = bytes(map(bool, y.values()))
        names = tuple(y)
        if names != self._label_names:
            labels = [self.schema.find_label(name) for name in names]
            if min(labels, default=-1) < 0:
                return None
            self._label_names, self._labels = names, np.array(labels, np.int32)
        return (np.frombuffer(flags, np.uint8), self._labels) if flags else None


_NO_NUMBER = struct.error, TypeError, ValueError, OverflowError
"""What comes of packing something that is no number."""

# Read-only as flags are, or kernels would be compiled for each.
_NO_FLAGS, _NO_LABELS = np.frombuffer(b" ", np.uint8)[:0], np.zeros(0, np.int32)


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    class Bundle:
        """Many arrays as one argument of a kernel, which finds them as ``parts``."""

        def __init__(self, parts: Any) -> None:
            self.parts = parts

else:

    @structref.register
    class _BundleType(types.StructRef):
        pass

    class Bundle(structref.StructRefProxy):  # type: ignore[no-redef]
        """Many arrays as one argument of a kernel, which finds them as ``parts``; to be made in a compiled function.

        A kernel is called with eighty arrays in 1 microsecond this way, where to pass them one by one takes 15 and as
        a tuple 30.
        The function that makes one stands with the parts: one for all would keep their types in one cache, and whoever
        read that would import all of them.
        """

    structref.define_proxy(Bundle, _BundleType, ["parts"])


@njit(cache=True, nogil=True)
def read_values(values: NDArray[np.float64], columns: NDArray[np.int32], x: NDArray[np.float32]) -> bool:
    """Write an event's row, NaN where nothing is given; False where a number is not finite as a float32."""
    if len(columns) < x.shape[1]:
        x[0, :] = np.nan
    for k in range(len(columns)):
        if not abs(values[k]) <= _LARGEST:
            return False
        x[0, columns[k]] = values[k]
    return True


@njit(cache=True, nogil=True)
def read_labels(flags: NDArray[np.uint8], labels: NDArray[np.int32], weight: float, event: Event) -> None:
    """Write what is told of an event's labels, as `streams.batch.Batch` has it, and its weight."""
    n_labels = event.proba.shape[1]
    n_present = n_known = 0
    partial = 0 < len(flags) < n_labels
    told = event.chosen
    told[:] = 0
    for k in range(len(flags)):
        told[labels[k]] = 2 if flags[k] else 1
    for label in range(n_labels):
        if told[label] == 2:
            event.present[n_present] = label
            n_present += 1
        if partial and told[label] > 0:
            event.known[n_known] = label
            n_known += 1
    event.present_start[1], event.known_start[1], event.weight[0] = n_present, n_known, weight
    event.state[0] = PARTIAL if partial else COMPLETE if len(flags) else UNLABELLED


@njit(cache=True, nogil=True)
def choose(proba: NDArray[np.float32], threshold: np.float32, chosen: NDArray[np.int32]) -> int:
    """List the labels of a row whose probability is above a threshold; return their number."""
    n = 0
    for label in range(len(proba)):
        if proba[label] > threshold:
            chosen[n] = label
            n += 1
    return n
