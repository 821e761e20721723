"""The currency of the house: events (`Batch`) under a `Schema`, and answers to them (`Prediction`), as plain arrays."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.rows import Rows as Rows
from streams.schema import ABSENT, Keys
from streams.schema import NOMINAL as NOMINAL
from streams.schema import NUMERIC as NUMERIC
from streams.schema import UNDECIDED as UNDECIDED
from streams.schema import Name as Name
from streams.schema import Schema as Schema

UNLABELLED, PARTIAL, COMPLETE = 0, 1, 2
"""How much is known of an event's labels: nothing, the cells in ``Batch.known``, or every cell."""


_COLUMNS = ("y", "label_state", "offset", "known", "weight", "time", "key", "payload", "partition")
"""What a batch has a row an event of, beside ``x``."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be read: where it stood, why, and its bytes.

    ``offset`` counts as ``Batch.offset`` does for the same source; ``line`` is the line of a text file, from 1.
    """

    source: str
    offset: int
    reason: str
    raw: bytes
    line: int | None = None
    partition: int = 0


@dataclass(slots=True, eq=False)
class Batch:
    """n events in order, as plain arrays.

    Parameters
    ----------
    schema
        Names of the columns. May know more columns than the batch has: those are missing in every row.
    x
        Features: float32 of shape (n, d) with NaN for missing, or `Rows` with values where absent means 0.
    y
        Labels known to be present, one row an event.
    label_state
        uint8 (n,): ``UNLABELLED``, ``PARTIAL`` or ``COMPLETE``.
    known
        For partly labelled events, the labels of which anything is known (present ones included); rows of other
        events are empty. None where no event is partly labelled.
    weight
        float64 (n,), or None for all 1.
    time
        int64 (n,), milliseconds since 1970, or None.
    key
        One string (or None) an event, or None.
    payload
        Text or bytes from which features are still to be extracted, one an event, or None.
    source
        Name of what the events came from.
    partition, offset
        Position of every row in its source: int32 (n,) or None for partition 0, and int64 (n,). A file counts its
        records from 0.
    dead
        Events that stood between these and could not be read.

    Raises
    ------
    ValueError
        A column has another length than ``x``, or a weight is not positive.
    """

    schema: Schema
    x: NDArray[np.float32] | Rows
    y: Rows
    label_state: NDArray[np.uint8]
    known: Rows | None = None
    weight: NDArray[np.float64] | None = None
    time: NDArray[np.int64] | None = None
    key: list[str | None] | None = None
    payload: list[Any] | None = None
    source: str = ""
    partition: NDArray[np.int32] | None = None
    offset: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    dead: list[DeadLetter] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.x)
        if not len(self.offset):
            self.offset = np.arange(n)
        columns = (
            self.y, self.label_state, self.offset, self.known, self.weight, self.time, self.key, self.payload,
            self.partition,
        )  # fmt: skip
        for what, column in zip(_COLUMNS, columns, strict=True):
            if column is not None and len(column) != n:
                raise ValueError(f"{what} must have a row for each of the {n} events, got {len(column)}")
        if self.weight is not None:
            self.weight = np.ascontiguousarray(self.weight, np.float64)
            if not ((self.weight > 0) & np.isfinite(self.weight)).all():
                raise ValueError(f"weight must be positive and finite, got {self.weight}")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def is_sparse(self) -> bool:
        """Whether ``x`` is `Rows`."""
        return isinstance(self.x, Rows)

    def __getitem__(self, rows: slice) -> Batch:
        """Some consecutive events; their arrays are views where possible. Dead letters stay behind."""
        return self._select(lambda column: column[rows])

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """The events of these numbers, in this order. Dead letters stay behind."""

        def pick(column: Any) -> Any:
            if isinstance(column, Rows):
                return column.take(rows)
            return [column[i] for i in rows] if isinstance(column, list) else column[rows]

        return self._select(pick)

    def _select(self, pick: Any) -> Batch:
        optional = ("known", "weight", "time", "key", "payload", "partition")
        picked = {what: pick(getattr(self, what)) for what in optional if getattr(self, what) is not None}
        return replace(
            self,
            x=pick(self.x),
            y=pick(self.y),
            label_state=pick(self.label_state),
            offset=pick(self.offset),
            dead=[],
            **picked,
        )

    @classmethod
    def concat(cls, batches: Sequence[Batch]) -> Batch:
        """All events of several batches of one schema, in order."""
        first = batches[0]
        if any(batch.is_sparse != first.is_sparse for batch in batches):
            raise ValueError("batches must all be dense or all be sparse, got a mixture")
        n_columns = max((b.x.shape[1] for b in batches if isinstance(b.x, np.ndarray)), default=0)
        x = (
            Rows.concat([b.x for b in batches if isinstance(b.x, Rows)])
            if first.is_sparse
            else np.concatenate([_widened(b.x, n_columns) for b in batches if isinstance(b.x, np.ndarray)])
        )

        def joined(what: str, absent: Any) -> Any:
            columns = [getattr(batch, what) for batch in batches]
            if all(column is None for column in columns):
                return None
            filled = [absent(len(b)) if c is None else c for b, c in zip(batches, columns, strict=True)]
            if isinstance(filled[0], list):
                return [value for column in filled for value in column]
            return Rows.concat(filled) if isinstance(filled[0], Rows) else np.concatenate(filled)

        return cls(
            schema=first.schema,
            x=x,
            y=Rows.concat([batch.y for batch in batches]),
            label_state=np.concatenate([batch.label_state for batch in batches]),
            known=joined("known", Rows.empty),
            weight=joined("weight", np.ones),
            time=joined("time", lambda n: np.zeros(n, np.int64)),
            key=joined("key", lambda n: [None] * n),
            payload=joined("payload", lambda n: [None] * n),
            source=first.source,
            partition=joined("partition", lambda n: np.zeros(n, np.int32)),
            offset=np.concatenate([batch.offset for batch in batches]),
            dead=[letter for batch in batches for letter in batch.dead],
        )

    @classmethod
    def from_arrays(
        cls,
        x: NDArray[Any] | Rows,
        y: NDArray[Any] | Rows | None = None,
        *,
        schema: Schema | None = None,
        weight: NDArray[Any] | None = None,
    ) -> Batch:
        """Events from matrices.

        Parameters
        ----------
        x
            Shape (n, d), NaN for missing, or `Rows` with values.
        y
            0/1 of shape (n, L) or `Rows`; None: unlabelled. In a float matrix NaN is an unknown cell.
        schema
            Names; by default ``x0, x1, …`` and ``y0, y1, …``.
        weight
            Shape (n,), positive; None: all 1.

        Examples
        --------
        >>> import numpy as np
        >>> batch = Batch.from_arrays(np.eye(2), np.array([[1, 0], [1, 1]]))
        >>> len(batch), batch.schema.label_names
        (2, ['y0', 'y1'])
        """
        if not isinstance(x, Rows):
            x = np.ascontiguousarray(x, np.float32)
            if x.ndim != 2:
                raise ValueError(f"x must have shape (n, d), got {x.shape}")
        numbers = x.data if isinstance(x, Rows) else x
        if numbers is not None and np.isinf(numbers).any():
            first = int(np.flatnonzero(np.isinf(numbers).ravel())[0])
            row = (
                int(np.searchsorted(x.indptr, first, side="right")) - 1 if isinstance(x, Rows) else first // x.shape[1]
            )
            raise ValueError(f"x must be finite or NaN, got infinity in row {row}")
        n, known = len(x), None
        state = np.full(n, COMPLETE, np.uint8)
        if y is None:
            y, n_labels = Rows.empty(n), 0
            state[:] = UNLABELLED
        elif isinstance(y, Rows):
            n_labels = int(y.indices.max(initial=-1)) + 1
        else:
            y = np.asarray(y)
            if y.ndim != 2 or len(y) != n:
                raise ValueError(f"y must have shape ({n}, L), got {y.shape}")
            n_labels, unknown = y.shape[1], np.isnan(y) if y.dtype.kind == "f" else np.zeros(y.shape, bool)
            if unknown.any():
                state[unknown.any(1)] = PARTIAL
                known = Rows.from_dense(~unknown & unknown.any(1, keepdims=True))
            y = Rows.from_dense(np.where(unknown, 0, y))
        if schema is None:
            n_features = int(x.indices.max(initial=-1)) + 1 if isinstance(x, Rows) else x.shape[1]
            names = [f"x{j}" for j in range(n_features)]
            schema = Schema(names, [f"y{j}" for j in range(n_labels)], sparse=isinstance(x, Rows))
            for column in range(n_features):
                schema.decide(column, NUMERIC)
        return cls(schema, x, y, state, known, weight)

    @classmethod
    def from_dicts(
        cls,
        xs: Sequence[Mapping[Any, Any]],
        ys: Sequence[Mapping[Any, bool | None] | Iterable[Any] | None] | None = None,
        *,
        schema: Schema | None = None,
        grow: bool = True,
        weight: NDArray[Any] | None = None,
    ) -> Batch:
        """Events from dictionaries, as river users and JSON have them.

        Parameters
        ----------
        xs
            Feature name to number, string (a category) or None (missing), one mapping an event.
        ys
            One entry an event: a mapping of label to True, False or None (unknown); or the present labels alone, all
            others being absent; or None for an unlabelled event. None: all unlabelled. A mapping that names every
            label the schema holds is complete.
        schema
            Grows by the names met; a new dense one by default.
        grow
            False: leave the schema as it is. Features and labels that it does not hold are passed over, and a
            category that it does not hold is missing.
        weight
            Shape (n,), positive; None: all 1.

        Raises
        ------
        ValueError, TypeError
            A value is not finite as a float32, or of a kind that its feature does not have.

        Notes
        -----
        Events whose names come in the same order as those of the event before are read fastest.
        """
        schema = Schema() if schema is None else schema
        columns, values = [], []
        keys = schema.keys
        for x in xs:
            keys = schema.feature_keys(x, grow)
            row, numbers = keys.columns, _numbers(schema, keys, x, grow)
            if not (grow or keys.numeric):
                row, numbers = row[row >= 0], numbers[row >= 0]
            columns.append(row)
            values.append(numbers)
        features: NDArray[np.float32] | Rows
        if schema.sparse:
            indptr = np.zeros(len(xs) + 1, np.int64)
            np.cumsum([len(row) for row in columns], out=indptr[1:])
            order = [np.argsort(row) for row in columns]
            indices = np.concatenate([np.zeros(0, np.int32), *(c[o] for c, o in zip(columns, order, strict=True))])
            data = np.concatenate([np.zeros(0, np.float32), *(v[o] for v, o in zip(values, order, strict=True))])
            features = Rows(indptr, indices, data)
        elif len(xs) == 1 and keys.in_order and len(keys.names) == schema.n_features:
            features = values[0][np.newaxis]
        else:
            features = np.full((len(xs), schema.n_features), np.nan, np.float32)
            for i, (row, value) in enumerate(zip(columns, values, strict=True)):
                features[i, row] = value
        if ys is None:
            return cls(schema, features, Rows.empty(len(xs)), np.zeros(len(xs), np.uint8), weight=weight)
        state = np.full(len(xs), COMPLETE, np.uint8)
        present: list[list[int]] = []
        known: list[list[int]] = []
        for i, y in enumerate(ys):
            known.append([])
            if y is None:
                present.append([])
                state[i] = UNLABELLED
            elif isinstance(y, Mapping):
                labels = schema.label_columns(y, grow)
                cells = [cell for cell in zip(labels, y.values(), strict=True) if cell[0] >= 0 and cell[1] is not None]
                present.append([label for label, value in cells if value])
                if len(cells) < schema.n_labels:
                    state[i], known[i] = PARTIAL, [label for label, _ in cells]
            else:
                find = schema.label_id if grow else schema.find_label
                present.append([label for label in map(find, y) if label >= 0])
        partly = Rows.from_lists(known) if (state == PARTIAL).any() else None
        return cls(schema, features, Rows.from_lists(present), state, partly, weight)

    def _has_value(self, column: int) -> bool:
        """Whether an event has a value of a feature."""
        if isinstance(self.x, Rows):
            return bool((self.x.indices == column).any())
        return column < self.x.shape[1] and not np.isnan(self.x[:, column]).all()

    def aligned(self, schema: Schema, *, grow: bool = True) -> Batch:
        """The same events under another schema's column numbers.

        ``schema`` grows by the names that it lacks; or, if not ``grow``, stays as it is: features and labels that it
        lacks are dropped and categories that it lacks are missing. ValueError where a feature is numeric in one and
        nominal in the other.
        """
        mine = self.schema
        if grow:
            schema.extend(mine)
        feature_to = np.array([schema.find_feature(name) for name in mine.feature_names], np.int32)
        label_to = np.array([schema.find_label(name) for name in mine.label_names], np.int32)
        for column, to in enumerate(feature_to.tolist()):
            if to >= 0 and not grow and UNDECIDED not in (mine.kinds[column], schema.kinds[to]):
                schema.decide(to, mine.kinds[column])
            if to >= 0 and (mine.kinds[column], schema.kinds[to]) == (UNDECIDED, NOMINAL) and self._has_value(column):
                schema.decide(to, NUMERIC)  # which is refused: values of an undecided column are numbers
        recoded = {}
        for column, names in mine.categories.items():
            to = int(feature_to[column])
            held = schema.categories.get(to, []) if to >= 0 else names
            if held[: len(names)] != names:
                code = {name: i for i, name in enumerate(held)}
                recoded[column] = np.array([code.get(name, math.nan) for name in names], np.float32)
        x = self.x
        features: NDArray[np.float32] | Rows
        if isinstance(x, Rows):
            if recoded and x.data is not None:
                data = x.data.copy()
                for column, codes_to in recoded.items():
                    cells = np.flatnonzero(x.indices == column)
                    data[cells] = _recode(data[cells], codes_to)
                x = Rows(x.indptr, x.indices, data)
            features = x.renumbered(feature_to)
        else:
            feature_to = feature_to[: x.shape[1]]
            held_columns = np.flatnonzero(feature_to >= 0)
            features = np.full((len(x), schema.n_features), np.nan, np.float32)
            features[:, feature_to[held_columns]] = x[:, held_columns]
            for column, codes_to in recoded.items():
                if column < x.shape[1]:
                    features[:, feature_to[column]] = _recode(x[:, column], codes_to)
        return replace(
            self,
            schema=schema,
            x=features,
            y=self.y.renumbered(label_to),
            known=None if self.known is None else self.known.renumbered(label_to),
        )


def named_features(schema: Schema, x: NDArray[np.float32] | Rows, row: int) -> dict[Name, Any]:
    """The features of an event by name: those that are known and not ignored, categories by theirs; of sparse rows the
    cells listed."""
    cells: Iterable[tuple[int, float]]
    if isinstance(x, Rows):
        assert x.data is not None
        low, high = x.indptr[row : row + 2]
        cells = zip(x.indices[low:high].tolist(), x.data[low:high].tolist(), strict=True)
    else:
        cells = enumerate(x[row].tolist())
    names, categories, ignored = schema.feature_names, schema.categories, schema.ignored
    there = [(column, value) for column, value in cells if value == value]
    if not categories and not ignored:
        return {names[column]: value for column, value in there}
    return {
        names[column]: categories[column][int(value)] if column in categories else value
        for column, value in there
        if column not in ignored
    }


def _numbers(schema: Schema, keys: Keys, x: Mapping[Any, Any], grow: bool) -> NDArray[np.float32]:
    """The values of an event as the floats that stand for them in ``Batch.x``, NaN for those to be left out."""
    if keys.numeric:
        with suppress(TypeError):  # a string or None
            numbers = np.frombuffer(array("d", x.values()))
            if np.abs(numbers).max(initial=0.0) <= _FLOAT32_MAX:
                return numbers.astype(np.float32)
    cells = zip(keys.columns.tolist(), x.values(), strict=True)
    return np.array([_number(schema, column, value, grow) for column, value in cells], np.float32)


_FLOAT32_MAX = float(np.finfo(np.float32).max)


def _number(schema: Schema, feature: int, value: Any, grow: bool) -> float:
    """A feature's value as the float that stands for it in ``Batch.x``."""
    if value is None or feature < 0:
        return math.nan
    if isinstance(value, str):
        if schema.kinds[feature] != NOMINAL:
            if not grow and schema.kinds[feature] == UNDECIDED:
                return math.nan
            schema.make_nominal(feature, [ABSENT] if schema.sparse else [])
        category = schema.category_id(feature, value) if grow else schema.find_category(feature, value)
        return math.nan if category < 0 else category
    if schema.kinds[feature] != NUMERIC and (grow or schema.kinds[feature] == NOMINAL):
        schema.decide(feature, NUMERIC)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"feature {schema.feature_names[feature]!r} must be a number, a string or None, got {value!r}"
        ) from None
    if not abs(number) <= _FLOAT32_MAX:
        name = schema.feature_names[feature]
        raise ValueError(f"feature {name!r} must be finite as a float32, got {value!r}; None is missing")
    return number


def _recode(codes: NDArray[np.float32], to: NDArray[np.float32]) -> NDArray[np.float32]:
    known = ~np.isnan(codes)
    recoded = np.full(codes.shape, np.nan, np.float32)
    recoded[known] = to[codes[known].astype(np.int64)]
    return recoded


def _widened(x: NDArray[np.float32], n_columns: int) -> NDArray[np.float32]:
    """``x`` with missing columns appended up to ``n_columns``."""
    if x.shape[1] == n_columns:
        return x
    wide = np.full((len(x), n_columns), np.nan, np.float32)
    wide[:, : x.shape[1]] = x
    return wide


@dataclass(slots=True, eq=False)
class Prediction:
    """Answers to the events of a batch.

    Parameters
    ----------
    labels
        The predicted label set of each event, as columns of the learner's schema.
    proba
        Probability that each label is present: float32 or float64 of shape (n, L); or `Rows` with values where a
        learner answers for few of many labels, those not listed having probability 0; or None where a learner has none.
        A label that the learner has not met by the time of an event has probability 0 there.
    """

    labels: Rows
    proba: NDArray[np.floating] | Rows | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Prediction:
        return Prediction(self.labels[rows], None if self.proba is None else self.proba[rows])

    @classmethod
    def concat(cls, parts: Sequence[Prediction]) -> Prediction:
        """The answers of all parts, one below the other; dense probabilities are widened to the widest part."""
        proba: NDArray[np.floating] | Rows | None = None
        if all(isinstance(part.proba, Rows) for part in parts):
            proba = Rows.concat([part.proba for part in parts if isinstance(part.proba, Rows)])
        elif all(isinstance(part.proba, np.ndarray) for part in parts):
            dense = [part.proba for part in parts if isinstance(part.proba, np.ndarray)]
            width = max(part.shape[1] for part in dense)
            proba = np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in dense])
        return cls(Rows.concat([part.labels for part in parts]), proba)
