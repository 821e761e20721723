"""Answered events whose labels have not come yet, with the answers that they will be scored by."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import UNLABELLED, Batch, Prediction, Rows, Schema


class WaitingRoom:
    """A queue of single events, each with one answer a learner.

    Parameters
    ----------
    delay
        After how many further answered events (int), or how much event time (`numpy.timedelta64`), labels come.
    n_learners
        Answers an event.
    """

    def __init__(self, delay: int | np.timedelta64, n_learners: int) -> None:
        self.by_count = not isinstance(delay, np.timedelta64)
        length = int(delay) if isinstance(delay, int) else int(delay / np.timedelta64(1, "ms"))
        if length < 1:
            raise ValueError(f"delay must be at least 1 event or 1 ms, got {delay!r}")
        self.length, self.n_learners = length, n_learners
        self.n_labelled = 0
        """Waiting events that will be scored."""
        self._queue: deque[tuple[Batch, list[Prediction]]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, event: Batch, predictions: Sequence[Prediction]) -> None:
        """Take in an event that has just been answered."""
        if not self.by_count and event.time is None:
            raise ValueError("events must have a time where labels are delayed by time, got none")
        self._queue.append((event, list(predictions)))
        self.n_labelled += int(event.label_state[0] != UNLABELLED)

    def due(self, event: Batch) -> list[tuple[Batch, list[Prediction]]]:
        """Those whose labels have come when ``event`` has been answered, in order."""
        found = []
        while self._queue and self._has_come(self._queue[0][0], event):
            event_and_answers = self._queue.popleft()
            self.n_labelled -= int(event_and_answers[0].label_state[0] != UNLABELLED)
            found.append(event_and_answers)
        return found

    def _has_come(self, waiting: Batch, event: Batch) -> bool:
        if self.by_count:
            return len(self._queue) > self.length
        assert waiting.time is not None
        return event.time is not None and bool(waiting.time[0] + self.length <= event.time[0])

    def drain(self) -> list[tuple[Batch, list[Prediction]]]:
        """All that wait, in order."""
        found = list(self._queue)
        self._queue.clear()
        self.n_labelled = 0
        return found

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The queue as arrays."""
        if not self._queue:
            return {}
        answers = [
            Prediction.concat([predictions[number] for _, predictions in self._queue])
            for number in range(self.n_learners)
        ]
        return pack(Batch.concat([event for event, _ in self._queue]), answers)

    def set_state(self, state: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        """Take over what ``get_state`` gave; ``schema`` is that of the waiting events."""
        self.drain()
        if "offset" not in state:
            return
        batch, answers = unpack(state, schema, self.n_learners)
        for i in range(len(batch)):
            self.add(batch[i : i + 1], [answer[i : i + 1] for answer in answers])


def pack(events: Batch, answers: Sequence[Prediction]) -> dict[str, NDArray[Any]]:
    """Events, and one answer a learner, as arrays."""
    state: dict[str, NDArray[Any]] = {
        "label_state": events.label_state,
        "offset": events.offset,
        **_cells("x", events.x),
        **_cells("y", events.y),
        **_cells("known", events.known),
    }
    for what in ("weight", "time", "partition"):
        if getattr(events, what) is not None:
            state[what] = getattr(events, what)
    text = {"source": events.source, "key": events.key}
    state["text"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
    for number, answer in enumerate(answers):
        state |= _cells(f"{number}/labels", answer.labels) | _cells(f"{number}/proba", answer.proba)
    return state


def unpack(state: Mapping[str, NDArray[Any]], schema: Schema, n_learners: int) -> tuple[Batch, list[Prediction]]:
    """What ``pack`` made arrays of."""
    text = json.loads(state["text"].tobytes())
    y = _rows("y", state)
    assert isinstance(y, Rows)
    known = _rows("known", state)
    events = Batch(
        schema,
        _rows("x", state),
        y,
        state["label_state"],
        known if isinstance(known, Rows) else None,
        weight=state.get("weight"),
        time=state.get("time"),
        key=text["key"],
        source=text["source"],
        partition=state.get("partition"),
        offset=state["offset"],
    )
    answers = []
    for number in range(n_learners):
        labels = _rows(f"{number}/labels", state)
        assert isinstance(labels, Rows)
        answers.append(Prediction(labels, _rows(f"{number}/proba", state)))
    return events, answers


def _cells(name: str, value: NDArray[Any] | Rows | None) -> dict[str, NDArray[Any]]:
    """A matrix, ragged rows or nothing, as named arrays."""
    if value is None:
        return {}
    if isinstance(value, Rows):
        data = {} if value.data is None else {f"{name}.data": value.data}
        return {f"{name}.indptr": value.indptr, f"{name}.indices": value.indices, **data}
    return {name: value}


def _rows(name: str, state: Mapping[str, NDArray[Any]]) -> Any:
    """What ``_cells`` took apart."""
    if f"{name}.indptr" in state:
        return Rows(state[f"{name}.indptr"], state[f"{name}.indices"], state.get(f"{name}.data"))
    return state.get(name)
