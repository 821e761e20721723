"""A source whose features are extracted from the payloads of another one, while what came before is learned."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import NUMERIC, Batch, DeadLetter, Schema
from streams.extraction.encoding import Encoded, Features, dense, n_columns, raw
from streams.extraction.pool import ExtractionPool, Job
from streams.extraction.weighing import in_order
from streams.rows import Rows
from streams.schema import ABSENT
from streams.source import DecodeError, Position, Source
from streams.text_source import OnError

KEY = "extraction"
"""Under this name a position has what the extraction adds to that of the source."""

_AHEAD = 2
"""Batches that are extracted while one is learned, at least."""

_MOST_AHEAD = 64
"""Batches, at most, however small they are."""

_GLANCE_S = 0.01
"""How long to wait for a batch that is about to be done even if the caller would rather not wait."""


@dataclass(slots=True)
class _Ahead:
    """A batch that was read and is not handed out: where it stood, what was known of columns then, and its job."""

    batch: Batch
    schema: Schema
    position: Position
    job: Job | None
    chosen: NDArray[np.int64]
    """Numbers of the events with a payload."""

    @property
    def n_records(self) -> int:
        return len(self.batch) + len(self.batch.dead)


@dataclass(slots=True)
class _Head:
    """What the next batch has become, and how much of it was handed out."""

    batch: Batch
    dead: list[DeadLetter]
    is_dead: NDArray[np.bool_]
    """Of each record, in order."""
    position: Position | None
    """Where it began; None where it is handed out whole, at once."""
    fault: DecodeError | None = None
    """What is to be raised behind it."""
    n_told: int = 0


class ExtractedSource:
    """The events of a source with features that an encoder makes of their payloads.

    Parameters
    ----------
    source
        Where the events come from. Closed with this one.
    pool
        What encodes; left open. More than one source may share it.
    on_error
        What an event does whose payload cannot be encoded: ``fail`` raises `DecodeError` after the events before it
        were handed out, ``skip`` makes it a dead letter.

    Raises
    ------
    ValueError
        The first events have no payload at all.

    Notes
    -----
    Columns are those of the encoder, ``e0, e1, …``, and any features that the events have themselves. An event without
    a payload has no values in the encoder's columns. Rows are sparse where the encoder's are, or the source's; then a
    value that is missing is left out, which counts as 0, and a category as the empty one.

    With workers, the batches to come are read and encoded while the one in hand is learned. The position tells where
    the first event stood that was not handed out, so that nothing that was only encoded counts as done. A batch is cut
    into the same blocks each time that it is read from the same place, so that a run which goes on sees the same rows
    to the bit.

    ``room`` may be set to what tells, by the number of records handed out, how many will be wanted next: batches read
    ahead then have the sizes that will be asked for. Where one is handed out in parts, a position between them is that
    of its beginning and a number of records, which are encoded again.
    """

    def __init__(self, source: Source, pool: ExtractionPool, *, on_error: OnError = "fail") -> None:
        self._source, self._pool, self._on_error = source, pool, on_error
        self._schema = Schema(sparse=source.schema.sparse or getattr(pool.encoder, "sparse", False))
        self._finish: Any = in_order(pool.encoder)
        self._width: int | None = None
        self._n_before = 0
        self._columns = np.zeros(0, np.int32)
        self._ahead: deque[_Ahead] = deque()
        self._head: _Head | None = None
        self._error: Exception | None = None
        self._ended = False
        self._met_payload = False
        self._snapshot, self._version = self._told_of(source.schema), source.schema.version
        self.n_records = 0
        """Records handed out: events and dead letters."""
        self._n_to_skip = 0
        self.room: Callable[[int], int] | None = None
        self._schema.extend(self._snapshot)

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._source.name

    @property
    def encoder(self) -> str:
        """Fingerprint of what makes the features."""
        return self._pool.fingerprint

    @property
    def at_work(self) -> bool:
        """Whether events have been read that were not handed out."""
        return bool(self._ahead or self._head)

    @property
    def path(self) -> Path | None:
        """The file that is read, if it is one."""
        return getattr(self._source, "path", None)

    @property
    def schema(self) -> Schema:
        """The encoder's columns and those of the events."""
        return self._schema

    @property
    def n_events(self) -> int | None:
        """As the source says."""
        return self._source.n_events

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events`` with the dead letters between them, or None at the end.

        An empty batch where none has been encoded in time.
        """
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        while self._n_to_skip:
            batch = self._next(self._n_to_skip, timeout)
            if batch is None or not len(batch) + len(batch.dead):
                return batch
            self._n_to_skip -= len(batch) + len(batch.dead)
        return self._next(max_events, timeout)

    def _next(self, max_events: int, timeout: float | None) -> Batch | None:
        if self._head is None:
            self._read_ahead(max_events, timeout)
            if not self._ahead:
                if self._error is not None:
                    raise self._error
                return None if self._ended else self._nothing()
            first = self._ahead[0]
            if not isinstance(first.batch, Batch):
                return self._ahead.popleft().batch
            if first.job is not None and not self._pool.wait(first.job, _not_at_once(timeout)):
                return self._nothing()
            whole = first.n_records <= max_events and (first.job is None or not first.job.has_faults)
            position = None if whole else self.position()
            self._head = self._made(self._ahead.popleft(), position)
        return self._told(self._head, max_events)

    def position(self) -> Position:
        """Where the next event will be read, in the source, and how many behind it were handed out."""
        if self._head is not None:
            assert self._head.position is not None, "a batch that is handed out whole is gone"
            told = {**self._head.position[KEY], "skip": self._head.n_told + self._n_to_skip}
            return {**self._head.position, KEY: told}
        told = {"encoder": self._pool.fingerprint, "n": self.n_records, "width": self._width, "before": self._n_before}
        state = getattr(self._finish, "to_json", None)
        if state is not None:
            told["state"] = state()
        if self._n_to_skip:
            told["skip"] = self._n_to_skip
        return {**(self._ahead[0].position if self._ahead else self._source.position()), KEY: told}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken.

        Raises
        ------
        ValueError
            It was taken with another encoder, or without one.
        """
        told = position.get(KEY)
        if told is None or told["encoder"] != self._pool.fingerprint:
            theirs = "none" if told is None else told["encoder"]
            raise ValueError(f"encoder must be that of the position, {theirs}, got {self._pool.fingerprint}")
        self._ahead.clear()
        self._head, self._error, self._ended, self._met_payload = None, None, False, True
        self._source.resume({key: value for key, value in position.items() if key != KEY})
        self._finish = in_order(self._pool.encoder)
        if "state" in told:
            self._finish.from_json(told["state"])
        # Columns get their numbers in the order in which they were met.
        self._n_before = int(told["before"])
        known = self._told_of(self._source.schema)
        self._schema.extend(_beginning(known, self._n_before))
        if told["width"] is not None:
            self._know_width(int(told["width"]))
        self._schema.extend(known)
        self.n_records = int(told["n"])
        self._n_to_skip = int(told.get("skip", 0))

    def close(self) -> None:
        """Let go of the source; may be called twice."""
        self._ahead.clear()
        self._source.close()

    # Reading.

    def _read_ahead(self, max_events: int, timeout: float | None) -> None:
        """Read batches and hand their payloads over, until enough are in flight."""
        n_ahead = sum(ahead.n_records for ahead in self._ahead if isinstance(ahead.batch, Batch))
        while not (self._ended or self._error or self._has_enough()):
            room = max_events
            if self._ahead and self.room is not None:
                room = self.room(self.n_records + n_ahead)
                if room < 1:
                    return
            position = self._source.position()
            try:
                batch = self._source.next_batch(room, 0.0 if self._ahead else timeout)
            except DecodeError as error:
                self._error = error
                return
            if batch is None:
                self._ended = True
                return
            if isinstance(batch, Batch) and not len(batch) and not batch.dead:
                return
            self._ahead.append(self._handed_over(batch, position))
            if isinstance(batch, Batch):
                n_ahead += len(batch) + len(batch.dead)

    def _has_enough(self) -> bool:
        n = len(self._ahead)
        if self._pool.is_inline or n >= _MOST_AHEAD:
            return n > 0
        if n <= _AHEAD:
            return False
        # Where every worker has enough to do, events that come one by one are better left to come together: small
        # blocks would stand in line, each of them as slow as a full one.
        if self._pool.n_in_flight >= self._pool.max_in_flight:
            return True
        n_payloads = sum(ahead.job.n for ahead in self._ahead if ahead.job is not None)
        return n_payloads >= self._pool.max_in_flight * self._pool.limits.n_payloads

    def _handed_over(self, batch: Batch, position: Position) -> _Ahead:
        if self._source.schema.version != self._version:
            self._snapshot, self._version = self._told_of(self._source.schema), self._source.schema.version
        nothing = np.zeros(0, np.int64)
        if not isinstance(batch, Batch) or not len(batch):
            return _Ahead(batch, self._snapshot, position, None, nothing)
        payloads = batch.payload or [None] * len(batch)
        chosen = np.array([row for row, payload in enumerate(payloads) if payload is not None], np.int64)
        if not len(chosen) and batch.payload is None and not self._met_payload:
            raise ValueError(
                f"{self.name}: events must have a payload to extract features from, found none; --payload FIELD names "
                "a field that is one"
            )
        self._met_payload = True
        if self._snapshot.find_feature(_column(0)) >= 0:
            raise ValueError(f"{self.name}: features of events must not be called {_column(0)}, as the encoder's are")
        job = self._pool.submit([payloads[row] for row in chosen.tolist()]) if len(chosen) else None
        return _Ahead(batch, self._snapshot, position, job, chosen)

    # Handing out.

    def _made(self, ahead: _Ahead, position: Position | None) -> _Head:
        batch = ahead.batch
        if not len(batch):
            return _Head(self._nothing(), batch.dead, np.ones(len(batch.dead), bool), position)
        found = Encoded(None) if ahead.job is None else ahead.job.result()
        payloads = batch.payload or []
        good = np.ones(len(batch), bool)
        dead = [(_place(batch, letter), letter) for letter in batch.dead]
        first: DeadLetter | None = None
        for number, reason in sorted(found.faults.items()):
            row = int(ahead.chosen[number])
            good[row] = False
            partition = 0 if batch.partition is None else int(batch.partition[row])
            letter = DeadLetter(batch.source, int(batch.offset[row]), reason, raw(payloads[row]), partition=partition)
            dead.append((row, letter))
            first = first or letter
        dead.sort(key=lambda pair: pair[0])
        letters = [letter for _, letter in dead]
        n_good = np.concatenate([[0], np.cumsum(good)])
        places = np.array([n_good[row] + number for number, (row, _) in enumerate(dead)], np.int64)
        is_dead = np.zeros(int(n_good[-1]) + len(dead), bool)
        is_dead[places] = True
        head = _Head(self._with_features(ahead, found, good), letters, is_dead, position)
        if first is not None and self._on_error == "fail":
            head.is_dead = is_dead[: places[[letter is first for letter in letters].index(True)]]
            head.fault = DecodeError(self.name, first.reason, offset=first.offset)
        return head

    def _with_features(self, ahead: _Ahead, found: Encoded, good: NDArray[np.bool_]) -> Batch:
        """The events that could be encoded, with the encoder's columns before their own."""
        rows: Features | None = found.rows
        if rows is not None:
            self._know_width(n_columns(rows, self._pool.encoder))
            rows = self._finish(rows)
            if isinstance(rows, Rows) and not self._schema.sparse:
                rows = dense(rows, self._pool.encoder)
        self._schema.extend(ahead.schema)
        kept = np.flatnonzero(good)
        batch = replace(ahead.batch, payload=None, dead=[]).take(kept)
        if self._schema.sparse and not isinstance(batch.x, Rows):
            batch.x = _sparse_rows(batch.x, ahead.batch.schema)
        batch = replace(batch, schema=ahead.schema).aligned(self._schema)
        if rows is None:
            return batch
        has_row = np.zeros(len(good), bool)
        has_row[ahead.chosen] = True
        where = np.flatnonzero(has_row[kept])
        return replace(batch, x=self._merged(batch.x, rows, where))

    def _merged(self, x: Features, rows: Features, where: NDArray[np.int64]) -> Features:
        """``x`` with the encoder's rows in its columns, of the events at these places."""
        if isinstance(x, Rows):
            assert x.data is not None, "features have values"
            sparse = rows if isinstance(rows, Rows) else Rows.from_dense(rows, values=True)
            assert sparse.data is not None, "features have values"
            event = np.concatenate(
                [np.repeat(np.arange(len(x)), np.diff(x.indptr)), np.repeat(where, np.diff(sparse.indptr))]
            )
            column = np.concatenate([x.indices, self._columns[sparse.indices]])
            order = np.lexsort((column, event))
            indptr = np.concatenate([[0], np.cumsum(np.bincount(event, minlength=len(x)))])
            return Rows(indptr, column[order], np.concatenate([x.data, sparse.data])[order])
        assert not isinstance(rows, Rows), "where the encoder's rows are sparse, all are"
        x[where[:, np.newaxis], self._columns] = rows
        return x

    def _told(self, head: _Head, max_events: int) -> Batch:
        """The next records of a batch, and the end of it where they are the last."""
        n = min(len(head.is_dead) - head.n_told, max_events)
        if n <= 0 and head.fault is not None:
            raise head.fault
        start, stop = head.n_told, head.n_told + n
        n_dead = int(head.is_dead[:start].sum()), int(head.is_dead[:stop].sum())
        part: Batch = head.batch[start - n_dead[0] : stop - n_dead[1]]
        part.dead = head.dead[n_dead[0] : n_dead[1]]
        head.n_told = stop
        self.n_records += n
        if stop == len(head.is_dead) and head.fault is None:
            self._head = None
        return part

    def _told_of(self, schema: Schema) -> Schema:
        """What a schema is now, the columns of dense rows being told as those of sparse ones where these are wanted."""
        if not self._schema.sparse or schema.sparse:
            return schema.copy()
        told = schema.to_json()
        nominal = {column: _with_absent(names) for column, names in told["categories"].items()}
        return Schema.from_json({**told, "categories": nominal, "sparse": True})

    def _nothing(self) -> Batch:
        batch = Batch.from_dicts([], schema=self._schema)
        batch.source = self.name
        return batch

    def _know_width(self, width: int) -> None:
        """The encoder's columns are known."""
        if self._width == width:
            return
        if self._width is not None:
            raise ValueError(f"rows of an encoder must have one width, got {width} after {self._width}")
        if self._width is None and self._schema.find_feature(_column(0)) < 0:
            self._n_before = self._schema.n_features
        self._width = width
        self._columns = np.array([self._schema.feature_id(_column(number)) for number in range(width)], np.int32)
        for column in self._columns.tolist():
            self._schema.decide(column, NUMERIC)


def _column(number: int) -> str:
    """What a column of the encoder is called."""
    return f"e{number}"


def _beginning(schema: Schema, n_features: int) -> Schema:
    """The first features of a schema, without labels."""
    told = schema.to_json()
    nominal = {column: names for column, names in told["categories"].items() if int(column) < n_features}
    ignored = [column for column in told["ignored"] if column < n_features]
    first = {key: told[key][:n_features] for key in ("features", "kinds")}
    return Schema.from_json({**told, **first, "labels": [], "categories": nominal, "ignored": ignored})


def _not_at_once(timeout: float | None) -> float | None:
    return timeout if timeout is None else max(timeout, _GLANCE_S)


def _place(batch: Batch, letter: DeadLetter) -> int:
    """How many of a batch's events stood before a dead letter; all of them where that cannot be told."""
    ascending = batch.partition is None and bool((np.diff(batch.offset) >= 0).all())
    return int(np.searchsorted(batch.offset, letter.offset, "right")) if ascending else len(batch)


def _with_absent(names: list[str]) -> list[str]:
    """Categories of a column of sparse rows: the first is what is meant where the column is left out."""
    return [ABSENT, *(name for name in names if name != ABSENT)]


def _sparse_rows(x: NDArray[np.float32], schema: Schema) -> Rows:
    """Dense rows as sparse ones: what is missing is left out, and so is 0."""
    x = x.copy()
    for column, names in schema.categories.items():
        if column < x.shape[1]:
            number = {name: code for code, name in enumerate(_with_absent(names))}
            code = np.array([number[name] for name in names], np.float32)
            known = ~np.isnan(x[:, column])
            x[known, column] = code[x[known, column].astype(np.int64)]
    return Rows.from_dense(np.nan_to_num(x, copy=False), values=True)
