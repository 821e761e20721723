"""A data set of river as a source."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from streams.batch import Batch, Schema
from streams.source import DecodeError, Position


class RiverSource:
    """What iterating over ``dataset`` gives: pairs of features and target, one an event.

    Parameters
    ----------
    dataset
        Iterable again and again, each time with the same pairs. A target is a mapping of label to truth value or None
        (unknown), the set or list of the labels present, a truth value (the one label ``y``), a class, which is the one
        label that the event has, or None where the event is unlabelled.
    labels
        Names of labels to declare beforehand, parted by commas or a sequence.

    Raises
    ------
    ValueError
        ``dataset`` says that it is one for regression.

    Notes
    -----
    Strings are categories, other features numbers. A number that is not finite raises `DecodeError`, as does a target
    that is a number with a fraction, or a label's that is neither 0 nor 1: river has no raw bytes to keep as a dead
    letter.
    """

    def __init__(self, dataset: Iterable[tuple[Mapping[Any, Any], Any]], *, labels: str | Sequence[str] | None = None):
        names = [name.strip() for name in labels.split(",")] if isinstance(labels, str) else list(labels or ())
        self._dataset = dataset
        self._name = type(dataset).__name__.lower()
        task = str(getattr(dataset, "task", ""))
        if "regression" in task.lower():
            raise ValueError(f"a data set must be one for classification, got {type(dataset).__name__}: {task.lower()}")
        self._schema = Schema(labels=names, sparse=bool(getattr(dataset, "sparse", False)))
        self._events: Iterator[tuple[Mapping[Any, Any], Any]] = iter(dataset)
        self._next = 0

    @property
    def name(self) -> str:
        """The class of the data set in small letters."""
        return self._name

    @property
    def schema(self) -> Schema:
        """Names of the columns; grows."""
        return self._schema

    @property
    def n_events(self) -> int | None:
        """As the data set says."""
        return getattr(self._dataset, "n_samples", None)

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events``, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        pairs = list(itertools.islice(self._events, max_events))
        if not pairs:
            return None
        try:
            batch = Batch.from_dicts([x for x, _ in pairs], [_labels(y) for _, y in pairs], schema=self._schema)
        except (TypeError, ValueError) as error:
            raise DecodeError(self._name, str(error), offset=self._next + self._first_wrong(pairs)) from None
        batch.source = self._name
        batch.offset = np.arange(self._next, self._next + len(pairs))
        self._next += len(pairs)
        return batch

    def _first_wrong(self, pairs: list[tuple[Mapping[Any, Any], Any]]) -> int:
        for i, (x, y) in enumerate(pairs):
            try:
                Batch.from_dicts([x], [_labels(y)], schema=self._schema)
            except (TypeError, ValueError):
                return i
        return 0

    def position(self) -> Position:
        """How many events have been read, and the schema so far."""
        return {"offset": self._next, "schema": self._schema.to_json()}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken, reading from the beginning."""
        offset = int(position["offset"])
        self._events = iter(self._dataset)
        self._next = sum(1 for _ in itertools.islice(self._events, offset))
        if self._next < offset:
            raise ValueError(f"position must lie in the {self._next} events, got {offset}")
        self._schema.extend(Schema.from_json(position["schema"]))

    def close(self) -> None:
        """Nothing to let go of."""


def river_dataset(path: str) -> Any:
    """An object of the class that ``module.Class`` names, below ``river`` or ``river.datasets``.

    Raises
    ------
    ValueError
        There is no such class, or it cannot be made without arguments.
    """
    module, _, name = path.rpartition(".")
    for prefix in ("river", "river.datasets"):
        try:
            found = getattr(importlib.import_module(f"{prefix}.{module}".rstrip(".")), name, None)
        except ImportError:
            continue
        if isinstance(found, type):
            try:
                return found()
            except TypeError as error:
                raise ValueError(f"river data set {path!r} must need no arguments, got {error}") from None
    raise ValueError(f"river:{path} must name a class such as river:datasets.Yeast, found none")


def _labels(target: Any) -> Mapping[Any, bool | None] | Iterable[Any] | None:
    if isinstance(target, Mapping):
        return {name: _truth(name, value) for name, value in target.items()}
    if target is None or isinstance(target, (set, frozenset, list, tuple)):
        return target
    target = target.item() if isinstance(target, np.generic) else target
    if isinstance(target, bool):
        return {"y": target}
    if isinstance(target, float) and not target.is_integer():
        raise ValueError(f"a target must be a class, labels or a truth value, got {target!r}")
    return [target]


def _truth(name: Any, value: Any) -> bool | None:
    if value is None:
        return None
    if value not in (0, 1):
        raise ValueError(f"label {name!r} must be True, False or None, got {value!r}")
    return bool(value)
