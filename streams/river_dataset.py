"""A source as a data set of river."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from river.datasets import base

from streams.batch import COMPLETE, UNLABELLED, Batch, named_features
from streams.opening import open_source
from streams.source import DecodeError, Source
from streams.text_source import OnError, RowKind

_READ_AHEAD = 256
"""Events fetched at once."""

Pair = tuple[dict[Any, Any], Any]
"""Features and target of an event."""


class SourceDataset(base.Dataset):
    """The events of a source as pairs of features and target.

    Made by `to_river`, which documents the parameters.
    """

    def __init__(
        self, spec: Any, options: Mapping[str, Any], *, single_label: bool, payload: str | None, time: str | None
    ) -> None:
        self._spec, self._options = spec, dict(options)
        self._single_label, self._payload, self._time = single_label, payload, time
        self._turn = 0
        source = self._opened()
        self._given = source if isinstance(spec, Source) or spec == "-" else None
        self._start = source.position() if self._given is not None else None
        self._is_started = False
        self.name = source.name
        n_labels = source.schema.n_labels
        super().__init__(
            task=base.MULTI_CLF if single_label else base.MO_BINARY_CLF,
            n_features=source.schema.n_features,
            n_samples=source.n_events,
            n_classes=n_labels or None if single_label else None,
            n_outputs=None if single_label else n_labels or None,
            sparse=source.schema.sparse,
        )
        if self._given is None:
            source.close()

    @property
    def _repr_content(self) -> dict[str, str]:
        return {**super()._repr_content, "Name": self.name}

    def __iter__(self) -> Iterator[Pair]:
        """The events from the first one on.

        Raises
        ------
        RuntimeError
            They are asked of an object that another iteration has taken back to its beginning since.
        DecodeError
            An event could not be read, or has not exactly one label in a single-label stream.
        """
        self._turn += 1
        turn = self._turn
        if self._given is None:
            source = self._opened()
        else:
            source = self._given
            if self._is_started:
                assert self._start is not None
                source.resume(self._start)
            self._is_started = True
        try:
            n_labels = source.schema.n_labels
            while (batch := source.next_batch(_READ_AHEAD)) is not None:
                for row in range(len(batch)):
                    if self._given is not None and turn != self._turn:
                        raise RuntimeError(f"{self.name} must be read by one iteration at a time, got a later one")
                    n_labels = max(n_labels, 1 + _last(batch, row))
                    yield self._features(batch, row), self._target(batch, row, n_labels)
        finally:
            if self._given is None:
                source.close()

    def _opened(self) -> Source:
        return open_source(self._spec, **self._options)

    def _features(self, batch: Batch, row: int) -> dict[Any, Any]:
        x = named_features(batch.schema, batch.x, row)
        if self._payload is not None and batch.payload is not None:
            x[self._payload] = batch.payload[row]
        if self._time is not None and batch.time is not None:
            x[self._time] = datetime.fromtimestamp(int(batch.time[row]) / 1000, UTC)
        return x

    def _target(self, batch: Batch, row: int, n_labels: int) -> Any:
        names = batch.schema.label_names
        present = batch.y.row(row).tolist()
        if self._single_label:
            if len(present) != 1 or batch.label_state[row] != COMPLETE:
                raise DecodeError(
                    batch.source,
                    f"an event must have exactly one label, found {len(present)}",
                    offset=int(batch.offset[row]),
                )
            return names[present[0]]
        if batch.label_state[row] == COMPLETE:
            known = range(n_labels)
        elif batch.label_state[row] == UNLABELLED or batch.known is None:
            return {}
        else:
            known = batch.known.row(row).tolist()
        there = set(present)
        return {names[label]: label in there for label in known}


def to_river(
    spec: Any,
    *,
    single_label: bool = False,
    labels: str | Sequence[str] | None = None,
    on_error: OnError = "fail",
    payload: str | None = None,
    rows: RowKind | None = None,
    time: str | None = None,
) -> SourceDataset:
    """A stream of events as a data set of river: pairs of features and target, for its evaluation and its models.

    Parameters
    ----------
    spec, labels, on_error, payload, rows
        As of `open_source`. What ``payload`` names is among the features, for `feature_extraction` of river.
    single_label
        True: the target is the one label of the event. False: it is a mapping of label to True or False.
    time
        A feature that takes the time of events that have one, as a `datetime` in UTC, for ``moment`` of river's loops;
        `compose.Discard` keeps it from models. None: times are left out.

    Raises
    ------
    DecodeError, FileNotFoundError, TypeError, ValueError
        As of `open_source`.

    Notes
    -----
    Missing and ignored features are left out, as are zeros of sparse rows; nominal ones are the names of categories.
    Numbers are those of the engine, in single precision. The target names the labels that the source has declared or
    met by then, of a partly labelled event those that are known, of an unlabelled one none: ``{}``. Weights and keys
    are left out.

    ``n_samples`` is None where the source does not know it beforehand; ``n_features`` and ``n_outputs`` are what it
    has declared. A path, name, batch or frame is opened anew by each iteration. A `Source` is read from where it stands
    and taken back there by the next iteration, so that only the latest one may go on.

    Examples
    --------
    >>> x, y = next(iter(to_river("yeast")))
    >>> len(x), [label for label, is_present in y.items() if is_present]
    (103, ['Class7', 'Class8', 'Class12', 'Class13'])
    """
    options = {"labels": labels, "on_error": on_error, "payload": payload, "rows": rows}
    return SourceDataset(
        os.fspath(spec) if isinstance(spec, os.PathLike) else spec,
        options,
        single_label=single_label,
        payload=payload,
        time=time,
    )


def _last(batch: Batch, row: int) -> int:
    """The greatest number of a label of which the event says anything by name, -1 for none."""
    known = -1 if batch.known is None else int(batch.known.row(row).max(initial=-1))
    return max(known, int(batch.y.row(row).max(initial=-1)))
