"""Events in memory as a source: a batch from its beginning to its end, shuffled if wanted."""

from __future__ import annotations

import numpy as np

from streams.batch import Batch, Schema
from streams.source import Position, Source


class BatchSource:
    """The events of one batch, in order.

    Parameters
    ----------
    batch
        Not changed. Its dead letters come with the first batch.
    name
        What to call the source; by default what the batch says.

    Examples
    --------
    >>> source = BatchSource(Batch.from_arrays(np.eye(3), np.eye(3)))
    >>> [len(source.next_batch(2)), len(source.next_batch(2)), source.next_batch(2)]
    [2, 1, None]
    """

    def __init__(self, batch: Batch, name: str | None = None) -> None:
        self._batch = batch
        self._name = name or batch.source or "memory"
        self._next = 0

    @property
    def name(self) -> str:
        """What to call the source in results."""
        return self._name

    @property
    def schema(self) -> Schema:
        """The batch's schema."""
        return self._batch.schema

    @property
    def n_events(self) -> int:
        """Events in the batch and dead letters beside them."""
        return len(self._batch) + len(self._batch.dead)

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events``, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        start = self._next
        if start >= len(self._batch) and not (start == 0 and self._batch.dead):
            return None
        # Behind the end, so that a batch of dead letters alone comes once.
        self._next = max(min(start + max_events, len(self._batch)), 1)
        part = self._batch[start : self._next]
        part.source = self._name
        part.offset = part.offset.copy()
        if start == 0:
            part.dead = list(self._batch.dead)
        return part

    def position(self) -> Position:
        """How many events have been handed out."""
        return {"offset": self._next}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken, in a source over an equal batch."""
        offset = int(position["offset"])
        if not 0 <= offset <= max(len(self._batch), 1):
            raise ValueError(f"position must lie in the {len(self._batch)} events, got {offset}")
        self._next = offset

    def close(self) -> None:
        """Nothing to let go of."""


def read_all(source: Source, max_events: int | None = None) -> Batch:
    """Everything that ``source`` still has, or its next ``max_events`` events, in one batch with their dead letters.

    Notes
    -----
    Takes as much memory as the stream is long; shuffling a stream needs it, hardly anything else does.
    """
    batches: list[Batch] = []
    left = max_events
    while left is None or left > 0:
        batch = source.next_batch(1024 if left is None else min(left, 1024))
        if batch is None:
            break
        batches.append(batch)
        left = None if left is None else left - len(batch)
    if not batches:
        empty = Batch.from_dicts([], schema=source.schema)
        empty.source = source.name
        return empty
    return Batch.concat(batches)


def shuffled(batch: Batch, seed: int) -> Batch:
    """The events in an order set by ``seed`` and their number alone; offsets still tell where each one stood."""
    mixed = batch.take(np.random.default_rng(seed).permutation(len(batch)))
    mixed.dead = list(batch.dead)
    return mixed
