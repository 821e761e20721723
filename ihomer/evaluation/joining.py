"""Answered events and the labels that come later, joined by the events' keys within bounds of time and number."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.evaluation.waiting import pack, unpack
from streams.batch import PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from streams.topics.joining import Label

_WAITING, _EARLY, _DONE, _EXPIRED = range(4)


@dataclass
class JoinCounts:
    """What became of labels and of the events that waited for them.

    Attributes
    ----------
    joined
        Labels that met their event: it was scored with the answer given before, then learned.
    early
        Those of them that came before it.
    duplicate
        Labels that said once more what was known; nothing happens.
    corrected
        Labels that said something else than those before; the first stay, in scores and in what was learned.
    late
        Labels of an event that had waited too long.
    orphan
        Labels whose event did not come in time.
    expired
        Events that waited too long.
    dropped
        Waiting events that a tombstone dropped.
    keyless
        Events without labels and without a key, which cannot be joined.
    dead
        Messages of the label topic that could not be read.
    """

    joined: int = 0
    early: int = 0
    duplicate: int = 0
    corrected: int = 0
    late: int = 0
    orphan: int = 0
    expired: int = 0
    dropped: int = 0
    keyless: int = 0
    dead: int = 0

    @property
    def unlabelled(self) -> int:
        """Events that will get no labels any more."""
        return self.expired + self.dropped + self.keyless


@dataclass(slots=True)
class _Entry:
    """What is known of a key: how it stands, since when, its labels, and, while it waits, its row of a block."""

    status: int
    time: int
    labels: tuple[tuple[int, ...], tuple[int, ...] | None] | None = None
    block: _Block | None = None
    row: int = 0


@dataclass(slots=True)
class _Block:
    """Events answered together, and one answer a learner."""

    events: Batch
    answers: list[Prediction] = field(default_factory=list)


class LabelJoin:
    """Events that wait for their labels, and labels that wait for their events.

    Parameters
    ----------
    time_ms
        How long either waits, in the time of the events and labels themselves.
    size
        How many entries are kept at most; when there are more, the oldest leaves as if its time were over.
    n_learners
        Answers an event.

    Notes
    -----
    Time is the greatest that was met so far, of event or label, so that a replay gives the same. A key that is done
    with, or has expired, is remembered for as long as it could have waited, so that what comes for it can be told
    apart: duplicate, corrected, late. Memory: the events that wait, and some 200 bytes an entry.

    ``admit`` and ``labels`` are called in the order in which the messages stand; it makes no difference how they are
    cut into batches.
    """

    def __init__(self, time_ms: int, size: int, n_learners: int) -> None:
        if time_ms < 1 or size < 1:
            raise ValueError(f"a join must have at least 1 ms and 1 entry, got {time_ms} ms and {size}")
        self.time_ms, self.size, self.n_learners = time_ms, size, n_learners
        self.counts = JoinCounts()
        self.n_waiting = 0
        """Events that wait."""
        self._now = -(1 << 62)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._last: _Block
        self._arrived: list[_Entry] = []

    def admit(self, batch: Batch) -> Batch:
        """Events that are about to be answered, with the labels that came before them.

        Those that have labels, of their own or come early, are done with; of the others those that have a key wait, and
        ``answered`` must be called before the next labels.
        """
        labels: list[Label | None] = []
        self._last = block = _Block(batch)
        times = batch.time.tolist() if batch.time is not None else [self._now] * len(batch)
        for row, (key, time) in enumerate(zip(batch.key or [None] * len(batch), times, strict=True)):
            self._pass(time)
            labels.append(None if key is None else self._admit(str(key), block, row))
            self.counts.keyless += key is None and bool(batch.label_state[row] == UNLABELLED)
        if any(label is not None for label in labels):
            block.events = _with_labels(batch, labels)
        return block.events

    def _admit(self, key: str, block: _Block, row: int) -> Label | None:
        """Note an event; the labels that it should have and has not."""
        events, entry, early = block.events, self._entries.pop(key, None), None
        if entry is not None and entry.status == _WAITING:
            # Another event of the same key takes its place.
            self.n_waiting -= 1
            self.counts.expired += 1
        if events.label_state[row] != UNLABELLED:
            partly = events.known is not None and events.label_state[row] == PARTIAL
            known = tuple(events.known.row(row).tolist()) if partly and events.known is not None else None
            self._entries[key] = _Entry(_DONE, self._now, (tuple(sorted(events.y.row(row).tolist())), known))
        elif entry is not None and entry.status == _EARLY and entry.labels is not None:
            present, known = entry.labels
            early = Label(key, self._now, list(present), None if known is None else list(known))
            self._entries[key] = _Entry(_DONE, self._now, entry.labels)
            self.counts.joined += 1
            self.counts.early += 1
        else:
            entry = self._entries[key] = _Entry(_WAITING, self._now, None, block, row)
            self._arrived.append(entry)
            self.n_waiting += 1
        self._shrink()
        return early

    def answered(self, answers: Sequence[Prediction]) -> None:
        """The answers, one a learner, to the events that were admitted last; only of those that wait are they kept."""
        block, waiting = self._last, self._arrived
        self._arrived = []
        rows = np.array([entry.row for entry in waiting], np.int64)
        block.events = block.events.take(rows)
        block.answers = [_taken(answer, rows) for answer in answers]
        for row, entry in enumerate(waiting):
            entry.row = row

    def labels(self, labels: Sequence[Label]) -> tuple[Batch, list[Prediction]] | None:
        """The events that these labels are of, with them, in the labels' order, and their answers; None: none are."""
        found: list[tuple[_Block, int]] = []
        joined: list[Label] = []
        for label in labels:
            self._pass(label.time)
            entry = self._entries.get(label.key)
            if label.present is None:
                if entry is not None and entry.status in (_WAITING, _EARLY):
                    self.counts.dropped += entry.status == _WAITING
                    self.n_waiting -= entry.status == _WAITING
                    del self._entries[label.key]
                continue
            said = (tuple(sorted(label.present)), None if label.known is None else tuple(sorted(label.known)))
            if entry is None:
                self._entries[label.key] = _Entry(_EARLY, self._now, said)
                self._shrink()
            elif entry.status == _WAITING and entry.block is not None:
                found.append((entry.block, entry.row))
                joined.append(label)
                del self._entries[label.key]
                self._entries[label.key] = _Entry(_DONE, self._now, said)
                self.n_waiting -= 1
                self.counts.joined += 1
            elif entry.status == _EXPIRED:
                self.counts.late += 1
            elif entry.labels == said:
                self.counts.duplicate += 1
            else:
                self.counts.corrected += 1
        return _labelled(found, joined) if found else None

    def _pass(self, time: int) -> None:
        """Time goes on, and entries expire."""
        self._now = max(self._now, time)
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.time + self.time_ms >= self._now:
                break
            self._expire(key, entry)

    def _shrink(self) -> None:
        while len(self._entries) > self.size:
            self._expire(*next(iter(self._entries.items())))

    def _expire(self, key: str, entry: _Entry) -> None:
        del self._entries[key]
        if entry.status == _WAITING:
            self.n_waiting -= 1
            self.counts.expired += 1
            if len(self._entries) < self.size:
                self._entries[key] = _Entry(_EXPIRED, self._now)
        elif entry.status == _EARLY:
            self.counts.orphan += 1

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything kept, as arrays."""
        waiting = [entry for entry in self._entries.values() if entry.block is not None]
        table = {
            "now": self._now,
            "counts": vars(self.counts),
            "entries": [[key, entry.status, entry.time, entry.labels] for key, entry in self._entries.items()],
        }
        state = {"table": np.frombuffer(json.dumps(table).encode(), np.uint8)}
        if not waiting:
            return state
        events, answers = _gathered([(entry.block, entry.row) for entry in waiting if entry.block is not None])
        return {**state, **pack(events, answers)}

    def set_state(self, state: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        """Take over what ``get_state`` gave; ``schema`` is that of the waiting events."""
        table = json.loads(state["table"].tobytes())
        self._now, self.counts = table["now"], JoinCounts(**table["counts"])
        self._entries.clear()
        block = _Block(*unpack(state, schema, self.n_learners)) if "offset" in state else None
        self.n_waiting = 0
        for key, status, time, labels in table["entries"]:
            said = None if labels is None else (tuple(labels[0]), None if labels[1] is None else tuple(labels[1]))
            entry = _Entry(status, time, said)
            if status == _WAITING:
                entry.block, entry.row = block, self.n_waiting
                self.n_waiting += 1
            self._entries[key] = entry


def _gathered(rows: Sequence[tuple[_Block, int]]) -> tuple[Batch, list[Prediction]]:
    """Events of several blocks, in this order, with their answers."""
    parts: list[tuple[_Block, list[int]]] = []
    for block, row in rows:
        if not parts or parts[-1][0] is not block:
            parts.append((block, []))
        parts[-1][1].append(row)
    events = Batch.concat([block.events.take(np.array(numbers)) for block, numbers in parts])
    n_learners = len(parts[0][0].answers)
    answers = [
        Prediction.concat([_taken(block.answers[number], np.array(numbers)) for block, numbers in parts])
        for number in range(n_learners)
    ]
    return events, answers


def _taken(answer: Prediction, rows: NDArray[np.int64]) -> Prediction:
    proba = answer.proba.take(rows) if isinstance(answer.proba, Rows) else answer.proba
    return Prediction(answer.labels.take(rows), proba[rows] if isinstance(proba, np.ndarray) else proba)


def _labelled(rows: Sequence[tuple[_Block, int]], labels: Sequence[Label]) -> tuple[Batch, list[Prediction]]:
    events, answers = _gathered(rows)
    return _with_labels(events, labels), answers


def _with_labels(events: Batch, labels: Sequence[Label | None]) -> Batch:
    """The same events, those with an entry in ``labels`` having these labels."""
    present, known, state = [], [], events.label_state.copy()
    for row, label in enumerate(labels):
        if label is not None:
            state[row] = label.state
        of_known = None if events.known is None else events.known.row(row).tolist()
        present.append(events.y.row(row).tolist() if label is None else label.present or [])
        known.append((of_known if label is None else label.known) or [])
    partly = Rows.from_lists(known) if (state == PARTIAL).any() else None
    return replace(events, y=Rows.from_lists(present), label_state=state, known=partly)
