"""Events, predictions and dead letters as JSON, one object a message, whatever carries the messages."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNLABELLED, Batch, DeadLetter, Prediction, Rows, Schema
from streams.schema import ABSENT

RAW_LIMIT = 1 << 16
"""Bytes of a dead letter that are kept whole; of a longer one the first so many, its length and hash."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_NUMBERS = frozenset({int, float, bool, type(None)})


Milliseconds = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Since 1970, as 64 bits hold them."""


class _Binary(msgspec.Struct, forbid_unknown_fields=True):
    base64: str


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    x: dict[str, float | str | bool | None] | list[float | str | bool | None] | None = None
    y: list[str | int] | dict[str, bool | None] | None = None
    id: str | int | None = None
    ts: Milliseconds | None = None
    w: float | None = None
    payload: str | _Binary | None = None


class _Prediction(msgspec.Struct, omit_defaults=True):
    id: str | int | None = None
    ts: int | None = None
    labels: list[Any] | None = None
    proba: dict[str, float] | None = None
    model: str | None = None
    source: str | None = None


_encode = msgspec.json.Encoder().encode


class EventDecoder:
    """Messages in, a `Batch` out.

    Parameters
    ----------
    schema
        Grows by the names that events bring.
    payload
        Name of a feature to take out of ``x`` as the payload; None: the event's own ``payload``.

    Notes
    -----
    An event is ``{"id": "e1", "ts": 1700000000000, "x": {"f1": 0.3, "colour": "red"}, "y": ["a", "c"]}``. ``x`` is a
    mapping, or an array whose values are those of ``x0, x1, …``; a number or a truth value is numeric, a string the
    category of a nominal feature, null a missing value. Left out of ``x``, a feature is missing in dense rows and 0 in
    sparse ones, where a nominal feature has an empty category of that number. ``y`` is the list of the labels present;
    a mapping to true, false or null (unknown) where only some are known; absent where none is. ``w`` is the event's
    weight. Another field, a name that comes twice, a value that is not finite or has another type than its feature:
    each makes the message malformed.

    Examples
    --------
    >>> decoder = EventDecoder(Schema())
    >>> decoder.decode(b'{"x": {"f1": 0.5}, "y": ["a"]}')
    >>> batch = decoder.take()
    >>> batch.x.tolist(), batch.schema.label_names
    ([[0.5]], ['a'])
    """

    def __init__(self, schema: Schema, *, payload: str | None = None) -> None:
        self.schema = schema
        self._payload_name = payload
        self._decode = msgspec.json.Decoder(_Event, strict=True).decode
        self._last_names: list[str] = []
        self._last_columns = np.zeros(0, np.int32)
        self._clear()

    def _clear(self) -> None:
        self._columns: list[NDArray[np.int32]] = []
        self._values: list[NDArray[np.float32]] = []
        self._present: list[list[int]] = []
        self._known: list[list[int]] = []
        self._states: list[int] = []
        self._keys: list[str | None] = []
        self._times: list[int | None] = []
        self._weights: list[float] = []
        self._payloads: list[Any] = []

    def __len__(self) -> int:
        return len(self._states)

    def decode(self, raw: bytes | memoryview, key: str | None = None, time: int | None = None) -> None:
        """Take in one message; ``key`` and ``time`` are those of an event that has none of its own.

        Raises
        ------
        ValueError
            It is malformed. Nothing of it is taken in, and the schema is as it was.
        """
        event = self._parse(raw)
        weight = 1.0 if event.w is None else event.w
        if not 0 < weight < math.inf:
            raise ValueError(f"w must be positive, found {weight:g}")
        payload: Any = event.payload
        x = event.x
        if self._payload_name is not None and isinstance(x, dict) and self._payload_name in x:
            payload = x.pop(self._payload_name)
            if payload is not None and not isinstance(payload, str):
                raise ValueError(f"payload {self._payload_name!r} must be a string, found {payload!r}")
        if isinstance(payload, _Binary):
            try:
                payload = base64.b64decode(payload.base64, validate=True)
            except ValueError:
                raise ValueError("payload.base64 must be base64, found other characters or padding") from None
        if x is None and payload is None:
            raise ValueError("an event must have x or a payload, found neither")
        y = event.y
        if isinstance(y, list) and len(set(y)) < len(y):
            raise ValueError(f"labels of an event must differ, found {y!r}")
        columns, values = self._features(x or {})
        # Nothing can fail any more, so the schema may grow.
        schema = self.schema
        self._columns.append(columns)
        self._values.append(values)
        present: list[int] = []
        known: list[int] = []
        state = COMPLETE
        if y is None:
            state = UNLABELLED
        elif isinstance(y, dict):
            ids = {schema.label_id(name): value for name, value in y.items()}
            present = [label for label, value in ids.items() if value]
            known = [label for label, value in ids.items() if value is not None]
            state = PARTIAL if known else UNLABELLED
        else:
            present = [schema.label_id(name) for name in y]
        self._present.append(present)
        self._known.append(known)
        self._states.append(state)
        self._keys.append(key if event.id is None else str(event.id))
        self._times.append(time if event.ts is None else event.ts)
        self._weights.append(weight)
        self._payloads.append(payload)

    def _parse(self, raw: bytes | memoryview) -> _Event:
        try:
            event = self._decode(raw)
        except UnicodeDecodeError:
            raise ValueError(f"an event must be UTF-8, found {_first_wrong_byte(bytes(raw))}") from None
        except msgspec.ValidationError as error:
            raise ValueError(f"an event must have the fields of the wire format, found: {error}") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"an event must be a JSON object, found: {error}") from None
        # The decoder lets the last of equal names win. More colons than names are a reason to look closer.
        n_names = sum(value is not None for value in (event.x, event.y, event.id, event.ts, event.w, event.payload))
        n_names += sum(len(value) for value in (event.x, event.y) if isinstance(value, dict))
        n_names += isinstance(event.payload, _Binary)
        if bytes(raw).count(b":") > n_names:
            json.loads(bytes(raw), object_pairs_hook=_differing)
        return event

    def _features(self, x: dict[str, Any] | list[Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Columns and values of an event; the schema grows only if all of it is right."""
        schema = self.schema
        names = [f"x{j}" for j in range(len(x))] if isinstance(x, list) else list(x)
        given = x if isinstance(x, list) else list(x.values())
        if names == self._last_names and _NUMBERS.issuperset(map(type, given)):
            values = _finite(names, given)
            return (self._last_columns, values) if not schema.sparse else _listed(self._last_columns, values)
        kinds = []
        for name, value in zip(names, given, strict=True):
            column = schema.find_feature(name)
            kind = 0 if value is None else NOMINAL if isinstance(value, str) else NUMERIC
            if column >= 0 and kind and schema.kinds[column] not in (0, kind):
                rule = "a number" if schema.kinds[column] == NUMERIC else "a string"
                raise ValueError(f"feature {name!r} must be {rule} as before, found {value!r}")
            kinds.append(kind)
        values = _finite(names, [0.0 if isinstance(value, str) else value for value in given])
        columns = np.array([schema.feature_id(name) for name in names], np.int32)
        for i, (column, kind, value) in enumerate(zip(columns.tolist(), kinds, given, strict=True)):
            if kind == NOMINAL:
                if schema.kinds[column] != NOMINAL:
                    schema.make_nominal(column, [ABSENT] if schema.sparse else [])
                values[i] = schema.category_id(column, value)
            elif kind:
                schema.decide(column, kind)
        if all(kind == NUMERIC for kind in kinds):
            self._last_names, self._last_columns = names, columns
        return (columns, values) if not schema.sparse else _listed(columns, values)

    def take(self) -> Batch:
        """The events decoded since the last time, without source and offsets."""
        schema, n = self.schema, len(self)
        features: NDArray[np.float32] | Rows
        if schema.sparse:
            indptr = np.zeros(n + 1, np.int64)
            np.cumsum([len(columns) for columns in self._columns], out=indptr[1:])
            indices = np.concatenate([*self._columns, np.zeros(0, np.int32)])
            features = Rows(indptr, indices, np.concatenate([*self._values, np.zeros(0, np.float32)]))
        else:
            features = np.full((n, schema.n_features), np.nan, np.float32)
            for i, (columns, values) in enumerate(zip(self._columns, self._values, strict=True)):
                features[i, columns] = values
        state = np.array(self._states, np.uint8)
        any_time = any(time is not None for time in self._times)
        batch = Batch(
            schema,
            features,
            Rows.from_lists(self._present),
            state,
            Rows.from_lists(self._known) if (state == PARTIAL).any() else None,
            weight=np.array(self._weights) if any(weight != 1 for weight in self._weights) else None,
            time=np.array([time or 0 for time in self._times], np.int64) if any_time else None,
            key=self._keys if any(key is not None for key in self._keys) else None,
            payload=self._payloads if any(payload is not None for payload in self._payloads) else None,
        )
        self._clear()
        return batch


def prefers_sparse(messages: Iterable[bytes]) -> bool:
    """Whether the average event among these names fewer than half of all features met in them."""
    decoder = msgspec.json.Decoder(_Event)
    met: set[str] = set()
    lengths: list[int] = []
    for raw in messages:
        try:
            event = decoder.decode(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(event.x, list):
            return False
        if event.x is not None:
            met.update(event.x)
            lengths.append(len(event.x))
    return 2 * sum(lengths) < len(met) * len(lengths)


def _first_wrong_byte(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at byte {error.start + 1}"
    return "text that is cut short"


def _differing(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"names must differ, found {twice!r} twice")
    return found


def _finite(names: list[str], given: list[Any]) -> NDArray[np.float32]:
    """Numbers as float32, null as NaN."""
    wide = np.array(given, np.float64)
    too_large = np.flatnonzero(np.abs(wide) > _FLOAT32_MAX)
    if len(too_large):
        i = int(too_large[0])
        raise ValueError(f"feature {names[i]!r} must be at most 3.4028235e38 in size, found {given[i]!r}")
    return wide.astype(np.float32)


def _listed(columns: NDArray[np.int32], values: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The cells that sparse rows list: ascending, without zeros."""
    order = np.argsort(columns)
    order = order[values[order] != 0]
    return columns[order], values[order]


def encode_events(batch: Batch) -> list[bytes]:
    """Every event of a batch as the message that `EventDecoder` reads."""
    schema = batch.schema
    names = [str(name) for name in schema.feature_names]
    return [
        msgspec.json.encode(
            _without_none(
                id=None if batch.key is None else batch.key[i],
                ts=None if batch.time is None else int(batch.time[i]),
                x=x,
                y=label_names(batch, i),
                w=None if batch.weight is None or batch.weight[i] == 1 else float(batch.weight[i]),
                payload=None if batch.payload is None else _payload(batch.payload[i]),
            )
        )
        for i, x in enumerate(_mappings(batch, names))
    ]


def encode_predictions(
    batch: Batch, prediction: Prediction, schema: Schema, model: str, *, proba: bool = True
) -> list[bytes]:
    """Every answer as a message that names the event it answers.

    Parameters
    ----------
    schema
        The learner's: names behind the columns of ``prediction``.
    model
        What to call the learner.
    proba
        Whether to write the probabilities, where the learner has any: of all labels, or of those listed.
    """
    names, n = schema.label_names, len(batch)
    answered = [names[label] for label in prediction.labels.indices.tolist()]
    bounds = prediction.labels.indptr.tolist()
    partitions = [0] * n if batch.partition is None else batch.partition.tolist()
    return [
        _encode(_Prediction(key, time, answered[low:high], shares, model, f"{batch.source}/{partition}/{offset}"))
        for key, time, (low, high), shares, partition, offset in zip(
            [None] * n if batch.key is None else batch.key,
            [None] * n if batch.time is None else batch.time.tolist(),
            itertools.pairwise(bounds),
            _shares(prediction.proba if proba else None, [str(name) for name in names], n),
            partitions,
            batch.offset.tolist(),
            strict=True,
        )
    ]


def _shares(proba: NDArray[np.float32] | Rows | None, names: list[str], n: int) -> Iterable[dict[str, float] | None]:
    """The probabilities of each of ``n`` events by name, of all labels or of those listed."""
    if proba is None:
        return [None] * n
    if isinstance(proba, Rows):
        shares = _shortest(proba.data) if proba.data is not None else [1.0] * len(proba.indices)
        listed = [names[label] for label in proba.indices.tolist()]
        rows = itertools.pairwise(proba.indptr.tolist())
        return [dict(zip(listed[low:high], shares[low:high], strict=True)) for low, high in rows]
    width = proba.shape[1]
    names, flat = names[:width], _shortest(np.ascontiguousarray(proba).ravel())
    return [dict(zip(names, flat[i * width : (i + 1) * width], strict=True)) for i in range(n)]


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """A dead letter as a JSON object: where it stood, why, and its bytes in base64.

    Of more than 64 KB, ``raw`` holds the beginning, and ``length`` and ``sha256`` tell of the whole.
    """
    value: dict[str, Any] = {
        "source": letter.source,
        "partition": letter.partition,
        "offset": letter.offset,
        "line": letter.line,
        "reason": letter.reason,
        "raw": base64.b64encode(letter.raw[:RAW_LIMIT]).decode(),
    }
    if len(letter.raw) > RAW_LIMIT:
        value["length"], value["sha256"] = len(letter.raw), hashlib.sha256(letter.raw).hexdigest()
    return msgspec.json.encode(value)


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _payload(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def label_names(batch: Batch, i: int) -> Any:
    """What is known of the labels of event ``i``, as its message says it: names, a mapping, or None."""
    names = batch.schema.label_names
    present = batch.y.row(i).tolist()
    if batch.label_state[i] == UNLABELLED:
        return None
    if batch.label_state[i] == PARTIAL and batch.known is not None:
        return {str(names[label]): label in present for label in batch.known.row(i).tolist()}
    return [names[label] for label in present]


def _shortest(values: NDArray[np.float32]) -> list[float]:
    """Doubles with the fewest digits that are these floats."""
    import pyarrow as pa

    shortest: list[float] = pa.array(values.astype(np.float32)).cast(pa.string()).cast(pa.float64()).to_pylist()
    return shortest


def _mappings(batch: Batch, names: list[str]) -> Iterable[dict[str, Any]]:
    """``x`` of every event; a missing value is None."""
    schema, x = batch.schema, batch.x
    nominal = {column: schema.categories[column] for column in schema.categories}
    if isinstance(x, Rows):
        values = _shortest(x.data) if x.data is not None else [1.0] * len(x.indices)
        bounds, columns = x.indptr.tolist(), x.indices.tolist()
        # A nominal feature that is left out has its first category, which has to be said unless that is the empty one.
        meant = {column: 0.0 for column, categories in nominal.items() if categories[:1] not in ([], [ABSENT])}
        rows = (
            {**meant, **dict(zip(columns[low:high], values[low:high], strict=True))}
            for low, high in itertools.pairwise(bounds)
        )
    else:
        width = x.shape[1]
        flat = _shortest(x.ravel())
        rows = (dict(enumerate(flat[i * width : (i + 1) * width])) for i in range(len(x)))
    for row in rows:
        yield {
            names[column]: None if value != value else nominal[column][int(value)] if column in nominal else value
            for column, value in row.items()
        }
