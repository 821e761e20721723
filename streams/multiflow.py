"""Streams of scikit-multiflow as sources, and sources as streams of scikit-multiflow."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import COMPLETE, NOMINAL, NUMERIC, Batch, Rows, Schema
from streams.source import DecodeError, Position, Source

CHUNK = 256
"""Events that are asked of a stream at a time, however many are wanted: some draw others where asked for more."""


class MultiflowSource:
    """What a stream of scikit-multiflow gives, from its beginning.

    Parameters
    ----------
    stream
        Has ``next_sample(n)``, which gives arrays (n, d) and (n,) or (n, L). May have ``restart``,
        ``has_more_samples``, ``n_remaining_samples``, ``n_targets``, ``target_values``, ``feature_names``,
        ``target_names``, ``cat_features_idx`` and ``name``. It is restarted.
    name
        What to call the source; by default what the stream calls itself.

    Raises
    ------
    TypeError
        ``stream`` has no ``next_sample``.

    Notes
    -----
    With one target, events have one class each, which is the one label that they have; its name is the class as a
    number. With several, these are the labels, and their cells 0 or 1; other numbers, targets of regression, and
    infinite features raise `DecodeError`. NaN is missing. The features of ``cat_features_idx`` are nominal, their
    categories called by number; the generators of scikit-multiflow name none.

    Features are single precision. ``resume`` restarts the stream and reads on: the events are the same if the stream
    gives the same again, which a generator without a seed does not. Delays and times of a `TemporalDataStream` are left
    out.

    Examples
    --------
    >>> class Clock:
    ...     def __init__(self):
    ...         self.restart()
    ...     def restart(self):
    ...         self.hour = 0
    ...     def next_sample(self, n=1):
    ...         hours = np.arange(self.hour, self.hour + n)
    ...         self.hour += n
    ...         return hours[:, None] % 24.0, (hours % 24 > 11).astype(int)
    >>> batch = from_skmultiflow_stream(Clock()).next_batch(20)
    >>> len(batch), batch.schema.label_names
    (20, [0, 1])
    """

    def __init__(self, stream: Any, *, name: str | None = None) -> None:
        if not callable(getattr(stream, "next_sample", None)):
            raise TypeError(f"stream must have next_sample, got {stream!r}")
        self._stream = stream
        self._restart()
        self._name = name or getattr(stream, "name", None) or type(stream).__name__
        self._schema = Schema(*self._names())
        left = self._left()
        self._n_events = None if left < 0 else left
        self._next = 0
        self._rest: tuple[NDArray[Any], NDArray[Any]] | None = None

    def _names(self) -> tuple[list[str], list[Any]]:
        """Names of features and labels, as far as the stream says."""
        told = getattr(self._stream, "feature_names", None)
        features = [] if told is None else [str(name) for name in told]
        if getattr(self._stream, "n_targets", 1) > 1:
            names = getattr(self._stream, "target_names", None)
            return features, [] if names is None else [str(name) for name in names]
        values = getattr(self._stream, "target_values", None)
        return features, [] if values is None else [_plain(v) for v in values if not isinstance(v, type)]

    def _restart(self) -> None:
        if hasattr(self._stream, "restart"):
            self._stream.restart()

    def _left(self) -> int:
        """Events still to come, -1 where that is not known."""
        return int(self._stream.n_remaining_samples()) if hasattr(self._stream, "n_remaining_samples") else -1

    @property
    def name(self) -> str:
        """What to call the source in results."""
        return self._name

    @property
    def schema(self) -> Schema:
        """Names of the columns; grows by classes and categories."""
        return self._schema

    @property
    def n_events(self) -> int | None:
        """As the stream says; None for one that has no end."""
        return self._n_events

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events``, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        drawn = self._draw(max_events)
        if drawn is None:
            return None
        x, y = drawn
        try:
            batch = self._decoded(x, y)
        except ValueError as error:
            raise DecodeError(self._name, str(error), offset=self._next) from None
        batch.source = self._name
        batch.offset = np.arange(self._next, self._next + len(x))
        self._next += len(x)
        return batch

    def _draw(self, n: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The next ``n`` rows, fewer at the end, or None there; whole chunks are asked of the stream."""
        chunks = []
        while n > 0:
            if self._rest is None or not len(self._rest[0]):
                left = self._left()
                if left == 0 or not getattr(self._stream, "has_more_samples", lambda: True)():
                    break
                x, y = self._stream.next_sample(CHUNK if left < 0 else min(CHUNK, left))[:2]
                self._rest = np.asarray(x), np.asarray(y)
            x, y = self._rest
            self._rest = x[n:], y[n:]
            chunks.append((x[:n], y[:n]))
            n -= len(x)
        if len(chunks) < 2:
            return chunks[0] if chunks else None
        return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])

    def _decoded(self, x: NDArray[Any], y: NDArray[Any]) -> Batch:
        schema = self._schema
        for column in range(schema.n_features, x.shape[1]):
            schema.feature_id(f"x{column}")
        with np.errstate(over="ignore"):
            batch = Batch.from_arrays(x, schema=schema)
        assert isinstance(batch.x, np.ndarray)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 1:
            names = [_plain(value) for value in y]
            number = next((name for name in names if isinstance(name, float)), None)
            if number is not None:
                raise ValueError(f"a target must be a class, got the number {number}")
            labels = Rows(np.arange(len(names) + 1), np.array([schema.label_id(name) for name in names], np.int32))
        else:
            if not np.isin(y, (0, 1)).all():
                raise ValueError(f"targets must be 0 or 1 where there are several, got {np.unique(y).tolist()[:5]}")
            for column in range(schema.n_labels, y.shape[1]):
                schema.label_id(f"y{column}")
            labels = Rows.from_dense(y)
        nominal = set(getattr(self._stream, "cat_features_idx", None) or ())
        for column in range(x.shape[1]):
            if column in nominal:
                batch.x[:, column] = self._categories(column, batch.x[:, column])
            else:
                schema.decide(column, NUMERIC)
        batch.y, batch.label_state = labels, np.full(len(x), COMPLETE, np.uint8)
        return batch

    def _categories(self, column: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Numbers of categories for the numbers that the stream has for them."""
        if self._schema.kinds[column] != NOMINAL:
            self._schema.make_nominal(column)
        found = [np.nan if v != v else self._schema.category_id(column, str(_plain(v))) for v in values.tolist()]
        return np.array(found, np.float32)

    def position(self) -> Position:
        """How many events have been handed out, and the schema so far."""
        return {"offset": self._next, "schema": self._schema.to_json()}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken, from the beginning of the stream.

        Raises
        ------
        ValueError
            The stream cannot be restarted, or is shorter.
        """
        offset = int(position["offset"])
        if offset != self._next and not hasattr(self._stream, "restart"):
            raise ValueError(f"stream must have restart to go from event {self._next} to {offset}")
        if offset != self._next:
            self._restart()
            self._rest, self._next = None, 0
            while self._next < offset:
                drawn = self._draw(offset - self._next)
                if drawn is None:
                    raise ValueError(f"position must lie in the {self._next} events, got {offset}")
                self._next += len(drawn[0])
        self._schema.extend(Schema.from_json(position["schema"]))

    def close(self) -> None:
        """Nothing to let go of."""


class MultiflowStream:
    """A source with the methods of a stream of scikit-multiflow.

    Parameters
    ----------
    source
        Complete labels, and as many features in every event as in the first `CHUNK`. It is read from where it stands.
    multilabel
        Whether ``y`` has a column of 0 and 1 for each label; otherwise it has the number of the one label that an event
        has, and the names are in ``classes``.

    Raises
    ------
    ValueError
        Here or at a later event: an event is not completely labelled, has no label or several where it must have one,
        or features or labels came that there were not at first.

    Notes
    -----
    Features are float64, NaN for missing, nominal ones their category's number, sparse ones with their zeros. Classes
    and labels beyond those of the first `CHUNK` events must be in the schema beforehand. Offsets, keys, times and dead
    letters are passed over.

    Examples
    --------
    >>> from streams.memory import BatchSource
    >>> stream = MultiflowStream(BatchSource(Batch.from_arrays(np.eye(3), np.eye(3)[:, :2])))
    >>> stream.n_features, stream.n_targets, stream.n_remaining_samples()
    (3, 2, 3)
    >>> stream.next_sample(2)[1].tolist(), stream.has_more_samples()
    ([[1, 0], [0, 1]], True)
    """

    def __init__(self, source: Source, *, multilabel: bool = True) -> None:
        self._source, self._multilabel = source, multilabel
        self._start = source.position()
        self._x, self._y = np.zeros((0, 0)), np.zeros((0, 0), np.int64)
        self._given = 0
        self._n_features = self._n_labels = -1
        self.current_sample_x: NDArray[np.float64] | None = None
        self.current_sample_y: NDArray[np.int64] | None = None
        self._fill(1)
        schema = source.schema
        self._n_features, self._n_labels = schema.n_features, schema.n_labels

    # What the stream is.

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._source.name

    @property
    def classes(self) -> list[Any]:
        """Names of the labels, or of the classes in the order of their numbers."""
        return self._source.schema.label_names[: self._n_labels]

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return self._n_features

    @property
    def feature_names(self) -> list[str]:
        """Their names."""
        return [str(name) for name in self._source.schema.feature_names[: self._n_features]]

    @property
    def cat_features_idx(self) -> list[int]:
        """Columns of the nominal ones."""
        return [column for column in sorted(self._source.schema.categories) if column < self._n_features]

    @property
    def n_cat_features(self) -> int:
        """How many are nominal."""
        return len(self.cat_features_idx)

    @property
    def n_num_features(self) -> int:
        """How many are not."""
        return self._n_features - self.n_cat_features

    @property
    def n_targets(self) -> int:
        """Labels, or 1 for the class."""
        return self._n_labels if self._multilabel else 1

    @property
    def n_classes(self) -> int:
        """Classes, or 2 for each label."""
        return 2 if self._multilabel else self._n_labels

    @property
    def target_names(self) -> list[str]:
        """Names of the labels, or ``class``."""
        return [str(name) for name in self.classes] if self._multilabel else ["class"]

    @property
    def target_values(self) -> list[Any]:
        """The numbers of the classes, or 0 and 1 for each label."""
        return [[0, 1]] * self._n_labels if self._multilabel else list(range(self._n_labels))

    def get_data_info(self) -> str:
        """Name and size, as scikit-multiflow prints them."""
        return f"{self.name} - {self.n_targets} target(s), {self.n_classes} classes, {self.n_features} features"

    # Events.

    def next_sample(self, batch_size: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The next events, fewer at the end: arrays of shapes (n, d), and (n, L) or (n,)."""
        self._fill(batch_size)
        x, y = self._x[:batch_size], self._y[:batch_size]
        self._x, self._y = self._x[batch_size:], self._y[batch_size:]
        self._given += len(x)
        self.current_sample_x, self.current_sample_y = x, y
        return x, y

    def last_sample(self) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
        """What ``next_sample`` gave last."""
        return self.current_sample_x, self.current_sample_y

    def has_more_samples(self) -> bool:
        """Whether there is another event; waits for it where the source does."""
        self._fill(1)
        return len(self._x) > 0

    def n_remaining_samples(self) -> int:
        """Events still to come, -1 where the source does not know how many it has."""
        n = self._source.n_events
        return -1 if n is None else n - self._given

    def is_restartable(self) -> bool:
        """Always."""
        return True

    def restart(self) -> None:
        """Go back to where the source stood when the stream was made."""
        self._source.resume(self._start)
        self._x, self._y, self._given = self._x[:0], self._y[:0], 0
        self.current_sample_x = self.current_sample_y = None

    def prepare_for_use(self) -> None:
        """Nothing to prepare."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters."""
        return {"source": self._source, "multilabel": self._multilabel}

    def get_info(self) -> str:
        """The parameters as text."""
        return f"MultiflowStream(source={self.name!r}, multilabel={self._multilabel})"

    def _fill(self, n: int) -> None:
        """Have at least ``n`` events at hand, or all that are left."""
        while len(self._x) < n:
            batch = self._source.next_batch(max(n - len(self._x), CHUNK))
            if batch is None:
                return
            x, y = self._arrays(batch)
            self._x = np.concatenate([self._x, x]) if len(self._x) else x
            self._y = np.concatenate([self._y, y]) if len(self._y) else y

    def _arrays(self, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        schema = batch.schema
        known = (self._n_features, self._n_labels)
        if len(batch) and self._n_features >= 0 and (schema.n_features, schema.n_labels) != known:
            raise ValueError(
                f"source must keep its {known[0]} features and {known[1]} labels, got {schema.n_features} and"
                f" {schema.n_labels} at event {int(batch.offset[0])}"
            )
        if (batch.label_state != COMPLETE).any():
            first = int(batch.offset[batch.label_state != COMPLETE][0])
            raise ValueError(f"events must be completely labelled, got one that is not at {first}")
        if isinstance(batch.x, Rows):
            x = batch.x.to_dense(schema.n_features).astype(np.float64)
        else:
            x = np.full((len(batch), schema.n_features), np.nan)
            x[:, : batch.x.shape[1]] = batch.x
        y = batch.y.to_dense(schema.n_labels).astype(np.int64)
        if self._multilabel:
            return x, y
        count = np.diff(batch.y.indptr)
        if (count != 1).any():
            wrong = int((count != 1).argmax())
            raise ValueError(f"an event must have one label, got {count[wrong]} at {int(batch.offset[wrong])}")
        return x, batch.y.indices.astype(np.int64)


def from_skmultiflow_stream(stream: Any, *, name: str | None = None) -> MultiflowSource:
    """A stream of scikit-multiflow, or anything with its methods, as a `Source`: see `MultiflowSource`."""
    return MultiflowSource(stream, name=name)


def to_skmultiflow_stream(source: Source, *, multilabel: bool = True) -> MultiflowStream:
    """A source as a stream for scikit-multiflow: see `MultiflowStream`.

    Where scikit-multiflow is imported, it passes for one of its own, as its evaluators ask.
    """
    theirs = sys.modules.get("skmultiflow.data.base_stream")
    if theirs is not None:
        theirs.Stream.register(MultiflowStream)
    return MultiflowStream(source, multilabel=multilabel)


def _plain(value: Any) -> Any:
    """A class or category: whole numbers as such, however the stream writes them."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
