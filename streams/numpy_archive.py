"""NumPy archives (``.npz``) as a source of events and as a place to write them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streams.batch import COMPLETE, Batch, DeadLetter, Rows, Schema
from streams.npz_arrays import NpzArrays
from streams.npz_events import NpzEvents
from streams.source import DecodeError, Position
from streams.text import stem
from streams.text_source import OnError, RowKind
from streams.writing import FileWriter


class NumpySource:
    """Events of a NumPy archive.

    Parameters
    ----------
    path
        The ``.npz`` file.
    labels
        Names of the labels in the order of their numbers, parted by commas or a sequence; None: as the archive says.
    on_error
        ``fail``: a row that is malformed raises `DecodeError`, after the events before it were handed out. ``skip``:
        it becomes a dead letter, whose bytes are those of its features in the array.
    payload
        Name of an array of strings to hand out as ``Batch.payload``; None: ``payload``, if there is one.
    rows
        ``dense`` or ``sparse`` (zeros left out); None: as the features are held.
    name
        What to call the source; by default the file's name without its ending.
    n_events
        Must be None: the archive tells.
    part
        What stands behind the names of the arrays: ``part="test"`` reads ``x_test``, ``y_test``. None: nothing, or
        ``train`` where there is ``x_train`` and no ``x``.

    Raises
    ------
    DecodeError
        The file is no archive or damaged; or an array holds Python objects, which are never unpickled, or has another
        type or length than it must have.
    ValueError
        An option is wrong.

    Notes
    -----
    Arrays are, each with a row for every event:

    ``x`` (or ``X``)
        Numbers, NaN for missing; dimensions behind the first are laid side by side, so that images become rows. In
        place of it ``x_indptr``, ``x_indices`` and ``x_data`` (all 1 without it) for compressed sparse rows, or what
        ``scipy.sparse.save_npz`` writes of a CSR matrix.
    ``y``
        0 and 1 of shape (n, L), NaN for unknown; or integers or strings of shape (n,), one class an event, NaN for
        none known; or ``y_indptr`` and ``y_indices`` (and ``y_data``). Without them no labels are known.
    ``label_state``, ``known_indptr``, ``known_indices``
        What is known of the labels, as in `Batch`, where NaN in ``y`` does not say it.
    ``weight``, ``time``, ``key``, ``payload``
        As in `Batch`; ``key_missing`` and ``payload_missing`` tell which events have none. Times may be
        ``datetime64``.

    Further, for all parts, ``feature_names``, ``label_names`` (or ``classes``), and in place of both ``schema``, the
    bytes of `Schema.to_array`. Names are ``x0, x1, …`` and ``y0, y1, …`` by default, and of classes the values
    themselves, ascending.

    Infinity, a number that float32 cannot hold, a label other than 0 and 1, a column number that comes twice or is
    none, a category that is none: each makes the row malformed.

    An array that the archive stores uncompressed is mapped into memory, so that reading takes memory for a batch alone
    (its checksum is not looked at); a compressed one is read whole. Classes are looked through once at opening.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "toy.npz"
    >>> np.savez(path, x=np.eye(3), y=np.array(["cat", "dog", "cat"]))
    >>> batch = NumpySource(path).next_batch()
    >>> batch.schema.label_names, batch.y.indices.tolist()
    (['cat', 'dog'], [0, 1, 0])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        labels: str | Sequence[str] | None = None,
        on_error: OnError = "fail",
        payload: str | None = None,
        rows: RowKind | None = None,
        name: str | None = None,
        n_events: int | None = None,
        part: str | None = None,
    ) -> None:
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error must be 'fail' or 'skip', got {on_error!r}")
        if rows not in (None, "dense", "sparse"):
            raise ValueError(f"rows must be 'dense', 'sparse' or None, got {rows!r}")
        if n_events is not None:
            raise ValueError(f"n_events must be None, for the archive tells them, got {n_events}")
        names = [word.strip() for word in labels.split(",")] if isinstance(labels, str) else labels
        if any(word.startswith(("first:", "last:")) for word in names or ()):
            raise ValueError(f"labels of a NumPy archive must be names, got {labels!r}")
        self._name = name or stem(path)
        self._on_error = on_error
        self._next = 0
        self._arrays = NpzArrays(path)
        try:
            self._events = NpzEvents(self._arrays, part=part, labels=names, rows=rows, payload=payload)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """What to call the source in results."""
        return self._name

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self._arrays.path

    @property
    def schema(self) -> Schema:
        """Names of the columns, all of them known from the start."""
        return self._events.schema

    @property
    def n_events(self) -> int:
        """Events in the archive, malformed ones too."""
        return self._events.n_events

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events`` with the dead letters between them, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        start, stop = self._next, min(self._next + max_events, self.n_events)
        if start == stop:
            return None
        batch, faults = self._events.part(start, stop)
        batch.source = self._name
        batch.offset = np.arange(start, stop, dtype=np.int64)
        if faults and self._on_error == "fail":
            first = min(faults)
            if first == 0:
                raise DecodeError(self.path.name, faults[0], offset=start)
            stop, batch = start + first, batch[:first]
        elif faults:
            batch = batch.take(np.setdiff1d(np.arange(stop - start), list(faults)))
            batch.dead = [
                DeadLetter(self._name, start + row, reason, self._events.raw(start + row))
                for row, reason in sorted(faults.items())
            ]
        self._next = stop
        return batch

    def position(self) -> Position:
        """The row of the next event."""
        return {"offset": self._next}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken in the same archive."""
        offset = int(position["offset"])
        if not 0 <= offset <= self.n_events:
            raise ValueError(f"position must lie in the {self.n_events} events, got {offset}")
        self._next = offset

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        self._arrays.close()


class NumpyWriter(FileWriter):
    """Writes events as a NumPy archive that `NumpySource` reads back as they were.

    Parameters
    ----------
    path, schema
        See `FileWriter`. The schema may grow until the end.

    Raises
    ------
    ValueError
        A key or payload is no text, or ends with the character 0, which arrays of text cannot hold.

    Notes
    -----
    The archive holds ``x`` (or ``x_indptr``, ``x_indices``, ``x_data``), the labels in compressed rows, ``schema``, and
    of the rest what the events have, uncompressed. Since the length of an array stands in front of it, events are kept
    in memory until ``close``, which takes as much again.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Schema) -> None:
        super().__init__(path, schema)
        self._batches: list[Batch] = []
        self._n_rows = 0

    def _append(self, batch: Batch) -> None:
        for what in ("key", "payload"):
            for row, value in enumerate(getattr(batch, what) or ()):
                if value is not None and (not isinstance(value, str) or value.endswith("\0")):
                    raise ValueError(
                        f"{self._path.name}: row {self._n_rows + row}: {what} must be a text that an array can hold, "
                        f"got {value!r}"
                    )
        self._batches.append(batch)
        self._n_rows += len(batch)

    def _finish(self) -> None:
        batches = self._batches or [Batch.from_dicts([], schema=self._schema)]
        with open(self._partial, "wb") as file:
            np.savez(file, **_arrays_of(Batch.concat(batches), self._schema))


def _arrays_of(batch: Batch, schema: Schema) -> dict[str, Any]:
    """The arrays of an archive that holds these events."""
    arrays: dict[str, Any] = {"schema": schema.to_array()}
    if isinstance(batch.x, Rows):
        arrays.update(x_indptr=batch.x.indptr, x_indices=batch.x.indices, x_data=batch.x.data)
    else:
        x = np.full((len(batch), schema.n_features), np.nan, np.float32)
        x[:, : batch.x.shape[1]] = batch.x
        arrays["x"] = x
    arrays.update(y_indptr=batch.y.indptr, y_indices=batch.y.indices)
    if (batch.label_state != COMPLETE).any():
        arrays["label_state"] = batch.label_state
    if batch.known is not None:
        arrays.update(known_indptr=batch.known.indptr, known_indices=batch.known.indices)
    arrays.update({what: getattr(batch, what) for what in ("weight", "time") if getattr(batch, what) is not None})
    for what in ("key", "payload"):
        texts = getattr(batch, what)
        if texts is not None:
            arrays[what] = np.array([text or "" for text in texts], np.str_)
            arrays[f"{what}_missing"] = np.array([text is None for text in texts], bool)
    return arrays
